"""Vectors modulo 2^32: numpy uint32 arrays, whose additions wrap by themselves.

Elements are little endian wherever they become bytes, so every machine masks, hashes and sums the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

RingVector = NDArray[np.uint32]
RING: Final = np.dtype("<u4")
ELEMENT_BYTES: Final = 4
Buffer = bytes | bytearray | memoryview
Vector = RingVector | Callable[[], RingVector]
"""A vector at hand, or what reads it from where it is kept: only in a thread, for it may be long."""


def load(vector: Vector) -> RingVector:
    """Return a vector that may have to be read first; nobody changes what this returns."""
    return vector() if callable(vector) else vector


def to_ring(values: NDArray[np.int32] | NDArray[np.int64]) -> RingVector:
    """Return integers of any sign modulo 2^32; shape is kept, the result is a copy."""
    return values.astype(RING)


def lift(values: RingVector) -> NDArray[np.int32]:
    """Return the representatives in [-2^31, 2^31): the integers themselves if none lay outside. Shares memory."""
    return values.view(np.dtype("<i4"))


def view_bytes(values: RingVector) -> memoryview:
    """Return the bytes of a contiguous vector without copying."""
    return values.data.cast("B") if values.size else memoryview(b"")


def from_bytes(data: Buffer) -> RingVector:
    """Return a vector over `data` (a multiple of 4 bytes) without copying; read-only if the buffer is."""
    return np.frombuffer(data, dtype=RING)


def sum_buffers(buffers: tuple[Buffer, ...]) -> RingVector:
    """Return the sum of vectors given as equally long buffers; at least one is needed."""
    total = from_bytes(buffers[0]).copy()
    for buffer in buffers[1:]:
        np.add(total, from_bytes(buffer), out=total)
    return total
