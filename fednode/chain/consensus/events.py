"""What can happen to a replica. Every event carries the UTC clock: a replica has none of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from fednode.chain.block import Block
from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.vote import Certificate
from fednode.crypto import Verified
from fednode.ids import Height, MemberId, View


class Timer(IntEnum):
    """Kinds of timer. A replica has at most one of each: starting one replaces the one of its kind."""

    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    RESEND = 4
    NEXT_HEIGHT = 5


@dataclass(frozen=True, slots=True)
class ViewTimer:
    """A timer of one kind, and the view it was started in, which tells one that fires late. Timers of a kind are equal:
    a new one replaces the one before."""

    kind: Timer
    height: Height = field(compare=False)
    view: View = field(compare=False)


@dataclass(frozen=True, slots=True)
class Started:
    """The node is up, timers and network work: the first event, once."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class Received:
    """A message that passed `verify_message`. `message.sender` is the peer that delivered it, not who signed it."""

    message: Verified[ConsensusMessage]
    now_ms: int


@dataclass(frozen=True, slots=True)
class OutOfReach:
    """`peer` sent a message of a `height` long decided here, or far ahead; nothing in it was checked."""

    peer: MemberId
    height: Height
    now_ms: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer asked for by `StartTimer` has run out."""

    kind: Timer
    height: Height
    view: View
    now_ms: int


@dataclass(frozen=True, slots=True)
class WorkArrived:
    """The pool got a transaction. Harmless when repeated or untrue."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A member can be reached (again)."""

    peer: MemberId
    now_ms: int


@dataclass(frozen=True, slots=True)
class PeersGone:
    """Which members cannot be reached any more: the whole list, whenever it changes. Only a hint: it may be wrong."""

    peers: frozenset[MemberId]
    now_ms: int


@dataclass(frozen=True, slots=True)
class BlockSynced:
    """Catch-up found a final block: link and certificate are checked, execution is not."""

    block: Block
    certificate: Certificate
    now_ms: int


Event = Started | Received | OutOfReach | TimerFired | WorkArrived | PeerUp | PeersGone | BlockSynced
