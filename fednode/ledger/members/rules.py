"""Who becomes, stays and ceases to be a member, by votes of the members; and the roles of other keys.

Security assumption: signatures and nonces have been checked, and at most f members of any height are faulty. A change
of the members takes effect at the height after the block that decides it, and a block decides at most one: the sets
of two neighbouring heights differ by one member or one member's keys. Numbers and keys are never used again.

    invite   any member proposes a card; the candidate gets a number and may follow the chain
    observe  the candidate reports the state root of a recent block: it has executed the chain itself
    approve  only then may members vote; q votes of the set of a block allow the candidate to come in, no more
    enter    the candidate names a root from after the q-th vote: "here, at this state". The votes are counted again by
             the set of that block, and the next has one member more. Without that word within `ENTRY_BLOCKS` and
             `ENTRY_MS` the votes are void: no vote alone can make a quorum of members that are not there
    remove   any member proposes and thereby votes; the target stays in the count until it is gone; never below four
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fednode.chain.state import Draft, Source, State
from fednode.chain.vote import Evidence
from fednode.codec import pack
from fednode.crypto import Domain, is_signature_valid
from fednode.dialling import problem_of
from fednode.errors import GenesisError
from fednode.ids import MemberId, quorum
from fednode.ledger.members.bodies import (
    MemberAddresses,
    MemberApprove,
    MemberPropose,
    MemberRemove,
    MemberReport,
    MemberRotate,
    RoleVote,
    VersionVote,
)
from fednode.ledger.members.identity import IdentityCard, check_card
from fednode.ledger.members.names import skeletons
from fednode.ledger.members.reading import (
    MEMBERS_KEY,
    MEMBERSHIP_KEY,
    ROLES_KEY,
    flag_key,
    get_chain,
    get_flag,
    get_followers,
    get_members,
    get_membership,
    get_roles,
    has_quorum,
    is_key_used,
    member_of_card,
    used_key,
)
from fednode.ledger.members.records import (
    MAX_OFFENCES,
    MAX_PROPOSALS,
    MAX_ROLES,
    MAX_ROOTS,
    Approval,
    Change,
    FlagRecord,
    MemberList,
    MemberRecord,
    Membership,
    Offence,
    ProposalRecord,
    Report,
    RoleList,
    RoleRecord,
    UsedKey,
)
from fednode.ledger.members.version_rules import vote_version
from fednode.ledger.refusals import Refusal, Rule, refuse
from fednode.ledger.studies.records import StudyRecord, get_studies, get_study, study_key
from fednode.ledger.studies.round_life import without_named
from fednode.ledger.sums.course import BlockTime, with_item
from fednode.texts import is_plain

MIN_MEMBERS = 4
"""Fewer tolerate nobody; a federation may be founded smaller but never votes itself there."""
MAX_VOTED_MEMBERS = 100
MAX_OPEN_PER_MEMBER = 4
ENTRY_BLOCKS = 100
ENTRY_MS = 86_400_000
"""How many blocks, and how much block time, after the q-th vote a candidate may still come in."""


def rotation_message(chain_id: bytes, member: MemberId, card: IdentityCard) -> bytes:
    """Return what a member's new sign key signs when it takes over from the old one."""
    return pack(("fednode-rotate", chain_id, int(member), card.content()))


# --- proposals ---------------------------------------------------------------------------------------------------

def _add_proposal(draft: Draft, membership: Membership, proposal: ProposalRecord) -> None:
    own = sum(open_.proposer == proposal.proposer for open_ in membership.proposals)
    if len(membership.proposals) >= MAX_PROPOSALS or own >= MAX_OPEN_PER_MEMBER:
        raise refuse(Refusal.TOO_MANY_PROPOSALS)
    next_member = membership.next_member + (proposal.change == Change.ADD)
    draft.write(MEMBERSHIP_KEY, replace(
        membership, next_member=next_member, next_proposal=membership.next_proposal + 1,
        proposals=(*membership.proposals, proposal),
    ))


def check_new_card(source: Source, card: IdentityCard, me: MemberId | None = None) -> None:
    """Refuse a card that proves nothing, or with a key or name that is another's. `me` may keep its own."""
    try:
        check_card(card)
    except GenesisError:
        raise refuse(Refusal.BAD_CARD) from None
    keys = (card.sign_key, card.network_key)
    mine = next((record for record in get_members(source) if record.member == me), None)
    kept = () if mine is None else (mine.sign_key, mine.network_key)
    is_taken = any(key not in kept and is_key_used(source, key) for key in keys)
    if len(set(keys)) < len(keys) or is_taken:
        raise refuse(Refusal.KEY_USED)
    if any(skeletons(card.name) & skeletons(r.name) for r in get_followers(source) if r.member != me):
        raise refuse(Refusal.NAME_ALIKE)


