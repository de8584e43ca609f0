"""From float32 to integers by stochastic rounding, and the norm that is needed before."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import ADDRESS, COUNT, address, bind, settle

_sum_squares = bind("fednode_sum_squares", ADDRESS, COUNT, result=ctypes.c_double)
_round = bind("fednode_round", ADDRESS, ADDRESS, ADDRESS, ctypes.c_double, COUNT)


def sum_squares(values: NDArray[np.float32]) -> float:
    """Return the sum of the squares of `values`, float32 (n,), added up in float64 in an order that never changes."""
    if values.ndim != 1:
        raise ValueError("a norm is that of a flat vector")
    values = settle(values)
    total: float = _sum_squares(address(values, "<f4"), values.size)
    return total


def round_up_by_coins(
    out: NDArray[np.int32], values: NDArray[np.float32], coins: NDArray[np.uint32], factor: float
) -> None:
    """Set `out`, int32 (n,), to (rint(values * factor) + coins) >> 32, for float32 (n,) and at least n coins.

    `out` may be the memory of the values itself. The caller keeps |values * factor| below 2^62 and the results below
    2^31.
    """
    if not out.ndim == values.ndim == coins.ndim == 1 or out.shape != values.shape or coins.size < out.size:
        raise ValueError("every value is rounded by a coin of its own")
    values = settle(values)
    to, place = address(out, "<i4", writable=True), address(values, "<f4")
    if 0 < abs(to - place) < 4 * values.size or np.may_share_memory(out, coins):
        raise ValueError("what is rounded may be written over by itself only")
    _round(to, place, address(coins, "<u4"), factor, values.size)
