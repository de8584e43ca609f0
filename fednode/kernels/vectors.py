"""Kernels on vectors of a model's length."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import ADDRESS, COUNT, address, bind, settle

_largest = bind("fednode_largest", ADDRESS, COUNT, result=ctypes.c_uint32)
_merge = bind("fednode_merge", ADDRESS, ADDRESS, ADDRESS, ctypes.c_int64, ctypes.c_int, COUNT)


def find_largest(values: NDArray[np.int32]) -> int:
    """Return the largest size of `values`, int32 (n,); 2^31 for -2^31, 0 if there are none."""
    values = settle(values)
    largest: int = _largest(address(values, "<i4"), values.size)
    return largest


def merge(
    model: NDArray[np.int64], total: NDArray[np.int32], factor: int, bits: int, out: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return model + ((total * factor + 2^(bits - 1)) >> bits), int64 (d,), for int64 (d,) and int32 (d,).

    The result is written to `out`, which lies apart from the others, if it is given. The caller keeps |total * factor|
    below 2^62 and the result below 2^63; 1 <= bits <= 62.
    """
    if model.shape != total.shape or model.ndim != 1 or not 1 <= bits <= 62:
        raise ValueError("a merge takes two flat vectors of one length")
    merged = np.empty_like(model) if out is None else out
    if merged.shape != model.shape or np.may_share_memory(merged, model) or np.may_share_memory(merged, total):
        raise ValueError("a merge is written to a vector of its own")
    model, total = settle(model), settle(total)
    _merge(
        address(merged, "<i8", writable=True), address(model, "<i8"), address(total, "<i4"), factor, bits, model.size
    )
    return merged
