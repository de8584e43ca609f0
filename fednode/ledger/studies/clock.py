"""What follows from a block's messages: votes take effect, phases end, rounds open and close.

Security assumption: everything here is a pure function of the records; it runs once at the end of a block for every
study the block touched, in order of their ids, so all nodes do the same. A phase that was just opened waits for
messages of a later block, except where everybody it would wait for is already known to be absent.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft
from fednode.ids import MemberId, quorum
from fednode.ledger.members.reading import get_members
from fednode.ledger.records import OpenPhase, RoundRecord
from fednode.ledger.studies.beginning import Beginning
from fednode.ledger.studies.reading import get_round, get_studies, get_study, round_key, study_key
from fednode.ledger.studies.records import StudyRecord, StudyStatus
from fednode.ledger.studies.round_life import close_round, members_to_wait_for, open_round, pinned_members
from fednode.ledger.sums.binding_posts import forget_checks
from fednode.ledger.sums.course import BlockTime, RoundEnd, close_span
from fednode.ledger.sums.phases import limit_phase, row_of
from fednode.sums.bounds import min_included
from fednode.sums.phase import Phase


def note_freeze_block(draft: Draft, at: BlockTime) -> None:
    """Before a block's messages: write down the hash of a study's freeze block, if that was the one before.

    A header names its parent, so the next block is the first that can know it, and the first that can hold a link.
    """
    for study in get_studies(draft):
        record = get_round(draft, study)
        if record is None or not record.attempt.is_frozen or record.attempt.freeze_height + 1 != at.height:
            continue
        attempt = replace(record.attempt, freeze_block=at.parent)
        draft.write(round_key(study), replace(record, attempt=attempt))


def settle_study(draft: Draft, at: BlockTime, study_id: bytes) -> None:
    """Bring a study to rest at the end of a block: repeat until nothing follows any more."""
    while True:
        study = get_study(draft, study_id)
        if study is None:
            raise AssertionError("a touched study is on the ledger")
        current = get_round(draft, study_id)
        counted = _count_votes(study, at, len(get_members(draft)), current is not None)
        if counted != study:
            draft.write(study_key(study_id), counted)
        has_moved = _step_study(draft, at, counted) if current is None else _step_round(draft, at, counted, current)
        if not has_moved:
            return


def _count_votes(study: StudyRecord, at: BlockTime, member_count: int, is_round_open: bool) -> StudyRecord:
    """Let votes that have reached their number take effect."""
    needed = quorum(member_count)
    if study.status == StudyStatus.CREATED:
        if len(study.approvals) >= needed:
            beginning = Beginning(at.height, at.time_ms)
            return replace(
                study, status=StudyStatus.WAITING, reason="", hospitals=study.approvals, beginning=beginning
            )
        if len(study.rejects) > member_count - needed:
            return replace(study, status=StudyStatus.REJECTED, reason="rejected by vote")
        return study
    if len(study.stop_votes) >= needed:
        status = StudyStatus.STOPPING if is_round_open else StudyStatus.STOPPED
        return replace(study, status=status, reason="stopped by vote", join=None)
    if study.kept_out is not None and len(study.kept_out.readmit_votes) >= needed:
        study = replace(study, kept_out=None)
    if len(study.resume_votes) >= needed:
        status = StudyStatus.RUNNING if study.beginning is None else StudyStatus.WAITING
        return replace(study, status=status, reason="", resume_votes=(), failures_in_row=0)
    return study


# --- a study without a round -------------------------------------------------------------------------------------

def _step_study(draft: Draft, at: BlockTime, study: StudyRecord) -> bool:
    """Open or close JOIN, or open a round; return whether something changed."""
    if study.status == StudyStatus.RUNNING:
        return open_round(draft, at, study)
    if study.status != StudyStatus.WAITING:
        return False
    if study.beginning is not None:
        moved = _begin(study, study.beginning, len(get_members(draft)))
    else:
        moved = _open_join(draft, at, study) if study.join is None else _step_join(draft, study, study.join)
    if moved == study:
        return False
    draft.write(study_key(study.study), moved)
    return True


def _begin(study: StudyRecord, beginning: Beginning, member_count: int) -> StudyRecord:
    """Let the first round open once every hospital of the study is ready, or q members vote to begin without it."""
    ready = study.ready_members
    missing = (member for member in study.hospitals if member not in ready)
    if len(ready) < min_included(member_count):
        return study
    if not all(beginning.is_left_out(member, member_count) for member in missing):
        return study
    return replace(study, status=StudyStatus.RUNNING, reason="")


def _open_join(draft: Draft, at: BlockTime, study: StudyRecord) -> StudyRecord:
    members = get_members(draft)
    if len(study.ready_members) < min_included(len(members)):
        return study
    join = OpenPhase(
        study.next_phase, Phase.JOIN, 0, at.height, at.time_ms, study.terms.phase_timeout_ms,
        tuple(r.member for r in members if r.member not in study.faulty_members), study.ready_members,
    )
    return replace(study, join=join, next_phase=study.next_phase + 1)


def _step_join(draft: Draft, study: StudyRecord, join: OpenPhase) -> StudyRecord:
    """Start when everybody is there, or the time is over; pause if a sum may only be repeated over absent members."""
    ready = study.ready_members
    pinned = pinned_members(study)
    wanted = join.expected if pinned is None else pinned
    if set(wanted) <= set(ready):
        return replace(study, status=StudyStatus.RUNNING, reason="", join=None)
    if len(join.expire_votes) >= quorum(len(get_members(draft))):
        if study.pin is None:
            return replace(study, status=StudyStatus.RUNNING, reason="", join=None)
        missing = members_to_wait_for(study, join.expected)
        reason = f"the last round may only be repeated over the same members; missing: {missing}"
        return replace(study, status=StudyStatus.PAUSED, reason=reason, join=None)
    return study if join.posted == ready else replace(study, join=replace(join, posted=ready))


# --- the round ---------------------------------------------------------------------------------------------------

def _step_round(draft: Draft, at: BlockTime, study: StudyRecord, current: RoundRecord) -> bool:
    """End the open phase if its messages are in or its time is over; return whether it ended."""
    row = row_of(current)
    is_complete = row.is_complete(draft, current)
    if not is_complete and len(current.phase.expire_votes) < current.threshold:
        return False
    follow_up = row.follow(draft, close_span(current, at, not is_complete), at)
    record = follow_up.record if isinstance(follow_up, RoundEnd) else follow_up
    newly_absent = {absence.member for absence in record.absent[len(current.absent):]}
    if newly_absent:
        study = _note_absent(study, at, newly_absent)
    if record.attempt.number != current.attempt.number or isinstance(follow_up, RoundEnd):
        forget_checks(draft, current)
    if isinstance(follow_up, RoundEnd):
        close_round(draft, at, study, follow_up)
        return True
    if newly_absent:
        draft.write(study_key(study.study), study)
    draft.write(round_key(study.study), limit_phase(record, study.terms))
    return True


def _note_absent(study: StudyRecord, at: BlockTime, members: set[MemberId]) -> StudyRecord:
    """A member that was absent must say again that it is ready, and is expected from the next round on."""
    ready = tuple(
        replace(entry, absent_height=at.height) if entry.member in members else entry for entry in study.ready
    )
    return replace(study, ready=ready)
