"""The phases in which the masked sum is made and opened: ROSTER, DIGEST, SUMACK, REVEAL, REVEAL2, RESULT.

Security assumption: U holds at least max(N - f, 3) members at every step, or nothing is opened; a member that
committed is left out only when f + 1 members, so at least one honest one, report its chunk missing. The q-th
acknowledgement of the list of digests freezes Q, U and the masked sum. The one Unmask of the round comes later (see
`binding`): from then on the attempt can no longer be void.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fednode.chain.state import Source
from fednode.ids import MemberId
from fednode.ledger.records import RoundRecord
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.sums.binding import NOT_OPENED, is_sketch_open, open_coin, open_sketch
from fednode.ledger.sums.course import (
    PIN_LOST,
    BlockTime,
    Next,
    RoundEnd,
    are_all_posted,
    awaited,
    bar,
    mark_absent,
    open_phase,
    silent_members,
    void_attempt,
)
from fednode.ledger.sums.dealing import rotate
from fednode.ledger.sums.posting import ballot_of, list_digest_of
from fednode.sums.attempt import Attempt, ChunkRecord
from fednode.sums.phase import Phase

# --- roster ------------------------------------------------------------------------------------------------------


def after_roster(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Leave out dealers that f + 1 owners miss, settle complete chunks, hand the others to their next owners."""
    silent = silent_members(record)
    record = mark_absent(record, silent)
    record = _leave_out(record)
    attempt = record.attempt
    if len(attempt.committed) - len(attempt.left_out) < record.min_included:
        return void_attempt(record, at, "too few members are left whose update arrived")
    chunks = tuple(
        replace(chunk, is_settled=True) if _is_complete(record, chunk, silent) else chunk for chunk in attempt.chunks
    )
    attempt = replace(attempt, chunks=chunks)
    record = replace(record, attempt=attempt)
    if all(chunk.is_settled for chunk in chunks):
        return _fix_included(record, at)
    if record.phase.step >= record.fault_bound:
        return _void_unsettled(record, at)
    handed: list[ChunkRecord] = []
    for chunk in chunks:
        owner = chunk.owner if chunk.is_settled else _successor(record, chunk)
        if owner is None:
            return _void_unsettled(record, at)
        handed.append(chunk if chunk.is_settled else replace(chunk, owners=(*chunk.owners, owner)))
    record = replace(record, attempt=replace(attempt, chunks=tuple(handed)))
    owners = tuple(sorted({chunk.owner for chunk in handed if not chunk.is_settled}))
    return open_phase(record, at, Phase.ROSTER, owners, record.phase.step + 1)


def _reports_of(chunk: ChunkRecord, reporter: MemberId) -> tuple[MemberId, ...]:
    return tuple(dealer for dealer, member in chunk.reports if member == reporter)


def _is_cut_off(record: RoundRecord, chunk: ChunkRecord, reporter: MemberId) -> bool:
    """Whether an owner missed more than f dealers: then it is itself cut off, or lies, and its word does not count."""
    return len(_reports_of(chunk, reporter)) > record.fault_bound


def _leave_out(record: RoundRecord) -> RoundRecord:
    """Drop the word of owners that are cut off, then leave out every dealer with f + 1 reporters for one chunk."""
    attempt = record.attempt
    reported = {
        dealer
        for chunk in attempt.chunks
        if not chunk.is_settled
        for dealer, count in Counter(dealer for dealer, _ in _counted_reports(record, chunk)).items()
        if count > record.fault_bound
    }
    left_out = tuple(sorted(reported.union(attempt.left_out)))
    record = mark_absent(record, left_out)
    return replace(record, attempt=replace(attempt, left_out=left_out))


def _counted_reports(record: RoundRecord, chunk: ChunkRecord) -> tuple[tuple[MemberId, MemberId], ...]:
    return tuple(pair for pair in chunk.reports if not _is_cut_off(record, chunk, pair[1]))


