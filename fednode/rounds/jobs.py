"""Long computations of a round as values: what goes into the secure sum, and what follows from what it opens.

Security assumption: `MakeInput` holds one hospital's update and fresh randomness for its rounding; neither is printed
nor kept beyond the round's encrypted record. `Conclude` sees opened sums only, and everything it hashes is an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.effects import SHORT_VECTOR_BYTES
from fednode.errors import Rejected
from fednode.fence import rule
from fednode.ids import NO_HASH, Hash, MemberId
from fednode.learn import measures, merge
from fednode.learn.algorithms.averaging import Round
from fednode.learn.layout import Layout, Scaling, vector_plan
from fednode.learn.metrics import METRICS
from fednode.learn.model_file import VALUE_BYTES, Draft, StoredModel, write_parts
from fednode.learn.study import StudySpec
from fednode.learn.units import UNIT
from fednode.ledger.studies.bodies import Figure, Metrics
from fednode.ledger.sums.records import RoundKind
from fednode.rounds.place import NoOwn, OwnLoaded
from fednode.smpc.messages import SumParams
from fednode.smpc.record import Input
from fednode.smpc.vectors import Buffer, RingVector, quantise
from fednode.sums.bounds import MIN_INCLUDED
from fednode.sums.coin import Chain
from fednode.sums.measures import CLAIM, Claims, Plan, Tally, find_impossible, tally
from fednode.sums.norm import Statement, statement_of


def vector_length(spec: StudySpec, kind: RoundKind) -> int:
    """Return how many ring elements every member contributes in a round of this kind: none beside its claims where
    nothing is trained."""
    return vector_plan(spec).length if kind is RoundKind.TRAINING else 0


def plan_of(spec: StudySpec, kind: RoundKind) -> Plan:
    """Return what every member claims in a round of this kind."""
    match kind:
        case RoundKind.STATISTICS:
            return spec.data.statistics_plan()
        case RoundKind.TRAINING:
            return measures.QUALITY_PLAN
        case RoundKind.CLOSING:
            return measures.closing_plan(spec)
        case _:
            assert_never(kind)


def statement_for(spec: StudySpec, kind: RoundKind, members: int, weight_on_ledger: int) -> Statement:
    """Return what a member proves in a round of this kind, of a ledger of `members`.

    `weight_on_ledger` is 0 where weights are not public.
    """
    public_weight = weight_on_ledger if spec.weights == "public" else None
    length, plan = vector_length(spec, kind), plan_of(spec, kind)
    return statement_of(length, spec.max_weight, public_weight, members=members, plan=plan)


def sum_params(
    spec: StudySpec, kind: RoundKind, where: tuple[bytes, bytes, int, MemberId], members: tuple[MemberId, ...],
    next_key: bytes,
) -> SumParams:
    """Return what is fixed for the secure sum of a round; `where`: chain, study, round and this member; `next_key`: its
    key of the round to come."""
    statement = partial(statement_for, spec, kind, len(members))
    return SumParams(
        *where, members, vector_length(spec, kind), spec.weights == "public", statement, plan_of(spec, kind),
        next_key=next_key,
    )


@dataclass(frozen=True, slots=True, eq=False)
class MakeInput:
    """Quantise a clipped update and put it on record with its claims.

    `delta`: float32 little-endian (d,), or None in rounds without an update; `claim_bytes`: uint32 little-endian.
    `keep(input)` returns when both are on the disk, and `keep_own(own)`, before it, when the hospital's own state is.
    """

    spec: StudySpec
    kind: RoundKind
    weight: int
    delta: Buffer | None = field(repr=False)
    claim_bytes: bytes = field(repr=False)
    entropy: Entropy = field(repr=False)
    keep: Callable[[Input], None] = field(repr=False)
    own: bytes | None = field(repr=False, default=None)
    keep_own: Callable[[bytes], None] | None = field(repr=False, default=None)

    @property
    def is_short(self) -> bool:
        """Whether the update is small, and no state of this hospital's own is kept with it."""
        return self.own is None and memoryview(self.delta or b"").nbytes <= SHORT_VECTOR_BYTES

    def run(self) -> MadeInput | NoInput:
        """Quantise and keep; an update or claims that are of no use are not kept."""
        return _make_input(self)


