"""What members may say about a study's life: propose, vote, pause, join. One function per kind.

Security assumption: signatures and nonces have been checked; `sender` is a member of the ledger. Functions return the
study with the message in it, or raise `Rejected` with a `Refusal` code; only `apply_create` writes to the draft.
What follows from the messages (a round opens, a pause takes effect) is decided at the end of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fednode.chain.state import Draft
from fednode.ids import MemberId, StudyId, quorum
from fednode.ledger.members.reading import get_members
from fednode.ledger.refusals import Refusal, Rule, refuse
from fednode.ledger.studies.bodies import (
    Expire,
    Gone,
    Ready,
    StudyAction,
    StudyBegin,
    StudyCreate,
    StudyPause,
    StudyTerms,
    StudyVote,
    compute_study_id,
)
from fednode.ledger.studies.records import (
    GENESIS_CREATOR,
    STUDIES_KEY,
    Beginning,
    ReadyEntry,
    SpecRecord,
    StudyList,
    StudyRecord,
    StudyStatus,
    Without,
    get_round,
    get_studies,
    get_study,
    round_key,
    spec_key,
    study_key,
)
from fednode.ledger.studies.round_life import close_round, members_to_wait_for, open_round, pinned_members
from fednode.ledger.sums.checks import is_seal_key_valid
from fednode.ledger.sums.course import BlockTime, RoundEnd, close_span
from fednode.ledger.sums.leash import count_leashes, left_out, vote_on_time, without
from fednode.ledger.sums.phases import limit_phase, row_of
from fednode.ledger.sums.records import (
    CoinHead,
    Coins,
    OpenPhase,
    RoundRecord,
    SeenRecord,
    coin_seen_key,
    forget_checks,
)
from fednode.sums.bounds import MIN_INCLUDED, min_included
from fednode.sums.phase import Phase

MAX_STUDIES = 1000

MAX_UNDECIDED = 16
"""Studies of one member that wait for approval: every node looks at every open study after every block."""


def write_new_study(draft: Draft, record: StudyRecord, spec: bytes) -> None:
    """Put a study on the ledger; refuse a second one of the same name, or one too many."""
    studies = get_studies(draft)
    if record.study in studies:
        raise refuse(Refusal.STUDY_EXISTS)
    if len(studies) >= MAX_STUDIES:
        raise refuse(Refusal.TOO_MANY_STUDIES)
    draft.write(STUDIES_KEY, StudyList((*studies, record.study)))
    draft.write(spec_key(record.study), SpecRecord(spec))
    draft.write(study_key(record.study), record)


def new_study(terms: StudyTerms, spec: bytes, creator: int, height: int, status: StudyStatus) -> StudyRecord:
    """Return the record of a study nobody has voted on. Who it is for, and since when it waits, is for the caller."""
    study = compute_study_id(terms, spec)
    first_round = 0 if terms.has_statistics else 1
    return StudyRecord(study, terms, creator, height, status, next_round=first_round)


def _create(draft: Draft, at: BlockTime, sender: MemberId, body: StudyCreate) -> StudyId:
    """Propose a study. The sum of 2^23 per member cannot wrap in 32 bits: a ledger has at most 256 members."""
    if len(get_members(draft)) < MIN_INCLUDED:
        raise refuse(Refusal.TOO_FEW_MEMBERS)
    known = (get_study(draft, study) for study in get_studies(draft))
    undecided = sum(r is not None and (r.creator, r.status) == (sender, StudyStatus.CREATED) for r in known)
    if undecided >= MAX_UNDECIDED:
        raise refuse(Refusal.TOO_MANY_UNDECIDED)
    record = new_study(body.terms, body.spec, sender, at.height, StudyStatus.CREATED)
    write_new_study(draft, record, body.spec)
    return StudyId(record.study)


def require_study(draft: Draft, study: bytes) -> StudyRecord:
    """Return the study or refuse."""
    record = get_study(draft, study)
    if record is None:
        raise refuse(Refusal.NO_SUCH_STUDY)
    return record


def accept_vote(draft: Draft, at: BlockTime, record: StudyRecord, sender: MemberId, body: StudyVote) -> StudyRecord:
    """A vote; a member's last word counts, so the opposite vote is withdrawn."""
    match StudyAction(body.action):
        case StudyAction.APPROVE | StudyAction.REJECT:
            return _accept_approval(record, sender, body.action == StudyAction.APPROVE)
        case StudyAction.RESUME:
            if record.status not in (StudyStatus.PAUSED, StudyStatus.PAUSING):
                raise refuse(Refusal.STUDY_STATUS)
            stop = _without(record.stop_votes, sender)
            return replace(record, resume_votes=_with_vote(record.resume_votes, sender), stop_votes=stop)
        case StudyAction.STOP:
            if not record.is_active or record.status == StudyStatus.STOPPING:
                raise refuse(Refusal.STUDY_STATUS)
            resume = _without(record.resume_votes, sender)
            return replace(record, stop_votes=_with_vote(record.stop_votes, sender), resume_votes=resume)
        case StudyAction.READMIT:
            return _accept_readmission(record, sender)


