"""The study: a frozen, hashed value that every member trains by.

Security assumption: members train only what they approved by hash, so everything that influences training is
a field here and nothing is read from anywhere else. There are no floats: decimals are integers in millionths
(`_micro`), the clip is in units of 2^-24 (`_q24`), so the canonical bytes are the same on every machine.

A value of these classes is always valid: `__post_init__` raises `ValueError`, which the codec turns into
`Rejected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Annotated

from fednode.codec import U32, Name, Range, Size, decode, encode, tagged
from fednode.crypto import Domain, tagged_hash
from fednode.ids import Hash
from fednode.texts import is_plain

MICRO = 1_000_000
"""Decimals of a study carry six places."""

UNIT_BITS = 24
UNIT = 1 << UNIT_BITS
"""Model values, the clip, means and deviations are integers in units of 2^-24."""

SCALE = 1 << 23
"""S, the norm bound of a quantised update (smpc: beta). The sum over N members cannot wrap while N S <= 2^31."""

MAX_MEMBERS = (1 << 31) // SCALE
"""256: beyond this the 32-bit sum of N quantised updates could wrap."""

MAX_WEIGHT = (1 << 16) - 1
MAX_CLIP_Q24 = 1 << 34
"""Largest clip (1024.0). With it the product X_k r of the merge stays below 2^61, see `merge`."""

MAX_COLUMNS = 2048
MAX_FEATURES = 8192
MAX_CLASSES = 64
MAX_PARAMETERS = 1 << 25
MAX_STUDY_BYTES = 60_000
"""A study travels in one transaction of at most 64 KiB."""

_LIMIT_MICRO = 10**18
Micro = Annotated[int, Range(-_LIMIT_MICRO, _LIMIT_MICRO)]
MAX_TOKEN_BYTES = 64
Token = Annotated[str, Size(0, MAX_TOKEN_BYTES)]
Tokens = Annotated[tuple[Token, ...], Size(0, 256)]
RULE_OPERATORS = (">=", "<=", "==", "!=", ">", "<")

OUTSIDE_RULES = ("missing", "clip", "refuse")
"""What happens to a number outside its column's range, in training and in prediction alike: it counts as missing, it is
moved to the nearer end, or the table (the row, in prediction) is refused."""


@tagged(1)
@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A measured quantity within [low, high]. `missing` lists tokens that mean 'not measured'."""

    name: Name
    unit: Annotated[str, Size(0, 32)]
    low_micro: Micro
    high_micro: Micro
    missing: Tokens

    def __post_init__(self) -> None:
        _check_printable(self.name, self.unit, *self.missing)
        if self.low_micro >= self.high_micro:
            raise ValueError(f"column '{self.name}': low must be below high")


@tagged(2)
@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """One of `levels`; becomes one 0/1 feature per level, in this order."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, 256)]
    missing: Tokens

    def __post_init__(self) -> None:
        _check_printable(self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)


@tagged(1)
@dataclass(frozen=True, slots=True)
class LabelRule:
    """The class is 1 where `value <operator> threshold` holds, else 0."""

    operator: Annotated[str, Size(1, 2)]
    threshold_micro: Micro

    def __post_init__(self) -> None:
        if self.operator not in RULE_OPERATORS:
            raise ValueError(f"label rule '{self.operator}' is none of {' '.join(RULE_OPERATORS)}")


@tagged(3)
@dataclass(frozen=True, slots=True)
class LabelColumn:
    """What is predicted. `levels` are the classes in order; with a rule they only name its outcomes (false, true)."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, MAX_CLASSES)]
    rule: LabelRule | None
    missing: Tokens

    def __post_init__(self) -> None:
        _check_printable(self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)
        if self.rule is not None and len(self.levels) != 2:
            raise ValueError(f"column '{self.name}': a label rule has two outcomes, not {len(self.levels)}")


Column = NumberColumn | CategoryColumn | LabelColumn


@tagged(1)
@dataclass(frozen=True, slots=True)
class Mlp:
    """Fully connected layers of the given widths with ReLU between them."""

    hidden: Annotated[tuple[Annotated[int, Range(1, 4096)], ...], Size(1, 8)]


@tagged(2)
@dataclass(frozen=True, slots=True)
class Logistic:
    """(Multinomial) logistic regression: one affine layer."""


ModelSpec = Mlp | Logistic


@dataclass(frozen=True, slots=True)
class Optimiser:
    """Local optimiser, started afresh every round so that nothing but the model passes between rounds."""

    kind: Annotated[str, Size(1, 8)]
    learning_rate_micro: Annotated[int, Range(1, 100 * MICRO)]
    momentum_micro: Annotated[int, Range(0, MICRO - 1)]
    weight_decay_micro: Annotated[int, Range(0, 10 * MICRO)]
    batch_size: Annotated[int, Range(1, 65536)]

    def __post_init__(self) -> None:
        if self.kind not in ("sgd", "adam"):
            raise ValueError(f"optimiser '{self.kind}' is neither sgd nor adam")
        if self.kind == "adam" and self.momentum_micro:
            raise ValueError("adam has its own momentum; leave momentum out")


