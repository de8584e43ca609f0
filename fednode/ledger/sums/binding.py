"""The phases between the freeze block and the one Unmask: COIN, SHARE, PROOF; and the Unmask itself.

Security assumption: everything the sum depends on (Q, U, the roots, the digests of the masked sum, q acks) is on the
ledger before the first link of the coin is revealed, and nothing recorded after the links enters the coin. Nothing of
a sketch in the clear is opened before every dealer of U has proven its own: the one Unmask of the round is at the end
of PROOF, or of what settles disputes about shares after it (`disputes`). A member is `faulty` only if N - f
holders' answers carry a false statement of its: of these at least N - 2 f are honest, so it did deal it (what else
names a member: `recheck`, `disputes`). Whoever is only late, silent or cut off is left out of the next
attempt, without blame.

Taking a message says nothing about whether a sketch or an answer is right; that is decided when the phase ends, from
what N - f members agree on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fednode.chain.state import Draft, Source
from fednode.ids import Hash, MemberId
from fednode.ledger.refusals import Refusal, refuse
from fednode.ledger.studies.bodies import StudyTerms
from fednode.ledger.sums.checks import Judged, Verdict, is_next_link, judge_dealers
from fednode.ledger.sums.course import (
    BlockTime,
    Next,
    awaited,
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
    count_parts,
    dealers_of_part,
    get_answers,
    get_share_root,
    proof_key,
    share_key,
    strength_in,
)
from fednode.sums.attempt import Pair
from fednode.sums.bodies import Coin, Proof, ShareRoot, SumCheck
from fednode.sums.coin import SKETCH_LABEL, draw_coin, draw_query_seed
from fednode.sums.phase import Phase

NO_COIN = "too few members revealed their link of the coin"
NOT_SHARED = "a member of the sum did not share its sketch"
NOT_PROVEN = "a member of the sum did not prove its update"
SUM_UNCHECKED = "too few members could check the sum"
FEW_ANSWERS = "too few right answers to the proofs"


# --- what members post -------------------------------------------------------------------------------------------

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


# --- coin --------------------------------------------------------------------------------------------------------

def open_coin(record: RoundRecord, at: BlockTime) -> Next:
    """Freeze: ask everybody present that has a chain for its next link. Link numbers are never used twice."""
    coins = replace(record.coins, opened=record.coins.opened + 1)
    attempt = replace(record.attempt, freeze_height=at.height, coin_index=coins.opened)
    record = replace(record, coins=coins, attempt=attempt)
    expected = awaited(record, coins.holders.intersection(record.attempt.present))
    return open_phase(record, at, Phase.COIN, expected)


def after_coin(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Draw the coin, if at least one honest member had a part in it."""
    record = mark_absent(record, silent_members(record))
    attempt = record.attempt
    if len(attempt.links) <= record.fault_bound or attempt.freeze_block is None:
        return void_attempt(record, at, NO_COIN)
    coin = draw_coin(sum_context(source, record), SKETCH_LABEL, Hash(attempt.freeze_block), dict(attempt.links))
    record = replace(record, attempt=replace(attempt, coin=coin))
    return open_phase(record, at, Phase.SHARE, awaited(record, record.attempt.included))


# --- shares ------------------------------------------------------------------------------------------------------

def after_share(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Draw the challenges from everything that was dealt. U is fixed: without one of it there is no sum."""
    attempt = record.attempt
    missing = tuple(member for member in attempt.included if member not in attempt.shared)
    if missing:
        return void_attempt(mark_absent(record, missing), at, NOT_SHARED)
    if attempt.coin is None or attempt.freeze_block is None:
        raise AssertionError("SHARE follows the coin")
    posted = {}
    for member in attempt.included:
        body = get_share_root(source, record.study, record.number, attempt.number, member)
        if body is None:
            raise AssertionError("the roots of a member that shared are on the ledger")
        posted[int(member)] = (body.sketch, body.bits_root, body.proof_root)
    seed = draw_query_seed(sum_context(source, record), attempt.coin, attempt.freeze_block, posted)
    record = replace(record, attempt=replace(attempt, query_seed=seed))
    return open_phase(record, at, Phase.PROOF, awaited(record, attempt.present))


# --- proofs ------------------------------------------------------------------------------------------------------

def after_proof(source: Source, record: RoundRecord, at: BlockTime) -> Next:
    """Unmask, once and for all, if every dealer of U is proven and the masked sum is that of the sketches.

    Where f + 1 members say that it is not, an honest one does, and everybody looks who spoiled it.
    """
    record = mark_absent(record, silent_members(record))
    judged = judge_included(source, record)
    refused = [dealer for dealer, found in judged.items() if found.verdict is not Verdict.PROVEN]
    if len(refused) == len(judged):  # then it is the answers that are short, not every dealer
        return void_attempt(_blame(record, judged), at, FEW_ANSWERS)
    if refused:
        return void_attempt(bar(_blame(record, judged), refused), at, NOT_PROVEN)
    said = [what for _, what, _ in record.attempt.answered]
    if said.count(SumCheck.WRONG) > record.fault_bound:
        return open_phase(record, at, Phase.RECHECK, awaited(record, record.attempt.present))
    if said.count(SumCheck.RIGHT) < record.threshold:
        return void_attempt(record, at, SUM_UNCHECKED)
    return settle_shares(record, at, judged)


def _blame(record: RoundRecord, judged: dict[MemberId, Judged]) -> RoundRecord:
    """Record who dealt a false statement, and bar it."""
    return name_faulty(record, (dealer for dealer, found in judged.items() if found.verdict is Verdict.FALSE))


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


# --- the one Unmask ----------------------------------------------------------------------------------------------

def settle_shares(record: RoundRecord, at: BlockTime, judged: Mapping[MemberId, Judged]) -> Next:
    """Every dealer is proven: unmask, or first have dealt again what holders have not."""
    pairs = find_disputes(record, judged)
    if not pairs:
        return unmask(with_openers(record, judged, ()), at)
    record = replace(record, attempt=replace(record.attempt, disputes=pairs))
    return open_phase(record, at, Phase.REDEAL, record.attempt.disputed_dealers)


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


def with_openers(record: RoundRecord, judged: Mapping[MemberId, Judged], settled: Iterable[Pair]) -> RoundRecord:
    """Write down who holds the proven share of every dealer of U."""
    holders = {dealer: set(found.holders) for dealer, found in judged.items()}
    for dealer, holder in settled:
        holders[dealer].add(holder)
    openers = set(record.attempt.present).intersection(*holders.values())
    return replace(record, attempt=replace(record.attempt, openers=tuple(sorted(openers))))


def unmask(record: RoundRecord, at: BlockTime) -> Next:
    """The one Unmask of the round, if enough can open: otherwise the sum could be unmasked and never checked."""
    if len(record.attempt.openers) < record.threshold:
        return void_attempt(record, at, FEW_ANSWERS)
    record = replace(record, is_unmasked=True)
    return open_phase(record, at, Phase.REVEAL, awaited(record, record.attempt.present))
