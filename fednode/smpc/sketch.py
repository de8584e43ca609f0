"""The public sketch A: from d integers to 256, drawn from a coin when everything it is applied to is fixed.

Security assumption: the coin was unknown when the vectors were fixed, and AES-128 in counter mode is a pseudo-random
generator. A is linear over the integers and exact, so A (x + y) = A x + A y, also modulo 2^32.

Four independent rows fold the vector into 4096 buckets: block m of 4096 coordinates is multiplied by random signs
and added to the row's buckets, rotated by a shift drawn for that row and block. Without the shifts coordinates 4096
apart would share a bucket in all four rows, and pairs that cancel there would be found by looking for them. A dense
matrix of signs then takes the 4 * 4096 buckets to 256 numbers. E |A x|^2 = 256 * 4 * |x|^2.

Masked vectors are sketched modulo 2^32 with words instead of signs in the dense matrix: signs would lose 2^31, of
which every bucket's four multiples cancel. With words any difference that is left in one bucket is missed with 2^-256,
also one of 2^31 (each output then is 2^31 times a random bit); differences cancel in all four rows of buckets with
2^-48 for a pair of coordinates.

Range: every result is a signed sum of 4 d coordinates below 2^31 in size, so for d < 2^30 it stays below 2^63.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.codec import pack
from fednode.crypto import AES_BLOCK_BYTES, AesCtr, hkdf_sha256
from fednode.ids import PROTOCOL_VERSION
from fednode.proofs.bounds import FOLD_ROWS, MAX_LENGTH, OUTPUTS
from fednode.smpc.ring import ELEMENT_BYTES, RING, RingVector

BUCKETS: Final = 4096
COIN_BYTES: Final = 32

_BLOCKS: Final = 16
"""Blocks of 4096 coordinates handled at a time (256 KiB)."""
_PART: Final = _BLOCKS * BUCKETS
_SIGNS: Final = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.int32) * 2 - 1
).view("V32").reshape(256)
"""The eight signs of a byte, lowest bit first: a one is +1."""
_ROOM: Final = 1 << 31
"""Sums of an int32 accumulator stay below this."""

IntVector = NDArray[np.int64]


def sketch_integers(coin: bytes, values: NDArray[np.int32]) -> IntVector:
    """Return A x exactly, int64 (256,), for integers (d,) below 2^31 in size: a lifted sum or a quantised update."""
    folded = np.concatenate([_fold(_Row(coin, row, values.size), values, True) for row in _rows(coin, values)])
    return _mix(coin, folded)


def sketch_ring(coin: bytes, values: RingVector) -> RingVector:
    """Return a sketch modulo 2^32, uint32 (256,), for a masked vector (d,): linear, and never compared with A x."""
    signed = values.view(np.int32)
    folded = np.concatenate([_fold(_Row(coin, row, values.size), signed, False) for row in _rows(coin, values)])
    return _mix_ring(coin, folded.astype(RING))


def _rows(coin: bytes, values: NDArray[np.int32] | RingVector) -> range:
    if len(coin) != COIN_BYTES or values.ndim != 1 or values.size > MAX_LENGTH:
        raise ValueError(f"a sketch takes a coin of 32 bytes and a flat vector of at most {MAX_LENGTH} integers")
    return range(FOLD_ROWS)


def fold_part(coin: bytes, values: RingVector, first: int) -> RingVector:
    """Return what a part of a masked vector, its elements from `first` on, adds to the buckets: uint32 (16384,).

    The buckets of all parts, added up modulo 2^32 and given to `mix_folds`, make the sketch of the whole.
    """
    skipped, block = first % BUCKETS, first // BUCKETS
    padded = np.zeros(-(-(skipped + values.size) // BUCKETS) * BUCKETS, RING)
    padded[skipped : skipped + values.size] = values
    return np.concatenate([_fold_blocks(coin, row, padded, block) for row in range(FOLD_ROWS)])


def mix_folds(coin: bytes, folds: Sequence[RingVector]) -> tuple[RingVector, ...]:
    """Return the sketch modulo 2^32 of each vector whose buckets are given: what `sketch_ring` makes of the whole."""
    stream, step = _stream(coin, "words", 0), 16
    mixed = [np.empty(OUTPUTS, RING) for _ in folds]
    size = FOLD_ROWS * BUCKETS
    for start in range(0, OUTPUTS, step):
        words = np.frombuffer(stream.read(step * size * ELEMENT_BYTES), RING).reshape(step, size)
        for sketch, folded in zip(mixed, folds, strict=True):
            sketch[start : start + step] = (words * folded).sum(axis=1, dtype=RING)
    return tuple(mixed)


def _fold_blocks(coin: bytes, row: int, values: RingVector, block: int) -> RingVector:
    """Return the buckets of one row of whole blocks, the first of which is number `block` of the vector."""
    count, words_a_step = values.size // BUCKETS, AES_BLOCK_BYTES // ELEMENT_BYTES
    early = block % words_a_step
    words = np.frombuffer(_stream(coin, "shifts", row, block // words_a_step).read(4 * (early + count)), RING)
    shifts: list[int] = (words[early:] % BUCKETS).tolist()
    signs = _stream(coin, "signs", row, block * BUCKETS // 8 // AES_BLOCK_BYTES)
    total = np.zeros(2 * BUCKETS, RING)
    for start in range(0, values.size, _PART):
        part = values[start : start + _PART]
        signed = part * _SIGNS.take(np.frombuffer(signs.read(part.size // 8), np.uint8)).view(RING)
        for at, shift in zip(range(0, part.size, BUCKETS), shifts[start // BUCKETS :], strict=False):
            total[shift : shift + BUCKETS] += signed[at : at + BUCKETS]
    return total[:BUCKETS] + total[BUCKETS:]


def _stream(coin: bytes, part: str, row: int, first_block: int = 0) -> AesCtr:
    return AesCtr(hkdf_sha256(coin, pack(("fednode-sketch", PROTOCOL_VERSION, part, row)), 16), first_block)


class _Row:
    """The signs and shifts of one fold, read in order."""

    def __init__(self, coin: bytes, row: int, length: int) -> None:
        blocks = -(-length // BUCKETS)
        words = np.frombuffer(_stream(coin, "shifts", row).read(4 * blocks), RING)
        self.shifts: list[int] = (words % BUCKETS).tolist()
        self._signs = _stream(coin, "signs", row)
        self._room = np.empty(_PART // 8 + AES_BLOCK_BYTES, np.uint8)

    def read_signs(self) -> NDArray[np.int32]:
        """Return the next 16 blocks of signs, int32 (65536,)."""
        self._signs.read_into(self._room.data[: _PART // 8 + AES_BLOCK_BYTES - 1], _PART // 8)
        return _SIGNS.take(self._room[: _PART // 8]).view(np.int32)


def _fold(row: _Row, values: NDArray[np.int32], is_exact: bool) -> IntVector:
    """Return the buckets of one row, int64 (4096,); modulo 2^32 only unless `is_exact`.

    Two copies of the buckets lie side by side, so that a rotated block is one slice; they are laid over each other
    at the end. Blocks add up in 32 bits for as long as the largest value allows.
    """
    total = np.zeros(2 * BUCKETS, np.int64)
    sums = np.zeros(2 * BUCKETS, np.int32)
    spent = 0
    for start, part in _parts(values):
        signed = part * row.read_signs()[: part.size]
        largest = max(int(part.max()), -int(part.min()))
        if is_exact and largest >= _ROOM:
            raise ValueError("an integer of 2^31 or more in size has no exact sketch")
        if is_exact and largest * _BLOCKS >= _ROOM:
            _add_blocks(total, signed, row.shifts[start // BUCKETS :])
            continue
        spent += largest * _BLOCKS
        if is_exact and spent >= _ROOM:
            total += sums
            sums[:] = 0
            spent = largest * _BLOCKS
        _add_blocks(sums, signed, row.shifts[start // BUCKETS :])
    total += sums
    return total[:BUCKETS] + total[BUCKETS:]


def _parts(values: NDArray[np.int32]) -> Iterator[tuple[int, NDArray[np.int32]]]:
    for start in range(0, values.size, _PART):
        yield start, values[start : start + _PART]


def _add_blocks(sums: NDArray[np.int32] | IntVector, signed: NDArray[np.int32], shifts: list[int]) -> None:
    for at, shift in zip(range(0, signed.size, BUCKETS), shifts, strict=False):
        block = signed[at : at + BUCKETS]
        place = sums[shift : shift + block.size]
        np.add(place, block, out=place)


def _mix_ring(coin: bytes, folded: RingVector) -> RingVector:
    """Return random words (256, 16384) times the buckets, modulo 2^32."""
    stream = _stream(coin, "words", 0)
    mixed = np.empty(OUTPUTS, RING)
    step = 16
    for start in range(0, OUTPUTS, step):
        words = np.frombuffer(stream.read(step * folded.size * ELEMENT_BYTES), RING).reshape(step, folded.size)
        mixed[start : start + step] = (words * folded).sum(axis=1, dtype=RING)
    return mixed


def _mix(coin: bytes, folded: IntVector) -> IntVector:
    """Return the dense signs (256, 16384) times the buckets, exactly.

    Halves of 32 bits go through float64: 2^14 terms of 2^32 stay below 2^53, so no order of adding rounds.
    """
    low, high = (folded & 0xFFFFFFFF).astype(np.float64), (folded >> 32).astype(np.float64)
    stream = _stream(coin, "dense", 0)
    mixed = np.empty(OUTPUTS, np.int64)
    step = 16
    for start in range(0, OUTPUTS, step):
        bits = np.frombuffer(stream.read(step * folded.size // 8), np.uint8)
        signs = _SIGNS.take(bits).view(np.int32).reshape(step, folded.size).astype(np.float64)
        mixed[start : start + step] = ((signs @ high).astype(np.int64) << 32) + (signs @ low).astype(np.int64)
    return mixed