@dataclass(frozen=True, slots=True)
class StopRule:
    """End before the last round; 0 switches a part off. Accuracy is federation-wide, in 1/10000."""

    accuracy_permyriad: Annotated[int, Range(0, 10_000)]
    no_improvement_rounds: Annotated[int, Range(0, 1000)]


DAY_S = 86_400
MAX_START_AFTER_S = 40 * DAY_S


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in seconds: after which people are asked about hospitals that are not ready, and the deadlines of training
    and of every other phase. Before its first round a study has no deadline."""

    start_after_s: Annotated[int, Range(1, MAX_START_AFTER_S)]
    train_timeout_s: Annotated[int, Range(1, 86_400)]
    phase_timeout_s: Annotated[int, Range(1, 3600)]


@dataclass(frozen=True, slots=True)
class StudySpec:
    """Everything the members agree on before anything trains."""

    name: Name
    description: Annotated[str, Size(0, 1000)]
    model: ModelSpec
    columns: Annotated[tuple[Column, ...], Size(2, MAX_COLUMNS)]
    optimiser: Optimiser
    local_epochs: Annotated[int, Range(1, 1000)]
    rounds: Annotated[int, Range(1, 10_000)]
    clip_q24: Annotated[int, Range(1, MAX_CLIP_Q24)]
    weights: Annotated[str, Size(1, 8)]
    max_weight: Annotated[int, Range(1, MAX_WEIGHT)]
    stop: StopRule
    timeouts: Timeouts
    seed: U32
    outside: Annotated[str, Size(1, 8)]

    def __post_init__(self) -> None:
        _check_printable(self.name, self.description.replace("\n", " "))
        if self.weights not in ("hidden", "public", "equal"):
            raise ValueError(f"weights '{self.weights}' is neither hidden nor public nor equal")
        if self.outside not in OUTSIDE_RULES:
            raise ValueError(f"outside '{self.outside}' is none of {', '.join(OUTSIDE_RULES)}")
        if self.weights == "equal" and self.max_weight != 1:
            raise ValueError("with equal weights max_weight is 1")
        if self.max_weight & (self.max_weight + 1):
            raise ValueError(f"max_weight {self.max_weight} is not 2^b - 1 (1, 3, 7, ... 65535)")
        if sum(isinstance(column, LabelColumn) for column in self.columns) != 1:
            raise ValueError("a schema has exactly one column of kind label")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"two columns are named '{next(n for n in names if names.count(n) > 1)}'")
        if not 1 <= (count := feature_count(self)) <= MAX_FEATURES:
            raise ValueError(f"the schema gives {count} features, between 1 and {MAX_FEATURES} are possible")
        if (size := Layout.of(self).size) > MAX_PARAMETERS:
            raise ValueError(f"the model has {size} parameters, at most {MAX_PARAMETERS} are possible")

@dataclass(frozen=True, slots=True)
class TensorLayout:
    """Place of one tensor in the flat model: `offset` values in, `size` values long, row-major."""

    name: str
    shape: tuple[int, ...]
    fan_in: int
    kind: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of a study's model in the order of the flat vector; `size` is d, the number of parameters."""

    tensors: tuple[TensorLayout, ...]
    size: int

    @staticmethod
    def of(spec: StudySpec) -> Layout:
        """Derive the layout from model and schema; names are those of the torch state dict."""
        hidden = spec.model.hidden if isinstance(spec.model, Mlp) else ()
        widths = (feature_count(spec), *hidden, len(label_of(spec).levels))
        tensors: list[TensorLayout] = []
        offset = 0
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            for kind, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
                size = outputs * inputs if kind == "weight" else outputs
                tensors.append(TensorLayout(f"layers.{index}.{kind}", shape, inputs, kind, offset, size))
                offset += size
        return Layout(tuple(tensors), offset)


def normal_token(cell: str) -> str:
    """Return the form in which cells and levels are compared: '1', '1.0' and ' 1.00 ' are one token.

    Total over texts, which other hospitals write: a number of more than 18 digits before the point, or more than 64
    places, is compared as it is written. The exponent is looked at before anything is computed or written out.
    """
    token = cell.strip()
    if "_" in token or not token.isascii():  # Decimal reads 1_0 and foreign digits as numbers too
        return token
    try:
        number = Decimal(token)
    except InvalidOperation:
        return token
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_TOKEN_BYTES or number.adjusted() >= 18:
        return token
    plain = format(number, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain.removeprefix("+")


def _check_printable(*texts: str) -> None:
    """A study of one member is shown in the terminals of others: no control or invisible characters."""
    if not all(map(is_plain, texts)):
        raise ValueError("names, levels, units and descriptions must be printable")


def _check_distinct(name: str, levels: tuple[str, ...]) -> None:
    if len({normal_token(level) for level in levels}) != len(levels):
        raise ValueError(f"column '{name}': a level is listed twice")


def label_of(spec: StudySpec) -> LabelColumn:
    """Return the one label column."""
    return next(column for column in spec.columns if isinstance(column, LabelColumn))


def feature_count(spec: StudySpec) -> int:
    """Return the number of model inputs: one per number, one per level of a category."""
    numbers = sum(isinstance(column, NumberColumn) for column in spec.columns)
    return numbers + sum(len(column.levels) for column in spec.columns if isinstance(column, CategoryColumn))


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
