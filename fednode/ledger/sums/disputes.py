"""From the verdicts on all dealers to the one Unmask; where a holder has not the share that was proven, by way of
REDEAL, CONFIRM and EXPOSE.

Without them a liar that dealt one honest holder another share, or none, and then kept back an opening would leave one
too few. A holder that does not carry a dealer's verdict disputes its share. The dealer deals it again, hidden but for
that holder, on the ledger: who does not is out of the next attempt, without blame. A second query, drawn after all
boxes are there, tells who holds the share that was proven; a blind proven with it hides the share. Its answers are
decoded over those alone whose first answers carried the dealer's verdict: of any N - f of them N - 2 f > g are honest
and hold what was proven, so the polynomial is that of the proven shares. What was dealt again may lie on another, and
with it the answers of liars; over all answers that one could count.

Security assumption: at most f members lie. An honest dealer is confirmed by the honest that carried its verdict; what
it deals again is right, and nobody can open its box as a wrong one. So whoever is named here lied. An honest holder is
in at most f disputes in which the dealer lies: who is in more is cut off, or lies, and its disputes fall. Whoever is
neither confirmed nor exposes the box has no part in the opening, and no blame. If messages arrive in time all honest
members open, and f that keep their openings back change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fednode.chain.state import Source
from fednode.ids import MemberId
from fednode.ledger.records import RoundRecord
from fednode.ledger.sums.binding_posts import count_parts, dealers_of_part, strength_in
from fednode.ledger.sums.course import (
    BlockTime,
    Next,
    awaited,
    bar,
    mark_absent,
    name_faulty,
    open_phase,
    silent_members,
    void_attempt,
)
from fednode.ledger.sums.dispute_posts import answered_members, sum_context
from fednode.ledger.sums.reading import get_answers, get_confirm, get_redeal
from fednode.ledger.sums.verdicts import Judged, confirm_shares, judge_dealers
from fednode.sums.attempt import Pair
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.phase import Phase

FEW_ANSWERS = "too few right answers to the proofs"
NOT_REDEALT = "a member did not deal again a share that its holder disputes"
NOT_CONFIRMED = "too few members hold the proven share of a member whose shares are disputed"
DEALT_WRONG = "a member dealt a wrong share, and dealt it again"


def judge_included(source: Source, record: RoundRecord) -> dict[MemberId, Judged]:
    """Return the verdict on every dealer of U, and the holders whose answers carry it."""
    attempt = record.attempt
    place = (record.study, record.number, attempt.number)
    judged: dict[MemberId, Judged] = {}
    for part in range(count_parts(record)):
        dealers = dealers_of_part(record, part)
        bodies = [
            (member, get_answers(source, *place, member, part))
            for member, _, parts in attempt.answered if part in parts
        ]
        answers = [(member, body.data) for member, body in bodies if body is not None]
        judged |= zip(dealers, judge_dealers(answers, len(dealers), len(record.members)), strict=True)
    return judged


def find_disputes(record: RoundRecord, judged: Mapping[MemberId, Judged]) -> tuple[Pair, ...]:
    """Return (dealer, holder) of the shares that are to be dealt again. A dealer is in at most f, as its verdict was
    carried by N - f; a holder in more is cut off, or lies, and none of its disputes counts."""
    answered = answered_members(record)
    pairs = [
        (dealer, member)
        for dealer, found in judged.items()
        for member in sorted(set(answered).difference(found.holders, (dealer,)))
    ]
    counts = Counter(holder for _, holder in pairs)
    return tuple(sorted(pair for pair in pairs if counts[pair[1]] <= record.fault_bound))


def settle_shares(record: RoundRecord, at: BlockTime, judged: Mapping[MemberId, Judged]) -> Next:
    """Every dealer is proven: unmask, or first have dealt again what holders have not."""
    pairs = find_disputes(record, judged)
    if not pairs:
        return _unmask(_with_openers(record, judged, ()), at)
    record = replace(record, attempt=replace(record.attempt, disputes=pairs))
    return open_phase(record, at, Phase.REDEAL, record.attempt.disputed_dealers)


def _with_openers(record: RoundRecord, judged: Mapping[MemberId, Judged], settled: Iterable[Pair]) -> RoundRecord:
    """Write down who holds the proven share of every dealer of U."""
    holders = {dealer: set(found.holders) for dealer, found in judged.items()}
    for dealer, holder in settled:
        holders[dealer].add(holder)
    openers = set(record.attempt.present).intersection(*holders.values())
    return replace(record, attempt=replace(record.attempt, openers=tuple(sorted(openers))))


def _unmask(record: RoundRecord, at: BlockTime) -> Next:
    """The one Unmask of the round, if enough can open: otherwise the sum could be unmasked and never checked."""
    if len(record.attempt.openers) < record.threshold:
        return void_attempt(record, at, FEW_ANSWERS)
    record = replace(record, is_unmasked=True)
    return open_phase(record, at, Phase.REVEAL, awaited(record, record.attempt.present))


# --- dealt again -------------------------------------------------------------------------------------------------

def after_redeal(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Draw the challenges from everything that was dealt again.

    Dealers and holders that were absent before are waited for here: they answered the proofs, and without them it may
    be an honest one that is one too few.
    """
    attempt = record.attempt
    place = (record.study, record.number, attempt.number)
    if silent := {dealer for dealer, holder in attempt.disputes if (dealer, holder) not in attempt.redealt}:
        return void_attempt(mark_absent(record, silent), at, NOT_REDEALT)
    boxes = {}
    for dealer, holder in attempt.disputes:
        body = get_redeal(source, *place, dealer, holder)
        if body is None:
            raise AssertionError("what was dealt again is on the ledger")
        boxes[int(dealer), int(holder)] = body.box
    if attempt.query_seed is None:
        raise AssertionError("REDEAL follows the proofs")
    seed = draw_confirm_seed(sum_context(source, record), attempt.query_seed, boxes)
    record = replace(record, attempt=replace(attempt, confirm_seed=seed))
    return open_phase(record, at, Phase.CONFIRM, answered_members(record))


