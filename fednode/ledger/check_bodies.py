"""The bodies of sum rule 2: the coin, the sketches of the masked vectors, and answers to the proofs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.codec import U8, U16, U32, Bytes32, Range, Size, tagged
from fednode.proofs.bounds import ANSWER_BYTES, DEALERS_A_PART, SKETCH_BYTES


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
    """A holder's answers to the proofs of up to 30 dealers of U, in order, 134 elements of 8 bytes each.

    Bytes that are no elements stand for "I hold no right shares of this dealer".
    """

    study: Bytes32
    round: U32
    attempt: U16
    part: U8
    sum_ok: Annotated[int, Range(0, 2)]
    data: Annotated[bytes, Size(ANSWER_BYTES, ANSWER_BYTES * DEALERS_A_PART)]
