"""What a holder keeps of a dealer, the query that confirms it, and boxes dealt again: against plain integers."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.crypto import base_times, point_times
from fednode.keystream import AesCtr
from fednode.sums import field, norm, shares
from fednode.sums.attempt import SumContext, dispute_context
from fednode.sums.bounds import FEW, MIN_OPENING_BYTES
from fednode.sums.coin import draw_confirm_seed
from fednode.sums.field import MODULUS, FieldVector
from fednode.sums.norm import ENTRY_BITS, Statement, norm_statement
from fednode.sums.redeal import hide_held, show_held
from tests.sums.test_norm import SMALL, share
from tests.support.seeds import Stream

HERE = SumContext(b"c" * 32, b"s" * 32, 3, 1)
PLACES = [
    SumContext(b"d" * 32, b"s" * 32, 3, 1), SumContext(b"c" * 32, b"t" * 32, 3, 1),
    SumContext(b"c" * 32, b"s" * 32, 4, 1), SumContext(b"c" * 32, b"s" * 32, 3, 2),
]
CHALLENGES = norm.draw_confirm(b"k" * 32)


# --- twins in plain integers ---------------------------------------------------------------------------------------

def slow_held(statement: Statement, bits: list[int], proof: list[int]) -> list[int]:
    entries = [
        (sum(bits[ENTRY_BITS * j + k] << k for k in range(ENTRY_BITS)) - 2 ** (ENTRY_BITS - 1)) % MODULUS
        for j in range(statement.entries)
    ]
    start = ENTRY_BITS * statement.entries
    weight = sum(bits[start + k] << k for k in range(statement.weight_bits)) % MODULUS
    part = len(proof) // 2
    return [*entries, weight, proof[part - 1], proof[2 * part - 1]]


def slow_confirm(held: list[int], challenges: tuple[int, ...]) -> list[int]:
    blinds = held[-len(challenges) :]
    opened = held[: -len(challenges)]
    return [
        (sum(pow(rho, k + 1, MODULUS) * value for k, value in enumerate(opened)) + blind) % MODULUS
        for rho, blind in zip(challenges, blinds, strict=True)
    ]


def elements(draw: random.Random, count: int) -> FieldVector:
    edges = [0, 1, MODULUS - 1, MODULUS - 2, 2**32 - 1, 2**32]
    values = [draw.choice(edges) if draw.random() < 0.2 else draw.randrange(MODULUS) for _ in range(count)]
    return np.array(values, field.FIELD)


@settings(max_examples=30)
@given(st.integers(0, 2**32))
def test_held_and_confirm_are_what_plain_integers_give(seed: int) -> None:
    draw = random.Random(seed)
    bits, proof = elements(draw, SMALL.length), elements(draw, SMALL.proof_length)
    held = norm.held_of(SMALL, bits, proof)
    assert held.tolist() == slow_held(SMALL, bits.tolist(), proof.tolist()) and held.size == SMALL.held_length
    challenges = tuple(draw.choice([0, 1, MODULUS - 1, draw.randrange(MODULUS)]) for _ in range(2))
    assert norm.confirm(held, challenges).tolist() == slow_confirm(held.tolist(), challenges)


def test_sizes_are_those_of_the_ledger() -> None:
    statement = norm_statement(1000, 7)
    assert 8 * statement.held_length == FEW.held_bytes(0) and FEW.held_bytes(0) == MIN_OPENING_BYTES + FEW.confirm_bytes
    assert 8 * statement.repetitions == FEW.confirm_bytes


# --- linear: shares of what is held are what is held of shares -------------------------------------------------------

@settings(max_examples=15)
@given(st.integers(3, 10), st.integers(0, 2**32))
def test_answers_of_holders_are_shares_of_the_dealers_answer(members: int, seed: int) -> None:
    draw = random.Random(seed)
    bits = norm.encode(SMALL, np.array([draw.randrange(-70, 71) for _ in range(3)]), 5)
    proof = norm.prove(SMALL, bits, norm.draw_joint(b"j" * 32), Stream(seed))
    bit_shares, proof_shares = share(bits, members, seed), share(proof, members, seed + 1)
    held = {j: norm.held_of(SMALL, bit_shares[j], proof_shares[j]) for j in bit_shares}
    own = norm.held_of(SMALL, bits, proof)
    degree, needed = shares.sharing_degree(members), shares.answers_needed(members)
    for values, right in ((held, own), ({j: norm.confirm(h, CHALLENGES) for j, h in held.items()},
                                        norm.confirm(own, CHALLENGES))):
        decoded = shares.decode(values, degree, needed, members)
        assert decoded is not None and decoded.value.tolist() == right.tolist() and len(decoded.members) == members
    assert own[: SMALL.entries + 1].tolist() == norm.opening_of(SMALL, bits, 1).tolist()


@settings(max_examples=40)
@given(st.integers(0, SMALL.held_length - 1), st.integers(1, MODULUS - 1))
def test_what_is_off_in_one_element_confirms_nothing(at: int, delta: int) -> None:
    held = elements(random.Random(1), SMALL.held_length)
    other = held.copy()
    other[at] = (int(other[at]) + delta) % MODULUS
    right, wrong = norm.confirm(held, CHALLENGES).tolist(), norm.confirm(other, CHALLENGES).tolist()
    blind = at - SMALL.entries - 1
    assert [a != b for a, b in zip(right, wrong, strict=True)] == (
        [True, True] if blind < 0 else [k == blind for k in range(2)]
    )


def test_challenges_follow_from_the_seed() -> None:
    assert norm.draw_confirm(b"k" * 32) == CHALLENGES != norm.draw_confirm(b"l" * 32)
    assert len(set(CHALLENGES)) == 2 and len(norm.draw_confirm(b"k" * 32, 3)) == 3
    drawn = norm.draw_query(SMALL, b"k" * 32)
    assert not set(CHALLENGES) & {*drawn.points, *drawn.factors, *norm.draw_joint(b"k" * 32)}
    with pytest.raises(ValueError, match="32 bytes"):
        norm.draw_confirm(b"k" * 31)


# --- the seed of the challenges ---------------------------------------------------------------------------------------

def test_everything_that_was_dealt_again_changes_the_confirm_seed() -> None:
    boxes = {(2, 3): b"x" * FEW.held_bytes(0), (1, 3): b"y" * FEW.held_bytes(0)}
    seeds = [
        draw_confirm_seed(HERE, b"q" * 32, boxes), draw_confirm_seed(HERE, b"r" * 32, boxes),
        draw_confirm_seed(HERE, b"q" * 32, {(2, 3): boxes[2, 3]}),
        draw_confirm_seed(HERE, b"q" * 32, {(3, 2): boxes[2, 3], (1, 3): boxes[1, 3]}),
        draw_confirm_seed(HERE, b"q" * 32, boxes | {(1, 3): b"y" * (FEW.held_bytes(0) - 1) + b"z"}),
        *(draw_confirm_seed(place, b"q" * 32, boxes) for place in PLACES),
    ]
    assert len(set(seeds)) == len(seeds)
    assert draw_confirm_seed(HERE, b"q" * 32, dict(reversed(boxes.items()))) == seeds[0]


# --- boxes ------------------------------------------------------------------------------------------------------------

DEALER, HOLDER = 12345, 67890
POINT = point_times(DEALER, base_times(HOLDER))


def test_dealer_and_holder_have_one_key_and_a_box_shows_what_was_hidden() -> None:
    held = elements(random.Random(2), 259)
    box = hide_held(held, POINT, HERE, 2, 3)
    assert len(box) == FEW.held_bytes(0)
    shown = show_held(box, point_times(HOLDER, base_times(DEALER)), HERE, 2, 3, 259)
    assert shown is not None and shown.tolist() == held.tolist()


def test_the_key_is_bound_to_the_point_and_to_every_part_of_the_place() -> None:
    """XOR with one stream twice would show the difference of two shares."""
    zero = np.zeros(259, field.FIELD)
    other = point_times(DEALER + 1, base_times(HOLDER))
    streams = [hide_held(zero, POINT, HERE, 2, 3), hide_held(zero, other, HERE, 2, 3),
               hide_held(zero, POINT, HERE, 3, 2), hide_held(zero, POINT, HERE, 2, 4),
               hide_held(zero, POINT, HERE, 1, 3),
               *(hide_held(zero, POINT, place, 2, 3) for place in PLACES)]
    assert len(set(streams)) == len(streams)
    contexts = [dispute_context(HERE, 2, 3), dispute_context(HERE, 3, 2), *(dispute_context(p, 2, 3) for p in PLACES)]
    assert len(set(contexts)) == len(contexts)


def test_a_box_is_a_keystream_over_eight_bytes_an_element() -> None:
    held = elements(random.Random(3), 5)
    box = hide_held(held, POINT, HERE, 2, 3)
    stream = int.from_bytes(hide_held(np.zeros(5, field.FIELD), POINT, HERE, 2, 3), "little")
    plain = sum(value << 64 * k for k, value in enumerate(held.tolist()))
    assert int.from_bytes(box, "little") == plain ^ stream and len(AesCtr(bytes(16)).read(40)) == len(box)


@pytest.mark.parametrize("change", [
    lambda box: box[:-8], lambda box: box + bytes(8), lambda box: b"", lambda box: box[:-1],
], ids=["shorter", "longer", "none", "a byte less"])
def test_another_length_shows_nothing(change: object) -> None:
    box = hide_held(elements(random.Random(4), 259), POINT, HERE, 2, 3)
    assert show_held(change(box), POINT, HERE, 2, 3, 259) is None  # type: ignore[operator]


@given(st.integers(0, 258), st.integers(MODULUS, 2**64 - 1))
@settings(max_examples=20)
def test_words_that_are_no_elements_show_nothing(at: int, word: int) -> None:
    held = elements(random.Random(5), 259)
    held[at] = word
    assert show_held(hide_held(held, POINT, HERE, 2, 3), POINT, HERE, 2, 3, 259) is None
