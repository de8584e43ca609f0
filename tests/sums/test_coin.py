"""The coin: links open one after the other, and everything that is frozen enters, nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from fednode.codec import pack
from fednode.ids import Hash
from fednode.sums.attempt import SumContext
from fednode.sums.coin import draw_coin, is_link, restore_chain

CONTEXT = SumContext(b"c" * 32, b"s" * 32, 3, 1)
BLOCK = Hash(b"b" * 32)
LINKS = {2: b"x" * 32, 1: b"y" * 32}
SEED = bytes(range(32))


def slow_tagged(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(p).to_bytes(8, "big") + p for p in (b"fednode/1/round", *parts))).digest()


def test_the_chain_is_repeated_hashing() -> None:
    chain = restore_chain(SEED, 5)
    value, values = SEED, [SEED]
    for _ in range(5):
        value = slow_tagged(b"coin link", value)
        values.append(value)
    assert chain.head == values[5]
    assert [chain.link(k) for k in range(1, 6)] == values[4::-1]
    assert SEED.hex() not in repr(chain)


def test_links_open_in_order_and_may_be_skipped() -> None:
    chain = restore_chain(SEED, 9)
    assert all(is_link(chain.head, 0, chain.link(k), k) for k in range(1, 10))
    assert is_link(chain.link(3), 3, chain.link(7), 7), "links 4 to 6 were never shown"
    assert not is_link(chain.link(3), 3, chain.link(7), 6), "the link of another sum"
    assert not is_link(chain.link(3), 3, chain.link(3), 3), "the same link again"
    assert not is_link(chain.link(3), 3, chain.link(2), 2), "a link that was shown already"
    assert not is_link(chain.head, 0, chain.link(1)[:31], 1)
    assert not is_link(chain.head, 0, chain.link(1), 1 << 60), "no work beyond the longest chain"


@pytest.mark.parametrize("index", [0, 6, -1])
def test_there_is_no_link_outside_the_chain(index: int) -> None:
    with pytest.raises(ValueError, match="links 1 to 5"):
        restore_chain(SEED, 5).link(index)


def test_bad_seeds_and_lengths_are_refused() -> None:
    for seed, length in ((b"x", 3), (b"x" * 32, 0), (b"x" * 32, 1 << 17)):
        with pytest.raises(ValueError, match="a chain has"):
            restore_chain(seed, length)


def test_the_coin_is_the_hash_of_what_was_frozen() -> None:
    expected = slow_tagged(b"coin", pack((1, b"c" * 32, b"s" * 32, 3, 1, "sketch", BLOCK,
                                          ((1, b"y" * 32), (2, b"x" * 32)))))
    assert draw_coin(CONTEXT, "sketch", BLOCK, LINKS) == expected
    assert draw_coin(CONTEXT, "sketch", BLOCK, dict(sorted(LINKS.items()))) == expected, "in whatever order"


def test_every_part_changes_the_coin() -> None:
    coins = {
        draw_coin(CONTEXT, "sketch", BLOCK, LINKS),
        draw_coin(CONTEXT, "other", BLOCK, LINKS),
        draw_coin(CONTEXT, "sketch", Hash(b"d" * 32), LINKS),
        draw_coin(CONTEXT, "sketch", BLOCK, {1: LINKS[1]}),
        draw_coin(CONTEXT, "sketch", BLOCK, {1: LINKS[2], 2: LINKS[1]}),
        draw_coin(CONTEXT, "sketch", BLOCK, {3: LINKS[2], 1: LINKS[1]}),
        *(draw_coin(c, "sketch", BLOCK, LINKS) for c in (
            replace(CONTEXT, chain_id=b"d" * 32), replace(CONTEXT, study=b"d" * 32),
            replace(CONTEXT, round=4), replace(CONTEXT, attempt=2))),
    }
    assert len(coins) == 10
    with pytest.raises(ValueError, match="at least one"):
        draw_coin(CONTEXT, "sketch", BLOCK, {})


def test_chains_of_two_seeds_differ() -> None:
    assert restore_chain(b"1" * 32, 4).head != restore_chain(b"2" * 32, 4).head
