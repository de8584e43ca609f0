"""The phases after the one Unmask: REVEAL, REVEAL2, RESULT.

Security assumption: for every member at most one of its two secrets is ever opened, a of Q outside U and b of U. The
attempt can no longer be void: where something is missing the round ends.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.codec import encode
from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import Outcome, Result, StudyTerms
from fednode.ledger.sums.checks import is_opened_scalar, is_opened_share_valid, is_opening, open_sums
from fednode.ledger.sums.course import (
    BlockTime,
    Next,
    RoundEnd,
    are_all_posted,
    awaited,
    mark_absent,
    open_phase,
    post,
    silent_members,
    with_item,
)
from fednode.ledger.sums.dealing import keys_of
from fednode.ledger.sums.records import RoundKind, RoundRecord
from fednode.sums.attempt import Attempt
from fednode.sums.bodies import Reveal
from fednode.sums.phase import Phase

NOT_OPENED = "too few right shares of the summed sketch"


# --- what members post -------------------------------------------------------------------------------------------

def _check_own_b(draft: Draft, record: RoundRecord, sender: MemberId, body: Reveal) -> None:
    if body.own_b is None:
        return
    if sender not in record.attempt.included:
        raise refuse(Refusal.OWN_B_NOT_INCLUDED)
    if not is_opened_scalar(keys_of(draft, record, sender).b_points[0], body.own_b):
        raise refuse(Refusal.OWN_B_WRONG)


def _add_shares(
    opened: tuple[tuple[MemberId, tuple[tuple[MemberId, bytes], ...]], ...],
    sender: MemberId,
    shares: tuple[tuple[MemberId, bytes], ...],
) -> tuple[tuple[MemberId, tuple[tuple[MemberId, bytes], ...]], ...]:
    merged = dict(opened)
    for dealer, share in shares:
        merged[dealer] = with_item(merged.get(dealer, ()), (sender, share))
    return tuple(sorted(merged.items()))


def accept_reveal(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Reveal
) -> RoundRecord:
    """The openings (Q, U) asks the sender for, all of them and nothing else.

    For every member at most one of a and b is ever opened: a of Q outside U, b of U. A member outside U that opened
    its own b would, with its a, give away its masked vector, so that is refused whatever it wants.
    """
    attempt = record.attempt
    owed = tuple(dealer for dealer in attempt.dropped if dealer != sender)
    _check_own_b(draft, record, sender, body)
    if sender in attempt.included and body.own_b is None:
        raise refuse(Refusal.OWN_B_MISSING)
    if body.b_shares or tuple(dealer for dealer, _ in body.a_shares) != owed:
        raise refuse(Refusal.WRONG_OPENINGS)
    if body.opening is not None and not is_opening(body.opening, record.words):
        raise refuse(Refusal.OPENING_FORM)
    for dealer, share in body.a_shares:
        if not is_opened_share_valid(keys_of(draft, record, dealer).a_points, sender, share):
            raise refuse(Refusal.WRONG_SHARE)
    own_b = attempt.own_b if body.own_b is None else with_item(attempt.own_b, (sender, body.own_b))
    a_shares = _add_shares(attempt.a_shares, sender, body.a_shares)
    openings = attempt.openings if body.opening is None else with_item(attempt.openings, (sender, body.opening))
    return post(record, sender, replace(attempt, own_b=own_b, a_shares=a_shares, openings=openings))


def accept_reveal2(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Reveal
) -> RoundRecord:
    """The openings in the place of silent members of U, as in REVEAL: all of them and nothing else."""
    attempt = record.attempt
    owed = tuple(dealer for dealer in attempt.silent_b if dealer != sender)
    if body.own_b is not None and sender not in attempt.silent_b and sender in attempt.included:
        raise refuse(Refusal.WRONG_OPENINGS)  # its b is open already
    _check_own_b(draft, record, sender, body)
    if body.opening is not None or body.a_shares or tuple(dealer for dealer, _ in body.b_shares) != owed:
        raise refuse(Refusal.WRONG_OPENINGS)
    if body.own_b is None and not owed:
        raise refuse(Refusal.NOTHING_OWED)
    for dealer, share in body.b_shares:
        if not is_opened_share_valid(keys_of(draft, record, dealer).b_points, sender, share):
            raise refuse(Refusal.WRONG_SHARE)
    own_b = attempt.own_b if body.own_b is None else with_item(attempt.own_b, (sender, body.own_b))
    b_shares = _add_shares(attempt.b_shares, sender, body.b_shares)
    return post(record, sender, replace(attempt, own_b=own_b, b_shares=b_shares))


# --- the masks ---------------------------------------------------------------------------------------------------

def _missing_b(attempt: Attempt) -> tuple[MemberId, ...]:
    opened = {member for member, _ in attempt.own_b}
    return tuple(member for member in attempt.included if member not in opened)


def _are_a_open(record: RoundRecord) -> bool:
    counts = {dealer: len(shares) for dealer, shares in record.attempt.a_shares}
    return all(counts.get(dealer, 0) >= record.threshold for dealer in record.attempt.dropped)


def _are_b_open(record: RoundRecord) -> bool:
    counts = {dealer: len(shares) for dealer, shares in record.attempt.b_shares}
    return all(counts.get(dealer, 0) >= record.threshold for dealer in _missing_b(record.attempt))


def is_reveal_complete(source: Source, record: RoundRecord) -> bool:
    """Whether everything is open, or everything but own b, or shares of the sketch, of members nobody waits for."""
    if not _are_a_open(record):
        return False
    return are_all_posted(record) or (not _missing_b(record.attempt) and is_sketch_open(record))


def after_reveal(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on to the result, by way of REVEAL2 if a member of U did not open its b."""
    attempt = record.attempt
    if not is_reveal_complete(source, record):
        record = mark_absent(record, silent_members(record))
    if not _are_a_open(record):
        return RoundEnd(record, "too few shares to take out a member that was left out")
    if not is_sketch_open(record):
        return RoundEnd(record, NOT_OPENED)
    record = open_sketch(record)
    if missing := _missing_b(attempt):
        record = replace(record, attempt=replace(record.attempt, silent_b=missing))
        return open_phase(record, at, Phase.REVEAL2, awaited(record, attempt.present))
    return open_phase(record, at, Phase.RESULT, awaited(record, attempt.present))


