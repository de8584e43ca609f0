"""Frames between members: one byte that says which machine a frame is for, then its canonical bytes.

Security assumption: the connection proves which member sent a frame; nothing else about its bytes is believed. A
frame that does not decode is `Rejected`, scored against its sender and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fednode.chain.block import MAX_TRANSACTIONS_BYTES
from fednode.chain.consensus.messages import ConsensusMessage, decode_message, encode_message
from fednode.chain.sync import SyncMessage, decode_sync, encode_sync
from fednode.codec import U32, Bytes32, Size, decode, encode, tagged
from fednode.core.presence import Presence, decode_presence, encode_presence
from fednode.core.quota import ORDINARY, Bounds
from fednode.errors import Rejected
from fednode.ledger.bodies import Body
from fednode.ledger.transactions import MAX_TRANSACTION_BYTES, Transaction
from fednode.smpc.messages import ChunkRef

MAX_TRANSACTIONS_IN_FRAME = 1024
MAX_HEADER_BYTES = 16 * 1024
"""A chunk's header carries its Merkle path: 32 bytes per level, at most 8 levels."""


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


Message = TypeVar("Message")


@dataclass(frozen=True, slots=True, eq=False)
class FrameClass(Generic[Message]):
    """A class of frames: all that tells one from another. A row in `CLASSES` and a receiver are all a class takes.

    `code` is the first byte of its frames. `encode` and `read` turn a message into the bytes after it and back; `read`
    raises `Rejected` for all others, and checks no signature. `bounds` are how much a member may send of all classes
    with these bounds together. `is_fetched`: its bytes are asked for while this node catches up, and do not count then.
    `is_for_candidates`: a candidate, who follows the chain and reports, sends them too. For people: `form` is the
    record or union of records in it, `inside` the union of what such a record carries, `source` where that comes from.
    """

    code: int
    name: str
    form: object
    source: str
    encode: Callable[[Message], bytes]
    read: Callable[[memoryview], Message]
    inside: object = None
    bounds: Bounds = ORDINARY
    is_fetched: bool = False
    is_for_candidates: bool = False

    def frame(self, message: Message) -> bytes:
        """Return the frame of a message."""
        return bytes([self.code]) + self.encode(message)


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame; no signature in its message has been checked, and nothing in it is proven."""

    kind: FrameClass[Any]
    message: Any


def _read_transactions(body: memoryview) -> Transactions:
    return decode(Transactions, body, MAX_TRANSACTIONS_BYTES + 64 * 1024)


def _encode_want(want: Want) -> bytes:
    return encode(want, Want)


def _read_want(body: memoryview) -> Want:
    return decode(Want, body, 1024)  # type: ignore[arg-type]  # a union is a form too


CHAIN = "var/chain (the ledger, the same at every member), signed with keys/keystore.toml"

CONSENSUS: FrameClass[ConsensusMessage] = FrameClass(
    1, "CONSENSUS", ConsensusMessage, CHAIN, encode_message, decode_message
)
SYNC: FrameClass[SyncMessage] = FrameClass(
    2, "SYNC", SyncMessage, CHAIN, encode_sync, decode_sync, is_fetched=True, is_for_candidates=True
)
TRANSACTIONS: FrameClass[Transactions] = FrameClass(
    3, "TRANSACTIONS", Transaction, CHAIN, encode, _read_transactions, inside=Body, is_for_candidates=True
)
WANT: FrameClass[Want] = FrameClass(
    4, "WANT", Want, "nothing but the name of what is asked for", _encode_want, _read_want
)
PRESENCE: FrameClass[Presence] = FrameClass(5, "PRESENCE", Presence, CHAIN, encode_presence, decode_presence)

CLASSES: dict[int, FrameClass[Any]] = {row.code: row for row in (CONSENSUS, SYNC, TRANSACTIONS, WANT, PRESENCE)}
"""Every class of frames by its code. Decoder, quota and the list of what leaves this site are read off it."""


def class_of(data: bytes) -> FrameClass[Any] | None:
    """Return the class of a frame, None if there is none."""
    return CLASSES.get(data[0]) if data else None


def decode_frame(data: bytes) -> Frame:
    """Decode a frame; raise `Rejected` unless it is one. Signatures are not checked here."""
    kind = class_of(data)
    if kind is None:
        raise Rejected("frame of unknown class")
    return Frame(kind, kind.read(memoryview(data)[1:]))


def encode_header(header: BlobHeader) -> bytes:
    """Return a blob's header."""
    return encode(header, BlobHeader)


def decode_header(data: bytes) -> BlobHeader:
    """Decode a blob's header; raise `Rejected` unless it is one."""
    return decode(BlobHeader, data, MAX_HEADER_BYTES)  # type: ignore[arg-type]  # a union is a form too
