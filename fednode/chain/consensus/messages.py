"""What replicas say to each other, and the one check every message passes before a replica sees it.

Proposals and votes are signed by their sender; everything else carries signed material and needs no signature of
its own. Messages are decoded and verified once, outside: the replica gets `Verified` values.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, assert_never

from fednode import crypto
from fednode.chain.block import MAX_BLOCK_BYTES, Block, check_form
from fednode.chain.vote import (
    MAX_MEMBERS,
    PREVOTE,
    PROPOSAL,
    Certificate,
    Evidence,
    HeightField,
    MemberSet,
    SignatureCheck,
    ViewField,
    Vote,
    verify_certificate,
    verify_evidence,
    verify_vote,
)
from fednode.codec import U8, Bytes32, Size, decode, encode, tagged
from fednode.errors import Rejected

MAX_MESSAGE_BYTES = MAX_BLOCK_BYTES + 256 * 1024
"""Largest consensus message: a block with the votes or the certificate beside it."""

MAX_VALUES = 2
"""Different values kept and passed on per sender, view and kind: two prove the double vote, more are noise."""

KINDS_OF_VOTES = 2
"""A bundle holds prevotes and precommits."""

MAX_BUNDLE = MAX_MEMBERS * KINDS_OF_VOTES * MAX_VALUES
"""Votes in one bundle of the largest federation, see `bundle_bound`."""

Bitmap = Annotated[bytes, Size(1, (MAX_MEMBERS + 7) // 8)]


@tagged(1)
@dataclass(frozen=True, slots=True)
class Proposal:
    """The leader's block for a view. `vote` is its signature: value = block hash, valid_view = -1 for a new block."""

    vote: Vote
    block: Block

    def __post_init__(self) -> None:
        if self.vote.kind != PROPOSAL or self.vote.height != self.block.header.height:
            raise ValueError("signature of another kind or height")


@tagged(3)
@dataclass(frozen=True, slots=True)
class Decision:
    """A final block with its proof."""

    block: Block
    certificate: Certificate

    def __post_init__(self) -> None:
        if self.block.header.height != self.certificate.height:
            raise ValueError("certificate of another height")


@tagged(4)
@dataclass(frozen=True, slots=True)
class Polka:
    """q or more prevotes of one view for one value: what a proposal of an earlier block rests on."""

    votes: Annotated[tuple[Vote, ...], Size(1, MAX_MEMBERS)]

    def __post_init__(self) -> None:
        first = self.votes[0]
        if any(
            (vote.kind, vote.height, vote.view, vote.value) != (PREVOTE, first.height, first.view, first.value)
            for vote in self.votes
        ):
            raise ValueError("a polka holds prevotes of one view for one value")
        _check_ascending(self.votes)


@tagged(5)
@dataclass(frozen=True, slots=True)
class ViewCertificate:
    """Votes of one height that moved the sender to its view; whoever lags behind follows from them."""

    votes: Annotated[tuple[Vote, ...], Size(1, MAX_BUNDLE)]

    def __post_init__(self) -> None:
        if any(vote.height != self.votes[0].height for vote in self.votes):
            raise ValueError("votes of several heights")
        statements = {(vote.sender, vote.kind, vote.view, vote.value, vote.valid_view) for vote in self.votes}
        if len(statements) < len(self.votes):
            raise ValueError("a vote stands twice in one bundle")
        places = Counter((vote.sender, vote.kind, vote.view) for vote in self.votes)
        if max(places.values()) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} votes of one member for one place")


@tagged(6)
@dataclass(frozen=True, slots=True)
class VoteSummary:
    """What the sender has of a view: it asks for the votes (bits by member order) and the proposal it lacks."""

    height: HeightField
    view: ViewField
    has_proposal: bool
    prevotes: Bitmap
    precommits: Bitmap


