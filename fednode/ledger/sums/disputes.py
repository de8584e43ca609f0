"""Where a holder has not the share that was proven: REDEAL, CONFIRM and EXPOSE, on the way to the one Unmask.

Without them a liar that dealt one honest holder another share, or none, and then kept back an opening would leave one
too few. A holder that does not carry a dealer's verdict disputes its share. The dealer deals it again, hidden but for
that holder, on the ledger: who does not is out of the next attempt, without blame. A second query, drawn after all
boxes are there, tells who holds the share that was proven; a blind proven with it hides the share. Its answers are
decoded over those alone whose first answers carried the dealer's verdict: of any N - f of them N - 2 f > g are honest
and hold what was proven, so the polynomial is that of the proven shares. What was dealt again may lie on another, and
with it the answers of liars; over all answers that one could count.

Security assumption: at most f members lie. An honest dealer is confirmed by the honest that carried its verdict; what
it deals again is right, and nobody can open its box as a wrong one: a box is opened only by its holder, with a proof
that it opens like this, and only one whose share is not on the polynomial of the dealer's proven shares is accepted. So
whoever is named here lied. An honest holder is in at most f disputes in which the dealer lies: who is in more is cut
off, or lies, and its disputes fall. Whoever is neither confirmed nor exposes the box has no part in the opening, and no
blame. If messages arrive in time all honest members open, and f that keep their openings back change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.binding import FEW_ANSWERS, judge_included, unmask, with_openers
from fednode.ledger.sums.checks import confirm_shares, is_box_right, is_shared_point
from fednode.ledger.sums.course import (
    BlockTime,
    Next,
    bar,
    mark_absent,
    name_faulty,
    open_phase,
    post,
    silent_members,
    sum_context,
    void_attempt,
    with_item,
)
from fednode.ledger.sums.records import (
    RoundRecord,
    answered_members,
    confirm_key,
    get_confirm,
    get_keys,
    get_redeal,
    redeal_key,
    strength_in,
)
from fednode.sums.attempt import Attempt, Pair, dispute_context
from fednode.sums.bodies import Confirm, Expose, Redeal
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.phase import Phase

NOT_REDEALT = "a member did not deal again a share that its holder disputes"
NOT_CONFIRMED = "too few members hold the proven share of a member whose shares are disputed"
DEALT_WRONG = "a member dealt a wrong share, and dealt it again"


# --- what members post -------------------------------------------------------------------------------------------

def accept_redeal(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Redeal
) -> RoundRecord:
    """A share for one of the holders that dispute the sender's, once. Nobody but the holder can say what it is."""
    attempt = record.attempt
    pair = (sender, body.holder)
    if pair not in attempt.disputes:
        raise refuse(Refusal.WRONG_HOLDERS)
    if pair in attempt.redealt:
        raise refuse(Refusal.ALREADY_POSTED)
    if len(body.box) != strength_in(record).held_bytes(record.words):
        raise refuse(Refusal.BOX_SIZE)
    draft.write(redeal_key(record.study, record.number, attempt.number, *pair), body)
    attempt = replace(attempt, redealt=with_item(attempt.redealt, pair))
    return _post_when_done(record, sender, attempt, [p for p in attempt.disputes if p[0] == sender], attempt.redealt)


def accept_confirm(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Confirm
) -> RoundRecord:
    """A member's answers about all disputed dealers; what they are worth is decided when the phase ends."""
    attempt = record.attempt
    if len(body.data) != strength_in(record).confirm_bytes * len(attempt.disputed_dealers):
        raise refuse(Refusal.WRONG_ANSWERS)
    draft.write(confirm_key(record.study, record.number, attempt.number, sender), body)
    return post(record, sender, replace(attempt, confirmed=with_item(attempt.confirmed, sender)))


def accept_expose(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Expose
) -> RoundRecord:
    """A box that was dealt again, opened by its holder; refused if the proven share is in it: it was dealt rightly."""
    attempt = record.attempt
    pair = (body.dealer, sender)
    answer = next((right for dealer, holder, right in attempt.unconfirmed if (dealer, holder) == pair), None)
    if answer is None:
        raise refuse(Refusal.WRONG_ACCUSATION)
    if pair in attempt.exposed:
        raise refuse(Refusal.ALREADY_POSTED)
    place = (record.study, record.number, attempt.number)
    keys, box = [get_keys(draft, *place, member) for member in pair], get_redeal(draft, *place, *pair)
    points = [key.c_point for key in keys if key is not None]
    if len(points) < len(pair) or box is None or attempt.confirm_seed is None:
        raise AssertionError("keys and boxes of disputed shares are on the ledger")
    context = sum_context(draft, record)
    if not is_shared_point(points[1], points[0], body.shared, dispute_context(context, *pair), body.proof):
        raise refuse(Refusal.BAD_PROOF)
    if is_box_right(box.box, body.shared, context, pair, attempt.confirm_seed, answer):
        raise refuse(Refusal.WRONG_ACCUSATION)
    attempt = replace(attempt, exposed=with_item(attempt.exposed, pair))
    owed = [(dealer, holder) for dealer, holder, _ in attempt.unconfirmed if holder == sender]
    return _post_when_done(record, sender, attempt, owed, attempt.exposed)


def _post_when_done(
    record: RoundRecord, sender: MemberId, attempt: Attempt, owed: Sequence[tuple[MemberId, MemberId]],
    done: Sequence[tuple[MemberId, MemberId]],
) -> RoundRecord:
    """The message says a part of what the sender owes; it has posted when all is in."""
    return post(record, sender, attempt) if set(owed) <= set(done) else replace(record, attempt=attempt)


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
    record = with_openers(record, judged, settled)
    if not unconfirmed:
        return unmask(record, at)
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
    return unmask(mark_absent(record, silent_members(record)), at)
