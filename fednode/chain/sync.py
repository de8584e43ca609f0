"""Catch-up: fetch final blocks from members that are ahead, prove each one, hand it to the replica.

Security assumption: the member set of the next height is known (it comes from executing the blocks so far), at most f
of its members are faulty. A peer's status is a claim and only says whom to ask; a block counts once q signatures
over it hold. There is no sync mode to be held in: consensus goes on beside this machine.

The machine asks one peer at a time for at most `MAX_RANGE` blocks and passes them on one by one, the next when the tip
has moved: a block's execution names the members who signed its successor. Re-execution is the replica's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, assert_never

from fednode import crypto
from fednode.chain.block import MAX_BLOCK_BYTES, Block, Tip, check_form, check_link
from fednode.chain.consensus.messages import Decision, Status
from fednode.chain.vote import Certificate, HeightField, SignatureCheck, verify_certificate
from fednode.codec import Size, decode, encode, tagged
from fednode.effects import DropPeer, Send, StartTimer, TimerFired
from fednode.errors import Rejected
from fednode.ids import PROTOCOL_VERSION, Height, MemberId

MAX_RANGE = 64
MAX_RANGE_BYTES = 512 * 1024
MAX_SYNC_MESSAGE_BYTES = MAX_RANGE_BYTES + MAX_BLOCK_BYTES
"""A response ends with the block that reaches `MAX_RANGE_BYTES`."""

STATUS_MS = 10_000
RESPONSE_MS = 5_000
GRACE_MS = 300
"""A peer one block ahead in its votes is no news: our own decision is usually under way."""


@tagged(11)
@dataclass(frozen=True, slots=True)
class BlockRangeRequest:
    """Asks for the blocks `first` to `last`, both included."""

    first: HeightField
    last: HeightField

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.last < self.first + MAX_RANGE:
            raise ValueError("range empty or too long")


@tagged(12)
@dataclass(frozen=True, slots=True)
class BlockRangeResponse:
    """Blocks in ascending order with their certificates; fewer than asked for if they are large or not there."""

    blocks: Annotated[tuple[Decision, ...], Size(0, MAX_RANGE)]


SyncMessage = Status | BlockRangeRequest | BlockRangeResponse


def encode_sync(message: SyncMessage) -> bytes:
    """Return the canonical bytes of a message, its union number first."""
    return encode(message, SyncMessage)


def decode_sync(data: bytes | memoryview) -> SyncMessage:
    """Decode foreign bytes; raise `Rejected` unless they are one well-formed message. Nothing in it is proven yet."""
    return decode(SyncMessage, data, MAX_SYNC_MESSAGE_BYTES)  # type: ignore[arg-type]  # a union is a form too


def make_response(blocks: Iterable[tuple[Block, Certificate]]) -> BlockRangeResponse:
    """Return as many of `blocks` as one response may carry; reads no further than needed."""
    chosen: list[Decision] = []
    size_bytes = 0
    for block, certificate in blocks:
        chosen.append(Decision(block, certificate))
        size_bytes += len(block.encoded)
        if len(chosen) == MAX_RANGE or size_bytes >= MAX_RANGE_BYTES:
            break
    return BlockRangeResponse(tuple(chosen))


# --- events ---------------------------------------------------------------------------------------------------

class SyncTimer(IntEnum):
    """Timers of catch-up, at most one of each."""

    STATUS = 1
    RESPONSE = 2
    GRACE = 3


@dataclass(frozen=True, slots=True)
class SyncStarted:
    """The node is up: the first event, once."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A member can be reached (again)."""

    peer: MemberId


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A member cannot be reached any more."""

    peer: MemberId


@dataclass(frozen=True, slots=True)
class SyncReceived:
    """A decoded message; nothing in it has been checked."""

    peer: MemberId
    message: SyncMessage


@dataclass(frozen=True, slots=True)
class PeerAhead:
    """The replica saw `peer` vote at `height`, later than it can (its effect `Behind`)."""

    peer: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class TipMoved:
    """The replica decided or adopted a block."""

    tip: Tip


SyncEvent = SyncStarted | PeerConnected | PeerLost | SyncReceived | PeerAhead | TipMoved | TimerFired[SyncTimer]


# --- effects --------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class ServeRange:
    """Read blocks `first` to `last` from the store, `make_response`, send to `peer`."""

    peer: MemberId
    first: Height
    last: Height


@dataclass(frozen=True, slots=True)
class Adopt:
    """Give the block to the replica as `BlockSynced`: link and certificate hold. Then comes `TipMoved`."""

    block: Block
    certificate: Certificate


SyncEffect = Send[SyncMessage] | StartTimer[SyncTimer] | DropPeer | ServeRange | Adopt


# --- the machine ----------------------------------------------------------------------------------------------

class CatchUp:
    """Who claims to be ahead, who was asked, what waits to be adopted. Pure; `handle` is the only way in."""

    __slots__ = (
        "_asked", "_check", "_claims", "_effects", "_is_in_grace", "_owed", "_peers", "_queue", "_source", "_tip",
    )

    def __init__(self, tip: Tip, check: SignatureCheck = crypto.is_signature_valid) -> None:
        self._tip = tip
        self._check = check
        self._effects: list[SyncEffect] = []
        self._peers: set[MemberId] = set()
        self._claims: dict[MemberId, Height] = {}
        self._asked: tuple[MemberId, BlockRangeRequest] | None = None
        self._queue: deque[Decision] = deque()
        self._source: MemberId | None = None
        self._is_in_grace = False
        self._owed: dict[MemberId, int] = {}
        """Answers a peer has failed to give since its last good one: who boasts and never delivers is asked last."""

    @property
    def target(self) -> Height | None:
        """The highest height a peer claims that has not failed to prove one, if it is ahead of the tip."""
        claims = (height for peer, height in self._claims.items() if not self._owed.get(peer))
        best = max(claims, default=Height(0))
        return best if best > self._tip.height else None

    @property
    def lag(self) -> int:
        """How many blocks the target lies ahead of the tip."""
        return 0 if self.target is None else self.target - self._tip.height

    def handle(self, event: SyncEvent) -> list[SyncEffect]:
        """Take one event; return what is to be done, in this order."""
        self._effects = []
        match event:
            case SyncStarted():
                self._effects.append(StartTimer(SyncTimer.STATUS, STATUS_MS))
            case PeerConnected():
                self._peers.add(event.peer)
                self._effects.append(Send(event.peer, self._make_status()))
            case PeerLost():
                self._peers.discard(event.peer)
                self._forget_claim(event.peer)
                self._ask()
            case SyncReceived():
                self._receive(event.peer, event.message)
            case PeerAhead():
                # whoever votes at a height has decided the one before
                self._claim(event.peer, Height(event.height - 1))
                if self._asked is None and not self._is_in_grace and event.height - 1 > self._tip.height:
                    # begun once: where blocks come faster than this, each would put off the end of it
                    self._is_in_grace = True
                    self._effects.append(StartTimer(SyncTimer.GRACE, GRACE_MS))
            case TipMoved():
                self._tip = event.tip
                self._adopt_next()
                self._ask()
            case TimerFired():
                self._on_timer(event.key)
            case _:
                assert_never(event)
        return self._effects

    def _on_timer(self, kind: SyncTimer) -> None:
        match kind:
            case SyncTimer.STATUS:
                status = self._make_status()
                self._effects.extend(Send(peer, status) for peer in sorted(self._peers))
                self._effects.append(StartTimer(SyncTimer.STATUS, STATUS_MS))
            case SyncTimer.RESPONSE:
                if self._asked is not None:
                    self._note_failure(self._asked[0])
                self._ask()
            case SyncTimer.GRACE:
                self._is_in_grace = False
                self._ask()
            case _:
                assert_never(kind)

    def _make_status(self) -> Status:
        return Status(PROTOCOL_VERSION, self._tip.chain_id, self._tip.height, self._tip.block_hash)

    def _receive(self, peer: MemberId, message: SyncMessage) -> None:
        match message:
            case Status():
                if message.version != PROTOCOL_VERSION or message.chain_id != self._tip.chain_id:
                    self._ban(peer, "status of another chain or protocol version")
                    return
                self._claim(peer, message.height)
                self._ask()
            case BlockRangeRequest():
                last = min(message.last, self._tip.height)
                if message.first <= last:
                    self._effects.append(ServeRange(peer, message.first, Height(last)))
                else:
                    self._effects.append(Send(peer, BlockRangeResponse(())))
            case BlockRangeResponse():
                self._take_response(peer, message)
            case _:
                assert_never(message)

    def _claim(self, peer: MemberId, height: Height) -> None:
        self._peers.add(peer)
        self._claims[peer] = max(height, self._claims.get(peer, Height(0)))

    def _forget_claim(self, peer: MemberId) -> None:
        """Nobody is waited for on a claim that was not proven in time."""
        self._claims.pop(peer, None)
        if self._asked is not None and self._asked[0] == peer:
            self._asked = None

    def _note_failure(self, peer: MemberId) -> None:
        self._owed[peer] = self._owed.get(peer, 0) + 1
        self._forget_claim(peer)

    def _ask(self) -> None:
        """Ask one peer that claims more than we have, unless an answer is awaited or being adopted."""
        if self._asked is not None or self._queue:
            return
        ahead = [peer for peer, height in sorted(self._claims.items()) if height > self._tip.height]
        if not ahead:
            return
        least = min(self._owed.get(peer, 0) for peer in ahead)
        ahead = [peer for peer in ahead if self._owed.get(peer, 0) == least]
        last_asked = self._source or 0
        peer = next((peer for peer in ahead if peer > last_asked), ahead[0])
        first = Height(self._tip.height + 1)
        request = BlockRangeRequest(first, Height(min(self._claims[peer], first + MAX_RANGE - 1)))
        self._asked, self._source = (peer, request), peer
        self._effects.append(Send(peer, request))
        self._effects.append(StartTimer(SyncTimer.RESPONSE, RESPONSE_MS))

    def _take_response(self, peer: MemberId, response: BlockRangeResponse) -> None:
        if self._asked is None or self._asked[0] != peer:
            return
        request = self._asked[1]
        heights = [item.certificate.height for item in response.blocks]
        if heights and heights != list(range(heights[0], heights[0] + len(heights))):
            self._ban(peer, "answered with blocks that are not in order")
        elif not heights:
            self._note_failure(peer)
        elif heights[0] != request.first:
            return  # the late answer to an earlier request: the one to this is still to come
        else:
            self._asked = None
            self._owed.pop(peer, None)
            self._queue.extend(response.blocks)
            self._adopt_next()
        self._ask()

    def _adopt_next(self) -> None:
        """Prove the next queued block and pass it on; the one after it waits for `TipMoved`."""
        while self._queue and self._queue[0].certificate.height <= self._tip.height:
            self._queue.popleft()
        if not self._queue:
            return
        item = self._queue[0]
        try:
            if item.certificate.block_hash != item.block.hash:
                raise Rejected("certificate of another block")
            check_form(item.block)
            check_link(self._tip, item.block)
            verify_certificate(item.certificate, self._tip.members, self._tip.chain_id, self._check)
        except Rejected as error:
            if self._source is not None:
                self._ban(self._source, f"block {item.certificate.height}: {error.reason}")
            return
        self._effects.append(Adopt(item.block, item.certificate))

    def _ban(self, peer: MemberId, reason: str) -> None:
        self._forget_claim(peer)
        self._peers.discard(peer)
        if peer == self._source:
            self._queue.clear()
        self._effects.append(DropPeer(peer, reason))
