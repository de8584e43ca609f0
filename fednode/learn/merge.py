"""The global model as integers: how it begins, how a summed update changes it, and its hash.

Security assumption: X was opened by the secure sum and is the same on every member; nothing here rounds
differently on another machine, because nothing here is a float.

M is an int64 vector in units of 2^-24 with |M_k| < 2^39 (values below 2^15), tensors in layout order.
A segment of the sum (`vector_plan`) of scale S <= 2^23 and clip C_q, with W the largest weight and w the sum of
weights, is the weighted mean of what hospitals contributed, in units of 2^-48, once it is multiplied by
    r = floor(6 C_q W 2^24 / (5 S w)).
The algorithm's step makes the next model of it; federated averaging is M_k += (X_k r + 2^23) >> 24.
No overflow: honest |X_k| <= 5 S w / (6 W) + N gives |X_k r| <= 2^24 C_q + N (6 C_q W 2^24) / (5 S w), and with
C_q <= 2^34, N <= 2^8, W < 2^16, w >= 1, S >= 2^21 that is at most 2^58 + 4.8 * 2^59 < 2^62.

That bound on X_k is not checked: a liar may prove an update 1.2 times as long as an honest one, and what
liars add in all may be several times that (`smpc`, "Binding the sum"), in one coordinate if they like. A check at the
honest bound would let one of them end every round without being named. What overflow safety needs is kept:
|X_k r| < 2^62, while |X_k| <= 5 S w / (6 W) gives 2^24 C_q <= 2^58. A liar's proven weight is in w too, so per unit of
weight it reaches at most 1.44 c times an honest member (c of that section: 4 as proven, 5.8 in all), less than those
16 times. A round ends here only if what is proven without weight (rounding) outweighs all honest updates
together, or the model already is at the edge of its range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fednode.codec import encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected
from fednode.ids import Hash
from fednode.kernels import arrays
from fednode.keystream import AesCtr
from fednode.learn.algorithms.averaging import Round, Summed
from fednode.learn.layout import (
    CARRIED,
    CARRIED_SEGMENT,
    MODEL_LIMIT,
    SERVER,
    STEP,
    TRAINED,
    Layout,
    Scaling,
    Segment,
    Uniform,
    vector_plan,
)
from fednode.learn.study import StudySpec, study_bytes
from fednode.learn.units import MAX_MEMBERS, UNIT
from fednode.sums.bounds import SCALE

PRODUCT_LIMIT = 1 << 62
"""Bound of |X_k r|: then no step of the merge leaves 64 bits."""

PART_VALUES = 1 << 16
"""How much of a large model is in memory at a time where it is read, merged or written: half a MiB stays in cache."""

Stretch = tuple[int, int]
"""Where values of a model begin, and how many there are."""

Reader = Callable[[Iterable[Stretch]], Iterator[NDArray[np.int64]]]
"""Yields stretches of a model, int64, in the order they are asked for."""


def initial_model(layout: Layout, study: bytes) -> NDArray[np.int64]:
    """Return the model every member starts from, int64 (d,); see `initial_parts`."""
    return np.concatenate([np.empty(0, np.int64), *initial_parts(layout, study)])


def initial_parts(layout: Layout, study: bytes) -> Iterator[NDArray[np.int64]]:
    """Yield the model every member starts from, int64, in parts, from the study's 32-byte hash alone.

    Tensor by tensor from one AES-128-CTR stream: each value that begins uniform takes 8 bytes as a little-endian
    integer, reduced modulo 2 b + 1 and centred, b the tensor's bound. The bias of the reduction is below 2^-38.
    """
    stream = AesCtr(tagged_hash(Domain.MODEL, b"initial", study)[:16])
    for tensor in layout.tensors:
        for start in range(0, tensor.size, PART_VALUES):
            count = min(PART_VALUES, tensor.size - start)
            if isinstance(tensor.initial, Uniform):
                words = np.frombuffer(stream.read(8 * count), "<u8")
                bound = tensor.initial.bound_q24
                yield (words % np.uint64(2 * bound + 1)).astype(np.int64) - bound
            else:
                yield np.full(count, tensor.initial.value_q24, np.int64)


def merge_factor(clip_q24: int, max_weight: int, weight_sum: int, scale: int = SCALE) -> int:
    """Return r: how much one unit of X moves the mean, in units of 2^-48."""
    return 6 * clip_q24 * max_weight * UNIT // (5 * scale * weight_sum)


@dataclass(frozen=True, slots=True)
class OpenedSum:
    """The opened, centred sum of a round, int32 (length of the vector plan,), and the sum of the weights in it."""

    total: NDArray[np.int32]
    weight: int
    at: Round


def read_sum(spec: StudySpec, opened: OpenedSum) -> dict[str, Summed]:
    """Return the segments of a sum by name.

    Raises `Rejected` if the weight sum is impossible (a member may have weight 0, but not all of them), or a
    coordinate is beyond what can be computed; the round then ends without a result and the old model stays.
    """
    weight, members = opened.weight, opened.at.included
    if not 1 <= weight <= members * spec.max_weight or not 1 <= members <= MAX_MEMBERS:
        raise Rejected(f"weight sum {weight} is impossible for {members} members")
    plan = vector_plan(spec)
    if opened.total.shape != (plan.length,) or opened.total.dtype != np.int32:
        raise Rejected("the sum does not have the shape of the model")
    parts = plan.cut(opened.total)
    return {segment.name: _summed(spec, segment, parts[segment.name], weight) for segment in plan.segments}


def _summed(spec: StudySpec, segment: Segment, total: NDArray[np.int32], weight: int) -> Summed:
    factor = merge_factor(segment.clip_q24, spec.max_weight, weight, segment.scale)
    if arrays.find_largest(total) > (PRODUCT_LIMIT - 1) // max(factor, 1):
        raise Rejected("a coordinate of the sum is beyond the clip")
    return Summed(total, factor)


def next_model(spec: StudySpec, read: Reader, opened: OpenedSum) -> Iterator[NDArray[np.int64]]:
    """Yield the next model in order, part by part, from what `read` yields of the last one.

    First the network's tensors, then each of the algorithm's: a step is taken anew for each of these, so that a
    model is never whole in memory. Raises `Rejected` as `read_sum` does, or if the new model would leave its range.
    """
    sums = read_sum(spec, opened)
    layout = Layout.of(spec)
    runs = _runs(layout)
    trained = [run for run in runs if run.role == TRAINED]
    steps = _steps(spec, layout, read, sums, trained, opened.at)
    carried = iter(read([(run.offset, run.count) for run in runs if run.role == CARRIED]))
    for run in runs:
        if run.role == TRAINED:
            yield _checked(next(steps)["model"], run.count)
        else:
            yield _checked(_part(sums[CARRIED_SEGMENT], run).add_to(next(carried)), run.count)
    for name in spec.algorithm.state():
        for run, step in zip(trained, _steps(spec, layout, read, sums, trained, opened.at), strict=True):
            yield _checked(step[name], run.count)


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of the network's values of one role: its place in the model, and in the vector of that role."""

    role: str
    offset: int
    place: int
    count: int


