"""The phases between the freeze block and the one Unmask: COIN, SHARE, PROOF; and the opening of what was proven.

Security assumption: everything the sum depends on (Q, U, the roots, the digests of the masked sum, q acks) is on the
ledger before the first link of the coin is revealed, and nothing recorded after the links enters the coin. Nothing of
a sketch in the clear is opened before every dealer of U has proven its own: the one Unmask of the round is at the end
of PROOF, or of what settles disputes about shares after it (`disputes`). A member is `faulty` only if N - f
holders' answers carry a false statement of its: of these at least N - 2 f are honest, so it did deal it (what else
names a member: `recheck`, `disputes`). Whoever is only late, silent or cut off is left out of the next
attempt, without blame.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Source
from fednode.ids import Hash, MemberId
from fednode.ledger.records import RoundRecord
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
from fednode.ledger.sums.dispute_posts import sum_context
from fednode.ledger.sums.disputes import FEW_ANSWERS, judge_included, settle_shares
from fednode.ledger.sums.reading import get_share_root
from fednode.ledger.sums.verdicts import Judged, Verdict, open_sums
from fednode.sums.bodies import SumCheck
from fednode.sums.coin import SKETCH_LABEL, draw_coin, draw_query_seed
from fednode.sums.phase import Phase

NO_COIN = "too few members revealed their link of the coin"
NOT_SHARED = "a member of the sum did not share its sketch"
NOT_PROVEN = "a member of the sum did not prove its update"
SUM_UNCHECKED = "too few members could check the sum"
NOT_OPENED = "too few right shares of the summed sketch"


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


# --- opening what was proven -------------------------------------------------------------------------------------

def open_sketch(record: RoundRecord) -> RoundRecord:
    """Return the round with what was opened of the sum, as soon as enough right shares of it are in."""
    if record.attempt.sum_opened is not None:
        return record
    opened = _open_sums(record)
    return record if opened is None else replace(record, attempt=replace(record.attempt, sum_opened=opened))


def _open_sums(record: RoundRecord) -> bytes | None:
    attempt = record.attempt
    told = tuple(opening for opening in attempt.openings if opening[0] in attempt.openers)
    return open_sums(told, record.words, len(record.members))


def is_sketch_open(record: RoundRecord) -> bool:
    """Whether what was proven is open, or would be with `open_sketch`."""
    return _open_sums(record) is not None
