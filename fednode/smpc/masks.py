"""What hides: streams of keys derived for one purpose each, the masks of a vector, the pad of a sum.

Security assumption: HKDF-SHA256 is a pseudo-random function of its key and AES-128 in counter mode a pseudo-random
generator. The context of every derivation is canonical and length-prefixed and names the round, the attempt, the
phase, the role and the members, so no key serves twice: a repeated attempt has streams of its own. Element e of a
stream is the little-endian word e of the keystream (block e // 4), so any part that starts at a multiple of four
elements can be expanded alone.

Masks, one per pair of qualified members, one of each member's own: Diffie-Hellman in the prime-order subgroup of
edwards25519 is hard; every foreign point has passed `crypto.is_point_valid`. y_i = x_i + PRG(b_i) + sum_{j>i} PRG(s_ij)
- sum_{j<i} PRG(s_ij), j over the qualified members, s_ij = KDF(a_i A_j) = KDF(a_j A_i): in a sum over everyone the pair
masks cancel (Bonawitz et al. 2017, section 4). Removing the self masks of U needs b_i for i in U; removing the pair
masks towards dropped members needs a_j for j outside U. Whoever knew both of one member could read its vector.

The pad hides a sum from those who read the ledger and hold no chunk of it. The sum of all tails holds at least 256 bits
that no honest member's key, no opening and no sketch gives (`vectors.Layout`): every honest member of U drew its own.
Everybody who has the chunks of the masked sum has the key that follows from their salts, before anything is opened; it
never leaves a member. SHA-256 is a random oracle. All holders add the same vector to their shares of what is opened.
That moves the constant term of the shared polynomials by it and nothing else, so the rule by which shares count holds
for hidden ones as it did for bare ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fednode.codec import pack
from fednode.crypto import Domain, Secret, hkdf_sha256, point_times, scalar_bytes, tagged_hash
from fednode.ids import PROTOCOL_VERSION, Hash
from fednode.kernels.arrays import StreamRoom
from fednode.keystream import AES_BLOCK_BYTES, KEY_BYTES, AesCtr
from fednode.smpc.vectors import ELEMENT_BYTES, ELEMENTS_PER_AES_BLOCK, STEP_ELEMENTS, RingVector
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.field import FieldVector

# --- keys and streams --------------------------------------------------------------------------------------------

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


# --- the masks of a vector ---------------------------------------------------------------------------------------

PHASE = "mask"


def is_pair_mask_added(member: int, other: int) -> bool:
    """Whether `member` adds (else subtracts) the mask it shares with `other`: it does towards later members."""
    return other > member


def pair_key(context: SumContext, scalar: int, other_point: bytes, member: int, other: int) -> bytes:
    """Return the key of the pair mask from one side's scalar and the other side's point."""
    first, second = min(member, other), max(member, other)
    return derive_key(point_times(scalar, other_point), context, PHASE, "pair", 0, first, second)


def self_key(context: SumContext, scalar: int, member: int) -> bytes:
    """Return the key of a member's self mask."""
    return derive_key(scalar_bytes(scalar), context, PHASE, "self", member, member, member)


def tail_key(context: SumContext, a_scalar: int, member: int) -> bytes:
    """Return the key of the tails that `member` draws: from the secret of its pair masks, which is never opened of a
    member whose vector is in the sum."""
    return derive_key(scalar_bytes(a_scalar), context, PHASE, "tails", member, member, member)


def own_streams(
    context: SumContext, member: int, a_scalar: int, b_scalar: int, qualified_points: Mapping[int, bytes]
) -> list[Stream]:
    """Return the streams that mask the vector of `member`; `qualified_points` are the A points of all of Q."""
    streams = [Stream(self_key(context, b_scalar, member), True)]
    for other in sorted(qualified_points):
        if other != member:
            key = pair_key(context, a_scalar, qualified_points[other], member, other)
            streams.append(Stream(key, is_pair_mask_added(member, other)))
    return streams


def removal_streams(
    context: SumContext,
    b_scalars: Mapping[int, int],
    a_scalars: Mapping[int, int],
    included_points: Mapping[int, bytes],
) -> list[Stream]:
    """Return the streams that turn the masked sum over U into the sum.

    `b_scalars` of exactly the members of U, `a_scalars` of exactly those of Q outside U, `included_points` the A
    points of U. No member may be in both: that is refused with `ValueError`.
    """
    if set(b_scalars) & set(a_scalars) or set(b_scalars) != set(included_points):
        raise ValueError("both secrets of one member must never meet")
    streams = [Stream(self_key(context, b_scalars[i], i), False) for i in sorted(b_scalars)]
    for dropped in sorted(a_scalars):
        for i in sorted(included_points):
            key = pair_key(context, a_scalars[dropped], included_points[i], dropped, i)
            streams.append(Stream(key, not is_pair_mask_added(i, dropped)))
    return streams


# --- the pad of a sum --------------------------------------------------------------------------------------------

SALT_BYTES = 32


class SumKey:
    """The key that follows from the salts of a masked sum."""

    __slots__ = ("_secret",)

    def __init__(self, context: SumContext, salts: bytes) -> None:
        """`salts` of all chunks, in order (`Layout.salts`)."""
        self._secret = Secret[bytes](tagged_hash(Domain.ROUND, b"sum key", pack(context.place), salts))

    def hide(self, opening: bytes) -> bytes:
        """Return a share of what is opened as it goes on the ledger: canonical elements of F, 8 bytes each."""
        shares = f.from_bytes(opening, len(opening) // f.ELEMENT_BYTES)
        if shares is None:
            raise ValueError("a share is made of elements of F")
        return f.to_bytes(f.add(shares, self._pad(shares.size)))

    def show(self, opened: bytes) -> FieldVector | None:
        """Return what was opened, from what the ledger says of it; None if those are no elements of F."""
        values = f.from_bytes(opened, len(opened) // f.ELEMENT_BYTES)
        return None if values is None else f.subtract(values, self._pad(values.size))

    def salt(self, what: str) -> bytes:
        """Return 32 bytes for a digest of this sum, or of what is made of it: nobody without them can guess at it."""
        return hkdf_sha256(self._secret.reveal(), pack(("fednode-sum-salt", what)), SALT_BYTES)

    def _pad(self, count: int) -> FieldVector:
        return f.expand(hkdf_sha256(self._secret.reveal(), pack(("fednode-sum-pad",)), KEY_BYTES), count)


def name_sum(salt: bytes, digest: Hash) -> Hash:
    """Return what the ledger says of an opened sum with this digest."""
    return tagged_hash(Domain.ROUND, b"salted sum", salt, digest)
