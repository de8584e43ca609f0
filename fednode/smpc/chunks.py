"""How a vector is cut into chunks, and the Merkle tree that commits to them.

Security assumption: BLAKE3 and SHA-256 are collision resistant. A leaf is the BLAKE3 digest of a chunk's bytes (five
times faster; chunks exist only in flight), the tree above it is the SHA-256 tree of RFC 6962, section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from blake3 import blake3

from fednode.crypto import sha256
from fednode.smpc.prg import ELEMENTS_PER_AES_BLOCK
from fednode.smpc.ring import ELEMENT_BYTES, RING, Buffer, RingVector, from_bytes
from fednode.sums.bounds import OUTPUTS

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