def _accept_readmission(record: StudyRecord, sender: MemberId) -> StudyRecord:
    """A vote to let everybody that is kept out now take part again; who is named later needs new votes."""
    if not record.is_active:
        raise refuse(Refusal.STUDY_STATUS)
    kept_out = record.kept_out
    if kept_out is None:
        raise refuse(Refusal.NOTHING_CHANGES)
    return replace(record, kept_out=replace(kept_out, readmit_votes=_with_vote(kept_out.readmit_votes, sender)))


def _accept_approval(record: StudyRecord, sender: MemberId, is_approval: bool) -> StudyRecord:
    """Until the first round opens, who approves later is waited for like those before."""
    is_open = record.status == StudyStatus.CREATED
    if not is_open and not (is_approval and record.beginning is not None and record.creator != GENESIS_CREATOR):
        raise refuse(Refusal.STUDY_STATUS)
    if not is_open:
        approvals = _with_vote(record.approvals, sender)
        return replace(record, approvals=approvals, hospitals=tuple(sorted({*record.hospitals, sender})))
    if is_approval:
        rejects = _without(record.rejects, sender)
        return replace(record, approvals=_with_vote(record.approvals, sender), rejects=rejects)
    approvals = _without(record.approvals, sender)
    return replace(record, rejects=_with_vote(record.rejects, sender), approvals=approvals)


def _with_vote(votes: tuple[MemberId, ...], sender: MemberId) -> tuple[MemberId, ...]:
    """Return ascending votes with the sender's; refuse a second one."""
    if sender in votes:
        raise refuse(Refusal.ALREADY_VOTED)
    return tuple(sorted((*votes, sender)))


def _without(votes: tuple[MemberId, ...], member: MemberId) -> tuple[MemberId, ...]:
    return tuple(vote for vote in votes if vote != member)


def accept_pause(draft: Draft, at: BlockTime, record: StudyRecord, sender: MemberId, body: StudyPause) -> StudyRecord:
    """Any one member may pause; a running round is finished first. Votes to go on count from here."""
    if record.status not in (StudyStatus.WAITING, StudyStatus.RUNNING):
        raise refuse(Refusal.STUDY_STATUS)
    reason = f"paused by member {sender}" + (f": {body.reason}" if body.reason else "")
    status = StudyStatus.PAUSING if record.status == StudyStatus.RUNNING else StudyStatus.PAUSED
    return replace(record, status=status, reason=reason, resume_votes=(), join=None)


def accept_ready(draft: Draft, at: BlockTime, record: StudyRecord, sender: MemberId, body: Ready) -> StudyRecord:
    """Join or rejoin from the next round that opens; a round already running keeps the seal keys it opened with."""
    if not record.is_active:
        raise refuse(Refusal.STUDY_STATUS)
    if sender in record.faulty_members:
        raise refuse(Refusal.NAMED_FAULTY)
    if not is_seal_key_valid(body.seal_key):
        raise refuse(Refusal.BAD_SEAL_KEY)
    entries = {entry.member: entry for entry in record.ready}
    old = entries.get(sender)
    absent_height = 0
    if old is not None:
        if old.is_ready and (old.seal_key, old.coin_head) == (body.seal_key, body.coin_head):
            raise refuse(Refusal.ALREADY_READY)
        absent_height = old.absent_height
    entries[sender] = ReadyEntry(sender, body.seal_key, body.coin_head, at.height, absent_height)
    coins = _with_head(draft, record, sender, body.coin_head)
    return replace(record, ready=tuple(entries[member] for member in sorted(entries)), coins=coins)


