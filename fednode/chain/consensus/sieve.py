"""What is worth checking signatures for: a look at a message's height, turn and use before anything is spent on it.

Security assumption: nothing in the message is proven yet, so nothing here changes what this member believes. A wrong
verdict costs a message that honest members send again, never safety.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from fednode import crypto
from fednode.chain.consensus.events import Event, OutOfReach, Received
from fednode.chain.consensus.messages import (
    BlockRequest,
    BlockResponse,
    ConsensusMessage,
    Decision,
    Polka,
    Proposal,
    Status,
    ViewCertificate,
    VoteSummary,
    verify_message,
)
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import Evidence, SignatureCheck, Vote
from fednode.crypto import Verified
from fednode.errors import Rejected
from fednode.ids import Height, MemberId


class Worth(Enum):
    """What to do with a message."""

    CHECK = 1
    """Verify it, then let the replica have it."""
    OUT_OF_REACH = 2
    """It is of a height whose votes are counted no more, or not yet: only where its sender stands is of interest."""
    NOTHING = 3
    """It can change nothing here."""


def admit(
    message: ConsensusMessage,
    peer: MemberId,
    replica: Replica,
    chain_id: bytes,
    now_ms: int,
    check: SignatureCheck = crypto.is_signature_valid,
) -> Event | None:
    """Return what a message of `peer` means to the replica, with every signature that counts checked; None if nothing.

    A vote that is here already is compared byte for byte and not checked again. Raises `Rejected` if no honest member
    sends the message.
    """
    match sift(message, replica):
        case Worth.CHECK:
            verify_message(message, replica.tip.members, chain_id, check, replica.has_vote)
            return Received(Verified(message, peer), now_ms)
        case Worth.OUT_OF_REACH:
            return OutOfReach(peer, height_of(message), now_ms)
        case _:
            return None


def height_of(message: ConsensusMessage) -> Height:
    """Return the height a message is about."""
    match message:
        case Polka() | ViewCertificate():
            return message.votes[0].height
        case Proposal():
            return message.vote.height
        case Decision():
            return message.certificate.height
        case BlockResponse():
            return message.block.height
        case _:
            return message.height


def sift(message: ConsensusMessage, replica: Replica) -> Worth:
    """Return what a message is worth; raise `Rejected` if no honest member sends it, whatever its signatures."""
    lowest = replica.tip.height
    height = height_of(message)
    match message:
        case Vote() | Polka() | ViewCertificate():
            # counted are those of the last block, of the height under decision, and of the one after; and if this
            # member's key has signed something that it knows nothing of, it must learn so
            votes = (message,) if isinstance(message, Vote) else message.votes
            is_of_use = lowest <= height <= lowest + 2 or any(vote.sender == replica.member for vote in votes)
            return Worth.CHECK if is_of_use else Worth.OUT_OF_REACH
        case Proposal():
            return _sift_proposal(message, replica)
        case Decision():
            if height <= lowest:
                return Worth.NOTHING
            return Worth.CHECK if height == lowest + 1 else Worth.OUT_OF_REACH
        case BlockResponse():
            return Worth.CHECK if replica.awaits(message.block.hash) else Worth.NOTHING
        case Evidence():
            return Worth.CHECK if replica.wants(message) else Worth.NOTHING
        case VoteSummary() | BlockRequest() | Status():
            return Worth.CHECK
        case _:
            assert_never(message)


def _sift_proposal(proposal: Proposal, replica: Replica) -> Worth:
    vote, next_height = proposal.vote, replica.tip.height + 1
    if vote.height != next_height:
        if vote.height < next_height:
            return Worth.NOTHING
        return Worth.CHECK if vote.height == next_height + 1 else Worth.OUT_OF_REACH
    if vote.sender != replica.tip.proposer(vote.view):
        raise Rejected("proposal out of turn")
    return Worth.NOTHING if replica.has_proposal(vote) else Worth.CHECK
