"""What members post in one attempt of a secure sum: what the session says is the body that the ledger carries.

Every body begins with its place: study, round, attempt. It checks its own form (sorted, distinct, in range) when it is
built; whether it is taken is for the rules of the ledger. Vectors travel between members and never on the ledger.

Security assumption: none of these holds a secret that is not meant for everybody, or is sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from fednode.codec import U8, U16, U32, Bytes32, Bytes64, Range, Size, tagged
from fednode.ids import MemberId
from fednode.sums.bounds import (
    FEW,
    MAX_OPENING_BYTES,
    MIN_OPENING_BYTES,
    PART_BYTES,
    SKETCH_BYTES,
)
from fednode.texts import check_plain

if TYPE_CHECKING:
    from _typeshed import SupportsDunderLT

MAX_FOUND = 256
"""Chunks or members one message names: there are no more of either."""

MAX_POINTS = 100
"""Feldman commitments in one message: T, so at most 100 are needed by the largest membership."""

MAX_SEALED_BYTES = 160

MAX_HELD_BYTES = MAX_OPENING_BYTES + 64
"""What a holder keeps of a dealer: its share of what is opened, and a blind for each repetition."""

MAX_CONFIRM_BYTES = 64 * MAX_FOUND
"""An element for each repetition and disputed dealer."""

Member = Annotated[MemberId, Range(1, 2**16 - 1)]
Members = Annotated[tuple[Member, ...], Size(0, MAX_FOUND)]
Points = Annotated[tuple[Bytes32, ...], Size(1, MAX_POINTS)]


MAX_ROOTS = 8
"""Of a commit, besides that of the masked vector."""


def check_ascending(values: Sequence[SupportsDunderLT[Any]], what: str) -> None:
    """Raise `ValueError` unless every value is below the next."""
    if any(not left < right for left, right in pairwise(values)):
        raise ValueError(f"{what} must be distinct and ascending")


@tagged(11)
@dataclass(frozen=True, slots=True)
class Keys:
    """Feldman commitments of the scalars a and b, proofs that the dealer knows them, and every holder's sealed shares.

    `a_points[0]` is the key point A = a G, `b_points[0]` the key point B; `sealed` lists every member expected in
    this attempt except the dealer, ascending. `next_key` is the X25519 key that shares of the next round are sealed to:
    what was sealed in this one opens for nobody once its members have deleted their keys of it. `c_point` = c G is the
    dispute key, proven like the others.
    """

    study: Bytes32
    round: U32
    attempt: U16
    a_points: Points
    b_points: Points
    a_proof: Bytes64
    b_proof: Bytes64
    sealed: Annotated[
        tuple[tuple[Member, Annotated[bytes, Size(1, MAX_SEALED_BYTES)]], ...], Size(0, MAX_FOUND)
    ]
    next_key: Bytes32
    c_point: Bytes32
    c_proof: Bytes64

    def __post_init__(self) -> None:
        check_ascending([holder for holder, _ in self.sealed], "holders")


@tagged(12)
@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The dealers whose shares are wrong; every dealer not named is acknowledged."""

    study: Bytes32
    round: U32
    attempt: U16
    wrong: Members = ()

    def __post_init__(self) -> None:
        check_ascending(self.wrong, "dealers")


@tagged(13)
@dataclass(frozen=True, slots=True)
class Answer:
    """A dealer's reply to complaints: (holder, share of a, share of b) of exactly the holders that complained."""

    study: Bytes32
    round: U32
    attempt: U16
    shares: Annotated[tuple[tuple[Member, Bytes32, Bytes32], ...], Size(1, MAX_FOUND)]

    def __post_init__(self) -> None:
        check_ascending([holder for holder, _, _ in self.shares], "holders")


@tagged(14)
@dataclass(frozen=True, slots=True)
class Commit:
    """Merkle root over the chunks of the masked vector, the public weight, and named roots of whatever else is bound.

    `roots` are ascending by name. What is asked for besides the vector is a rule of the study's; nothing is so far.
    """

    study: Bytes32
    round: U32
    attempt: U16
    root: Bytes32
    weight: U16
    roots: Annotated[tuple[tuple[Annotated[str, Size(1, 40)], Bytes32], ...], Size(0, MAX_ROOTS)] = ()

    def __post_init__(self) -> None:
        names = [name for name, _ in self.roots]
        check_ascending(names, "names of roots")
        check_plain("the name of a root", *names)


@tagged(15)
@dataclass(frozen=True, slots=True)
class Roster:
    """An owner's report: pairs (chunk, dealer) of which it holds no valid data. Empty: nothing is missing."""

    study: Bytes32
    round: U32
    attempt: U16
    step: U8
    missing: Annotated[tuple[tuple[U16, Member], ...], Size(0, 8192)] = ()

    def __post_init__(self) -> None:
        check_ascending(self.missing, "missing chunks")


@tagged(16)
@dataclass(frozen=True, slots=True)
class Digest:
    """Digests (chunk, digest) of the masked sums of every chunk the sender owns."""

    study: Bytes32
    round: U32
    attempt: U16
    digests: Annotated[tuple[tuple[U16, Bytes32], ...], Size(1, MAX_FOUND)]

    def __post_init__(self) -> None:
        check_ascending([chunk for chunk, _ in self.digests], "chunks")


