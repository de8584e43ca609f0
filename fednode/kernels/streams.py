"""Keystreams added to a vector part by part, and vectors added up: uint32, wrapping."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import ADDRESS, COUNT, address, bind

MAX_ROWS: Final = 64

_add_streams = bind("fednode_add_streams", ADDRESS, ADDRESS, COUNT, COUNT, ctypes.c_uint64, COUNT)
_sum = bind("fednode_sum", ADDRESS, ADDRESS, COUNT, COUNT)


class StreamRoom:
    """Room for `rows` (at most 64) pieces of keystream, which are added to a part of a vector in one pass."""

    __slots__ = ("_address", "_bytes", "rows")

    def __init__(self, rows: int, row_bytes: int) -> None:
        if not 1 <= rows <= MAX_ROWS or row_bytes % 4:
            raise ValueError(f"there is room for 1 to {MAX_ROWS} rows of whole words")
        self._bytes = np.empty((rows, row_bytes), np.uint8)
        self._address = address(self._bytes, "u1")
        self.rows: list[memoryview] = [row.data for row in self._bytes]

    def add_to(self, values: NDArray[np.uint32], used: int, subtracted: int) -> None:
        """Add the first `used` rows to `values`, uint32 (n,), in place; subtract those whose bit is in `subtracted`."""
        rows, row_bytes = self._bytes.shape
        if values.ndim != 1 or 4 * values.size > row_bytes or not 0 <= used <= rows or not 0 <= subtracted < 1 << rows:
            raise ValueError("the keystreams are shorter or fewer than what they are added to")
        place = address(values, "<u4", writable=True)
        _add_streams(place, self._address, row_bytes // 4, used, subtracted, values.size)


def sum_words(buffers: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint32]:
    """Return the sum modulo 2^32, uint32 (n,), of at least one flat array of 4 n bytes each, read as little endian."""
    sizes = {(buffer.dtype, buffer.ndim, buffer.size) for buffer in buffers}
    if len(sizes) != 1 or buffers[0].dtype != np.uint8 or buffers[0].ndim != 1 or buffers[0].size % 4:
        raise ValueError("a sum takes vectors of whole words and of one length")
    total = np.empty(buffers[0].size // 4, np.uint32)
    places = (ctypes.c_void_p * len(buffers))(*[address(buffer, "u1") for buffer in buffers])
    _sum(address(total, "<u4", writable=True), places, len(buffers), total.size)
    return total
