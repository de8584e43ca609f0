"""Frames between members: one byte that says which machine a frame is for, then its canonical bytes.

Security assumption: the connection proves which member sent a frame; nothing else about its bytes is believed. A
frame that does not decode is `Rejected`, scored against its sender and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, assert_never

from fednode.chain.block import MAX_TRANSACTIONS_BYTES
from fednode.chain.consensus.messages import ConsensusMessage, decode_message, encode_message
from fednode.chain.sync import SyncMessage, decode_sync, encode_sync
from fednode.codec import U32, Bytes32, Size, decode, encode, tagged
from fednode.core.presence import Presence, decode_presence, encode_presence
from fednode.errors import Rejected
from fednode.ledger.transaction import MAX_TRANSACTION_BYTES
from fednode.smpc.messages import ChunkRef

MAX_TRANSACTIONS_IN_FRAME = 1024
MAX_HEADER_BYTES = 16 * 1024
"""A chunk's header carries its Merkle path: 32 bytes per level, at most 8 levels."""


class Kind(IntEnum):
    """First byte of a consensus frame."""

    CONSENSUS = 1
    SYNC = 2
    TRANSACTIONS = 3
    WANT = 4
    PRESENCE = 5


_KINDS = frozenset(Kind)
_SYNC = bytes([Kind.SYNC])


@dataclass(frozen=True, slots=True)
class Transactions:
    """Signed transactions, each as its canonical bytes."""

    items: Annotated[
        tuple[Annotated[bytes, Size(1, MAX_TRANSACTION_BYTES)], ...], Size(1, MAX_TRANSACTIONS_IN_FRAME)
    ]


@tagged(1)
@dataclass(frozen=True, slots=True)
class WantChunk:
    """Asks for a chunk of a secure sum."""

    study: Bytes32
    round: U32
    ref: ChunkRef


@tagged(2)
@dataclass(frozen=True, slots=True)
class WantModel:
    """Asks for a model file."""

    hash: Bytes32


Want = WantChunk | WantModel


@tagged(1)
@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """What a blob is: a chunk of a secure sum, with its Merkle path where it has one."""

    study: Bytes32
    round: U32
    ref: ChunkRef
    proof: Annotated[bytes, Size(0, 32 * 16)] = field(repr=False)


@tagged(2)
@dataclass(frozen=True, slots=True)
class ModelHeader:
    """What a blob is: the model file with this hash."""

    hash: Bytes32


BlobHeader = ChunkHeader | ModelHeader


@dataclass(frozen=True, slots=True)
class ConsensusFrame:
    """A consensus message; its signatures are not checked yet."""

    message: ConsensusMessage


@dataclass(frozen=True, slots=True)
class SyncFrame:
    """A catch-up message; nothing in it is proven yet."""

    message: SyncMessage


Frame = ConsensusFrame | SyncFrame | Transactions | WantChunk | WantModel | Presence


def encode_consensus(message: ConsensusMessage) -> bytes:
    """Return the frame of a consensus message."""
    return bytes([Kind.CONSENSUS]) + encode_message(message)


def encode_sync_frame(message: SyncMessage) -> bytes:
    """Return the frame of a catch-up message."""
    return bytes([Kind.SYNC]) + encode_sync(message)


def encode_presence_frame(presence: Presence) -> bytes:
    """Return the frame of what a member says of itself."""
    return bytes([Kind.PRESENCE]) + encode_presence(presence)


def encode_transactions(items: tuple[bytes, ...]) -> bytes:
    """Return the frame of some transactions."""
    return bytes([Kind.TRANSACTIONS]) + encode(Transactions(items))


def encode_want(want: Want) -> bytes:
    """Return the frame of a request."""
    return bytes([Kind.WANT]) + encode(want, Want)


def is_sync(data: bytes) -> bool:
    """Whether a frame is for catch-up."""
    return data[:1] == _SYNC


def decode_frame(data: bytes) -> Frame:
    """Decode a frame; raise `Rejected` unless it is one. Signatures are not checked here."""
    if not data or data[0] not in _KINDS:
        raise Rejected("frame of unknown kind")
    body = memoryview(data)[1:]
    match Kind(data[0]):
        case Kind.CONSENSUS:
            return ConsensusFrame(decode_message(body))
        case Kind.SYNC:
            return SyncFrame(decode_sync(body))
        case Kind.TRANSACTIONS:
            return decode(Transactions, body, MAX_TRANSACTIONS_BYTES + 64 * 1024)
        case Kind.WANT:
            want: Want = decode(Want, body, 1024)  # type: ignore[arg-type]  # a union is a form too
            return want
        case Kind.PRESENCE:
            return decode_presence(body)
        case kind:
            assert_never(kind)


def encode_header(header: BlobHeader) -> bytes:
    """Return a blob's header."""
    return encode(header, BlobHeader)


def decode_header(data: bytes) -> BlobHeader:
    """Decode a blob's header; raise `Rejected` unless it is one."""
    return decode(BlobHeader, data, MAX_HEADER_BYTES)  # type: ignore[arg-type]  # a union is a form too
