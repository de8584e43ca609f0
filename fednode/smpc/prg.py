"""Keys derived for one purpose each, and their AES-128-CTR streams added to ring vectors.

Security assumption: HKDF-SHA256 is a pseudo-random function of its key and AES-128 in counter mode a pseudo-random
generator. The context of every derivation is canonical and length-prefixed and names the round, the attempt, the
phase, the role and the members, so no key serves twice: a repeated attempt has streams of its own.

Element e of a stream is the little-endian word e of the keystream (block e // 4), so any part that starts at a
multiple of four elements can be expanded alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fednode.codec import pack
from fednode.crypto import hkdf_sha256
from fednode.ids import PROTOCOL_VERSION
from fednode.kernels.vectors import StreamRoom
from fednode.keystream import AES_BLOCK_BYTES, KEY_BYTES, AesCtr
from fednode.smpc.ring import ELEMENT_BYTES, RingVector
from fednode.sums.attempt import SumContext

ELEMENTS_PER_AES_BLOCK: Final = AES_BLOCK_BYTES // ELEMENT_BYTES
STEP_ELEMENTS: Final = 1 << 16
"""Elements expanded at a time (256 KiB): the streams and the part of the vector they are added to stay in cache."""

STREAMS_A_PASS: Final = 4


@dataclass(frozen=True, slots=True)
class Stream:
    """A keystream and its sign."""

    key: bytes = field(repr=False)
    is_added: bool


def derive_key(secret: bytes, context: SumContext, phase: str, role: str, dealer: int, i: int, j: int) -> bytes:
    """Return the 16-byte key of one role in one attempt.

    `dealer` is the member whose secret alone makes the key (0 for a pair), `i` and `j` the members it lies between.
    """
    info = pack(("fednode-smpc", PROTOCOL_VERSION, *context.place, phase, role, dealer, i, j))
    return hkdf_sha256(secret, info, KEY_BYTES)


class Masks:
    """Streams read in order and added to one part of a vector after another."""

    __slots__ = ("_readers", "_room")

    def __init__(self, streams: Sequence[Stream], first_element: int = 0) -> None:
        if first_element % ELEMENTS_PER_AES_BLOCK:
            raise ValueError("a stream can be entered only at a multiple of four elements")
        first_block = first_element // ELEMENTS_PER_AES_BLOCK
        self._readers = [(AesCtr(stream.key, first_block), stream.is_added) for stream in streams]
        self._room = StreamRoom(STREAMS_A_PASS, STEP_ELEMENTS * ELEMENT_BYTES + AES_BLOCK_BYTES)

    def add_to(self, part: RingVector) -> None:
        """Add or subtract the next elements of every stream to `part` in place, uint32 of at most STEP_ELEMENTS."""
        count = part.size * ELEMENT_BYTES
        for first in range(0, len(self._readers), STREAMS_A_PASS):
            readers = self._readers[first : first + STREAMS_A_PASS]
            subtracted = 0
            for row, (reader, is_added) in enumerate(readers):
                reader.read_into(self._room.rows[row][: count + AES_BLOCK_BYTES - 1], count)
                subtracted |= (not is_added) << row
            self._room.add_to(part, len(readers), subtracted)
