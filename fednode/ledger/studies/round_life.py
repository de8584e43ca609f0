"""How a round opens and what its end means for the study: model, stop rule, pin, pauses, report.

Security assumption: a set that was unmasked in a round that then failed is pinned: until a round has succeeded, only
exactly that set may be unmasked again, less the members that are kept out as faulty when the round opens. Two sums over
overlapping sets show their difference, which must not be an honest hospital's update; nobody honest is ever faulty, so
all these sets hold the same honest members.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fednode.chain.state import Draft
from fednode.ids import NO_HASH, MemberId
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import Metrics, Outcome, Result, TrainingEnd
from fednode.ledger.studies.records import (
    ReadyEntry,
    RoundReport,
    StudyRecord,
    StudyStatus,
    get_report,
    report_key,
    round_key,
    study_key,
)
from fednode.ledger.sums.course import BlockTime, RoundEnd, keys_phase
from fednode.ledger.sums.phases import limit_phase
from fednode.ledger.sums.records import Coins, KeptOut, RoundKind, RoundRecord, get_keys, keys_key
from fednode.sums.attempt import Attempt
from fednode.sums.bounds import MASKS_WRONG, min_included
from fednode.sums.phase import Phase

_LONGEST_LIST, _FEW_NAMES = 232, 12
"""Characters that a list of members may have, and how many are named in a longer one or beside another: so the sentence
fits a record's reason of 300, whatever the numbers. What does not would stop every node at the same block, for ever."""

_MOST_WAITED_FOR = 40

MAX_MASK_FAILURES = 2
"""Rounds without a success between them whose opened sum was not the proven one: nobody can be named for it, so the
study pauses for people to decide."""


ACCUSED_TWICE = "twice in a row a masked sum was spoiled, and a member that lies or is badly connected hides by whom"


def pinned_members(study: StudyRecord) -> tuple[MemberId, ...] | None:
    """Return the only set that may be unmasked in a round that opens now, or None if there is none."""
    if study.pin is None:
        return None
    return tuple(member for member in study.pin if member not in study.faulty_members)


def members_to_wait_for(study: StudyRecord, members: Iterable[MemberId]) -> str:
    """Return who of the pinned set, or else of `members`, is not ready, for people to read."""
    ready = {*study.ready_members, *study.faulty_members}
    pinned = pinned_members(study)
    wanted = members if pinned is None else pinned
    out = study.faulty_members
    most = _FEW_NAMES if out else _MOST_WAITED_FOR
    missing = _list_members([member for member in wanted if member not in ready], most)
    return missing + (f"; kept out as faulty: {_list_members(out, most)}" if out else "")


def _too_few_pinned(study: StudyRecord, left: int, needed: int) -> str:
    out = [member for member in study.pin or () if member in study.faulty_members]
    reason = f"only {left} members are left of the set that must be summed again, {needed} are needed"
    named = f"; kept out as faulty, and back by a vote to readmit: {_list_members(out, _FEW_NAMES)}" if out else ""
    return reason + named


def _list_members(members: Sequence[int], most: int) -> str:
    text = ", ".join([str(member) for member in members[:most]] + ["..."] * (len(members) > most))
    return _list_members(members, _FEW_NAMES) if len(text) > _LONGEST_LIST else text or "nobody"


# --- opening -----------------------------------------------------------------------------------------------------

def next_kind(study: StudyRecord) -> RoundKind:
    """Return what the study's next round sums."""
    if study.terms.has_statistics and not study.has_statistics_sum:
        return RoundKind.STATISTICS
    return RoundKind.CLOSING if study.training_end else RoundKind.TRAINING


def _words_of(study: StudyRecord) -> int:
    """Return how many words of measures the study's next round opens."""
    proofs = study.terms.proofs
    return {
        RoundKind.STATISTICS: proofs.statistics_words, RoundKind.TRAINING: proofs.quality_words,
        RoundKind.CLOSING: proofs.closing_words,
    }[next_kind(study)]


def open_round(draft: Draft, at: BlockTime, study: StudyRecord) -> bool:
    """Open the next round of a running study, or send it back to waiting; returns whether JOIN must be looked at."""
    members = tuple(record.member for record in get_members(draft))
    ready = study.ready_members
    pinned = pinned_members(study)
    expected = ready if pinned is None else pinned
    needed = min_included(len(members))
    if pinned is not None and len(pinned) < needed:
        reason = _too_few_pinned(study, len(pinned), needed)
        draft.write(study_key(study.study), replace(study, status=StudyStatus.PAUSED, reason=reason))
        return True
    if len(expected) < needed or not set(expected) <= set(ready):
        missing = members_to_wait_for(study, members)
        reason = f"waiting for members to be ready again; missing: {missing}"
        draft.write(study_key(study.study), replace(study, status=StudyStatus.WAITING, reason=reason))
        return True
    seal_keys = tuple((entry.member, entry.seal_key) for entry in study.ready if entry.member in expected)
    record = RoundRecord(
        study.study, study.next_round, next_kind(study), members, expected, seal_keys, study.model_hash, pinned,
        at.height, at.time_ms, keys_phase(at, study.next_phase, expected), Attempt(0, expected),
        coins=study.coins, words=_words_of(study),
    )
    draft.write(round_key(study.study), limit_phase(record, study.terms))
    if study.beginning is not None:
        draft.write(study_key(study.study), replace(study, beginning=None))
    return False


