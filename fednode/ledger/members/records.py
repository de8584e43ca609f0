"""What the ledger remembers of proposals about members, of roles, of rules, and of members that signed twice."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from fednode.chain.vote import MAX_MEMBERS, Id, Ids
from fednode.codec import U8, U16, U32, U64, Bytes32, Name, Size
from fednode.ledger.members.bodies import MAX_HOLDER_BYTES
from fednode.ledger.members.identity import IdentityCard
from fednode.sums.bodies import Member

MAX_PROPOSALS = 16
MAX_ROOTS = 64
MAX_ROLES = 1000
MAX_OFFENCES = 64
MAX_VERSIONS = 255


class Change(IntEnum):
    """What a proposal would change."""

    ADD = 1
    REMOVE = 2


@dataclass(frozen=True, slots=True)
class Report:
    """A candidate's proof that it follows the chain: accepted at `accepted_height`."""

    height: U64
    state_root: Bytes32
    accepted_height: U64


@dataclass(frozen=True, slots=True)
class Approval:
    """Since which block, and which block time, q members approve of a candidate."""

    height: U64
    time_ms: U64


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """An open proposal. The number of a candidate is its own from here on, whether it is ever admitted or not.

    `approved` is kept for candidates only. `is_here` holds within one block: from the candidate's word to the block's
    end, where it becomes a member.
    """

    number: U32
    change: U8
    member: Id
    card: IdentityCard | None
    reason: Annotated[str, Size(0, 200)]
    proposer: Id
    height: U64
    approvals: Ids = ()
    report: Report | None = None
    approved: Approval | None = None
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """Open proposals, and what numbers come next.

    `roots` are the latest (height, state root), kept only while a candidate might name one. `changed_height` is the
    height of the last block that changed the members or a key of theirs.
    """

    next_member: U32
    next_proposal: U32 = 1
    changed_height: U64 = 0
    proposals: Annotated[tuple[ProposalRecord, ...], Size(0, MAX_PROPOSALS)] = ()
    roots: Annotated[tuple[tuple[U64, Bytes32], ...], Size(0, MAX_ROOTS)] = ()

    def proposal(self, number: int) -> ProposalRecord | None:
        """Return an open proposal."""
        return next((open_ for open_ in self.proposals if open_.number == number), None)


@dataclass(frozen=True, slots=True)
class UsedKey:
    """A key that a member had once; it never comes back."""

    member: Id
    height: U64


@dataclass(frozen=True, slots=True)
class RoleRecord:
    """A role of one key, and the votes for changing it that have not carried yet."""

    role: U8
    holder: Annotated[bytes, Size(20, MAX_HOLDER_BYTES)]
    is_granted: bool
    height: U64
    votes: Ids = ()


@dataclass(frozen=True, slots=True)
class RoleList:
    """All roles, ascending by role and holder."""

    roles: Annotated[tuple[RoleRecord, ...], Size(0, MAX_ROLES)]


@dataclass(frozen=True, slots=True)
class VersionSpan:
    """From which height on a version of the rules is in force, up to the next span."""

    version: U8
    from_height: U64


@dataclass(frozen=True, slots=True)
class VersionPlan:
    """A version of the rules, from when on, and the first release of the program that knows it."""

    version: U8
    from_height: U64
    release: Annotated[str, Size(1, 40)]


@dataclass(frozen=True, slots=True)
class VersionProposal:
    """Who has voted for a plan that is not decided yet; `height` is that of the first vote."""

    plan: VersionPlan
    height: U64
    voters: Ids = ()


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """Every version so far, the decided one to come, and the votes; every member has one of these at most."""

    spans: Annotated[tuple[VersionSpan, ...], Size(1, MAX_VERSIONS)]
    plan: VersionPlan | None = None
    open: Annotated[tuple[VersionProposal, ...], Size(0, MAX_MEMBERS)] = ()

    @property
    def current(self) -> int:
        """The latest version that was put in force."""
        return self.spans[-1].version


@dataclass(frozen=True, slots=True)
class Offence:
    """A double vote that the chain holds evidence of: of which height, and in which block the evidence lies."""

    height: U64
    recorded_height: U64


@dataclass(frozen=True, slots=True)
class FlagRecord:
    """The double votes of one member. They flag it for the others' judgement; nothing follows by itself."""

    member: Id
    count: U32
    offences: Annotated[tuple[Offence, ...], Size(0, MAX_OFFENCES)]


@dataclass(frozen=True, slots=True)
class OriginRecord:
    """Which chain this one succeeds, and the block that it goes on after."""

    chain_id: Bytes32
    height: U64
    block_hash: Bytes32


@dataclass(frozen=True, slots=True)
class ChainRecord:
    """The chain itself, as the genesis named it."""

    chain_id: Bytes32
    name: Name
    protocol_version: U16
    genesis_ms: U64


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A hospital. `network_key` is the Ed25519 key of its libp2p peer id."""

    member: Member
    name: Name
    sign_key: Bytes32
    network_key: Bytes32
    addresses: Annotated[tuple[Annotated[str, Size(1, 200)], ...], Size(0, 8)]


@dataclass(frozen=True, slots=True)
class MemberList:
    """All hospitals, ascending by number."""

    members: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class NonceRecord:
    """Highest nonce a sender has used."""

    nonce: U64