def _with_head(draft: Draft, record: StudyRecord, sender: MemberId, head: bytes) -> Coins:
    """Return the chains with the sender's: what is known of the one it has stays known, another must be new to it.

    A chain taken up again after another would begin anew at its head, with links that everybody knows.
    """
    coins = record.coins
    if any((known.member, known.head) == (sender, head) for known in coins.heads):
        return coins
    key = coin_seen_key(sender, head)
    if draft.read(key, SeenRecord) is not None:
        raise refuse(Refusal.COIN_HEAD_SEEN)
    draft.write(key, SeenRecord(record.study, record.next_round, 0, sender))
    others = (known for known in coins.heads if known.member != sender)
    heads = sorted((*others, CoinHead(sender, head, head, 0)), key=lambda known: known.member)
    return replace(coins, heads=tuple(heads))


def accept_begin(draft: Draft, at: BlockTime, record: StudyRecord, sender: MemberId, body: StudyBegin) -> StudyRecord:
    """A vote to begin without one hospital. It means nothing once that is ready: who is ready takes part."""
    beginning = record.beginning
    if beginning is None or not record.is_active:
        raise refuse(Refusal.STUDY_STATUS)
    if body.without not in record.hospitals:
        raise refuse(Refusal.NOT_AWAITED)
    if body.without in record.ready_members:
        raise refuse(Refusal.NOTHING_CHANGES)
    votes = {vote.member: vote.voters for vote in beginning.without}
    votes[body.without] = _with_vote(beginning.voters(body.without), sender)
    without = tuple(Without(member, votes[member]) for member in sorted(votes))
    return replace(record, beginning=replace(beginning, without=without))


def accept_join_clock(record: StudyRecord, sender: MemberId, body: Expire | Gone) -> StudyRecord:
    """A vote that the time to join is over, or that some cannot be reached and need not be waited for."""
    join = record.join
    if join is None or (body.round, body.attempt, body.phase_no) != (record.next_round, 0, join.number):
        raise refuse(Refusal.PHASE_CLOSED)
    return replace(record, join=vote_on_time(join, sender, body))


def _on_study(accept: Callable[[Draft, BlockTime, StudyRecord, MemberId, Any], StudyRecord]) -> Rule:
    """Return the rule that writes down what `accept` makes of the study that a body names."""
    def apply(draft: Draft, at: BlockTime, sender: MemberId, body: Any) -> bytes:
        study = StudyId(body.study)
        draft.write(study_key(study), accept(draft, at, require_study(draft, study), sender, body))
        return study

    return apply


STUDY_RULES: dict[type, Rule] = {
    StudyCreate: _create,
    StudyVote: _on_study(accept_vote),
    StudyPause: _on_study(accept_pause),
    StudyBegin: _on_study(accept_begin),
    Ready: _on_study(accept_ready),
}
"""What each kind of transaction about a study's life does."""


# --- the end of a block: votes take effect, phases end, rounds open and close -------------------------------------
# It runs once at the end of a block for every study the block touched, in order of their ids, so all nodes do the
# same. A phase that was just opened waits for messages of a later block, except where everybody it would wait for is
# already known to be absent.


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
    gone = left_out(replace(join, posted=ready), quorum(len(get_members(draft))), study.leashes)
    if pinned is None and set(wanted) <= gone.union(ready):
        leashes = count_leashes(study.leashes, gone)
        return replace(study, status=StudyStatus.RUNNING, reason="", join=None, leashes=leashes)
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
    gone = left_out(current.phase, current.threshold, study.leashes)
    awaited = replace(current, phase=without(current.phase, gone)) if gone else current
    is_complete = row.is_complete(draft, awaited)
    if not is_complete and len(current.phase.expire_votes) < current.threshold:
        return False
    follow_up = row.follow(draft, close_span(current, at, not row.is_complete(draft, current)), at)
    record = follow_up.record if isinstance(follow_up, RoundEnd) else follow_up
    newly_absent = {absence.member for absence in record.absent[len(current.absent):]}
    if newly_absent:
        study = _note_absent(study, at, newly_absent)
        study = replace(study, leashes=count_leashes(study.leashes, gone & newly_absent))
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
