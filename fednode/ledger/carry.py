"""What a successor takes over from the state its predecessor ended with.

Security assumption: none of its own; a pure function of a final state, so everybody who holds the old chain gets the
same bytes. Every kind of record is on one of two lists: a new kind that is on neither stops the tests.

Carried: keys that were revoked, roles, double votes, members kept out of a study, every closed round with the rosters
that were summed, what may not be used twice, studies and their models. Not carried: what belongs to one height or one
round. A round that was open is closed as failed by the ordinary rule: if its sum was unmasked, its set stays pinned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from fednode.chain.state import Draft, State, prefix_of
from fednode.ids import MemberId
from fednode.ledger.members.reading import MEMBERSHIP_KEY, ROLES_KEY, get_members, get_membership, get_roles
from fednode.ledger.members.records import Membership, RoleList
from fednode.ledger.members.rules import without_member
from fednode.ledger.studies.records import StudyRecord, StudyStatus, get_round, get_studies, get_study, study_key
from fednode.ledger.studies.round_life import close_round
from fednode.ledger.sums.course import BlockTime, RoundEnd

CARRIED = frozenset({
    b"studies", b"study", b"spec", b"report", b"seen", b"membership", b"usedkey", b"roles", b"flag",
})
NOT_CARRIED = frozenset({
    b"chain", b"origin", b"members", b"nonce", b"round", b"keys", b"share", b"proof", b"recheck", b"redeal",
    b"confirm", b"versions",
})

CHAIN_ENDED = "the chain ended in this round; its successor goes on"

_STATUS = {
    StudyStatus.RUNNING: StudyStatus.WAITING, StudyStatus.PAUSING: StudyStatus.PAUSED,
    StudyStatus.STOPPING: StudyStatus.STOPPED,
}

Carried = tuple[tuple[bytes, bytes], ...]
"""Keys and encoded records, ascending by key."""


def carry(state: State, end: BlockTime, members: Iterable[MemberId]) -> Carried:
    """Return what a successor with these members, by their old numbers, takes over. `end` is the last block."""
    draft = Draft(state)
    for study in get_studies(state):
        record, current = get_study(state, study), get_round(state, study)
        if record is not None and current is not None:
            close_round(draft, end, record, RoundEnd(current, CHAIN_ENDED))
    kept = frozenset(members)
    gone = [record.member for record in get_members(state) if record.member not in kept]
    for study in get_studies(state):
        closed = get_study(draft, study)
        assert closed is not None, "a listed study has a record"
        for member in gone:  # as if it had been voted out
            closed = without_member(closed, member)
        draft.write(study_key(study), _carry_study(closed))
    draft.write(MEMBERSHIP_KEY, _carry_membership(get_membership(state)))
    roles = get_roles(state)
    if roles:
        draft.write(ROLES_KEY, RoleList(tuple(replace(role, votes=()) for role in roles)))
    return tuple(_carried(draft.freeze()[0]))


def _carried(state: State) -> Iterator[tuple[bytes, bytes]]:
    return ((key, data) for key, data in state.items() if prefix_of(key) in CARRIED)


def _carry_membership(found: Membership) -> Membership:
    """Numbers are never given twice; what was proposed is proposed again."""
    return replace(found, changed_height=0, proposals=(), roots=())


def _carry_study(study: StudyRecord) -> StudyRecord:
    """Let a study wait for its members to say anew that they are ready; open votes begin again."""
    beginning = None if study.beginning is None else replace(study.beginning, since_height=0, without=())
    status = StudyStatus(study.status)
    kept_out = None if study.kept_out is None else replace(study.kept_out, readmit_votes=())
    return replace(
        study, status=_STATUS.get(status, status), created_height=0, ready=(), join=None, rejects=(), resume_votes=(),
        stop_votes=(), kept_out=kept_out, beginning=beginning, coins=replace(study.coins, heads=()),
    )
