"""The phases in which the masked sum is made and frozen: ROSTER, DIGEST, SUMACK.

Security assumption: U holds at least max(N - f, 3) members at every step, or nothing is opened; a member that
committed is left out only when f + 1 members, so at least one honest one, report its chunk missing. The q-th
acknowledgement of the list of digests freezes Q, U and the masked sum. The one Unmask of the round comes later (see
`binding`): from then on the attempt can no longer be void.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.binding import open_coin
from fednode.ledger.sums.course import (
    PIN_LOST,
    BlockTime,
    Next,
    awaited,
    bar,
    mark_absent,
    open_phase,
    post,
    silent_members,
    void_attempt,
    with_item,
)
from fednode.ledger.sums.dealing import rotate
from fednode.ledger.sums.records import RoundRecord
from fednode.sums.attempt import ChunkRecord, compute_list_digest
from fednode.sums.bodies import Digest, Roster, SumAck
from fednode.sums.phase import Phase

# --- what members post -------------------------------------------------------------------------------------------

def accept_roster(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Roster
) -> RoundRecord:
    """An owner's report, about its own unsettled chunks and dealers that could still be in the sum."""
    attempt = record.attempt
    own = [n for n, chunk in enumerate(attempt.chunks) if chunk.owner == sender and not chunk.is_settled]
    dealers = {member for member, _, _ in attempt.committed}.difference(attempt.left_out, (sender,))
    chunks = list(attempt.chunks)
    for number, dealer in body.missing:
        if number not in own:
            raise refuse(Refusal.WRONG_CHUNKS)
        if dealer not in dealers:
            raise refuse(Refusal.UNKNOWN_DEALER)
        chunks[number] = replace(chunks[number], reports=with_item(chunks[number].reports, (dealer, sender)))
    return post(record, sender, replace(attempt, chunks=tuple(chunks)))


def accept_digest(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Digest
) -> RoundRecord:
    """The digests of the sums of exactly the chunks the sender owns."""
    attempt = record.attempt
    own = tuple(n for n, chunk in enumerate(attempt.chunks) if chunk.owner == sender)
    if tuple(number for number, _ in body.digests) != own:
        raise refuse(Refusal.WRONG_CHUNKS)
    chunks = list(attempt.chunks)
    for number, digest in body.digests:
        chunks[number] = replace(chunks[number], digest=digest)
    return post(record, sender, replace(attempt, chunks=tuple(chunks)))


def list_digest_of(record: RoundRecord) -> bytes:
    """Return the digest of the whole list of digests; every chunk must have one."""
    digests = [chunk.digest or b"" for chunk in record.attempt.chunks]
    return compute_list_digest(record.study, record.number, record.attempt.number, digests)


def accept_sum_ack(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: SumAck
) -> RoundRecord:
    """Either "I hold and serve the whole list", or once before it the chunks the sender could not get."""
    attempt = record.attempt
    has_reported = any(member == sender for member, _ in attempt.sum_missing)
    if has_reported and body.list_digest is None:
        raise refuse(Refusal.ALREADY_POSTED)
    if body.list_digest is None:
        if any(n >= len(attempt.chunks) or attempt.chunks[n].owner == sender for n in body.missing):
            raise refuse(Refusal.WRONG_CHUNKS)
        missing = with_item(attempt.sum_missing, (sender, body.missing))
        return post(record, sender, replace(attempt, sum_missing=missing))
    if body.list_digest != attempt.list_digest:
        raise refuse(Refusal.LIST_DIGEST_DIFFERS)
    others = tuple(report for report in attempt.sum_missing if report[0] != sender)
    return post(record, sender, replace(attempt, acked=with_item(attempt.acked, sender), sum_missing=others))


# --- who is in the sum -------------------------------------------------------------------------------------------

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
