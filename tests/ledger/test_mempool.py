"""The pool: bounds, order, fairness, and what leaves it."""

from __future__ import annotations

import pytest

from fednode.crypto import Ed25519Signer, Secret
from fednode.errors import Rejected
from fednode.ids import Height, MemberId
from fednode.ledger.studies.bodies import StudyPause
from fednode.ledger.transactions import (
    MAX_PENDING_BYTES_PER_MEMBER,
    MAX_PENDING_PER_MEMBER,
    MAX_REFUSALS,
    MAX_VALIDITY_BLOCKS,
    Mempool,
    Transaction,
)

SIGNER = Ed25519Signer(Secret(bytes(32)))


def make_transaction(sender: int, nonce: int, valid_until: int = 100, size_bytes: int = 0) -> Transaction:
    """A transaction whose bytes are as many as asked for; the pool never looks at signatures."""
    transaction = Transaction(
        MemberId(sender), nonce, Height(valid_until), StudyPause(bytes(32), f"reason {sender}/{nonce}"), bytes(64)
    )
    if size_bytes:
        transaction.__dict__["data"] = transaction.data.ljust(size_bytes, b".")
    return transaction


def make_pool(refused: set[bytes] | None = None) -> Mempool:
    return Mempool(lambda transaction: refused is None or transaction.txid not in refused)


def test_a_transaction_is_taken_once() -> None:
    pool, transaction = make_pool(), make_transaction(1, 1)
    assert pool.add(transaction)
    assert not pool.add(transaction)
    assert len(pool) == 1
    assert pool.get(transaction.txid) is transaction
    assert pool.size_bytes == len(transaction.data)


def test_take_goes_round_the_members_in_nonce_order() -> None:
    pool = make_pool()
    for sender, nonce in ((2, 9), (2, 3), (1, 5), (2, 4), (3, 1)):
        pool.add(make_transaction(sender, nonce))
    assert [(t.sender, t.nonce) for t in pool.take(10_000)] == [(1, 5), (2, 3), (3, 1), (2, 4), (2, 9)]
    assert list(pool.candidates()) == list(pool.take(10_000))


def test_take_keeps_within_the_bytes_and_never_skips_a_nonce() -> None:
    pool = make_pool()
    pool.add(make_transaction(1, 1, size_bytes=500))
    pool.add(make_transaction(1, 2, size_bytes=2000))
    pool.add(make_transaction(1, 3, size_bytes=300))
    pool.add(make_transaction(2, 1, size_bytes=300))
    assert [(t.sender, t.nonce) for t in pool.take(1000)] == [(1, 1), (2, 1)]


def test_bounds_per_member() -> None:
    pool = make_pool()
    for nonce in range(MAX_PENDING_PER_MEMBER):
        pool.add(make_transaction(1, nonce))
    with pytest.raises(Rejected, match="pending"):
        pool.add(make_transaction(1, 1000))
    assert pool.add(make_transaction(2, 1))
    for nonce in range(2, 6):
        pool.add(make_transaction(3, nonce, size_bytes=MAX_PENDING_BYTES_PER_MEMBER // 4))
    with pytest.raises(Rejected, match="bytes"):
        pool.add(make_transaction(3, 7))


def test_nonces_and_validity_are_checked() -> None:
    pool = make_pool()
    pool.add(make_transaction(1, 5, valid_until=50))
    with pytest.raises(Rejected, match="nonce"):
        pool.add(make_transaction(1, 5, valid_until=51))
    with pytest.raises(Rejected, match="valid until"):
        pool.add(make_transaction(1, 6, valid_until=0))
    with pytest.raises(Rejected, match="valid until"):
        pool.add(make_transaction(1, 6, valid_until=MAX_VALIDITY_BLOCKS + 2))
    pool.apply_block(1, [make_transaction(1, 7)])
    with pytest.raises(Rejected, match="nonce"):
        pool.add(make_transaction(1, 7, valid_until=60))


def test_a_block_takes_away_what_it_commits_overtakes_and_outlives() -> None:
    pool = make_pool()
    committed, overtaken = make_transaction(1, 5), make_transaction(1, 4)
    expired, kept = make_transaction(2, 1, valid_until=7), make_transaction(2, 2, valid_until=8)
    for transaction in (committed, overtaken, expired, kept):
        pool.add(transaction)
    assert set(pool.apply_block(7, [committed])) == {overtaken, expired}
    assert list(pool) == [kept]
    assert pool.size_bytes == len(kept.data)


def test_what_is_refused_now_waits_without_being_work() -> None:
    early = make_transaction(1, 1)
    refused: set[bytes] = {early.txid}
    pool = make_pool(refused)
    pool.add(early)
    assert not pool.has_work()
    assert pool.take(10_000) == ()
    refused.clear()
    assert not pool.has_work()  # the rules are asked once per height
    pool.apply_block(1, [])
    assert pool.has_work()


def test_what_stays_refused_is_dropped() -> None:
    never = make_transaction(1, 1)
    pool = make_pool({never.txid})
    pool.add(never)
    for height in range(1, MAX_REFUSALS + 1):
        assert len(pool) == 1
        assert not pool.has_work()
        pool.apply_block(height, [])
    assert len(pool) == 0