@dataclass(frozen=True, slots=True, eq=False)
class MadeInput:
    """The vector, uint32 (vector_length,), and the claims: on record."""

    values: RingVector = field(repr=False)
    claims: Claims = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Conclude:
    """Draw the conclusion from an opened sum.

    `total` is int32 (vector_length,), `words` are the packed sums of claims, `start` is the model the round began with
    (None in the round of statistics); `included` of `members` hospitals are in the sum; `salt` goes into the new
    model's name.
    A new model is written part by part into what `new_draft` returns; neither model is ever whole in memory.
    """

    spec: StudySpec
    study: bytes
    round_number: int
    kind: RoundKind
    start: StoredModel | None = field(repr=False)
    total: NDArray[np.int32] = field(repr=False)
    words: tuple[int, ...] = field(repr=False)
    weight: int
    included: int
    members: int
    salt: bytes = field(repr=False)
    new_draft: Callable[[], Draft] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Whether no model is made, or a small one."""
        return self.kind is RoundKind.CLOSING or VALUE_BYTES * Layout.of(self.spec).size <= SHORT_VECTOR_BYTES

    def run(self) -> Conclusion:
        """Measure and merge; a sum that nothing follows from is a failed round.

        So is one that an algorithm's step breaks on, at every member alike: whoever said nothing would wait for ever.
        """
        try:
            return rule(partial(_conclude, self))
        except Rejected as error:
            return Conclusion(NO_HASH, None, None, error.reason[:100])


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What this member votes for: a model (its file, if it is new) and metrics, or a reason why there is none."""

    model_hash: Hash
    draft: Draft | None = field(repr=False)
    metrics: Metrics | None
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class DeriveChain:
    """Derive this member's hash chain of a study: 65536 hashes."""

    derive: Callable[[], Chain] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Never."""
        return False

    def run(self) -> Chain:
        """Return the chain."""
        return self.derive()


@dataclass(frozen=True, slots=True)
class NoInput:
    """The update is of no use."""

    reason: str


Result = MadeInput | NoInput | Conclusion | Chain | OwnLoaded | NoOwn


def _make_input(job: MakeInput) -> MadeInput | NoInput:
    size = 0 if job.delta is None else memoryview(job.delta).nbytes // 4
    values = np.empty(size, np.uint32)
    claims = np.frombuffer(job.claim_bytes, CLAIM)
    impossible = find_impossible(plan_of(job.spec, job.kind), claims)
    if impossible is not None:  # the worker is believed in nothing, numbers included
        return NoInput(impossible)
    if job.delta is not None:
        try:
            _quantise(job, np.frombuffer(job.delta, "<f4").astype(np.float32, copy=False), values.view(np.int32))
        except ValueError as error:
            return NoInput(str(error))
    if job.own is not None and job.keep_own is not None:
        job.keep_own(job.own)
    job.keep(Input(values, job.weight, claims))
    return MadeInput(values, claims)


def _quantise(job: MakeInput, update: NDArray[np.float32], out: NDArray[np.int32]) -> None:
    plan = vector_plan(job.spec)
    parts, places = plan.cut(update), plan.cut(out)
    for segment in plan.segments:
        quantise(
            parts[segment.name], segment.clip_q24 / UNIT, job.weight, job.spec.max_weight, job.entropy,
            scale=segment.scale, out=places[segment.name],
        )


def _conclude(job: Conclude) -> Conclusion:
    sums = tally(plan_of(job.spec, job.kind), job.words, job.included)
    if job.kind is RoundKind.STATISTICS:
        scaling = job.spec.data.scaling_from(sums)
        return _new_model(job, scaling, merge.initial_parts(Layout.of(job.spec), job.study), None)
    if job.start is None:
        raise AssertionError("a training round starts from a model")
    metrics = _metrics_of(job, sums)
    if job.kind is RoundKind.CLOSING:
        return Conclusion(job.start.hash, None, metrics)
    opened = merge.OpenedSum(job.total, job.weight, Round(job.round_number, job.included, job.members))
    parts = merge.next_model(job.spec, job.start.stretches, opened)
    return _new_model(job, job.start.scaling, parts, metrics)


def _metrics_of(job: Conclude, sums: tuple[Tally, ...]) -> Metrics | None:
    """Return what hospitals measured of a model, for the ledger; None of fewer than three with held-out rows.

    Of one hospital it would be its own accuracy, a fraction that shows how many rows it has, and of two each could tell
    what the other has. So it is with each of the study's metrics.
    """
    right, loss, *others = sums
    if right.voices < MIN_INCLUDED:
        return None
    said_loss = (loss.voices, loss.parts[0]) if loss.voices >= MIN_INCLUDED else (0, 0)
    figures = _figures(job.spec, others) if job.kind is RoundKind.CLOSING else ()
    return Metrics(right.voices, right.parts[0], *said_loss, figures)


def _figures(spec: StudySpec, sums: list[Tally]) -> tuple[Figure, ...]:
    found, start = [], 0
    for name, plan in measures.metric_plans(spec).items():
        parts, start = sums[start : start + len(plan)], start + len(plan)
        voices = min((part.voices for part in parts), default=0)
        value = METRICS[name].value_ppm(parts) if voices >= MIN_INCLUDED else None
        if value is not None:
            found.append(Figure(name, value, voices))
    return tuple(found)


def _new_model(
    job: Conclude, scaling: Scaling, parts: Iterable[NDArray[np.int64]], metrics: Metrics | None
) -> Conclusion:
    draft = job.new_draft()
    name = write_parts(draft, job.study, job.round_number, job.spec, scaling, job.salt, parts)
    return Conclusion(name, draft, metrics)
