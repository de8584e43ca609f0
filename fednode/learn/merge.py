"""The global model as integers: how it begins, how a summed update changes it, and its hash.

Security assumption: X was opened by the secure sum and is the same on every member; nothing here rounds
differently on another machine, because nothing here is a float.

M is an int64 vector in units of 2^-24 with |M_k| < 2^39 (values below 2^15), tensors in layout order.
Merge (FedAvg of quantised updates): with S = 2^23, W the largest weight and w the sum of weights,
    r = floor(6 C_q W 2^24 / (5 S w)),   M_k += (X_k r + 2^23) >> 24.
No overflow: honest |X_k| <= 5 S w / (6 W) + N gives |X_k r| <= 2^24 C_q + N (6 C_q W 2^24) / (5 S w), and with
C_q <= 2^34, N <= 2^8, W < 2^16, w >= 1 that is at most 2^58 + 1.2 * 2^59 < 2^60.

That bound on X_k is not checked: a liar may prove an update 1.2 times as long as an honest one, and what
liars add in all may be several times that (`smpc`, "Binding the sum"), in one coordinate if they like. A check at the
honest bound would let one of them end every round without being named. What overflow safety needs is kept:
|X_k r| < 2^62, while |X_k| <= 5 S w / (6 W) gives 2^24 C_q <= 2^58. A liar's proven weight is in w too, so per unit of
weight it reaches at most 1.44 c times an honest member (c of that section: 4 as proven, 5.8 in all), less than those
16 times. A round ends here only if what is proven without weight (rounding) outweighs all honest updates
together, or the model already is at the edge of its range.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fednode.codec import encode
from fednode.crypto import Domain, sha256, tagged_hash
from fednode.errors import Rejected
from fednode.ids import Hash
from fednode.kernels import vectors
from fednode.keystream import AesCtr
from fednode.learn.study import (
    MAX_MEMBERS,
    SCALE,
    UNIT,
    UNIT_BITS,
    Layout,
    StudySpec,
    study_bytes,
)
from fednode.learn.tables.schema import Scaling

MODEL_LIMIT = 1 << 39
"""Bound of |M_k|: values of a model stay below 2^15."""

PRODUCT_LIMIT = 1 << 62
"""Bound of |X_k r|: then no step of the merge leaves 64 bits."""

PART_VALUES = 1 << 16
"""How much of a large model is in memory at a time where it is read, merged or written: half a MiB stays in cache."""


def initial_model(layout: Layout, study: bytes) -> NDArray[np.int64]:
    """Return the model every member starts from, int64 (d,); see `initial_parts`."""
    return np.concatenate([np.empty(0, np.int64), *initial_parts(layout, study)])


def initial_parts(layout: Layout, study: bytes) -> Iterator[NDArray[np.int64]]:
    """Yield the model every member starts from, int64, in parts, from the study's 32-byte hash alone.

    Tensor by tensor from one AES-128-CTR stream: each value takes 8 bytes as a little-endian integer, reduced
    modulo 2 b + 1 and centred, b = isqrt(2^48 // fan_in): the uniform start of He et al. 2015 as torch
    applies it to linear layers. The bias of the reduction is below 2^-38.
    """
    stream = AesCtr(tagged_hash(Domain.MODEL, b"initial", study)[:16])
    for tensor in layout.tensors:
        bound = isqrt((1 << (2 * UNIT_BITS)) // tensor.fan_in)
        for start in range(0, tensor.size, PART_VALUES):
            words = np.frombuffer(stream.read(8 * min(PART_VALUES, tensor.size - start)), "<u8")
            yield (words % np.uint64(2 * bound + 1)).astype(np.int64) - bound


def merge_factor(clip_q24: int, max_weight: int, weight_sum: int) -> int:
    """Return r: how much one unit of X moves the model, in units of 2^-48."""
    return 6 * clip_q24 * max_weight * UNIT // (5 * SCALE * weight_sum)


@dataclass(frozen=True, slots=True)
class MergeRule:
    """What every part of one merge has in common: r, and the largest |X_k| that counts."""

    factor: int
    bound: int


def merge_rule(spec: StudySpec, weight_sum: int, members: int) -> MergeRule:
    """Return how a sum over `members` hospitals of total weight `weight_sum` moves a model of this study.

    Raises `Rejected` if the weight sum is impossible (a member may have weight 0, but not all of them).
    """
    weight = spec.max_weight
    if not 1 <= weight_sum <= members * weight or not 1 <= members <= MAX_MEMBERS:
        raise Rejected(f"weight sum {weight_sum} is impossible for {members} members")
    factor = merge_factor(spec.clip_q24, weight, weight_sum)
    return MergeRule(factor, (PRODUCT_LIMIT - 1) // max(factor, 1))


def merge_parts(
    model: Iterable[NDArray[np.int64]], total: NDArray[np.int32], rule: MergeRule
) -> Iterator[NDArray[np.int64]]:
    """Yield the next model, part by part, from the parts of the model and the whole opened, centred sum, int32 (d,).

    Raises `Rejected` if a coordinate is beyond what can be computed, or the merged model would leave its range; the
    round then ends without a result and the old model stays.
    """
    if total.dtype != np.int32:
        raise Rejected("the sum does not have the shape of the model")
    if vectors.find_largest(total) > rule.bound:
        raise Rejected("a coordinate of the sum is beyond the clip")
    at = 0
    for part in model:
        yield merge_part(part, total[at : at + part.size], rule)
        at += part.size
    if at != total.size:
        raise Rejected("the sum does not have the shape of the model")


def merge_part(model: NDArray[np.int64], total: NDArray[np.int32], rule: MergeRule) -> NDArray[np.int64]:
    """Return a part of the next model, int64 (n,); no |X_k| may be beyond the rule's bound."""
    if total.shape != model.shape or total.dtype != np.int32 or model.dtype != np.int64:
        raise Rejected("the sum does not have the shape of the model")
    merged = vectors.merge(model, total, rule.factor, UNIT_BITS)
    if not is_model(merged, model.size):
        raise Rejected("the merged model leaves its range")
    return merged


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
