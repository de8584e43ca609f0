"""From a clipped float32 update to ring integers and back, with bounds that hold for every input.

Security assumption: the rounding uses fresh randomness of its own (`entropy`), never anything derived from the keys
of a round, and that randomness is neither kept nor recorded.

With S = `scale`, C = `clip`, W = `max_weight`, w = `weight`: t = 5 S w / (6 W C) * x for |x| <= C (an update that is
longer is shortened to C), as fixed point with 32 fractional bits; q = floor(t + u), u uniform in 32 bits: the mean
of q is t exactly (stochastic rounding). Proven for every vector of d coordinates:
    |q_k| <= floor(5 S w / 6 W) + 1 <= S            so N honest vectors cannot wrap while N S <= 2^31,
    |sum q_k| <= floor(5 S sum(w) / 6 W) + N        the bound the opened sum is held against,
    |q| <= 5 S w / 6 W + sqrt(d)                    each coordinate moves by less than one (up to 2^-28 of float error).
The factor 5/6 leaves the bound S on the norm to rounding: an honest member never exceeds what it is tested against.
"""

from __future__ import annotations

from math import isfinite, isqrt, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.kernels.vectors import round_up_by_coins, sum_squares
from fednode.keystream import AES_BLOCK_BYTES, KEY_BYTES, AesCtr
from fednode.smpc.prg import STEP_ELEMENTS
from fednode.smpc.ring import ELEMENT_BYTES
from fednode.sums.bounds import MAX_LENGTH, MAX_WEIGHT_BOUND, SCALE

MAX_MEMBERS: Final = (1 << 31) // SCALE
FRACTION_BITS: Final = 32


def refuse_unsafe(members: int, length: int, clip: float, max_weight: int, scale: int = SCALE) -> None:
    """Raise `ValueError` for parameters under which a sum of `members` vectors could wrap or lose its meaning."""
    if not 1 <= scale <= SCALE or members * scale > 1 << 31:
        raise ValueError(f"{members} members times scale {scale} could wrap in 32 bits")
    if not (isfinite(clip) and clip > 0):
        raise ValueError("the clip must be a positive number")
    if not 1 <= max_weight <= MAX_WEIGHT_BOUND:
        raise ValueError(f"the largest weight must be in 1..{MAX_WEIGHT_BOUND}")
    if not 0 <= length <= MAX_LENGTH:
        raise ValueError(f"at most {MAX_LENGTH} parameters can be summed")


def quantise(
    values: NDArray[np.float32], clip: float, weight: int, max_weight: int, entropy: Entropy, scale: int = SCALE,
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Return the update as integers, int32 of the same shape (d,); bounds and formula at the top of the file.

    They are written to `out` if it is given; that may be `values.view(np.int32)`, so that no second vector is needed.
    Raises `ValueError` for unsafe parameters, a weight outside 1..max_weight, or an update that is not finite.
    """
    refuse_unsafe(1, values.size, clip, max_weight, scale)
    if not 1 <= weight <= max_weight:
        raise ValueError(f"the weight must be in 1..{max_weight}")
    if values.ndim != 1 or values.dtype != np.float32:
        raise ValueError("an update is a flat float32 vector")
    length = compute_norm(values)
    if not isfinite(length):
        raise ValueError("the update holds numbers that are not finite; the training has diverged")
    factor = (5 * scale * weight / (6 * max_weight)) / max(length, clip) * 2.0**FRACTION_BITS
    rounded = np.empty(values.size, np.int32) if out is None else out
    _round(rounded, values, factor, AesCtr(entropy.random_bytes(KEY_BYTES)))
    return rounded


def _round(rounded: NDArray[np.int32], values: NDArray[np.float32], factor: float, coins: AesCtr) -> None:
    """Set `rounded` to floor(values * factor / 2^32 + u), u a 32-bit coin each; |values * factor| < 2^55."""
    if rounded.shape != values.shape:
        raise ValueError("there is not one place for every number")
    stream = np.empty(STEP_ELEMENTS + AES_BLOCK_BYTES // ELEMENT_BYTES, np.dtype("<u4"))
    room = stream.data.cast("B")
    for start in range(0, values.size, STEP_ELEMENTS):
        part = values[start : start + STEP_ELEMENTS]
        count = part.size * ELEMENT_BYTES
        coins.read_into(room[: count + AES_BLOCK_BYTES - 1], count)
        round_up_by_coins(rounded[start : start + part.size], part, stream, factor)


def compute_norm(values: NDArray[np.float32]) -> float:
    """Return the Euclidean norm, added up in float64, in the same order on every machine."""
    return sqrt(sum_squares(values))


def compute_squared_norm(values: NDArray[np.int32]) -> int:
    """Return the exact squared norm of quantised values (each at most 2^23, so no block overflows 64 bits)."""
    total = 0
    for start in range(0, values.size, STEP_ELEMENTS):
        part = values[start : start + STEP_ELEMENTS].astype(np.int64)
        total += int(part @ part)
    return total


def is_norm_honest(values: NDArray[np.int32], weight: int, max_weight: int, scale: int = SCALE) -> bool:
    """Whether quantised values are no longer than an honest member's can be: 5 S w / 6 W + sqrt(d), rounded up."""
    bound = 5 * scale * weight // (6 * max_weight) + 1 + isqrt(values.size) + 1
    return compute_squared_norm(values) <= bound * bound
