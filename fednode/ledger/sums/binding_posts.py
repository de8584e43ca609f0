"""What a member may post between the freeze block and the one Unmask: its link of the coin, its sketch and the roots
of its shares, its answers to the proofs.

Security assumption: as in `posting`. Nothing here says whether a sketch or an answer is right; that is decided
when the phase ends, from what N - f members agree on.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft
from fednode.ids import MemberId
from fednode.ledger.records import RoundRecord
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.point_checks import is_next_link
from fednode.ledger.sums.posting import post, with_item
from fednode.ledger.sums.reading import confirm_key, proof_key, recheck_key, redeal_key, share_key
from fednode.sums.bodies import Coin, Proof, ShareRoot
from fednode.sums.bounds import Strength, strength_of
from fednode.sums.phase import Phase


def strength_in(record: RoundRecord) -> Strength:
    """Return how hard the round's sum is bound."""
    return strength_of(len(record.members))


def accept_coin(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Coin
) -> RoundRecord:
    """The next link of the sender's chain: nobody could know it before the freeze block, and there is only one."""
    coins, attempt = record.coins, record.attempt
    head = next(head for head in coins.heads if head.member == sender)
    if not is_next_link(head.link, head.index, body.preimage, attempt.coin_index):
        raise refuse(Refusal.WRONG_LINK)
    heads = tuple(
        replace(known, link=body.preimage, index=attempt.coin_index) if known is head else known
        for known in coins.heads
    )
    record = replace(record, coins=replace(coins, heads=heads))
    return post(record, sender, replace(attempt, links=with_item(attempt.links, (sender, body.preimage))))


def accept_share_root(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: ShareRoot
) -> RoundRecord:
    """A dealer's sketch of its masked vector and the roots of what it deals. Said once: there is no second thought."""
    attempt = record.attempt
    draft.write(share_key(record.study, record.number, attempt.number, sender), body)
    return post(record, sender, replace(attempt, shared=with_item(attempt.shared, sender)))


def count_parts(record: RoundRecord) -> int:
    """Return how many messages a holder's answers about all of U take."""
    return -(-len(record.attempt.included) // strength_in(record).dealers_a_part)


def dealers_of_part(record: RoundRecord, part: int) -> tuple[MemberId, ...]:
    """Return the dealers whose proofs part `part` answers, in order."""
    size = strength_in(record).dealers_a_part
    return record.attempt.included[part * size : (part + 1) * size]


def accept_proof(
    draft: Draft, record: RoundRecord, terms: StudyTerms, sender: MemberId, body: Proof
) -> RoundRecord:
    """One part of a holder's answers. The member has posted when all are in; all say the same of the sum."""
    attempt = record.attempt
    dealers = dealers_of_part(record, body.part)
    if not dealers or len(body.data) != strength_in(record).answer_bytes * len(dealers):
        raise refuse(Refusal.WRONG_ANSWERS)
    said, parts = next(((said, parts) for member, said, parts in attempt.answered if member == sender), (None, ()))
    if body.part in parts:
        raise refuse(Refusal.ALREADY_POSTED)
    if said not in (None, body.sum_ok):
        raise refuse(Refusal.ANSWERS_DIFFER)
    draft.write(proof_key(record.study, record.number, attempt.number, sender, body.part), body)
    parts = with_item(parts, body.part)
    others = tuple(answer for answer in attempt.answered if answer[0] != sender)
    attempt = replace(attempt, answered=tuple(sorted((*others, (sender, body.sum_ok, parts)))))
    if len(parts) < count_parts(record):
        return replace(record, attempt=attempt)
    return post(record, sender, attempt)


def forget_checks(draft: Draft, record: RoundRecord) -> None:
    """Delete the long bodies of the record's attempt: it is void, or its round is over."""
    attempt = record.attempt
    place = (record.study, record.number, attempt.number)
    for member in attempt.shared:
        draft.write(share_key(*place, member), None)
    for member, _, parts in attempt.answered:
        for part in parts:
            draft.write(proof_key(*place, member, part), None)
    for dealer, holder in attempt.redealt:
        draft.write(redeal_key(*place, dealer, holder), None)
    for member in attempt.confirmed:
        draft.write(confirm_key(*place, member), None)
    if record.phase.kind == Phase.RECHECK:
        for member in record.phase.posted:
            draft.write(recheck_key(*place, member), None)
