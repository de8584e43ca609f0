"""The vectors of a sum: from floats to integers and back, arithmetic modulo 2^32, and the chunks they are cut into.

Vectors modulo 2^32 are numpy uint32 arrays, whose additions wrap by themselves. Elements are little endian wherever
they become bytes, so every machine masks, hashes and sums the same bytes.

Security assumption: BLAKE3 and SHA-256 are collision resistant. A leaf is the BLAKE3 digest of a chunk's bytes (five
times faster; chunks exist only in flight), the tree above it is the SHA-256 tree of RFC 6962, section 2.1. The rounding
uses fresh randomness of its own (`entropy`), never anything derived from the keys of a round, and that randomness is
neither kept nor recorded.

Quantised: with S = `scale`, C = `clip`, W = `max_weight`, w = `weight`: t = 5 S w / (6 W C) * x for |x| <= C (an update
that is longer is shortened to C), as fixed point with 32 fractional bits; q = floor(t + u), u uniform in 32 bits: the
mean of q is t exactly (stochastic rounding). Proven for every vector of d coordinates:
    |q_k| <= floor(5 S w / 6 W) + 1 <= S            so N honest vectors cannot wrap while N S <= 2^31,
    |sum q_k| <= floor(5 S sum(w) / 6 W) + N        the bound the opened sum is held against,
    |q| <= 5 S w / 6 W + sqrt(d)                    each coordinate moves by less than one (up to 2^-28 of float error).
The factor 5/6 leaves the bound S on the norm to rounding: an honest member never exceeds what it is tested against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite, sqrt
from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fednode.crypto import Entropy, sha256
from fednode.kernels.arrays import round_up_by_coins, sum_squares, sum_words
from fednode.keystream import AES_BLOCK_BYTES, KEY_BYTES, AesCtr
from fednode.sums.bounds import MAX_LENGTH, MAX_WEIGHT_BOUND, OUTPUTS, SCALE

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


ELEMENTS_PER_AES_BLOCK: Final = AES_BLOCK_BYTES // ELEMENT_BYTES
STEP_ELEMENTS: Final = 1 << 16
"""Elements expanded at a time (256 KiB): the streams and the part of the vector they are added to stay in cache."""


# --- from floats to integers -------------------------------------------------------------------------------------

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


# --- chunks ------------------------------------------------------------------------------------------------------

HASH_BYTES = 32
SALT_WORDS = 8
"""Random words that no sketch covers, in the tail of each chunk: 256 bits that nobody guesses."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A vector of `length` elements in `count` chunks as even as whole AES blocks allow, each with a tail.

    The tails hide what the ledger says of small vectors. Every dealer draws them anew; they are masked and added up
    like the rest, and only those who hold the chunks see their sum. A tail begins with SALT_WORDS words that no sketch
    covers: the digest of a chunk cannot be guessed without them. Then come the words that hide posted sketches, one
    for each output: the first OUTPUTS of all tails together.
    """

    length: int
    count: int

    @property
    def tail(self) -> int:
        """Elements of a tail, whole AES blocks."""
        words = SALT_WORDS - OUTPUTS // -self.count
        return words + -words % ELEMENTS_PER_AES_BLOCK

    @property
    def tails_at(self) -> int:
        """The element of a mask's stream at which the tails begin, one after the other: after those of the vector."""
        return self.length + -self.length % ELEMENTS_PER_AES_BLOCK

    @property
    def total(self) -> int:
        """Elements of a masked vector with all its tails."""
        return self.length + self.count * self.tail

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Return the first element of the vector in a chunk (a multiple of 4) and the one after its last."""
        blocks = -(-self.length // ELEMENTS_PER_AES_BLOCK)
        first, last = chunk * blocks // self.count, (chunk + 1) * blocks // self.count
        return first * ELEMENTS_PER_AES_BLOCK, min(last * ELEMENTS_PER_AES_BLOCK, self.length)

    def place(self, chunk: int) -> tuple[int, int]:
        """Return where a chunk with its tail lies among those of a masked vector."""
        start, stop = self.bounds(chunk)
        return start + chunk * self.tail, stop + (chunk + 1) * self.tail

    def size_bytes(self, chunk: int) -> int:
        """Return how many bytes a chunk has, with its tail: never none."""
        start, stop = self.place(chunk)
        return (stop - start) * ELEMENT_BYTES

    def cut(self, data: memoryview, chunk: int) -> memoryview:
        """Return one chunk of a masked vector's bytes without copying."""
        start, stop = self.place(chunk)
        return data[start * ELEMENT_BYTES : stop * ELEMENT_BYTES]

    def all_of(self, data: memoryview) -> tuple[memoryview, ...]:
        """Return all chunks of a masked vector's bytes without copying."""
        return tuple(self.cut(data, chunk) for chunk in range(self.count))

    def bodies(self, chunks: Sequence[Buffer]) -> tuple[memoryview, ...]:
        """Return the chunks without their tails: together the vector."""
        return tuple(memoryview(chunk)[: -self.tail * ELEMENT_BYTES] for chunk in chunks)

    def salts(self, chunks: Sequence[Buffer]) -> bytes:
        """Return the salt words of all chunks, joined."""
        return b"".join(bytes(self._tail_of(chunk)[: SALT_WORDS * ELEMENT_BYTES]) for chunk in chunks)

    def pads(self, chunks: Iterable[tuple[int, Buffer]]) -> RingVector:
        """Return what these chunks, with their numbers, add to the OUTPUTS numbers of a sketch modulo 2^32."""
        pads, words = np.zeros(OUTPUTS, RING), self.tail - SALT_WORDS
        for chunk, data in chunks:
            start = min(chunk * words, OUTPUTS)
            stop = min(start + words, OUTPUTS)
            pads[start:stop] = from_bytes(self._tail_of(data)[SALT_WORDS * ELEMENT_BYTES :])[: stop - start]
        return pads

    def _tail_of(self, chunk: Buffer) -> memoryview:
        return memoryview(chunk)[-self.tail * ELEMENT_BYTES :]


