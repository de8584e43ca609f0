"""The study: a frozen, hashed value that every member trains by.

Security assumption: members train only what they approved by hash, so everything that influences training is
a field here and nothing is read from anywhere else. There are no floats: decimals are integers in millionths
(`_micro`), the clip is in units of 2^-24 (`_q24`), so the canonical bytes are the same on every machine.

A value of these classes is always valid: `__post_init__` raises `ValueError`, which the codec turns into
`Rejected`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from fednode.codec import Name, Named, Range, Size, decode, encode
from fednode.crypto import Domain, tagged_hash
from fednode.ids import Hash
from fednode.learn.algorithms import ALGORITHMS, Algorithm
from fednode.learn.data import DATA, DataKind
from fednode.learn.declared import Decimals, Default, Derived, In, Key, Kind, OneOf
from fednode.learn.layout import TRAINED, Tensors, check_tensors
from fednode.learn.metrics import METRICS
from fednode.learn.models import MODELS, ModelKind
from fednode.learn.units import MAX_CLASSES, MAX_CLIP_Q24, MAX_PARAMETERS, MAX_WEIGHT, MICRO, UNIT
from fednode.texts import check_plain

MAX_STUDY_BYTES = 60_000
"""A study travels in one transaction of at most 64 KiB."""

WEIGHTS = ("hidden", "public", "equal")

OPTIMISERS = ("sgd", "adam")


@dataclass(frozen=True, slots=True)
class Optimiser:
    """Local optimiser, started afresh every round so that nothing but the model passes between rounds."""

    kind: Annotated[str, Size(1, 8), Key("optimiser"), OneOf(OPTIMISERS), Default("sgd")]
    learning_rate_micro: Annotated[int, Range(1, 100 * MICRO), Decimals(MICRO)]
    momentum_micro: Annotated[int, Range(0, MICRO - 1), Decimals(MICRO), Default(0)]
    weight_decay_micro: Annotated[int, Range(0, 10 * MICRO), Decimals(MICRO), Default(0)]
    batch_size: Annotated[int, Range(1, 65536), Default(16)]

    def __post_init__(self) -> None:
        if self.kind not in OPTIMISERS:
            raise ValueError(f"optimiser '{self.kind}' is neither sgd nor adam")
        if self.kind == "adam" and self.momentum_micro:
            raise ValueError("adam has its own momentum; leave momentum out")


@dataclass(frozen=True, slots=True)
class StopRule:
    """End before the last round; 0 switches a part off. Accuracy is federation-wide, in 1/10000."""

    accuracy_permyriad: Annotated[int, Range(0, 10_000), Decimals(10_000), Default(0)]
    no_improvement_rounds: Annotated[int, Range(0, 1000), Default(0)]


DAY_S = 86_400
MAX_START_AFTER_S = 40 * DAY_S


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds: after which people are asked about hospitals that are not ready, and the deadlines of training
    and of every other phase. Before its first round a study has no deadline."""

    start_after_s: Annotated[int, Range(1, MAX_START_AFTER_S), Default(DAY_S)]
    train_timeout_s: Annotated[int, Range(1, 86_400), Default(60)]
    phase_timeout_s: Annotated[int, Range(1, 3600), Default(5)]


DEFAULT_MAX_WEIGHT = 1023

Words = Annotated[str, Size(0, 1000), Default("")]


@dataclass(frozen=True, slots=True)
class About:
    """What people have to know who decide whether data may be used; nothing is computed from it. Offices and files are
    named, never a person: the ledger keeps it for good."""

    purpose: Words = ""
    legal_basis: Words = ""
    ethics_vote: Words = ""
    data_category: Words = ""
    retention: Words = ""
    office: Words = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            check_plain(f"'{field.name}'", getattr(self, field.name).replace("\n", " "))


def _tensors(found: Mapping[str, Any]) -> Tensors:
    return tensors_of(found["model"], found["data"])


def _usual_max_weight(found: Mapping[str, Any]) -> int:
    return 1 if found.get("weights") == "equal" else DEFAULT_MAX_WEIGHT


