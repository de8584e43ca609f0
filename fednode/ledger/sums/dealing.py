"""The phases in which keys are dealt and updates committed: KEYS, ACK, ANSWER, COMMIT.

Security assumption: published shares plus those of f liars stay below T, because a dealer answers at most f
complaints; one more could open its a and b. A dealer with more complaints than that was named by an honest member.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Source
from fednode.ids import MemberId
from fednode.ledger.records import RoundRecord
from fednode.ledger.sums.course import (
    PIN_LOST,
    BlockTime,
    Next,
    awaited,
    bar,
    is_pin_lost,
    mark_absent,
    open_phase,
    silent_members,
    void_attempt,
)
from fednode.sums.attempt import ChunkRecord
from fednode.sums.phase import Phase


def after_keys(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on to the acknowledgements, which only dealers can give."""
    dealers = record.attempt.dealers
    record = mark_absent(record, silent_members(record))
    if len(dealers) < record.min_included:
        return void_attempt(record, at, "too few members posted keys")
    if is_pin_lost(record, dealers):
        return void_attempt(record, at, PIN_LOST)
    return open_phase(record, at, Phase.ACK, awaited(record, dealers))


def after_acknowledge(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Fix P; dealers with more than f complaints are out, those with fewer must answer."""
    record = mark_absent(record, silent_members(record))
    attempt = replace(record.attempt, present=tuple(holder for holder, _ in record.attempt.complaints))
    record = replace(record, attempt=attempt)
    counts = {dealer: len(attempt.complainers(dealer)) for dealer in attempt.present}
    rejected = tuple(dealer for dealer, count in counts.items() if count > record.fault_bound)
    accused = tuple(dealer for dealer, count in counts.items() if 0 < count <= record.fault_bound)
    record = bar(record, rejected)
    if len(attempt.present) - len(rejected) < record.min_included:
        return void_attempt(record, at, "too few dealers acknowledged and are free of complaints")
    if accused:
        return open_phase(record, at, Phase.ANSWER, accused)
    return _open_commit(record, at)


def after_answer(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Dealers that did not answer are out, without blame."""
    return _open_commit(mark_absent(record, silent_members(record)), at)


def _open_commit(record: RoundRecord, at: BlockTime) -> Next:
    attempt = record.attempt
    answered = {dealer for dealer, _ in attempt.answers}
    qualified = tuple(
        dealer for dealer in attempt.present
        if dealer not in record.barred and (dealer in answered or not attempt.complainers(dealer))
    )
    if len(qualified) < record.min_included:
        return void_attempt(record, at, "too few dealers answered their complaints")
    if is_pin_lost(record, qualified):
        return void_attempt(record, at, PIN_LOST)
    record = replace(record, attempt=replace(attempt, qualified=qualified))
    return open_phase(record, at, Phase.COMMIT, awaited(record, qualified))


def after_commit(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Fix C and give every chunk its first owner: the c-th of Q, or the next of Q that committed."""
    record = mark_absent(record, silent_members(record))
    attempt = record.attempt
    committed = {member for member, _, _ in attempt.committed}
    if len(committed) < record.min_included:
        return void_attempt(record, at, "too few members committed an update")
    if is_pin_lost(record, committed):
        return void_attempt(record, at, PIN_LOST)
    chunks = tuple(
        ChunkRecord((next(m for m in rotate(attempt.qualified, number) if m in committed),))
        for number in range(len(attempt.qualified))
    )
    record = replace(record, attempt=replace(attempt, chunks=chunks))
    return open_phase(record, at, Phase.ROSTER, tuple(sorted({chunk.owner for chunk in chunks})))


def rotate(members: tuple[MemberId, ...], start: int) -> tuple[MemberId, ...]:
    """Return `members` cyclically from position `start` on."""
    return members[start:] + members[:start]