def _propose(draft: Draft, at: BlockTime, sender: MemberId, body: MemberPropose) -> None:
    membership = get_membership(draft)
    if len(get_members(draft)) >= MAX_VOTED_MEMBERS or membership.next_member >= 2**16:
        raise refuse(Refusal.TOO_MANY_MEMBERS)
    check_new_card(draft, body.card)
    _add_proposal(draft, membership, ProposalRecord(
        membership.next_proposal, Change.ADD, MemberId(membership.next_member), body.card, "", sender, at.height,
    ))


def _remove(draft: Draft, at: BlockTime, sender: MemberId, body: MemberRemove) -> None:
    membership, members = get_membership(draft), get_members(draft)
    if not any(record.member == body.member for record in members):
        raise refuse(Refusal.NOT_A_MEMBER)
    if len(members) <= MIN_MEMBERS:
        raise refuse(Refusal.FEW_MEMBERS_LEFT)
    if any((p.change, p.member) == (Change.REMOVE, body.member) for p in membership.proposals):
        raise refuse(Refusal.NOTHING_CHANGES)
    _add_proposal(draft, membership, ProposalRecord(
        membership.next_proposal, Change.REMOVE, body.member, None, body.reason, sender, at.height, (sender,),
    ))


def _write_proposal(draft: Draft, membership: Membership, changed: ProposalRecord) -> None:
    proposals = tuple(changed if open_.number == changed.number else open_ for open_ in membership.proposals)
    draft.write(MEMBERSHIP_KEY, replace(membership, proposals=proposals))


def _approve(draft: Draft, at: BlockTime, sender: MemberId, body: MemberApprove) -> None:
    membership = get_membership(draft)
    proposal = membership.proposal(body.proposal)
    if proposal is None:
        raise refuse(Refusal.NO_SUCH_PROPOSAL)
    if proposal.change == Change.ADD and proposal.report is None:
        raise refuse(Refusal.NOT_OBSERVED)
    if sender in proposal.approvals:
        raise refuse(Refusal.ALREADY_VOTED)
    _write_proposal(draft, membership, replace(proposal, approvals=with_item(proposal.approvals, sender)))


def _report(draft: Draft, at: BlockTime, sender: MemberId, body: MemberReport) -> None:
    membership = get_membership(draft)
    proposal = next((p for p in membership.proposals if (p.change, p.member) == (Change.ADD, sender)), None)
    if proposal is None:
        raise refuse(Refusal.NO_SUCH_PROPOSAL)
    if proposal.report is not None and proposal.approved is None:
        raise refuse(Refusal.ALREADY_POSTED)
    if (body.height, body.state_root) not in membership.roots:
        raise refuse(Refusal.WRONG_ROOT)
    if proposal.approved is not None:
        _enter(draft, at, membership, proposal, proposal.approved, body)
        return
    _write_proposal(draft, membership, replace(proposal, report=Report(body.height, body.state_root, at.height)))


def _enter(
    draft: Draft, at: BlockTime, membership: Membership, proposal: ProposalRecord, approved: Approval,
    body: MemberReport,
) -> None:
    """Let an approved candidate in at the end of this block, if it knows the state after its approval."""
    members = get_members(draft)
    if body.height < approved.height:
        raise refuse(Refusal.BEFORE_APPROVAL)
    if membership.changed_height == at.height:
        raise refuse(Refusal.MEMBERS_CHANGE_DUE)
    if len(members) >= MAX_VOTED_MEMBERS:
        raise refuse(Refusal.TOO_MANY_MEMBERS)
    if not has_quorum(proposal, members):
        raise refuse(Refusal.NOT_APPROVED)
    _write_proposal(draft, replace(membership, changed_height=at.height), replace(proposal, is_here=True))


# --- a member's own keys and addresses ---------------------------------------------------------------------------

def _write_member(draft: Draft, record: MemberRecord) -> None:
    members = tuple(record if old.member == record.member else old for old in get_members(draft))
    draft.write(MEMBERS_KEY, MemberList(members))


