"""The outbox: rising nonces, one of each body, signed anew when overtaken or out of date, given up in the end."""

from __future__ import annotations

import pytest

from fednode.core.traffic import KEEP_MS, MAX_PENDING, VALIDITY_BLOCKS, Outbox
from fednode.crypto import Ed25519Signer, Secret
from fednode.ids import MemberId
from fednode.ledger.bodies import Memo

NOW_MS = 1_700_000_000_000


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(bytes(32), MemberId(2), Ed25519Signer(Secret(b"k" * 32)))


def memo(number: int) -> Memo:
    return Memo(f"line {number}")


def test_nonces_rise_even_when_the_clock_stands_or_goes_back(outbox: Outbox) -> None:
    nonces = []
    for number, now_ms in enumerate((NOW_MS, NOW_MS, NOW_MS - 5_000, NOW_MS + 1)):
        transaction = outbox.sign(memo(number), 7, now_ms)
        nonces.append(transaction.nonce)
    assert nonces == sorted(set(nonces)) and nonces[0] == 1000 * NOW_MS


def test_clock_that_was_set_back_before_the_start_does_not_make_everything_refused() -> None:
    seen = 1000 * NOW_MS
    outbox = Outbox(bytes(32), MemberId(2), Ed25519Signer(Secret(b"k" * 32)))
    outbox.begin_after(seen)
    transaction = outbox.sign(memo(1), 7, NOW_MS - 86_400_000)
    assert transaction is not None and transaction.nonce == seen + 1


def test_one_of_each_body_and_not_too_many(outbox: Outbox) -> None:
    assert outbox.sign(memo(0), 7, NOW_MS) is not None
    assert outbox.sign(memo(0), 7, NOW_MS) is None
    for number in range(1, MAX_PENDING):
        assert outbox.sign(memo(number), 7, NOW_MS) is not None
    assert outbox.sign(memo(MAX_PENDING), 7, NOW_MS) is None
    assert len(outbox) == MAX_PENDING


def test_what_a_block_carries_is_done(outbox: Outbox) -> None:
    transaction = outbox.sign(memo(0), 7, NOW_MS)
    assert outbox.on_block([transaction], transaction.nonce, 8, NOW_MS) == []
    assert len(outbox) == 0 and outbox.due(8, NOW_MS) == []


def test_overtaken_nonce_is_replaced(outbox: Outbox) -> None:
    first, second = outbox.sign(memo(0), 7, NOW_MS), outbox.sign(memo(1), 7, NOW_MS)
    assert first is not None and second is not None
    [again] = outbox.on_block([second], second.nonce, 8, NOW_MS)
    assert again.body == first.body and again.nonce > second.nonce and again.valid_until == 8 + VALIDITY_BLOCKS
    assert outbox.due(8, NOW_MS) == [again]


def test_nonce_of_another_life_is_overtaken_too(outbox: Outbox) -> None:
    """After a restart with a clock that went back, the ledger's nonce decides."""
    first = outbox.sign(memo(0), 7, NOW_MS)
    [again] = outbox.on_block([], first.nonce + 10**9, 8, NOW_MS)
    assert again.nonce > first.nonce + 10**9


def test_signed_for_a_height_long_past_is_signed_anew(outbox: Outbox) -> None:
    first = outbox.sign(memo(0), 7, NOW_MS)
    [again] = outbox.due(7 + VALIDITY_BLOCKS, NOW_MS + 10)
    assert first is not None and again.body == first.body
    assert again.nonce > first.nonce and again.valid_until == 7 + 2 * VALIDITY_BLOCKS
    assert len(outbox) == 1


def test_given_up_in_the_end(outbox: Outbox) -> None:
    outbox.sign(memo(0), 7, NOW_MS)
    assert len(outbox.due(7, NOW_MS + KEEP_MS)) == 1
    assert outbox.due(7 + VALIDITY_BLOCKS, NOW_MS + KEEP_MS + 1) == []
    assert len(outbox) == 0
    assert outbox.sign(memo(0), 7, NOW_MS + KEEP_MS + 1) is not None
