"""Reading the chain's name, versions, members, candidates, roles and flags from the state: what all others ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fednode.chain.state import Changes, Source
from fednode.chain.vote import Member, MemberSet
from fednode.errors import StorageError
from fednode.ids import MemberId, quorum
from fednode.ledger.members.bodies import Role
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.members.records import (
    ChainRecord,
    Change,
    FlagRecord,
    MemberList,
    MemberRecord,
    Membership,
    NonceRecord,
    ProposalRecord,
    RoleList,
    RoleRecord,
    UsedKey,
    VersionRecord,
    VersionSpan,
)

CHAIN_KEY = b"chain"
ORIGIN_KEY = b"origin"
MEMBERS_KEY = b"members"
MEMBERSHIP_KEY = b"membership"
ROLES_KEY = b"roles"
VERSIONS_KEY = b"versions"

T = TypeVar("T")


def nonce_key(member: int) -> bytes:
    """Key of a sender's highest nonce."""
    return b"nonce/" + member.to_bytes(2, "big")


def used_key(key: bytes) -> bytes:
    """Key under which a member's former key is remembered."""
    return b"usedkey/" + key


def flag_key(member: int) -> bytes:
    """Key of a member's double votes."""
    return b"flag/" + member.to_bytes(2, "big")


# --- readers ---------------------------------------------------------------------------------------------------


def _require(record: T | None, what: str) -> T:
    if record is None:
        raise StorageError(f"the state has no {what}: it was not made from a genesis")
    return record


def get_chain(source: Source) -> ChainRecord:
    """Return what the genesis said about the chain."""
    return _require(source.read(CHAIN_KEY, ChainRecord), "chain record")


def get_versions(source: Source) -> VersionRecord:
    """Return the version in force, the one to come and the votes; a chain that never voted lives by its genesis."""
    found = source.read(VERSIONS_KEY, VersionRecord)
    return found if found is not None else VersionRecord((VersionSpan(get_chain(source).protocol_version, 1),))


def version_at(source: Source, height: int) -> int:
    """Return the version of a height, given the state of the height before it (or later, if nothing is planned)."""
    record = get_versions(source)
    if record.plan is not None and height >= record.plan.from_height:
        return record.plan.version
    return next(span.version for span in reversed(record.spans) if span.from_height <= height)


def get_members(source: Source) -> tuple[MemberRecord, ...]:
    """Return all members, ascending."""
    return _require(source.read(MEMBERS_KEY, MemberList), "members").members


def get_member_set(source: Source) -> MemberSet:
    """Return the voters, as headers and certificates know them."""
    return MemberSet(tuple(Member(record.member, record.sign_key) for record in get_members(source)))


def get_nonce(source: Source, member: int) -> int:
    """Return the highest nonce a member has used; 0 if none."""
    record = source.read(nonce_key(member), NonceRecord)
    return 0 if record is None else record.nonce


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hospital that is proposed as a member: it may follow the chain and report."""

    member: MemberId
    card: IdentityCard
    proposal: ProposalRecord

    @property
    def record(self) -> MemberRecord:
        """The candidate as the member it would become."""
        return member_of_card(self.member, self.card)


def member_of_card(member: MemberId, card: IdentityCard) -> MemberRecord:
    """Return the record of a member with this card."""
    return MemberRecord(member, card.name, card.sign_key, card.network_key, card.addresses)


def get_membership(source: Source) -> Membership:
    """Return open proposals and counters; a chain that never had a proposal goes on from its founders."""
    found = source.read(MEMBERSHIP_KEY, Membership)
    return found if found is not None else Membership(max(record.member for record in get_members(source)) + 1)


def is_voted_out(source: Source, member: MemberId) -> bool:
    """Whether a number was given to a hospital that is neither member nor candidate any more: it never comes back."""
    is_given = member < get_membership(source).next_member
    return is_given and all(record.member != member for record in get_followers(source))


def has_quorum(proposal: ProposalRecord, members: Sequence[MemberRecord]) -> bool:
    """Whether q of these members vote for a proposal; votes of others, once members, do not count."""
    return sum(record.member in proposal.approvals for record in members) >= quorum(len(members))


def get_candidates(source: Source) -> tuple[Candidate, ...]:
    """Return all hospitals proposed as members, ascending."""
    found = source.read(MEMBERSHIP_KEY, Membership)
    if found is None:
        return ()
    return tuple(
        Candidate(open_.member, open_.card, open_)
        for open_ in found.proposals if open_.change == Change.ADD and open_.card is not None
    )


def get_followers(source: Source) -> tuple[MemberRecord, ...]:
    """Return members and candidates: everybody who may connect."""
    return (*get_members(source), *(candidate.record for candidate in get_candidates(source)))


def have_followers_changed(changes: Changes) -> bool:
    """Whether a block touched what decides who may connect."""
    return any(key in (MEMBERS_KEY, MEMBERSHIP_KEY) for key, _ in changes)


def find_member(source: Source, sign_key: bytes) -> MemberId | None:
    """Return the number of the member or candidate with this sign key."""
    return next((record.member for record in get_followers(source) if record.sign_key == sign_key), None)


def is_key_used(source: Source, key: bytes) -> bool:
    """Whether the key is or was a member's or a candidate's."""
    keys = {key for r in get_followers(source) for key in (r.sign_key, r.network_key)}
    return key in keys or source.read(used_key(key), UsedKey) is not None


def get_roles(source: Source) -> tuple[RoleRecord, ...]:
    """Return every role that was ever voted on, ascending by role and holder."""
    found = source.read(ROLES_KEY, RoleList)
    return () if found is None else found.roles


def has_role(source: Source, holder: bytes, role: Role) -> bool:
    """Whether a key or wallet address has a role. Sign keys of members are hospitals without a vote."""
    if role == Role.HOSPITAL and any(record.sign_key == holder for record in get_members(source)):
        return True
    return any(r.is_granted and r.role == role and r.holder == holder for r in get_roles(source))


def get_flag(source: Source, member: int) -> FlagRecord | None:
    """Return the double votes of a member that the chain holds evidence of, None if there are none."""
    return source.read(flag_key(member), FlagRecord)
