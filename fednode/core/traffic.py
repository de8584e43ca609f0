"""Frames between members, and transactions on their way into a block: this node's own, and those that wait here.

Security assumption: a member may send a transaction to some and not to others. One that lies in a pool keeps its owner
from voting that a phase is over, so a message that only one member has could hold a phase open for ever: what has
waited here for a while is passed on to all, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

from fednode.chain.block import MAX_TRANSACTIONS_BYTES
from fednode.chain.consensus.messages import ConsensusMessage, decode_message, encode_message
from fednode.chain.sync import SyncMessage, decode_sync, encode_sync
from fednode.codec import U32, Bytes32, Size, decode, encode, tagged
from fednode.core import effects as do
from fednode.core.effects import log
from fednode.core.presence import Presence, decode_presence, encode_presence
from fednode.core.quota import ORDINARY, Bounds
from fednode.crypto import Signer
from fednode.effects import Asked, StartTimer
from fednode.errors import Rejected
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.application import LedgerApplication
from fednode.ledger.bodies import Body
from fednode.ledger.sums.phases import RoundBody
from fednode.ledger.transactions import MAX_TRANSACTION_BYTES, Transaction, sign_transaction
from fednode.smpc.messages import ChunkRef

# --- frames between members: one byte that says what a frame is, then its canonical bytes -------------------------
# Security assumption: the connection proves which member sent a frame; nothing else about its bytes is believed. A
# frame that does not decode is `Rejected`, scored against its sender and dropped.


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


# --- this node's own transactions on their way onto the ledger ----------------------------------------------------
# A transaction can get lost: pools are bounded, connections break, and a later nonce of ours may be committed first
# and make an earlier one worthless. So each body is kept until a block carries it, sent again while it does not, and
# signed anew when its nonce was overtaken. Whether it still makes sense is its machine's business: it submits again
# if not.


VALIDITY_BLOCKS = 100
"""Heights for which a transaction of ours stays good; phase messages are refused long before."""

KEEP_MS = 60_000
"""After this a body is given up: the longest phases last a minute, and machines submit again what they still owe."""

RESEND_MS = 1_000
MAX_PENDING = 60
"""Below the pool's bound of 64 per member."""


@dataclass(slots=True)
class _Pending:
    transaction: Transaction
    since_ms: int


class Outbox:
    """Signs bodies, remembers them until they are final. Nonces are microseconds of the clock, always rising."""

    def __init__(self, chain_id: bytes, member: MemberId, signer: Signer) -> None:
        self._chain_id = chain_id
        self._member = member
        self._signer = signer
        self._last_nonce = 0
        self.closed: str | None = None
        """Why nothing is signed on this chain any more; None as long as it is."""
        self._pending: dict[Hash, _Pending] = {}
        self._bodies: set[Body] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def begin_after(self, nonce: int) -> None:
        """Go on from the nonce the ledger has seen: a clock that was set back must not make everything refused."""
        self._last_nonce = max(self._last_nonce, nonce)

    def sign(self, body: Body, height: int, now_ms: int) -> Transaction | None:
        """Return a new transaction for `body`, or None if the same body is on its way, too much is, or it is closed."""
        if self.closed is not None or len(self._pending) >= MAX_PENDING or body in self._bodies:
            return None
        return self._sign(body, height, now_ms, now_ms)

    def _sign(self, body: Body, height: int, now_ms: int, since_ms: int) -> Transaction:
        self._last_nonce = max(self._last_nonce + 1, 1000 * now_ms)
        transaction = sign_transaction(
            self._signer, self._chain_id, self._member, self._last_nonce, Height(height + VALIDITY_BLOCKS), body
        )
        self._pending[transaction.txid] = _Pending(transaction, since_ms)
        self._bodies.add(body)
        return transaction

    def forget(self, transaction: Transaction) -> None:
        """Give a transaction up."""
        if self._pending.pop(transaction.txid, None) is not None:
            self._bodies.discard(transaction.body)

    def on_block(
        self, committed: Iterable[Transaction], own_nonce: int, height: int, now_ms: int
    ) -> list[Transaction]:
        """Forget what the block carries; return new transactions for bodies whose nonce was overtaken."""
        self._last_nonce = max(self._last_nonce, own_nonce)
        for transaction in committed:
            self.forget(transaction)
        lost = [p for p in self._pending.values() if p.transaction.nonce <= own_nonce]
        for pending in lost:
            self.forget(pending.transaction)
        return [self._sign(pending.transaction.body, height, now_ms, pending.since_ms) for pending in lost]

    def due(self, height: int, now_ms: int) -> list[Transaction]:
        """Return what should be sent again, signed anew where its height is past; give up what is too old.

        A node that has just come back signs for a height that the others left long ago.
        """
        for pending in list(self._pending.values()):
            is_old = now_ms - pending.since_ms > KEEP_MS
            if is_old or pending.transaction.valid_until <= height:
                self.forget(pending.transaction)
            if not is_old and pending.transaction.valid_until <= height:
                self._sign(pending.transaction.body, height, now_ms, pending.since_ms)
        return [pending.transaction for pending in self._pending.values()]


# --- what waits for a block -----------------------------------------------------------------------------------------


GATHER_MS = 5
"""Own transactions leave in at most so many frames: a frame costs everybody more to read than a transaction in it."""

