"""What a member may post while disputes about shares are settled: shares dealt again, answers to one more query of
them, and boxes opened to everybody because they are wrong.

Security assumption: as in `posting`. A box is opened only by its holder, with a proof that it opens like this, and
only one whose share is not on the polynomial of the dealer's proven shares is accepted: an honest dealer's never is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.ids import MemberId
from fednode.ledger.members.reading import get_chain
from fednode.ledger.records import RoundRecord
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.binding_posts import count_parts, strength_in
from fednode.ledger.sums.point_checks import is_shared_point
from fednode.ledger.sums.posting import post, with_item
from fednode.ledger.sums.reading import confirm_key, get_keys, get_redeal, redeal_key
from fednode.ledger.sums.verdicts import dispute_context, is_box_right
from fednode.sums.attempt import Attempt, SumContext
from fednode.sums.bodies import Confirm, Expose, Redeal


def answered_members(record: RoundRecord) -> tuple[MemberId, ...]:
    """Return the members that answered the proofs of all dealers."""
    whole = count_parts(record)
    return tuple(member for member, _, parts in record.attempt.answered if len(parts) == whole)


def sum_context(source: Source, record: RoundRecord) -> SumContext:
    """Return the place that everything derived in the record's attempt is bound to."""
    return SumContext(get_chain(source).chain_id, record.study, record.number, record.attempt.number)


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