def not_ready(study: StudyRecord, members: Iterable[MemberId], expected: Iterable[MemberId]) -> tuple[MemberId, ...]:
    """Return who of `members` belongs to the study and is not `expected` in a round, nor kept out as faulty."""
    own = {*study.hospitals, *(entry.member for entry in study.ready)}
    return tuple(sorted(own.intersection(members).difference(expected, study.faulty_members)))


# --- closing -----------------------------------------------------------------------------------------------------

def close_round(draft: Draft, at: BlockTime, study: StudyRecord, end: RoundEnd) -> None:
    """Write the report, forget what the round opened, and let the study go on, pause or end."""
    record, result = end.record, end.result
    draft.write(report_key(study.study, record.number), make_report(at, study, end))
    for attempt in range(record.attempt.number + 1):
        for member in record.expected:
            if get_keys(draft, record.study, record.number, attempt, member) is not None:
                draft.write(keys_key(record.study, record.number, attempt, member), None)
    draft.write(round_key(study.study), None)
    study = replace(study, next_round=record.number + 1, next_phase=record.phase.number + 1)
    study = replace(study, ready=_ready_after(study, record, at.height))
    study = replace(study, coins=_coins_after(study, end), kept_out=_kept_out_after(study, record))
    for member in set(study.faulty_members).difference(found.member for found in get_members(draft)):
        study = without_named(study, member)  # voted out while the round ran
    study = _after_failure(study, end) if result is None else _after_success(study, record, result)
    before = get_report(draft, record.study, record.number - 1) if record.number else None
    study = _pause_for_accused(study, record, before)
    draft.write(study_key(study.study), study)


def _ready_after(study: StudyRecord, record: RoundRecord, height: int) -> tuple[ReadyEntry, ...]:
    """Give everybody the seal key it posted for the next round; who posted none says again that it is ready.

    The keys of this round are spent: their owners delete them now. Who has announced another one since keeps that.
    """
    spent, fresh = dict(record.seal_keys), dict(record.next_keys)
    entries = []
    for entry in study.ready:
        if spent.get(entry.member) == entry.seal_key:
            if entry.member in fresh:
                entry = replace(entry, seal_key=fresh[entry.member])
            else:
                entry = replace(entry, absent_height=height)
        entries.append(entry)
    return tuple(entries)


def _kept_out_after(study: StudyRecord, record: RoundRecord) -> KeptOut | None:
    """Keep whom the round named out of those to come, until people decide; votes cast before do not cover it."""
    if not record.faulty:
        return study.kept_out
    return KeptOut(tuple(sorted({*study.faulty_members, *record.faulty})))


def without_named(study: StudyRecord, gone: MemberId) -> StudyRecord:
    """Forget one that is kept out and has left the federation: also what must be summed again goes on without it.

    Its number never comes back, so the set can only ever be what it is while the member is kept out.
    """
    kept_out = study.kept_out
    if kept_out is None or gone not in kept_out.members:
        return study
    pin = None if study.pin is None else tuple(member for member in study.pin if member != gone)
    members = tuple(member for member in kept_out.members if member != gone)
    return replace(study, pin=pin, kept_out=replace(kept_out, members=members) if members else None)


def _coins_after(study: StudyRecord, end: RoundEnd) -> Coins:
    """Return the study's chains with what the round revealed of them; who has taken up another keeps that one."""
    revealed, coins = end.record.coins, study.coins
    known = {(head.member, head.head): head for head in revealed.heads}
    heads = tuple(known.get((head.member, head.head), head) for head in coins.heads)
    failures = coins.mask_failures + 1 if end.result is None and end.reason == MASKS_WRONG else coins.mask_failures
    return Coins(revealed.opened, heads, 0 if end.result is not None else failures)


def make_report(at: BlockTime, study: StudyRecord, end: RoundEnd) -> RoundReport:
    """Return what the block that closes a round says of it."""
    record, result = end.record, end.result
    return RoundReport(
        study=record.study, number=record.number, kind=record.kind,
        outcome=Outcome.FAILED if result is None else Outcome.OK, reason=end.reason,
        expected=record.expected, counted=record.attempt.included if record.is_unmasked else (),
        absent=record.absent, barred=record.barred, faulty=record.faulty,
        attempts=record.attempt.number + 1, voids=record.voids, phases=record.spans,
        start_model=record.start_model, model_hash=record.start_model if result is None else result.model_hash,
        sum_digest=NO_HASH if result is None else result.sum_digest,
        weight=0 if result is None else result.weight, metrics=None if result is None else result.metrics,
        is_unmasked=record.is_unmasked, fault_bound=record.fault_bound,
        opened_height=record.opened_height, opened_ms=record.opened_ms,
        closed_height=at.height, closed_ms=at.time_ms, not_ready=not_ready(study, record.members, record.expected),
        coin=record.attempt.coin,
    )


