"""RECHECK: the masked sum is not that of the posted sketches, and everybody looks who spoiled it.

Security assumption: at most f members lie. All of U's masked chunks are fixed by roots on the ledger, so the sum of a
chunk and the sketch of a masked vector are the same for everybody that has the chunks: where f + 1 members found the
same other value an honest one did, and who posted that value lied. That is the only way to be named here. The last
owner of a chunk posted its digest, not those it was taken from.

A chunk that a member could get neither from its dealer nor from its owner, who said that it had it, is held against
both. Whoever f + 1 members hold something against, in whatever way, is out of the next attempt, without blame. Where
sending works, honest members accuse only liars, so with f + 1 honest accusers nobody is dropped in error; and there
are: each honest member either finds the wrong value of a liar or is kept from finding it by that same liar (who is the
dealer of the vector, or the owner of the chunk). So an attempt that is void here is void without one of the liars, and
N - f members that have spoken are enough: f + 1 of them are honest.

Nothing is opened: the attempt is void whatever is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fednode.chain.state import Draft, Source
from fednode.crypto import sha256
from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.course import (
    BlockTime,
    Next,
    are_all_posted,
    bar,
    mark_absent,
    name_faulty,
    post,
    silent_members,
    void_attempt,
)
from fednode.ledger.sums.records import RoundRecord, get_recheck, get_share_root, recheck_key
from fednode.sums.attempt import Attempt
from fednode.sums.bodies import Recheck

SPOILED = "a member spoiled the sum of the masked vectors"
KEPT_BACK = "the sum is not that of the committed vectors, and a member kept back what would tell why"
WRONG_SUM = "the sum is not that of the committed vectors"


def accept_recheck(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Recheck
) -> RoundRecord:
    """What a member found, once. It can only be about chunks and members of this sum, and other than what is posted."""
    attempt = record.attempt
    place = (record.study, record.number, attempt.number)
    for number, digest in body.chunks:
        if number >= len(attempt.chunks) or digest == attempt.chunks[number].digest:
            raise refuse(Refusal.WRONG_ACCUSATION)
    for dealer, found in body.sketches:
        posted = get_share_root(draft, *place, dealer) if dealer in attempt.included else None
        if posted is None or found == sha256(posted.sketch):
            raise refuse(Refusal.WRONG_ACCUSATION)
    havers = {*attempt.included, *(chunk.owner for chunk in attempt.chunks)} - {sender}
    if not havers.issuperset(body.withheld):
        raise refuse(Refusal.WRONG_ACCUSATION)
    draft.write(recheck_key(*place, sender), body)
    return post(record, sender, attempt)


@dataclass(frozen=True, slots=True)
class Spoilers:
    """Who lied by the word of f + 1 members, and who is accused by as many."""

    faulty: frozenset[MemberId]
    accused: frozenset[MemberId]


def find_spoilers(attempt: Attempt, told: Mapping[MemberId, Recheck], fault_bound: int) -> Spoilers:
    """Return what the members' findings come to.

    Whoever accuses more than f others is itself cut off, or lies: that keeps nobody out. What f + 1 found alike stands.
    """
    sums = Counter(found for body in told.values() for found in body.chunks)
    sketches = Counter(found for body in told.values() for found in body.sketches)
    faulty = {attempt.chunks[number].owner for (number, _), count in sums.items() if count > fault_bound}
    faulty |= {dealer for (dealer, _), count in sketches.items() if count > fault_bound}
    accusers: Counter[MemberId] = Counter()
    for body in told.values():
        accused = {attempt.chunks[number].owner for number, _ in body.chunks}
        accused |= {dealer for dealer, _ in body.sketches}.union(body.withheld)
        if len(accused) <= fault_bound:
            accusers.update(accused)
    accused = {member for member, count in accusers.items() if count > fault_bound}
    return Spoilers(frozenset(faulty), frozenset(accused))


def _found(source: Source, record: RoundRecord) -> Spoilers:
    place = (record.study, record.number, record.attempt.number)
    told = {}
    for member in record.phase.posted:
        body = get_recheck(source, *place, member)
        if body is None:
            raise AssertionError("what a member found is on the ledger")
        told[member] = body
    return find_spoilers(record.attempt, told, record.fault_bound)


def is_recheck_complete(source: Source, record: RoundRecord) -> bool:
    """Whether everybody has spoken, or N - f members and they agree on somebody: the silent hold up nobody."""
    if are_all_posted(record):
        return True
    found = _found(source, record)
    return len(record.phase.posted) >= record.threshold and bool(found.faulty | found.accused)


def after_recheck(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on without whoever spoiled the sum, or kept others from finding out; with new keys and the same vectors."""
    found = _found(source, record)
    if not is_recheck_complete(source, record):
        record = mark_absent(record, silent_members(record))
    record = bar(name_faulty(record, found.faulty), found.accused)
    reason = SPOILED if found.faulty else KEPT_BACK if found.accused else WRONG_SUM
    return void_attempt(record, at, reason)