def _runs(layout: Layout) -> list[_Run]:
    """Return the network's values in order, neighbours of one role together, at most `PART_VALUES` at a time."""
    joined = list[_Run]()
    places = {TRAINED: 0, CARRIED: 0}
    for tensor in layout.tensors:
        if tensor.role == SERVER:
            continue
        last = joined[-1] if joined else None
        if last is not None and last.role == tensor.role:
            joined[-1] = _Run(last.role, last.offset, last.place, last.count + tensor.size)
        else:
            joined.append(_Run(tensor.role, tensor.offset, places[tensor.role], tensor.size))
        places[tensor.role] += tensor.size
    return [
        _Run(run.role, run.offset + start, run.place + start, min(PART_VALUES, run.count - start))
        for run in joined for start in range(0, run.count, PART_VALUES)
    ]


def _steps(
    spec: StudySpec, layout: Layout, read: Reader, sums: dict[str, Summed], trained: list[_Run], at: Round
) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Yield what the algorithm makes of each stretch of the trained values."""
    offsets = {name: layout.server_offset(name) for name in spec.algorithm.state()}
    readers = {"model": iter(read([(run.offset, run.count) for run in trained]))}
    for name, offset in offsets.items():
        readers[name] = iter(read([(offset + run.place, run.count) for run in trained]))
    names = [segment.name for segment in vector_plan(spec).segments if segment.merge == STEP]
    for run in trained:
        state = {name: next(reader) for name, reader in readers.items()}
        found = spec.algorithm.step(state, {name: _part(sums[name], run) for name in names}, at)
        if found.keys() != state.keys():
            raise AssertionError("a step returns the model and each part of the state")
        yield dict(found)


def _part(summed: Summed, run: _Run) -> Summed:
    return Summed(summed.total[run.place : run.place + run.count], summed.factor)


def _checked(values: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if not is_model(values, count):
        raise Rejected("the merged model leaves its range")
    return values


def is_model(values: NDArray[np.int64], size: int) -> bool:
    """Whether `values` is a model state of `size` parameters."""
    if values.shape != (size,) or values.dtype != np.int64:
        return False
    return size == 0 or max(-int(values.min()), int(values.max())) < MODEL_LIMIT


def model_bytes(values: NDArray[np.int64]) -> bytes:
    """Return the little-endian bytes of a model or sum."""
    return values.astype("<i8", copy=False).tobytes()


def model_hash(
    study: bytes, round_number: int, spec: StudySpec, scaling: Scaling, salt: bytes, values: NDArray[np.int64]
) -> Hash:
    """Return the name of a model whose values are at hand."""
    return name_model(study, round_number, spec, scaling, salt, sha256(model_bytes(values)))


def name_model(study: bytes, round_number: int, spec: StudySpec, scaling: Scaling, salt: bytes, digest: Hash) -> Hash:
    """Return the name of a model: its study, its round, its specification, its input scaling, its salt, and its values,
    whose little-endian int64 bytes have the SHA-256 `digest`.

    The whole specification, not the columns alone, so that the name covers every byte of a model file. The name stands
    on the ledger: without the salt, of 32 bytes, whoever reads it could try small models, and the statistics in their
    scaling, until one has the name.
    """
    number = round_number.to_bytes(8, "big")
    return tagged_hash(Domain.MODEL, b"state", study, number, study_bytes(spec), encode(scaling), salt, digest)