# --- confirmed ---------------------------------------------------------------------------------------------------

def after_confirm(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Tell who holds the proven share now, and who says that it still does not.

    An honest dealer is decided by the N - f honest that carried its verdict. Where as many answered and are undecided
    the dealer is out of the next attempt; where fewer did somebody is silent, and out for it.
    """
    record = mark_absent(record, silent_members(record))
    judged = judge_included(source, record)
    told = _told(source, record)
    settled: list[Pair] = []
    unconfirmed: list[tuple[MemberId, MemberId, bytes]] = []
    undecided: dict[MemberId, bool] = {}
    for dealer in record.attempt.disputed_dealers:
        proven = set(judged[dealer].holders)
        carried = tuple((member, data[dealer]) for member, data in told.items() if member in proven)
        places = tuple(holder for who, holder in record.attempt.disputes if who == dealer)
        answers = confirm_shares(carried, places, len(record.members))
        if answers is None:
            undecided[dealer] = len(carried) >= record.threshold
            continue
        for holder, answer in zip(places, answers, strict=True):
            if holder in told and told[holder][dealer] == answer:
                settled.append((dealer, holder))
            elif holder in told:
                unconfirmed.append((dealer, holder, answer))
    if undecided:
        out = [dealer for dealer, is_at_fault in undecided.items() if is_at_fault]
        return void_attempt(bar(record, out), at, NOT_CONFIRMED if out else FEW_ANSWERS)
    record = _with_openers(record, judged, settled)
    if not unconfirmed:
        return _unmask(record, at)
    record = replace(record, attempt=replace(record.attempt, unconfirmed=tuple(unconfirmed)))
    holders = tuple(sorted({holder for _, holder, _ in unconfirmed}))
    return open_phase(record, at, Phase.EXPOSE, holders)


def _told(source: Source, record: RoundRecord) -> dict[MemberId, dict[MemberId, bytes]]:
    """Return what every member answered about every disputed dealer: member -> dealer -> bytes."""
    attempt, size = record.attempt, strength_in(record).confirm_bytes
    place = (record.study, record.number, attempt.number)
    told = {}
    for member in attempt.confirmed:
        body = get_confirm(source, *place, member)
        if body is None:
            raise AssertionError("what a member confirmed is on the ledger")
        told[member] = {
            dealer: body.data[at * size : (at + 1) * size]
            for at, dealer in enumerate(attempt.disputed_dealers)
        }
    return told


# --- exposed -----------------------------------------------------------------------------------------------------

def after_expose(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Go on without who dealt a wrong share twice; or unmask, for nobody could show that anything is wrong."""
    exposed = record.attempt.exposed
    if exposed:
        record = name_faulty(record, {dealer for dealer, _ in exposed})
        return void_attempt(record, at, DEALT_WRONG)
    return _unmask(mark_absent(record, silent_members(record)), at)