def is_reveal2_complete(source: Source, record: RoundRecord) -> bool:
    """Whether every b of U is open, by its owner or by T shares."""
    return _are_b_open(record)


def after_reveal2(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on to the result if the shares suffice."""
    if not _are_b_open(record):
        return RoundEnd(mark_absent(record, silent_members(record)), "too few shares for a member that fell silent")
    return open_phase(record, at, Phase.RESULT, awaited(record, record.attempt.present))


# --- what was proven ---------------------------------------------------------------------------------------------

def open_sketch(record: RoundRecord) -> RoundRecord:
    """Return the round with what was opened of the sum, as soon as enough right shares of it are in."""
    if record.attempt.sum_opened is not None:
        return record
    opened = _open_sums(record)
    return record if opened is None else replace(record, attempt=replace(record.attempt, sum_opened=opened))


def _open_sums(record: RoundRecord) -> bytes | None:
    attempt = record.attempt
    told = tuple(opening for opening in attempt.openings if opening[0] in attempt.openers)
    return open_sums(told, record.words, len(record.members))


def is_sketch_open(record: RoundRecord) -> bool:
    """Whether what was proven is open, or would be with `open_sketch`."""
    return _open_sums(record) is not None


# --- result ------------------------------------------------------------------------------------------------------

def ballot_of(result: Result) -> bytes:
    """Return what q members must agree on: every field of a result but the sender's own wish."""
    return encode(replace(result, wants_stop=False))


def accept_result(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Result
) -> RoundRecord:
    """A vote on what the sum gave."""
    attempt = record.attempt
    if body.outcome == Outcome.OK:
        if body.weight != attempt.weight:
            raise refuse(Refusal.WEIGHT_SUM)
        if record.kind == RoundKind.CLOSING and body.model_hash != record.start_model:
            raise refuse(Refusal.WRONG_MODEL)
    ballots = tuple(sorted((*record.ballots, (sender, body)), key=lambda ballot: ballot[0]))
    return post(replace(record, ballots=ballots), sender, attempt)


def _best_ballot(record: RoundRecord) -> tuple[bytes, int]:
    """Return the ballot with most votes and their number; empty and 0 without any."""
    counts = Counter(ballot_of(result) for _, result in record.ballots)
    return max(counts.items(), key=lambda item: (item[1], item[0]), default=(b"", 0))


def is_result_complete(source: Source, record: RoundRecord) -> bool:
    """Whether q members agree, or cannot any more whatever the rest of P posts."""
    _, votes = _best_ballot(record)
    outstanding = len(record.attempt.present) - len(record.ballots)
    return votes >= record.threshold or votes + outstanding < record.threshold


def after_result(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """End the round with what q members agree on."""
    ballot, votes = _best_ballot(record)
    if not is_result_complete(source, record):
        record = mark_absent(record, silent_members(record))
    if votes < record.threshold:
        return RoundEnd(record, "no agreement on the result")
    result = next(result for _, result in record.ballots if ballot_of(result) == ballot)
    return RoundEnd(record, result.reason, result if result.outcome == Outcome.OK else None)
