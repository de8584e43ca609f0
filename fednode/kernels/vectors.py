"""Kernels on vectors of a model's length."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import COUNT, LIBRARY, array

_merge = LIBRARY.fednode_merge
_merge.restype = None
_merge.argtypes = [array("<i8", writable=True), array("<i8"), array("<i4"), ctypes.c_int64, ctypes.c_int, COUNT]


def merge(model: NDArray[np.int64], total: NDArray[np.int32], factor: int, bits: int) -> NDArray[np.int64]:
    """Return model + ((total * factor + 2^(bits - 1)) >> bits), int64 (d,), for int64 (d,) and int32 (d,).

    The caller keeps |total * factor| below 2^62 and the result below 2^63; 1 <= bits <= 62.
    """
    if model.shape != total.shape or model.ndim != 1 or not 1 <= bits <= 62:
        raise ValueError("a merge takes two flat vectors of one length")
    out = np.empty_like(model)
    _merge(out, model, total, factor, bits, model.size)
    return out
