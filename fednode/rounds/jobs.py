"""Long computations of a round as values: what goes into the secure sum, and what follows from what it opens.

Security assumption: `MakeInput` holds one hospital's update and fresh randomness for its rounding; neither is printed
nor kept beyond the round's encrypted record. `Conclude` sees opened sums only, and everything it hashes is an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Hash
from fednode.learn import lanes, merge
from fednode.learn.model_file import Draft, StoredModel, write_parts
from fednode.learn.schema import Scaling
from fednode.learn.spec import SCALE, UNIT, Layout, StudySpec
from fednode.ledger.bodies import Metrics
from fednode.ledger.records import RoundKind
from fednode.proofs.coin import Chain
from fednode.proofs.statement import Statement, statement_of
from fednode.smpc.quantise import quantise
from fednode.smpc.ring import Buffer, RingVector


def vector_length(spec: StudySpec, kind: RoundKind) -> int:
    """Return how many ring elements every member contributes in a round of this kind."""
    if kind is RoundKind.STATISTICS:
        return lanes.statistics_lane_count(spec)
    metric_lanes = lanes.metric_lane_count(spec)
    return metric_lanes if kind is RoundKind.CLOSING else Layout.of(spec).size + metric_lanes


def statement_for(spec: StudySpec, kind: RoundKind, members: int, weight_on_ledger: int) -> Statement:
    """Return what a member proves in a round of this kind, of a ledger of `members`.

    `weight_on_ledger` is 0 where weights are not public.
    """
    length = Layout.of(spec).size if kind is RoundKind.TRAINING else 0
    lane_count = vector_length(spec, kind) - length
    public_weight = weight_on_ledger if spec.weights == "public" else None
    return statement_of(length, lane_count, spec.max_weight, public_weight, members=members)


@dataclass(frozen=True, slots=True, eq=False)
class MakeInput:
    """Quantise a clipped update, append its metric lanes, put it on record. Result: uint32 (vector_length,), `NoInput`.

    `delta`: float32 little-endian (d,), or None in rounds without an update; `lane_bytes`: uint32 little-endian.
    `keep(values, weight)` returns when the vector is on the disk.
    """

    spec: StudySpec
    weight: int
    delta: Buffer | None = field(repr=False)
    lane_bytes: bytes = field(repr=False)
    entropy: Entropy = field(repr=False)
    keep: Callable[[RingVector, int], None] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Conclude:
    """Draw the conclusion from an opened sum. Result: `Conclusion`.

    `total` is int32 (vector_length,), `start` the model the round began with (None in the round of statistics).
    A new model is written part by part into what `new_draft` returns; neither model is ever whole in memory.
    """

    spec: StudySpec
    study: bytes
    round_number: int
    kind: RoundKind
    start: StoredModel | None = field(repr=False)
    total: NDArray[np.int32] = field(repr=False)
    weight: int
    members: int
    new_draft: Callable[[], Draft] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What this member votes for: a model (its file, if it is new) and metrics, or a reason why there is none."""

    model_hash: Hash
    draft: Draft | None = field(repr=False)
    metrics: Metrics | None
    failure: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class DeriveChain:
    """Derive this member's hash chain of a study: 65536 hashes. Result: `Chain`."""

    derive: Callable[[], Chain] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoInput:
    """The update is of no use."""

    reason: str


Job = MakeInput | Conclude | DeriveChain
Result = NDArray[np.uint32] | NoInput | Conclusion | Chain


def run(job: Job) -> Result:
    """Do the work of a job; safe in a thread."""
    match job:
        case MakeInput():
            return _make_input(job)
        case DeriveChain(derive):
            return derive()
        case Conclude():
            try:
                return _conclude(job)
            except Rejected as error:
                return Conclusion(NO_HASH, None, None, error.reason[:100])
        case _:
            assert_never(job)


def _make_input(job: MakeInput) -> RingVector | NoInput:
    metric_lanes = np.frombuffer(job.lane_bytes, "<u4")
    size = 0 if job.delta is None else memoryview(job.delta).nbytes // 4
    values = np.empty(size + metric_lanes.size, np.uint32)
    if job.delta is not None:
        update = np.frombuffer(job.delta, "<f4").astype(np.float32, copy=False)
        clip = job.spec.clip_q24 / UNIT
        place = values[:size].view(np.int32)
        try:
            quantise(update, clip, job.weight, job.spec.max_weight, job.entropy, scale=SCALE, out=place)
        except ValueError as error:  # the worker is believed in nothing, numbers included
            return NoInput(str(error))
    values[size:] = metric_lanes
    job.keep(values, job.weight)
    return values


def _conclude(job: Conclude) -> Conclusion:
    if job.kind is RoundKind.STATISTICS:
        statistics = lanes.decode_statistics(job.spec, job.total.view(np.uint32), job.members)
        scaling = lanes.scaling_from(statistics)
        return _new_model(job, scaling, merge.initial_parts(Layout.of(job.spec), job.study), None)
    if job.start is None:
        raise AssertionError("a training round starts from a model")
    size = Layout.of(job.spec).size if job.kind is RoundKind.TRAINING else 0
    metrics = _read_metrics(job, size)
    if job.kind is RoundKind.CLOSING:
        return Conclusion(job.start.hash, None, metrics)
    rule = merge.merge_rule(job.spec, job.weight, job.members)
    parts = merge.merge_parts(job.start.parts(), job.total[:size], rule)
    return _new_model(job, job.start.scaling, parts, metrics)


def _read_metrics(job: Conclude, start: int) -> Metrics | None:
    """Return the summed metrics. With proofs an impossible sum shows a liar among the measures, whom nobody can name;
    the update is bound by its own proof, so the round goes on without measures instead of ending at his will."""
    try:
        measured = lanes.decode_metrics(job.spec, job.total[start:].view(np.uint32), job.members)
    except Rejected:
        if not job.spec.is_proven:
            raise
        return None
    return Metrics(measured.rows, measured.correct, measured.loss_q16, measured.auc_ppm)


def _new_model(
    job: Conclude, scaling: Scaling, parts: Iterable[NDArray[np.int64]], metrics: Metrics | None
) -> Conclusion:
    draft = job.new_draft()
    name = write_parts(draft, job.study, job.round_number, job.spec, scaling, parts)
    return Conclusion(name, draft, metrics)
