"""A member that nobody can reach is not waited for to the end of a phase: votes that name it, and what they do.

Security assumption: at most f members are faulty. A member is left out of a phase by the votes of q members, as a phase
ends by the votes of q members (`Expire`): at least q - f honest ones found no way to it. Neither f liars nor somebody
who cuts the lines of f members to it leave anybody out. Who is left out is absent: not blamed, and expected again after
a new `ready`. Whoever can cut the lines of q - f honest members can have a member left out after a second instead of
after a whole deadline, `MAX_LEASHES` times in a study; after that it has full deadlines again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import Expire, Gone
from fednode.ledger.sums.course import with_item
from fednode.ledger.sums.records import Leashes, OpenPhase

MAX_LEASHES = 2
"""How often in one study a member is left out before its time is over."""


def vote_on_time(phase: OpenPhase, sender: MemberId, body: Expire | Gone) -> OpenPhase:
    """Take a vote that the open phase's time is over, or on who is gone in it; the body names this phase."""
    if isinstance(body, Gone):
        return _vote_gone(phase, sender, body)
    if sender in phase.expire_votes:
        raise refuse(Refusal.ALREADY_VOTED)
    return replace(phase, expire_votes=with_item(phase.expire_votes, sender))


def _vote_gone(phase: OpenPhase, sender: MemberId, body: Gone) -> OpenPhase:
    """Take a vote on who is gone in the open phase, in place of the sender's last one; it may name nobody."""
    votes = dict(phase.gone_votes)
    if not set(body.members) <= set(phase.expected):
        raise refuse(Refusal.NOT_AWAITED)
    if votes.get(sender, ()) == body.members:
        raise refuse(Refusal.ALREADY_VOTED)
    votes[sender] = body.members
    return replace(phase, gone_votes=tuple(sorted((voter, named) for voter, named in votes.items() if named)))


def left_out(phase: OpenPhase, quorum: int, leashes: Leashes) -> frozenset[MemberId]:
    """Return the expected members that have not posted and that `quorum` members take for gone."""
    spent = {member for member, count in leashes if count >= MAX_LEASHES}
    named = Counter(member for _, members in phase.gone_votes for member in members)
    return frozenset(
        member for member, count in named.items()
        if count >= quorum and member not in phase.posted and member not in spent
    )


def without(phase: OpenPhase, members: Iterable[MemberId]) -> OpenPhase:
    """Return the phase as if these had never been expected."""
    gone = set(members)
    return replace(phase, expected=tuple(member for member in phase.expected if member not in gone))


def count_leashes(leashes: Leashes, members: Iterable[MemberId]) -> Leashes:
    """Return the counts after `members` were left out once more."""
    counts = Counter(dict(leashes))
    counts.update(members)
    return tuple(sorted(counts.items()))