@tagged(17)
@dataclass(frozen=True, slots=True)
class SumAck:
    """Either the digest of the whole list of digests ("I hold and serve it all"), or the chunks not obtained."""

    study: Bytes32
    round: U32
    attempt: U16
    list_digest: Bytes32 | None
    missing: Annotated[tuple[U16, ...], Size(0, MAX_FOUND)] = ()

    def __post_init__(self) -> None:
        check_ascending(self.missing, "chunks")
        if (self.list_digest is None) != bool(self.missing):
            raise ValueError("a sum acknowledgement carries either the list digest or missing chunks")


@tagged(18)
@dataclass(frozen=True, slots=True)
class Reveal:
    """Openings decided by the one Unmask alone: own b; shares of a of dropped dealers; shares of b of silent ones.

    `opening` is the sender's share of the summed sketch, weight and measures: elements of 8 bytes, little endian; None
    from who does not hold a share of every member of U.
    """

    study: Bytes32
    round: U32
    attempt: U16
    own_b: Bytes32 | None
    a_shares: Annotated[tuple[tuple[Member, Bytes32], ...], Size(0, MAX_FOUND)] = ()
    b_shares: Annotated[tuple[tuple[Member, Bytes32], ...], Size(0, MAX_FOUND)] = ()
    opening: Annotated[bytes, Size(MIN_OPENING_BYTES, MAX_OPENING_BYTES)] | None = None

    def __post_init__(self) -> None:
        check_ascending([dealer for dealer, _ in self.a_shares], "dealers")
        check_ascending([dealer for dealer, _ in self.b_shares], "dealers")


@tagged(21)
@dataclass(frozen=True, slots=True)
class Coin:
    """Next preimage of the sender's hash chain."""

    study: Bytes32
    round: U32
    attempt: U16
    preimage: Bytes32


@tagged(22)
@dataclass(frozen=True, slots=True)
class ShareRoot:
    """A dealer's sketch A y of its masked vector (256 numbers modulo 2^32, little endian), and Merkle roots over the
    sealed boxes with the shares of its proof's bits and of the proof."""

    study: Bytes32
    round: U32
    attempt: U16
    sketch: Annotated[bytes, Size(SKETCH_BYTES, SKETCH_BYTES)]
    bits_root: Bytes32
    proof_root: Bytes32


class SumCheck(IntEnum):
    """What a holder says of the masked sum: whether its sketch is the sum of the posted sketches."""

    UNKNOWN = 0
    RIGHT = 1
    WRONG = 2


@tagged(23)
@dataclass(frozen=True, slots=True)
class Proof:
    """A holder's answers to the proofs of dealers of U, in order: 134 elements of 8 bytes each, of up to 30 dealers;
    more elements and fewer dealers on a ledger of more than 31 members (`bounds.strength_of`).

    Bytes that are no elements stand for "I hold no right shares of this dealer".
    """

    study: Bytes32
    round: U32
    attempt: U16
    part: U8
    sum_ok: Annotated[int, Range(0, 2)]
    data: Annotated[bytes, Size(FEW.answer_bytes, PART_BYTES)] = field(repr=False)


@tagged(25)
@dataclass(frozen=True, slots=True)
class Recheck:
    """What a member found when it fetched every masked chunk of U itself and added them up again.

    `chunks`: (chunk, BLAKE3 of the sum it finds) where that is not the posted digest; `sketches`: (dealer, SHA-256 of
    the sketch it finds) where that is not the posted sketch; `withheld`: members that must have a chunk, as its dealer
    or its owner, and did not give it out. Empty throughout: everything is as posted.
    """

    study: Bytes32
    round: U32
    attempt: U16
    chunks: Annotated[tuple[tuple[U16, Bytes32], ...], Size(0, MAX_FOUND)] = ()
    sketches: Annotated[tuple[tuple[Member, Bytes32], ...], Size(0, MAX_FOUND)] = ()
    withheld: Annotated[tuple[Member, ...], Size(0, MAX_FOUND)] = ()

    def __post_init__(self) -> None:
        check_ascending([chunk for chunk, _ in self.chunks], "chunks")
        check_ascending([dealer for dealer, _ in self.sketches], "dealers")
        check_ascending(self.withheld, "members")


@tagged(26)
@dataclass(frozen=True, slots=True)
class Redeal:
    """A dealer deals `holder` once more what it says that it did not get: field elements of 8 bytes, encrypted with a
    key that follows from both members' dispute keys."""

    study: Bytes32
    round: U32
    attempt: U16
    holder: Member
    box: Annotated[bytes, Size(1, MAX_HELD_BYTES)]


@tagged(27)
@dataclass(frozen=True, slots=True)
class Confirm:
    """A member's answer to one more query of its shares of each disputed dealer, ascending: an element of 8 bytes per
    repetition. Bytes that are no elements stand for "I hold no right share of this dealer"."""

    study: Bytes32
    round: U32
    attempt: U16
    data: Annotated[bytes, Size(8, MAX_CONFIRM_BYTES)]


@tagged(28)
@dataclass(frozen=True, slots=True)
class Expose:
    """The sender opens a box that was dealt again to it and is wrong: `shared` is its dispute scalar times the dealer's
    point, with a proof that it is."""

    study: Bytes32
    round: U32
    attempt: U16
    dealer: Member
    shared: Bytes32
    proof: Bytes64


Message = (
    Keys | Acknowledge | Answer | Commit | Roster | Digest | SumAck | Coin | ShareRoot | Proof | Recheck | Redeal
    | Confirm | Expose | Reveal
)
"""What a session posts."""
