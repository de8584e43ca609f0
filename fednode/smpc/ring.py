"""Vectors modulo 2^32: numpy uint32 arrays, whose additions wrap by themselves.

Elements are little endian wherever they become bytes, so every machine masks, hashes and sums the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.vectors import sum_words

RingVector = NDArray[np.uint32]
RING: Final = np.dtype("<u4")
ELEMENT_BYTES: Final = 4
Buffer = bytes | bytearray | memoryview
Vector = RingVector | Callable[[], RingVector]
"""A vector at hand, or what reads it from where it is kept: only in a thread, for it may be long."""


def load(vector: Vector) -> RingVector:
    """Return a vector that may have to be read first; nobody changes what this returns.

    Raises `StorageError` if it cannot be read.
    """
    return vector() if callable(vector) else vector


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The vector on record cannot be read any more: what a job says that needed it."""

    reason: str


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
    return sum_words([np.frombuffer(buffer, np.uint8) for buffer in buffers])


def iterate_parts(buffers: Sequence[Buffer], size: int) -> Iterator[RingVector]:
    """Yield the vector that the buffers make one after another in parts of `size` elements, the last maybe shorter.

    A part is copied only where it lies in two buffers.
    """
    pieces: list[RingVector] = []
    missing = size
    for values in map(from_bytes, buffers):
        at = 0
        while at < values.size:
            piece = values[at : at + missing]
            pieces.append(piece)
            at, missing = at + piece.size, missing - piece.size
            if missing == 0:
                yield _join(pieces)
                pieces, missing = [], size
    if pieces:
        yield _join(pieces)


def _join(pieces: list[RingVector]) -> RingVector:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