def _own_record(draft: Draft, sender: MemberId) -> MemberRecord:
    return next(record for record in get_members(draft) if record.member == sender)


def _rotate(draft: Draft, at: BlockTime, sender: MemberId, body: MemberRotate) -> None:
    membership, old, card = get_membership(draft), _own_record(draft, sender), body.card
    if membership.changed_height == at.height:
        raise refuse(Refusal.MEMBERS_CHANGE_DUE)
    check_new_card(draft, card, sender)
    message = rotation_message(get_chain(draft).chain_id, sender, card)
    if not is_signature_valid(card.sign_key, Domain.IDENTITY_CARD, message, body.new_signature):
        raise refuse(Refusal.BAD_CARD)
    new = member_of_card(sender, card)
    if new == old:
        raise refuse(Refusal.NOTHING_CHANGES)
    kept = (new.sign_key, new.network_key)
    for key in (old.sign_key, old.network_key):
        if key not in kept:
            draft.write(used_key(key), UsedKey(sender, at.height))
    _write_member(draft, new)
    draft.write(MEMBERSHIP_KEY, replace(membership, changed_height=at.height))


def _move(draft: Draft, at: BlockTime, sender: MemberId, body: MemberAddresses) -> None:
    old = _own_record(draft, sender)
    if old.addresses == body.addresses:
        raise refuse(Refusal.NOTHING_CHANGES)
    are_plain = all(address.isascii() and is_plain(address) for address in body.addresses)
    if not are_plain or problem_of(body.addresses):
        raise refuse(Refusal.BAD_CARD)
    _write_member(draft, replace(old, addresses=body.addresses))


# --- roles -------------------------------------------------------------------------------------------------------

def _vote_role(draft: Draft, at: BlockTime, sender: MemberId, body: RoleVote) -> None:
    """Count a vote; a member may vote either way once it is carried, and the votes begin anew then."""
    roles = {(record.role, record.holder): record for record in get_roles(draft)}
    place = (body.role, body.holder)
    if place not in roles and len(roles) >= MAX_ROLES:
        raise refuse(Refusal.TOO_MANY_ROLES)
    record = roles.get(place, RoleRecord(body.role, body.holder, False, at.height))
    if record.is_granted == body.is_grant:
        raise refuse(Refusal.NOTHING_CHANGES)
    if sender in record.votes:
        raise refuse(Refusal.ALREADY_VOTED)
    members = [member.member for member in get_members(draft)]
    votes = tuple(vote for vote in with_item(record.votes, sender) if vote in members)
    roles[place] = replace(record, votes=votes)
    if len(votes) >= quorum(len(members)):
        roles[place] = RoleRecord(body.role, body.holder, body.is_grant, at.height)
    draft.write(ROLES_KEY, RoleList(tuple(roles[key] for key in sorted(roles))))


# --- once a block ------------------------------------------------------------------------------------------------

def begin_membership(draft: Draft, before: State, at: BlockTime) -> None:
    """Remember the root of the block before, while a candidate might name it; void approvals that are too old."""
    membership = get_membership(before)
    roots = membership.roots
    if _are_roots_wanted(membership.proposals):
        roots = (*roots, (at.height - 1, bytes(before.root)))[-MAX_ROOTS:]
    proposals = tuple(_lapsed(open_, at) for open_ in membership.proposals)
    if (roots, proposals) != (membership.roots, membership.proposals):
        draft.write(MEMBERSHIP_KEY, replace(membership, roots=roots, proposals=proposals))


def _are_roots_wanted(proposals: Iterable[ProposalRecord]) -> bool:
    return any(p.change == Change.ADD and (p.report is None or p.approved is not None) for p in proposals)


def _lapsed(proposal: ProposalRecord, at: BlockTime) -> ProposalRecord:
    """Begin anew with a candidate that did not come: it has to show itself before anybody may vote again."""
    approved = proposal.approved
    if approved is None:
        return proposal
    if at.height <= approved.height + ENTRY_BLOCKS and at.time_ms <= approved.time_ms + ENTRY_MS:
        return proposal
    return replace(proposal, approvals=(), report=None, approved=None)


def flag_members(draft: Draft, at: BlockTime, evidence: Iterable[Evidence]) -> None:
    """Note who signed twice, by the evidence the block carries."""
    for piece in evidence:
        old = get_flag(draft, piece.sender) or FlagRecord(piece.sender, 0, ())
        offences = (*old.offences, Offence(piece.height, at.height))[-MAX_OFFENCES:]
        draft.write(flag_key(piece.sender), FlagRecord(piece.sender, old.count + 1, offences))