@dataclass(frozen=True, slots=True)
class StudySpec:
    """Everything the members agree on before anything trains."""

    name: Name
    description: Annotated[str, Size(0, 1000), Default("")]
    model: Annotated[ModelKind, Named("model", MODELS)]
    layout: Annotated[Tensors, Derived(_tensors)]
    data: Annotated[DataKind, Named("data kind", DATA), Kind("tables")]
    algorithm: Annotated[Algorithm, Named("algorithm", ALGORITHMS), Kind("fedavg")]
    optimiser: Annotated[Optimiser, In("training")]
    local_epochs: Annotated[int, Range(1, 1000), In("training")]
    rounds: Annotated[int, Range(1, 10_000), In("training")]
    clip_q24: Annotated[int, Range(1, MAX_CLIP_Q24), Decimals(UNIT), In("training")]
    weights: Annotated[str, Size(1, 8), OneOf(WEIGHTS), Default("hidden"), In("training")]
    max_weight: Annotated[int, Range(1, MAX_WEIGHT), Default(_usual_max_weight), In("training")]
    seed: Annotated[int, Range(0, 2**32 - 1), Default(0), In("training")]
    metrics: Annotated[
        tuple[Annotated[str, Size(1, 64)], ...], Size(0, 16), Default(("auc",)), In("training")
    ]
    stop: StopRule
    timeouts: Timeouts
    about: About = About()

    def __post_init__(self) -> None:
        check_plain("name and description", self.name, self.description.replace("\n", " "))
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights '{self.weights}' is neither hidden nor public nor equal")
        if self.weights == "equal" and self.max_weight != 1:
            raise ValueError("with equal weights max_weight is 1")
        if self.max_weight & (self.max_weight + 1):
            raise ValueError(f"max_weight {self.max_weight} is not 2^b - 1 (1, 3, 7, ... 65535)")
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"metric '{name}' is not known; known are {', '.join(sorted(METRICS))}")
        if len(set(self.metrics)) != len(self.metrics):
            raise ValueError("a metric is listed twice")
        if not 2 <= len(self.data.classes) <= MAX_CLASSES:
            raise ValueError(f"{len(self.data.classes)} classes, between 2 and {MAX_CLASSES} are possible")
        check_tensors(self.layout)
        trained = sum(tensor.size for tensor in self.layout if tensor.role == TRAINED)
        others = sum(tensor.size for tensor in self.layout) - trained
        segments = self.algorithm.segments(self.clip_q24)
        vectors = 1 + len(self.algorithm.state()), len(segments)
        if (size := max(vectors) * trained + others) > MAX_PARAMETERS:
            raise ValueError(f"the model has {size} parameters, at most {MAX_PARAMETERS} are possible")
        if not 1 <= vectors[1] < MAX_SEGMENTS:
            raise ValueError(f"an algorithm sums between 1 and {MAX_SEGMENTS - 1} segments")
        for name, clip in segments.items():
            if not 1 <= clip <= MAX_CLIP_Q24:  # what keeps the products of the merge in 64 bits
                raise ValueError(f"the clip of segment '{name}' is {clip / UNIT:g}, at most {MAX_CLIP_Q24 // UNIT}")


MAX_SEGMENTS = 16
"""Of one summed vector: each then keeps a quarter of the scale at least."""


def with_model(spec: StudySpec, model: ModelKind) -> StudySpec:
    """Return a study with another model, and the tensors that it gives."""
    return replace(spec, model=model, layout=tensors_of(model, spec.data))


def tensors_of(model: ModelKind, data: DataKind) -> Tensors:
    """Return the tensors of a model for this data."""
    return model.tensors(data.inputs, len(data.classes))


def study_bytes(spec: StudySpec) -> bytes:
    """Return the canonical bytes of a study."""
    return encode(spec)


def decode_study(data: bytes) -> StudySpec:
    """Decode canonical bytes; raise `Rejected` if they are not a valid study."""
    return decode(StudySpec, data, MAX_STUDY_BYTES)


def spec_hash(spec: StudySpec) -> Hash:
    """Return the 32-byte tagged SHA-256 of the canonical bytes.

    A study's name on the ledger also hashes its terms; this one stands in where there is no ledger.
    """
    return tagged_hash(Domain.STUDY, study_bytes(spec))


def weight_of(spec: StudySpec, train_rows: int) -> int:
    """Return a member's integer weight in 1..max_weight: min(rows, W), or 1 with equal weights."""
    return 1 if spec.weights == "equal" else max(1, min(train_rows, spec.max_weight))
