"""How a vector is cut into chunks, and the Merkle tree that commits to them.

Security assumption: BLAKE3 and SHA-256 are collision resistant. A leaf is the BLAKE3 digest of a chunk's bytes (five
times faster; chunks exist only in flight), the tree above it is the SHA-256 tree of RFC 6962, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from blake3 import blake3

from fednode.crypto import sha256
from fednode.smpc.prg import ELEMENTS_PER_AES_BLOCK
from fednode.smpc.ring import ELEMENT_BYTES, Buffer

HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Layout:
    """A vector of `length` elements in `count` chunks as even as whole AES blocks allow; some may be empty."""

    length: int
    count: int

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Return the first element of a chunk (a multiple of 4) and the one after its last."""
        blocks = -(-self.length // ELEMENTS_PER_AES_BLOCK)
        first, last = chunk * blocks // self.count, (chunk + 1) * blocks // self.count
        return first * ELEMENTS_PER_AES_BLOCK, min(last * ELEMENTS_PER_AES_BLOCK, self.length)

    def size_bytes(self, chunk: int) -> int:
        """Return how many bytes a chunk has."""
        start, stop = self.bounds(chunk)
        return (stop - start) * ELEMENT_BYTES

    def cut(self, data: memoryview, chunk: int) -> memoryview:
        """Return one chunk of a vector's bytes without copying."""
        start, stop = self.bounds(chunk)
        return data[start * ELEMENT_BYTES : stop * ELEMENT_BYTES]


def digest_chunk(data: Buffer) -> bytes:
    """Return the 32-byte BLAKE3 digest of a chunk."""
    return blake3(data).digest()


class ChunkDigests:
    """The digests of all chunks of a vector whose bytes come part by part, in order."""

    __slots__ = ("_at", "_chunk", "_ends", "_running")

    def __init__(self, layout: Layout) -> None:
        self._ends = [ELEMENT_BYTES * layout.bounds(chunk)[1] for chunk in range(layout.count)]
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
