"""The public sketch A: from d integers to 256, drawn from a coin when everything it is applied to is fixed.

Security assumption: the coin was unknown when the vectors were fixed, and AES-128 in counter mode is a pseudo-random
generator. A is linear over the integers and exact, so A (x + y) = A x + A y, also modulo 2^32.

R independent rows (`bounds.strength_of`; four up to 31 members) fold the vector into 4096 buckets: block m of 4096
coordinates is multiplied by random signs and added to the row's buckets, rotated by a shift drawn for that row and
block. Without the shifts coordinates 4096 apart would share a bucket in all rows, and pairs that cancel there would be
found by looking for them. A dense matrix of signs then takes the R * 4096 buckets to 256 numbers.
E |A x|^2 = 256 * R * |x|^2.

Masked vectors are sketched modulo 2^32 with words instead of signs in the dense matrix: signs would lose 2^31, of
which every bucket's R multiples cancel. With words any difference that is left in one bucket is missed with 2^-256,
also one of 2^31 (each output then is 2^31 times a random bit); differences cancel in all rows of buckets with
2^(-12 R) for a pair of coordinates.

Range: every result is a signed sum of R d coordinates below 2^31 in size, so for R d < 2^32 it stays below 2^63.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fednode.codec import pack
from fednode.crypto import hkdf_sha256
from fednode.ids import PROTOCOL_VERSION
from fednode.kernels.arrays import BUCKETS, SignRoom, find_largest, sum_products, sum_signed
from fednode.keystream import AES_BLOCK_BYTES, AesCtr
from fednode.smpc.vectors import ELEMENT_BYTES, RING, Buffer, RingVector, iterate_parts
from fednode.sums.bounds import FOLD_ROWS, OUTPUTS

COIN_BYTES: Final = 32

_BLOCKS: Final = 16
PART_ELEMENTS: Final = _BLOCKS * BUCKETS
"""Coordinates handled at a time (256 KiB): all rows are folded while they are in cache."""
_ROOM: Final = 1 << 31
"""Sums of an int32 accumulator stay below this."""
_MAX_FOLDED: Final = 1 << 32
"""R times the coordinates stays below this."""
_MIXED_BYTES: Final = 1 << 18
"""Words expanded at a time: of four outputs at R = 4, and never more than a keystream gives at once."""

IntVector = NDArray[np.int64]
Integer = TypeVar("Integer", np.int64, np.uint32)


def sketch_integers(coin: bytes, values: NDArray[np.int32], rows: int = FOLD_ROWS) -> IntVector:
    """Return A x exactly, int64 (256,), for integers (d,) below 2^31 in size: a lifted sum or a quantised update."""
    sketch = IntegerSketch(coin, _length_of(values), rows)
    for start in range(0, values.size, PART_ELEMENTS):
        sketch.add(values[start : start + PART_ELEMENTS])
    return _require_exact(sketch.finish())


def sketch_ring(coin: bytes, values: RingVector, rows: int = FOLD_ROWS) -> RingVector:
    """Return a sketch modulo 2^32, uint32 (256,), for a masked vector (d,): linear, and never compared with A x."""
    sketch = RingSketch(coin, _length_of(values), rows)
    for start in range(0, values.size, PART_ELEMENTS):
        sketch.add(values[start : start + PART_ELEMENTS])
    return sketch.finish()


def sketch_update(
    coin: bytes, values: NDArray[np.int32], masked: Sequence[Buffer], rows: int = FOLD_ROWS
) -> tuple[IntVector, RingVector]:
    """Return `sketch_integers` of an update and `sketch_ring` of its masked form, given in pieces; signs are drawn once
    for both."""
    if values.nbytes != sum(len(piece) for piece in masked):
        raise ValueError("an update and its masked form are of one length")
    exact, ring = IntegerSketch(coin, _length_of(values), rows), RingSketch(coin, values.size, rows)
    parts = iterate_parts(masked, PART_ELEMENTS)
    for start in range(0, values.size, PART_ELEMENTS):
        exact.add(values[start : start + PART_ELEMENTS])
        ring.fold(next(parts), exact.signs)
    return _require_exact(exact.finish()), ring.finish()


def _length_of(values: NDArray[np.int32] | RingVector) -> int:
    if values.ndim != 1:
        raise ValueError("a sketch takes a flat vector")
    return values.size


def _require_exact(sketch: IntVector | None) -> IntVector:
    if sketch is None:
        raise ValueError("an integer of 2^31 or more in size has no exact sketch")
    return sketch


def fold_part(coin: bytes, values: RingVector, first: int, rows: int = FOLD_ROWS) -> RingVector:
    """Return what a part of a masked vector, its elements from `first` on, adds to the buckets: uint32 (R 4096,).

    The buckets of all parts, added up modulo 2^32 and given to `mix_folds`, make the sketch of the whole.
    """
    skipped, block = first % BUCKETS, first // BUCKETS
    padded = np.zeros(-(-(skipped + values.size) // BUCKETS) * BUCKETS, RING)
    padded[skipped : skipped + values.size] = values
    signs, sums = Signs(coin, padded.size, rows, block), np.zeros((rows, 2 * BUCKETS), np.int32)
    for start in range(0, padded.size, PART_ELEMENTS):
        part = padded[start : start + PART_ELEMENTS]
        signs.read(part.size)
        signs.room.fold(sums, part.view(np.int32))
    return _overlay(sums.view(RING))


def mix_folds(coin: bytes, folds: Sequence[RingVector]) -> tuple[RingVector, ...]:
    """Return the sketch modulo 2^32 of each vector whose buckets are given: what `sketch_ring` makes of the whole."""
    return tuple(_mix_ring(coin, folded) for folded in folds)


def _stream(coin: bytes, part: str, row: int, first_block: int = 0) -> AesCtr:
    return AesCtr(hkdf_sha256(coin, pack(("fednode-sketch", PROTOCOL_VERSION, part, row)), 16), first_block)


class Signs:
    """The signs and shifts of all rows for a vector of `length` coordinates, read part by part.

    The first of them belongs to coordinate 0 of block `first_block` of a longer vector.
    """

    __slots__ = ("_left", "_next", "_shifts", "_streams", "room")

    def __init__(self, coin: bytes, length: int, rows: int, first_block: int = 0) -> None:
        most = (_MAX_FOLDED - 1) // rows
        if len(coin) != COIN_BYTES or length > most:
            raise ValueError(f"a sketch takes a coin of 32 bytes and a flat vector of at most {most} integers")
        early = first_block % (AES_BLOCK_BYTES // ELEMENT_BYTES)
        count, start = early - length // -BUCKETS, (first_block - early) * ELEMENT_BYTES // AES_BLOCK_BYTES
        words = [np.frombuffer(_stream(coin, "shifts", row, start).read(4 * count), RING) for row in range(rows)]
        self._shifts = np.stack(words)[:, early:] % np.uint32(BUCKETS)
        place = first_block * BUCKETS // 8 // AES_BLOCK_BYTES
        self._streams = [_stream(coin, "signs", row, place) for row in range(rows)]
        self._next, self._left = 0, length
        self.room = SignRoom(rows, PART_ELEMENTS)

    def read(self, size: int) -> None:
        """Read signs and shifts of the next part, of `size` coordinates."""
        if size != min(PART_ELEMENTS, self._left):
            raise ValueError(f"a vector is sketched in parts of {PART_ELEMENTS} in order")
        count = -(-size // 8)
        for stream, row in zip(self._streams, self.room.signs, strict=True):
            stream.read_into(row[: count + AES_BLOCK_BYTES - 1], count)
        shifts = self._shifts[:, self._next : self._next + _BLOCKS]
        self.room.shifts[:, : shifts.shape[1]] = shifts
        self._next, self._left = self._next + _BLOCKS, self._left - size


class IntegerSketch:
    """A x of integers that come part by part.

    Two copies of the buckets lie side by side, so that a rotated block is one slice; they are laid over each other
    at the end. Blocks add up in 32 bits for as long as the largest values allow.
    """

    __slots__ = ("_coin", "_is_exact", "_spent", "_sums", "_total", "signs")

    def __init__(self, coin: bytes, length: int, rows: int = FOLD_ROWS) -> None:
        self._coin, self.signs = coin, Signs(coin, length, rows)
        self._total = np.zeros((rows, 2 * BUCKETS), np.int64)
        self._sums = np.zeros((rows, 2 * BUCKETS), np.int32)
        self._spent, self._is_exact = 0, True

    def add(self, part: NDArray[np.int32]) -> None:
        """Fold the next PART_ELEMENTS coordinates, or what is left of the vector."""
        self.signs.read(part.size)
        largest = find_largest(part)
        self._is_exact = self._is_exact and largest < _ROOM
        if largest * _BLOCKS >= _ROOM:
            self.signs.room.fold(self._total, part)
            return
        self._spent += largest * _BLOCKS
        if self._spent >= _ROOM:
            self._total += self._sums
            self._sums[:] = 0
            self._spent = largest * _BLOCKS
        self.signs.room.fold(self._sums, part)

    def finish(self) -> IntVector | None:
        """Return the sketch, int64 (256,), or None if a coordinate was -2^31, which has no exact one."""
        return _mix(self._coin, _overlay(self._total + self._sums)) if self._is_exact else None


class RingSketch:
    """A sketch modulo 2^32 of a vector that comes part by part."""

    __slots__ = ("_coin", "_signs", "_sums")

    def __init__(self, coin: bytes, length: int, rows: int = FOLD_ROWS) -> None:
        self._coin, self._signs = coin, Signs(coin, length, rows)
        self._sums = np.zeros((rows, 2 * BUCKETS), np.int32)

    def add(self, part: RingVector) -> None:
        """Fold the next PART_ELEMENTS coordinates, or what is left of the vector."""
        self._signs.read(part.size)
        self.fold(part, self._signs)

    def fold(self, part: RingVector, signs: Signs) -> None:
        """Fold a part under signs that another sketch of the same coin has just read for the same coordinates."""
        signs.room.fold(self._sums, part.view(np.int32))

    def finish(self) -> RingVector:
        """Return the sketch, uint32 (256,)."""
        return _mix_ring(self._coin, _overlay(self._sums.view(RING)))


def _overlay(sums: NDArray[Integer]) -> NDArray[Integer]:
    """Return the buckets of all rows, (R * 4096,), of the type of the sums."""
    buckets: NDArray[Integer] = sums[:, :BUCKETS] + sums[:, BUCKETS:]
    return buckets.reshape(-1)


def _mix_ring(coin: bytes, folded: RingVector) -> RingVector:
    """Return random words (256, R * 4096) times the buckets, modulo 2^32."""
    stream = _stream(coin, "words", 0)
    at_once = _MIXED_BYTES // (folded.size * ELEMENT_BYTES)
    count = at_once * folded.size * ELEMENT_BYTES
    room = np.empty(count + AES_BLOCK_BYTES, np.uint8)
    words = room[:count].view(RING).reshape(at_once, folded.size)
    mixed = np.empty(OUTPUTS, RING)
    for start in range(0, OUTPUTS, at_once):
        stream.read_into(room.data, count)
        mixed[start : start + at_once] = sum_products(folded, words)
    return mixed


def _mix(coin: bytes, folded: IntVector) -> IntVector:
    """Return the dense signs (256, R * 4096) times the buckets, exactly."""
    signs = np.frombuffer(_stream(coin, "dense", 0).read(OUTPUTS * folded.size // 8), np.uint8)
    return sum_signed(folded, signs.reshape(OUTPUTS, folded.size // 8))