MAX_REFUSED = 64
"""Transactions of one frame that the pool may refuse before the rest goes unread: checking a thousand signatures for
nothing takes a tenth of a second."""


class Traffic:
    """The outbox, and what is done about the pool. The caller wakes consensus after anything was added."""

    def __init__(self, chain: LedgerApplication, chain_id: bytes, member: MemberId, signer: Signer) -> None:
        self._chain = chain
        self.outbox = Outbox(chain_id, member, signer)
        self._public_key = signer.public_key
        self._gathered: list[bytes] = []
        self._is_gathering = False
        self._is_timed = False
        self._waiting: set[Hash] = set()
        self._passed_on: set[Hash] = set()

    def receive(self, items: Iterable[bytes]) -> tuple[bool, list[do.Effect]]:
        """Take others' transactions; return whether one is new.

        One that is late, doubled or too many is no fault of whoever sent it; raises `Rejected` for one that no honest
        member has: it does not decode, or its signature does not hold.
        """
        is_new, refused = False, 0
        for data in items:
            transaction = self._chain.read(data)
            try:
                is_welcome = self._chain.is_welcome(transaction)
            except Rejected:
                refused += 1
                if refused >= MAX_REFUSED:
                    break
                continue
            if is_welcome:
                self._chain.check.count += 1
                is_new |= self._chain.admit(self._chain.verify(data, transaction))
        return is_new, self._start_timer() if is_new else []

    def submit(self, body: Body, now_ms: int) -> list[do.Effect]:
        """Sign a body and send it, unless it is on its way already."""
        transaction = self.outbox.sign(body, self._chain.height, now_ms)
        return [] if transaction is None else self.send([transaction])

    def send(self, transactions: Sequence[Transaction]) -> list[do.Effect]:
        """Send own transactions to all, in as few frames as they fit, and keep them here: the leader may be another,
        or this node.
        """
        effects = self._gather(transactions)
        for transaction in transactions:
            try:
                self._chain.admit(self._chain.adopt(transaction, self._public_key))
            except Rejected as error:
                effects.append(log("own-transaction-refused", reason=error.reason, id=transaction.txid))
        return effects + self._start_timer() if transactions else effects

    def _gather(self, transactions: Sequence[Transaction]) -> list[do.Effect]:
        """Send at once what comes after a pause, and the rest in one frame every `GATHER_MS`."""
        if not transactions:
            return []
        self._gathered += [transaction.data for transaction in transactions]
        return [] if self._is_gathering else self.flush()

    def flush(self) -> list[do.Effect]:
        """Send what was gathered."""
        self._is_gathering = bool(self._gathered)
        if not self._gathered:
            return []
        frames = [do.SendToAll(frame) for frame in _frames(self._gathered)]
        self._gathered = []
        return [*frames, Asked(do.Own.CORE, StartTimer(do.CoreTimer.GATHER, GATHER_MS))]

    def on_block(self, committed: Iterable[Transaction], own_nonce: int, now_ms: int) -> list[do.Effect]:
        """Forget what the block carries; send again what its nonces made worthless.

        Except a round's message that came too late: a phase that has ended never opens again, and a phase that needs
        only a quorum leaves the slowest member with one every time, until it could say nothing more.
        """
        again: list[Transaction] = []
        for transaction in self.outbox.on_block(committed, own_nonce, self._chain.height, now_ms):
            if _is_of_a_phase(transaction.body) and not self._chain.judge(transaction).ok:
                self.outbox.forget(transaction)
            else:
                again.append(transaction)
        return self.send(again)

    def send_again(self, now_ms: int) -> list[do.Effect]:
        """Send own transactions again, and pass on what was already here the last time."""
        self._is_timed = False
        own = self.outbox.due(self._chain.height, now_ms)
        effects = self.send(own)
        mine = {transaction.txid for transaction in own}
        here = {transaction.txid: transaction.data for transaction in self._chain.pool if transaction.txid not in mine}
        self._passed_on &= here.keys()
        stuck = [txid for txid in here if txid in self._waiting and txid not in self._passed_on]
        effects += [do.SendToAll(frame) for frame in _frames(here[txid] for txid in stuck)]
        self._passed_on.update(stuck)
        self._waiting = here.keys() - self._passed_on
        return effects + self._start_timer() if own or self._waiting else effects

    def greet(self, member: MemberId) -> list[do.Effect]:
        """Give a member that has just come everything that waits."""
        return [do.SendFrame(member, frame) for frame in _frames(transaction.data for transaction in self._chain.pool)]

    def _start_timer(self) -> list[do.Effect]:
        if self._is_timed:
            return []
        self._is_timed = True
        return [Asked(do.Own.CORE, StartTimer(do.CoreTimer.RESEND, RESEND_MS))]


def _is_of_a_phase(body: Body) -> bool:
    """Whether a body means something in one phase of a round only."""
    return isinstance(body, RoundBody)


def _frames(items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames with all of `items`, none larger or longer than a frame may be."""
    part: list[bytes] = []
    size_bytes = 0
    for data in items:
        if len(part) == MAX_TRANSACTIONS_IN_FRAME or size_bytes + len(data) > MAX_TRANSACTIONS_BYTES:
            yield TRANSACTIONS.frame(Transactions(tuple(part)))
            part, size_bytes = [], 0
        part.append(data)
        size_bytes += len(data)
    if part:
        yield TRANSACTIONS.frame(Transactions(tuple(part)))
