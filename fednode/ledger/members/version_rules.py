"""Which version of the rules is in force at a height, by votes of the members.

Security assumption: signatures and nonces have been checked, and at most f members of any height are faulty. A version
is decided by q equal votes for the same version, height and release, at least `NOTICE_BLOCKS` before that height: long
enough to see in 'fednode status' that a program has to be replaced. A member has one vote; a new one takes the place
of its last. Until its height comes a decision can be replaced by another, or taken back by q votes for the version in
force. Versions only go up.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft
from fednode.chain.vote import Ids
from fednode.ids import MemberId, quorum
from fednode.ledger.members.bodies import VersionVote
from fednode.ledger.members.reading import VERSIONS_KEY, get_members, get_versions
from fednode.ledger.members.records import VersionPlan, VersionProposal, VersionRecord, VersionSpan
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.sums.course import BlockTime, with_item

NOTICE_BLOCKS = 10
"""Blocks between a decision and the first block of the version, at least."""


def begin_version(draft: Draft, at: BlockTime) -> None:
    """Put a planned version in force at its height."""
    record = get_versions(draft)
    plan = record.plan
    if plan is None or at.height < plan.from_height:
        return
    spans = (*record.spans, VersionSpan(plan.version, plan.from_height))
    votes = tuple(vote for vote in record.open if vote.plan.version > plan.version)
    draft.write(VERSIONS_KEY, VersionRecord(spans, None, votes))


def vote_version(draft: Draft, at: BlockTime, sender: MemberId, body: VersionVote) -> None:
    """Count a vote; raise `Rejected` with a `Refusal` code where it can come to nothing."""
    record, plan = get_versions(draft), VersionPlan(body.version, body.from_height, body.release)
    if plan == record.plan:
        raise refuse(Refusal.NOTHING_CHANGES)
    if body.version < record.current:
        raise refuse(Refusal.VERSION_NOT_NEWER)
    if body.version == record.current:
        if record.plan is None or record.plan.from_height != body.from_height:
            raise refuse(Refusal.NOTHING_CHANGES)
    elif body.from_height < at.height + NOTICE_BLOCKS:
        raise refuse(Refusal.VERSION_TOO_SOON)
    if any(vote.plan == plan and sender in vote.voters for vote in record.open):
        raise refuse(Refusal.ALREADY_VOTED)
    votes = [replace(vote, voters=_without(vote.voters, sender)) for vote in record.open]
    if not any(vote.plan == plan for vote in votes):
        votes.append(VersionProposal(plan, at.height))
    found = tuple(
        replace(vote, voters=with_item(vote.voters, sender)) if vote.plan == plan else vote for vote in votes
    )
    draft.write(VERSIONS_KEY, replace(record, open=tuple(vote for vote in found if vote.voters)))


def _without(voters: Ids, gone: MemberId) -> Ids:
    return tuple(voter for voter in voters if voter != gone)


def settle_version(draft: Draft, at: BlockTime) -> None:
    """Decide what has enough votes of the members of the next height; forget votes that came to nothing in time."""
    record = get_versions(draft)
    members = [member.member for member in get_members(draft)]
    found = record
    for vote in record.open:
        count = sum(voter in members for voter in vote.voters)
        if count >= quorum(len(members)) and _is_timely(found, vote.plan, at):
            is_withdrawal = vote.plan.version == record.current
            found = replace(found, plan=None if is_withdrawal else vote.plan)
            break
    left = tuple(vote for vote in found.open if vote.plan != found.plan and _is_timely(found, vote.plan, at))
    if (found.plan, left) != (record.plan, record.open):
        draft.write(VERSIONS_KEY, replace(found, open=left))


def _is_timely(record: VersionRecord, plan: VersionPlan, at: BlockTime) -> bool:
    """Whether a vote can still be decided in the block after `at`, or in this one."""
    if plan.version == record.current:
        return record.plan is not None and record.plan.from_height == plan.from_height
    return plan.from_height >= at.height + NOTICE_BLOCKS
