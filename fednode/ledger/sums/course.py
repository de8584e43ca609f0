"""How members post in a phase, how it ends and what follows it: pure functions of the round.

Security assumption: at most f members are faulty; everything else follows from N, f and T = N - f, taken from the
members when the round opened. A phase ends in the block that holds its last expected message or the q-th vote that
its time is over; messages count before votes. Whoever is missing then is `absent`: not waited for again in this
round, and not blamed. An attempt that cannot go on is void and opens nothing, unless it is already unmasked: then
the round itself ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from fednode.chain.state import Source
from fednode.ids import NO_HASH, Hash, MemberId
from fednode.ledger.members.reading import get_chain
from fednode.ledger.studies.bodies import Result
from fednode.ledger.sums.records import Absence, OpenPhase, PhaseSpan, RoundRecord, VoidAttempt
from fednode.sums.attempt import Attempt, SumContext
from fednode.sums.phase import Phase

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison


@dataclass(frozen=True, slots=True)
class BlockTime:
    """The block a rule runs in, and the hash of the one before. `time_ms` goes into reports, no rule compares it.

    Only what is drawn from a coin depends on `parent`: whoever merely asks what the rules would say may leave it out.
    """

    height: int
    time_ms: int
    parent: Hash = NO_HASH


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """The round is over: with the result q members agree on, or failed for `reason`."""

    record: RoundRecord
    reason: str
    result: Result | None = None


Next = RoundRecord | RoundEnd


# --- posting -----------------------------------------------------------------------------------------------------

V = TypeVar("V", bound="SupportsRichComparison")


def with_item(items: tuple[V, ...], item: V) -> tuple[V, ...]:
    """Return ascending `items` with `item` in its place, once."""
    return items if item in items else tuple(sorted((*items, item)))


def post(record: RoundRecord, sender: MemberId, attempt: Attempt) -> RoundRecord:
    """Return the round with the sender's message of the open phase in it."""
    phase = replace(record.phase, posted=with_item(record.phase.posted, sender))
    return replace(record, phase=phase, attempt=attempt)


def sum_context(source: Source, record: RoundRecord) -> SumContext:
    """Return the place that everything derived in the record's attempt is bound to."""
    return SumContext(get_chain(source).chain_id, record.study, record.number, record.attempt.number)


# --- the end of a phase ------------------------------------------------------------------------------------------

PIN_LOST = "a member is missing of the set that may be summed again"


def is_pin_lost(record: RoundRecord, members: Iterable[MemberId]) -> bool:
    """Whether the only set that may be unmasked cannot come out of `members` any more: no need to go on."""
    return record.pinned is not None and not set(record.pinned) <= set(members)


def awaited(record: RoundRecord, members: Iterable[MemberId]) -> tuple[MemberId, ...]:
    """Return the members a phase waits for: ascending, without those absent earlier in this round."""
    absent = record.absent_members
    return tuple(sorted(member for member in set(members) if member not in absent))


def open_phase(
    record: RoundRecord, at: BlockTime, kind: Phase, expected: tuple[MemberId, ...], step: int = 0
) -> RoundRecord:
    """Return the round with the next phase open. How long it may last, its row says (`sums.phases.limit_phase`)."""
    number = record.phase.number + 1
    return replace(record, phase=OpenPhase(number, kind, step, at.height, at.time_ms, 0, expected))


def keys_phase(at: BlockTime, number: int, holders: tuple[MemberId, ...]) -> OpenPhase:
    """Return the first phase of an attempt: every holder deals keys."""
    return OpenPhase(number, Phase.KEYS, 0, at.height, at.time_ms, 0, holders)


def close_span(record: RoundRecord, at: BlockTime, is_expired: bool) -> RoundRecord:
    """Write down when the open phase ran."""
    phase = record.phase
    span = PhaseSpan(
        record.attempt.number, phase.kind, phase.step, phase.opened_height, phase.opened_ms,
        at.height, at.time_ms, is_expired,
    )
    return replace(record, spans=(*record.spans, span))


def mark_absent(record: RoundRecord, members: Iterable[MemberId]) -> RoundRecord:
    """Record members the open phase ended without; each once per round."""
    known = record.absent_members
    new = [
        Absence(member, record.phase.kind, record.attempt.number)
        for member in sorted(set(members))
        if member not in known
    ]
    return replace(record, absent=(*record.absent, *new)) if new else record


def bar(record: RoundRecord, members: Iterable[MemberId]) -> RoundRecord:
    """Keep members out of later attempts of this round."""
    return replace(record, barred=tuple(sorted({*record.barred, *members})))


def name_faulty(record: RoundRecord, liars: Iterable[MemberId]) -> RoundRecord:
    """Record who lied, and bar it. The set that must be summed again goes on without it."""
    named = set(liars)
    if not named:
        return record
    pinned = record.pinned
    if pinned is not None:
        pinned = tuple(member for member in pinned if member not in named)
    return bar(replace(record, faulty=tuple(sorted({*record.faulty, *named})), pinned=pinned), named)


def _lost_holders(record: RoundRecord) -> tuple[MemberId, ...]:
    gone = record.absent_members.union(record.barred)
    return tuple(member for member in record.attempt.holders if member in gone)


def void_attempt(record: RoundRecord, at: BlockTime, reason: str) -> Next:
    """End the attempt without opening anything; go on without the members it lost, if enough are left.

    Of f + 1 attempts each but the last loses a member, so a round always ends. A round that may only unmask one
    certain set ends as soon as that set cannot be met any more.
    """
    if record.is_unmasked:
        raise AssertionError("an unmasked attempt cannot be void: its masks are open")
    attempt = record.attempt
    lost = _lost_holders(record)
    void = VoidAttempt(attempt.number, record.phase.kind, reason, lost)
    record = replace(record, voids=(*record.voids, void))
    holders = tuple(member for member in attempt.holders if member not in lost)
    if attempt.number >= record.fault_bound:
        return RoundEnd(record, f"{reason}; no attempt is left")
    if is_pin_lost(record, holders):
        return RoundEnd(record, f"{reason}; the set that must be summed cannot be met")
    if len(holders) < record.min_included:
        return RoundEnd(record, f"{reason}; {len(holders)} members are left, {record.min_included} are needed")
    phase = keys_phase(at, record.phase.number + 1, holders)
    return replace(record, attempt=Attempt(attempt.number + 1, holders), phase=phase)


def are_all_posted(record: RoundRecord) -> bool:
    """Whether every expected message of the open phase is in."""
    return set(record.phase.expected) <= set(record.phase.posted)


def silent_members(record: RoundRecord) -> tuple[MemberId, ...]:
    """Return the expected members that have not posted."""
    return tuple(member for member in record.phase.expected if member not in record.phase.posted)