@tagged(7)
@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Asks for the body of a block that has votes at this height."""

    height: HeightField
    block_hash: Bytes32


@tagged(8)
@dataclass(frozen=True, slots=True)
class BlockResponse:
    """The body asked for."""

    block: Block


@tagged(10)
@dataclass(frozen=True, slots=True)
class Status:
    """Where the sender's chain ends: an unproven claim that only says whom to ask."""

    version: U8
    chain_id: Bytes32
    height: HeightField
    block_hash: Bytes32


ConsensusMessage = (
    Proposal
    | Vote
    | Decision
    | Polka
    | ViewCertificate
    | VoteSummary
    | BlockRequest
    | BlockResponse
    | Evidence
    | Status
)


def _check_ascending(votes: tuple[Vote, ...]) -> None:
    if any(left.sender >= right.sender for left, right in itertools.pairwise(votes)):
        raise ValueError("votes must be in member order, one per member")


def bundle_bound(member_count: int) -> int:
    """Return how many votes, and so signature checks, one bundle may hold: members x kinds x two values each."""
    return member_count * KINDS_OF_VOTES * MAX_VALUES


def make_bundles(votes: Iterable[Vote], member_count: int) -> list[ViewCertificate]:
    """Return votes of one height as bundles within `bundle_bound`, each vote once, in the given order."""
    distinct, bound = list(dict.fromkeys(votes)), bundle_bound(member_count)
    return [ViewCertificate(tuple(distinct[at : at + bound])) for at in range(0, len(distinct), bound)]


def encode_message(message: ConsensusMessage) -> bytes:
    """Return the canonical bytes of a message, its union number first."""
    return encode(message, ConsensusMessage)


def decode_message(data: bytes | memoryview) -> ConsensusMessage:
    """Decode foreign bytes; raise `Rejected` unless they are one well-formed message. Signatures are not checked."""
    return decode(ConsensusMessage, data, MAX_MESSAGE_BYTES)  # type: ignore[arg-type]  # a union is a form too


def verify_message(
    message: ConsensusMessage,
    members: MemberSet,
    chain_id: bytes,
    check: SignatureCheck = crypto.is_signature_valid,
    is_known: Callable[[Vote], bool] = lambda vote: False,
) -> None:
    """Raise `Rejected` unless every signature in the message holds and every block is what its header says.

    `members` is the set of the height under decision. `is_known`: whether this very vote, its signature included, was
    checked before; it is not checked again. Whether a proposer's turn it is, and whether a block is valid, depends on
    the chain: the replica checks that.
    """
    def verify_votes(votes: tuple[Vote, ...]) -> None:
        new = [vote for vote in votes if not is_known(vote)]
        for vote in new:  # what costs nothing comes before the first signature
            members.key_of(vote.sender)
        for vote in new:
            verify_vote(vote, members, chain_id, check)

    match message:
        case Vote():
            if message.kind == PROPOSAL:
                raise Rejected("a proposal without its block")
            verify_votes((message,))
        case Proposal():
            verify_vote(message.vote, members, chain_id, check)
            if message.block.hash != message.vote.value:
                raise Rejected("proposal signed for another block")
            check_form(message.block)
        case Decision():
            if message.block.hash != message.certificate.block_hash:
                raise Rejected("certificate of another block")
            verify_certificate(message.certificate, members, chain_id, check)
            check_form(message.block)
        case Polka():
            if len(message.votes) < members.quorum:
                raise Rejected("polka without a quorum")
            verify_votes(message.votes)
        case ViewCertificate():
            if any(vote.kind == PROPOSAL for vote in message.votes):
                raise Rejected("a proposal without its block")
            if len(message.votes) > bundle_bound(len(members)):
                raise Rejected(f"more than {bundle_bound(len(members))} votes in a bundle")
            verify_votes(message.votes)
        case BlockResponse():
            check_form(message.block)
        case Evidence():
            verify_evidence(message, members, chain_id, check)
        case VoteSummary() | BlockRequest() | Status():
            pass
        case _:
            assert_never(message)
