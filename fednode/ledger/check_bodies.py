"""The bodies that bind a sum: the coin, the sketches of the masked vectors, answers to the proofs, and what settles
disputes about shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from fednode.codec import U8, U16, U32, Bytes32, Bytes64, Range, Size, tagged
from fednode.ids import MemberId
from fednode.sums.bounds import FEW, MAX_OPENING_BYTES, PART_BYTES, SKETCH_BYTES

if TYPE_CHECKING:
    from _typeshed import SupportsDunderLT

MAX_FOUND = 256
"""Chunks or members one message names: there are no more of either."""

MAX_HELD_BYTES = MAX_OPENING_BYTES + 64
"""What a holder keeps of a dealer: its share of what is opened, and a blind for each repetition."""

MAX_CONFIRM_BYTES = 64 * MAX_FOUND
"""An element for each repetition and disputed dealer."""

_Member = Annotated[MemberId, Range(1, 2**16 - 1)]


def check_ascending(values: Sequence[SupportsDunderLT[Any]], what: str) -> None:
    """Raise `ValueError` unless every value is below the next."""
    if any(not left < right for left, right in pairwise(values)):
        raise ValueError(f"{what} must be distinct and ascending")


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
    data: Annotated[bytes, Size(FEW.answer_bytes, PART_BYTES)]


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
    sketches: Annotated[tuple[tuple[_Member, Bytes32], ...], Size(0, MAX_FOUND)] = ()
    withheld: Annotated[tuple[_Member, ...], Size(0, MAX_FOUND)] = ()

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
    holder: _Member
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
    dealer: _Member
    shared: Bytes32
    proof: Bytes64