def _after_success(study: StudyRecord, record: RoundRecord, result: Result) -> StudyRecord:
    study = replace(study, model_hash=result.model_hash, failures_in_row=0, pin=None)
    if record.kind == RoundKind.STATISTICS:
        return _at_boundary(replace(study, has_statistics_sum=True))
    if result.metrics is not None:
        study = replace(study, metrics=result.metrics)
    if record.kind == RoundKind.CLOSING:
        if study.status == StudyStatus.STOPPING:
            return _at_boundary(study)
        return replace(study, status=StudyStatus.FINISHED, reason=TrainingEnd(study.training_end).reason)
    study = replace(study, rounds_done=study.rounds_done + 1)
    return _at_boundary(_apply_stop_rule(study, record, result.metrics))


def _apply_stop_rule(study: StudyRecord, record: RoundRecord, metrics: Metrics | None) -> StudyRecord:
    """End the training after its last round, at a target that holds without any f voices, or when q members wish it.

    `metrics` measure the model the round started from. A member's wish stands until its next word on a result.
    """
    terms, wishes = study.terms, set(study.stop_wishes)
    for member, ballot in record.ballots:
        if ballot.outcome == Outcome.OK:
            wishes.discard(member)
            wishes |= {member} if ballot.wants_stop else set()
    wishes &= set(record.members)
    study = replace(study, stop_wishes=tuple(sorted(wishes)))
    if study.rounds_done >= terms.rounds:
        return replace(study, training_end=TrainingEnd.ROUNDS)
    target = terms.target_accuracy_permyriad
    if target and metrics is not None and metrics.holds_without(record.fault_bound, target):
        return replace(study, training_end=TrainingEnd.TARGET)
    if len(wishes) >= record.threshold:
        return replace(study, training_end=TrainingEnd.WISHES)
    return study


def _after_failure(study: StudyRecord, end: RoundEnd) -> StudyRecord:
    record = end.record
    study = replace(study, failures_in_row=study.failures_in_row + 1)
    if record.is_unmasked and study.pin is None:  # of one that is pinned, only what kept-out members leave is unmasked
        study = replace(study, pin=record.attempt.included)
    elif record.pinned is not None and study.status == StudyStatus.RUNNING and not record.is_unmasked:
        left = pinned_members(study) or ()
        if len(left) < record.min_included:
            reason = _too_few_pinned(study, len(left), record.min_included)
            return replace(study, status=StudyStatus.PAUSED, reason=reason)
        lost = record.absent_members.union(record.barred)
        missing = _list_members([member for member in record.pinned if member in lost], len(record.pinned))
        reason = f"the last round may only be repeated over the same members; missing: {missing}"
        return replace(study, status=StudyStatus.PAUSED, reason=reason)
    mask_failures = study.coins.mask_failures
    if mask_failures >= MAX_MASK_FAILURES and study.status == StudyStatus.RUNNING:
        reason = f"{mask_failures} rounds failed because {MASKS_WRONG}: a member masks wrongly, and people must decide"
        return replace(study, status=StudyStatus.PAUSED, reason=reason)
    if study.failures_in_row >= study.terms.pause_after_failures and study.status == StudyStatus.RUNNING:
        reason = f"{study.failures_in_row} rounds failed in a row, the last because: {end.reason}"
        return replace(study, status=StudyStatus.PAUSED, reason=reason)
    return _at_boundary(study)


def find_accused(closed: RoundRecord | RoundReport) -> frozenset[MemberId]:
    """Return whom more than f members accused in RECHECK, so an honest one did, and nobody could name.

    An attempt that is void there drops whoever was silent, named or accused; only the last two are barred.
    """
    dropped = {member for void in closed.voids if void.phase == Phase.RECHECK for member in void.dropped}
    return frozenset(dropped.intersection(closed.barred).difference(closed.faulty))


def _pause_for_accused(study: StudyRecord, record: RoundRecord, before: RoundReport | None) -> StudyRecord:
    """Let people decide about a member that costs every round an attempt and cannot be named for it.

    Not more than a pause, which any one member may ask for: where messages are lost it may be somebody honest.
    """
    twice = sorted(find_accused(record).intersection(() if before is None else find_accused(before)))
    if not twice or study.status != StudyStatus.RUNNING:
        return study
    reason = f"{ACCUSED_TWICE}: {_list_members(twice, _FEW_NAMES)}; people must decide"
    return replace(study, status=StudyStatus.PAUSED, reason=reason)


def _at_boundary(study: StudyRecord) -> StudyRecord:
    """Let a pause or stop that waited for the round take effect."""
    if study.status == StudyStatus.STOPPING:
        return replace(study, status=StudyStatus.STOPPED)
    if study.status == StudyStatus.PAUSING:
        return replace(study, status=StudyStatus.PAUSED)
    return study
