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
from fednode.ids import MemberId, StudyId
from fednode.ledger.members.reading import get_members
from fednode.ledger.records import SeenRecord
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.rule import Rule
from fednode.ledger.studies.beginning import Without
from fednode.ledger.studies.bodies import (
    Expire,
    Ready,
    StudyAction,
    StudyBegin,
    StudyCreate,
    StudyPause,
    StudyTerms,
    StudyVote,
    compute_study_id,
)
from fednode.ledger.studies.reading import STUDIES_KEY, get_studies, get_study, spec_key, study_key
from fednode.ledger.studies.records import GENESIS_CREATOR, ReadyEntry, SpecRecord, StudyList, StudyRecord, StudyStatus
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.point_checks import is_seal_key_valid
from fednode.ledger.sums.posting import with_item
from fednode.ledger.sums.reading import coin_seen_key
from fednode.ledger.sums.records import CoinHead, Coins
from fednode.sums.bounds import MIN_INCLUDED

MAX_STUDIES = 1000

MAX_UNDECIDED = 16
"""Studies of one member that wait for approval: every node looks at every open study after every block."""

ACTIVE = (
    StudyStatus.WAITING, StudyStatus.RUNNING, StudyStatus.PAUSING, StudyStatus.PAUSED, StudyStatus.STOPPING
)
"""Approved and not at its end."""


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
            _check_new(sender, record.resume_votes)
            stop = _without(record.stop_votes, sender)
            return replace(record, resume_votes=with_item(record.resume_votes, sender), stop_votes=stop)
        case StudyAction.STOP:
            if record.status not in ACTIVE or record.status == StudyStatus.STOPPING:
                raise refuse(Refusal.STUDY_STATUS)
            _check_new(sender, record.stop_votes)
            resume = _without(record.resume_votes, sender)
            return replace(record, stop_votes=with_item(record.stop_votes, sender), resume_votes=resume)
        case StudyAction.READMIT:
            return _accept_readmission(record, sender)


def _accept_readmission(record: StudyRecord, sender: MemberId) -> StudyRecord:
    """A vote to let everybody that is kept out now take part again; who is named later needs new votes."""
    if record.status not in ACTIVE:
        raise refuse(Refusal.STUDY_STATUS)
    kept_out = record.kept_out
    if kept_out is None:
        raise refuse(Refusal.NOTHING_CHANGES)
    _check_new(sender, kept_out.readmit_votes)
    return replace(record, kept_out=replace(kept_out, readmit_votes=with_item(kept_out.readmit_votes, sender)))


def _accept_approval(record: StudyRecord, sender: MemberId, is_approval: bool) -> StudyRecord:
    """Until the first round opens, who approves later is waited for like those before."""
    is_open = record.status == StudyStatus.CREATED
    if not is_open and not (is_approval and record.beginning is not None and record.creator != GENESIS_CREATOR):
        raise refuse(Refusal.STUDY_STATUS)
    if not is_open:
        _check_new(sender, record.approvals)
        approvals = with_item(record.approvals, sender)
        return replace(record, approvals=approvals, hospitals=tuple(sorted({*record.hospitals, sender})))
    if is_approval:
        _check_new(sender, record.approvals)
        rejects = _without(record.rejects, sender)
        return replace(record, approvals=with_item(record.approvals, sender), rejects=rejects)
    _check_new(sender, record.rejects)
    approvals = _without(record.approvals, sender)
    return replace(record, rejects=with_item(record.rejects, sender), approvals=approvals)


def _check_new(sender: MemberId, votes: tuple[MemberId, ...]) -> None:
    if sender in votes:
        raise refuse(Refusal.ALREADY_VOTED)


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
    if record.status not in ACTIVE:
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
    if beginning is None or record.status not in ACTIVE:
        raise refuse(Refusal.STUDY_STATUS)
    if body.without not in record.hospitals:
        raise refuse(Refusal.NOT_AWAITED)
    if body.without in record.ready_members:
        raise refuse(Refusal.NOTHING_CHANGES)
    _check_new(sender, beginning.voters(body.without))
    votes = {vote.member: vote.voters for vote in beginning.without}
    votes[body.without] = with_item(beginning.voters(body.without), sender)
    without = tuple(Without(member, votes[member]) for member in sorted(votes))
    return replace(record, beginning=replace(beginning, without=without))


def accept_join_expire(record: StudyRecord, sender: MemberId, body: Expire) -> StudyRecord:
    """A vote that the time to join is over."""
    join = record.join
    if join is None or (body.round, body.attempt, body.phase_no) != (record.next_round, 0, join.number):
        raise refuse(Refusal.PHASE_CLOSED)
    _check_new(sender, join.expire_votes)
    return replace(record, join=replace(join, expire_votes=with_item(join.expire_votes, sender)))


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