def _is_complete(record: RoundRecord, chunk: ChunkRecord, silent: tuple[MemberId, ...]) -> bool:
    """Whether the owner has spoken and misses nobody that is still in. Earlier reports are then contradicted."""
    if chunk.is_settled:
        return True
    if chunk.owner in silent or _is_cut_off(record, chunk, chunk.owner):
        return False
    return set(_reports_of(chunk, chunk.owner)) <= set(record.attempt.left_out)


def _successor(record: RoundRecord, chunk: ChunkRecord) -> MemberId | None:
    """Return the next of Q that committed, has not owned the chunk and is neither absent nor left out.

    Members accused of withholding this very chunk come last. An accused dealer made owner could only accuse
    somebody else, and with f = 1 that would void every attempt without ever losing the liar.
    """
    attempt = record.attempt
    accused = {dealer for dealer, _ in _counted_reports(record, chunk)}
    out = record.absent_members.union(attempt.left_out, chunk.owners)
    committed = {member for member, _, _ in attempt.committed}
    following = rotate(attempt.qualified, attempt.qualified.index(chunk.owner))
    able = [member for member in following if member in committed and member not in out]
    return min(able, key=lambda member: member in accused, default=None)


def _void_unsettled(record: RoundRecord, at: BlockTime) -> Next:
    """No owner is left that could settle a chunk.

    Usually a silent owner is lost with the attempt. Where every owner spoke, an owner and the dealer it misses
    contradict each other: one of them is at fault and nobody can tell which, so the next attempt does without both.
    Nobody is blamed; otherwise the same attempt could be repeated for ever.
    """
    attempt = record.attempt
    gone = record.absent_members.union(record.barred)
    if not gone.intersection(attempt.holders):
        chunk = next(chunk for chunk in attempt.chunks if not chunk.is_settled)
        missed = () if _is_cut_off(record, chunk, chunk.owner) else _reports_of(chunk, chunk.owner)[:1]
        record = bar(record, (chunk.owner, *missed))
    return void_attempt(record, at, "a chunk found no owner that has it from everybody")


def _fix_included(record: RoundRecord, at: BlockTime) -> Next:
    attempt = record.attempt
    included = tuple(member for member, _, _ in attempt.committed if member not in attempt.left_out)
    if record.pinned is not None and included != record.pinned:
        return void_attempt(record, at, PIN_LOST)
    record = replace(record, attempt=replace(attempt, included=included))
    owners = tuple(sorted({chunk.owner for chunk in attempt.chunks}))
    return open_phase(record, at, Phase.DIGEST, owners)


# --- the masked sum ----------------------------------------------------------------------------------------------

def after_digest(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """With every digest in, ask everybody for an acknowledgement of the whole list."""
    silent = silent_members(record)
    if silent:
        record = bar(mark_absent(record, silent), silent)
        return void_attempt(record, at, "an owner did not post the sum of its chunk")
    attempt = replace(record.attempt, list_digest=list_digest_of(record))
    record = replace(record, attempt=attempt)
    return open_phase(record, at, Phase.SUMACK, awaited(record, attempt.present))


def is_sum_acknowledged(source: Source, record: RoundRecord) -> bool:
    """Whether q members hold the whole list."""
    return len(record.attempt.acked) >= record.threshold


def after_sum_ack(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Freeze the sum; or find who keeps it back, or ask once more."""
    attempt = record.attempt
    if is_sum_acknowledged(source, record):
        return open_coin(record, at)
    named = Counter(
        owner
        for _, numbers in attempt.sum_missing
        for owner in {attempt.chunks[number].owner for number in numbers}
    )
    record = mark_absent(record, silent_members(record))
    if withholding := [owner for owner, count in named.items() if count > record.fault_bound]:
        return void_attempt(bar(record, withholding), at, "an owner did not hand out the sum of its chunk")
    if not record.phase.is_reopened:
        record = open_phase(record, at, Phase.SUMACK, awaited(record, attempt.present))
        return replace(record, phase=replace(record.phase, posted=attempt.acked, is_reopened=True))
    record = mark_absent(record, (member for member in attempt.present if member not in attempt.acked))
    return void_attempt(record, at, "too few members could get the whole sum")


# --- opening -----------------------------------------------------------------------------------------------------

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


# --- result ------------------------------------------------------------------------------------------------------

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
