"""What a replica alone asks of the node. The rest is what every machine asks for (`fednode.effects`).

Security assumption: `Persist` is durable (fsync) when it is done. A vote that leaves before its record is on disk can
be contradicted after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass

from fednode.chain.block import Block, Tip
from fednode.chain.consensus.events import ViewTimer
from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.consensus.recovery import SignRecord
from fednode.chain.vote import Certificate
from fednode.effects import Broadcast, DropPeer, Persist, Send, StartTimer
from fednode.ids import Height, MemberId


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
class FoundEvidence:
    """A member signed two contradicting votes; the next blocks will carry the proof."""

    member: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class StoppedSigning:
    """This node will not vote any more, and why: follows and decides, but signs nothing until the cause is removed."""

    reason: str


Effect = (
    Persist[SignRecord] | Broadcast[ConsensusMessage] | Send[ConsensusMessage] | StartTimer[ViewTimer] | DropPeer
    | Decide | Behind | FoundEvidence | StoppedSigning
)