def settle_membership(draft: Draft, at: BlockTime, lapse_blocks: int) -> bool:
    """Let at most one change take effect; return whether the members change at the next height.

    An open proposal is dropped after `lapse_blocks`: a candidate is not to follow for ever.
    """
    membership, members = get_membership(draft), get_members(draft)
    open_ = tuple(
        _with_approval(p, at, members) for p in membership.proposals
        if p.approved is not None or p.height + lapse_blocks > at.height
    )
    done = next((p for p in open_ if p.is_here), None)
    if done is None and membership.changed_height != at.height:
        done = next((p for p in open_ if _is_removal_due(p, members)), None)
    membership = replace(membership, proposals=open_)
    if done is not None:
        left = tuple(p for p in open_ if p.number != done.number and p.member != done.member)
        membership = replace(membership, proposals=left, changed_height=at.height)
        _change(draft, at, done, members)
    if membership.roots and not _are_roots_wanted(membership.proposals):
        membership = replace(membership, roots=())
    draft.write(MEMBERSHIP_KEY, membership)
    return done is not None


def _with_approval(proposal: ProposalRecord, at: BlockTime, members: tuple[MemberRecord, ...]) -> ProposalRecord:
    """Note since when q of the members approve of a candidate; forget it when they are no longer q."""
    if proposal.change != Change.ADD or has_quorum(proposal, members) == (proposal.approved is not None):
        return proposal
    return replace(proposal, approved=None if proposal.approved is not None else Approval(at.height, at.time_ms))


def _is_removal_due(proposal: ProposalRecord, members: tuple[MemberRecord, ...]) -> bool:
    """Whether q of the current members vote for a removal, and it is still possible."""
    if proposal.change != Change.REMOVE or len(members) <= MIN_MEMBERS:
        return False
    return any(record.member == proposal.member for record in members) and has_quorum(proposal, members)


def _change(draft: Draft, at: BlockTime, carried: ProposalRecord, members: tuple[MemberRecord, ...]) -> None:
    if carried.change == Change.ADD:
        assert carried.card is not None, "a proposal to add carries a card"
        added = (*members, member_of_card(carried.member, carried.card))  # a later candidate may have come in first
        draft.write(MEMBERS_KEY, MemberList(tuple(sorted(added, key=lambda record: record.member))))
        return
    gone = next(record for record in members if record.member == carried.member)
    for key in (gone.sign_key, gone.network_key):
        draft.write(used_key(key), UsedKey(gone.member, at.height))
    draft.write(MEMBERS_KEY, MemberList(tuple(record for record in members if record != gone)))
    for study in get_studies(draft):
        record = get_study(draft, study)
        if record is not None:
            draft.write(study_key(study), without_member(record, gone.member))


def without_member(study: StudyRecord, gone: MemberId) -> StudyRecord:
    """Forget that a removed member was ready and how it voted.

    A pinned set that names it cannot be summed again, unless it is kept out of that as faulty.
    """
    def without(votes: tuple[MemberId, ...]) -> tuple[MemberId, ...]:
        return tuple(vote for vote in votes if vote != gone)

    study = without_named(study, gone)
    kept_out = study.kept_out
    if kept_out is not None:
        kept_out = replace(kept_out, readmit_votes=without(kept_out.readmit_votes))
    beginning = study.beginning
    if beginning is not None:
        votes = tuple(replace(vote, voters=without(vote.voters)) for vote in beginning.without if vote.member != gone)
        beginning = replace(beginning, without=votes)
    return replace(
        study, hospitals=without(study.hospitals), beginning=beginning,
        ready=tuple(entry for entry in study.ready if entry.member != gone), kept_out=kept_out,
        approvals=without(study.approvals), rejects=without(study.rejects),
        resume_votes=without(study.resume_votes), stop_votes=without(study.stop_votes),
    )


MEMBER_RULES: dict[type, Rule] = {
    MemberPropose: _propose,
    MemberRemove: _remove,
    MemberApprove: _approve,
    MemberReport: _report,
    MemberRotate: _rotate,
    MemberAddresses: _move,
    RoleVote: _vote_role,
    VersionVote: vote_version,
}
"""What each kind of transaction about members, roles and versions does."""