def digest_chunk(data: Buffer) -> bytes:
    """Return the 32-byte BLAKE3 digest of a chunk."""
    return blake3(data).digest()


class ChunkDigests:
    """The digests of all chunks of a masked vector whose bytes come part by part, in order."""

    __slots__ = ("_at", "_chunk", "_ends", "_running")

    def __init__(self, layout: Layout) -> None:
        self._ends = [ELEMENT_BYTES * layout.place(chunk)[1] for chunk in range(layout.count)]
        self._running = [blake3() for _ in self._ends]
        self._at, self._chunk = 0, 0

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the vector."""
        while data:
            missing = self._ends[self._chunk] - self._at
            if missing == 0:
                self._chunk += 1
                continue
            self._running[self._chunk].update(data[:missing])
            self._at += min(missing, len(data))
            data = data[missing:]

    def finish(self) -> tuple[bytes, ...]:
        """Return the digest of every chunk, 32 bytes each, once all bytes were taken."""
        if self._at != self._ends[-1]:
            raise ValueError("a part of the vector is missing")
        return tuple(running.digest() for running in self._running)


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over at least one leaf."""
    return _root_of(tuple(leaves))


@lru_cache(maxsize=1024)
def _root_of(leaves: tuple[bytes, ...]) -> bytes:
    """The same, remembered with its subtrees: a dealer sends every holder a path of one tree."""
    if len(leaves) == 1:
        return sha256(b"\x00", leaves[0])
    middle = _split(len(leaves))
    return sha256(b"\x01", _root_of(leaves[:middle]), _root_of(leaves[middle:]))


def merkle_path(leaves: Sequence[bytes], index: int) -> bytes:
    """Return the audit path of a leaf, nearest sibling first, 32 bytes each, joined."""
    if len(leaves) == 1:
        return b""
    middle = _split(len(leaves))
    if index < middle:
        return merkle_path(leaves[:middle], index) + merkle_root(leaves[middle:])
    return merkle_path(leaves[middle:], index - middle) + merkle_root(leaves[:middle])


def is_leaf_of(root: bytes, leaf: bytes, index: int, count: int, path: bytes) -> bool:
    """Check an audit path: `leaf` is number `index` of `count` leaves under `root`."""
    return is_leaf_hash_of(root, sha256(b"\x00", leaf), index, count, path)


def is_leaf_hash_of(root: bytes, leaf_hash: bytes, index: int, count: int, path: bytes) -> bool:
    """The same check for a leaf that is already hashed with its prefix."""
    if not 0 <= index < count or len(path) % HASH_BYTES or len(leaf_hash) != HASH_BYTES:
        return False
    siblings = [path[at : at + HASH_BYTES] for at in range(0, len(path), HASH_BYTES)]
    return _climb(leaf_hash, index, count, siblings) == root


def _climb(leaf_hash: bytes, index: int, count: int, siblings: list[bytes]) -> bytes | None:
    """Return the root that the path gives, or None if its length does not fit the tree."""
    if count == 1 or not siblings:
        return leaf_hash if count == 1 and not siblings else None
    middle = _split(count)
    if index < middle:
        below = _climb(leaf_hash, index, middle, siblings[:-1])
        return None if below is None else sha256(b"\x01", below, siblings[-1])
    below = _climb(leaf_hash, index - middle, count - middle, siblings[:-1])
    return None if below is None else sha256(b"\x01", siblings[-1], below)


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
