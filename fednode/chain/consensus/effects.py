"""What a replica asks of the node. Effects are performed in order, each one finished before the next begins.

Security assumption: `Persist` is durable (fsync) when it returns. A vote that leaves before its record is on disk can
be contradicted after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.chain.block import Block, Tip
from fednode.chain.consensus.events import Timer
from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.consensus.signing import SignRecord
from fednode.chain.vote import Certificate
from fednode.ids import Height, MemberId, View


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the sign-state record and make it durable."""

    record: SignRecord


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every other member: encode once."""

    message: ConsensusMessage


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one member."""

    peer: MemberId
    message: ConsensusMessage


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Fire `TimerFired` once after `delay_ms`; replaces the running timer of this kind, if any."""

    kind: Timer
    height: Height
    view: View
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Decide:
    """The block is final: store block, certificate, state and `tip` in one durable batch."""

    block: Block
    certificate: Certificate
    tip: Tip


@dataclass(frozen=True, slots=True)
class Behind:
    """`peer` votes at a later `height` than this node can: tell the catch-up machine whom to ask."""

    peer: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class ReportPeer:
    """`peer` sent what no honest member sends; the node keeps the score."""

    peer: MemberId
    reason: str


@dataclass(frozen=True, slots=True)
class FoundEvidence:
    """A member signed two contradicting votes; the next blocks will carry the proof."""

    member: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class StoppedSigning:
    """This node will not vote any more, and why: follows and decides, but signs nothing until the cause is removed."""

    reason: str


Effect = (
    Persist | Broadcast | Send | StartTimer | Decide | Behind | ReportPeer | FoundEvidence | StoppedSigning
)
