"""Sharing over F: who can read, and that f liars neither change nor block an honest dealer's value."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import fault_bound
from fednode.sums import shares
from fednode.sums.field import MODULUS, FieldVector, add
from fednode.sums.shares import answers_needed, decode, sharing_degree
from tests.support.seeds import Stream

ELEMENTS = st.integers(0, MODULUS - 2)
MEMBERS = st.integers(3, 13)


def vector(values: list[int]) -> FieldVector:
    return np.array(values, np.uint64)


def deal(secrets: list[int], members: int, seed: int, degree: int | None = None) -> dict[int, FieldVector]:
    degree = sharing_degree(members) if degree is None else degree
    dealt = shares.deal_vector(vector(secrets), degree, range(1, members + 1), Stream(seed))
    opened = {
        holder: shares.open_box(box, len(secrets), shares.holds_key(holder, list(dealt.boxes), degree))
        for holder, box in dealt.boxes.items()
    }
    return {holder: share for holder, share in opened.items() if share is not None}


def slow_through(points: dict[int, int], degree: int, at: int) -> int | None:
    """The value at `at` of the polynomial of `degree` through all points, by Lagrange in integers; None if none is."""
    base = sorted(points)[: degree + 1]

    def value(x: int) -> int:
        total = 0
        for i in base:
            term = points[i]
            for j in base:
                if j != i:
                    term = term * (x - j) * pow(i - j, -1, MODULUS) % MODULUS
            total += term
        return total % MODULUS

    return value(at) if all(value(x) == y for x, y in points.items()) else None


def slow_decode(points: dict[int, int], degree: int, needed: int) -> int | None:
    """The rule itself: try every set of `needed` answers."""
    found = (slow_through({k: points[k] for k in some}, degree, 0) for some in combinations(sorted(points), needed))
    return next((value for value in found if value is not None), None)


@given(MEMBERS, st.lists(ELEMENTS, min_size=1, max_size=5), st.integers(0, 2**32))
def test_any_degree_plus_one_shares_give_the_secret(members: int, secrets: list[int], seed: int) -> None:
    dealt = deal(secrets, members, seed)
    degree = sharing_degree(members)
    for some in (list(dealt)[: degree + 1], list(dealt)[-degree - 1 :]):
        for at, secret in enumerate(secrets):
            assert slow_through({k: int(dealt[k][at]) for k in some}, degree, 0) == secret
    assert slow_through({k: int(v[0]) for k, v in dealt.items()}, degree, 0) == secrets[0]


def test_the_first_holders_get_keys_and_shares_of_sums_are_sums_of_shares() -> None:
    dealt = shares.deal_vector(vector([5] * 100), 3, range(1, 11), Stream(1))
    assert sorted(len(box) for box in dealt.boxes.values()) == [16] * 3 + [800] * 7
    assert "boxes" not in repr(dealt)
    left, right = deal([5, 6], 7, 1), deal([10, MODULUS - 1], 7, 2)
    decoded = decode({k: add(left[k], right[k]) for k in left}, 2, 5, 7)
    assert decoded is not None and decoded.value.tolist() == [15, 5] and decoded.members == tuple(range(1, 8))


def test_g_is_the_number_of_members_that_may_collude() -> None:
    assert [sharing_degree(members) for members in (3, 4, 6, 7, 10, 100)] == [1, 1, 1, 2, 3, 33]
    assert all(2 * answers_needed(n) - n > sharing_degree(n) for n in range(3, 257))


def test_g_shares_fit_every_secret() -> None:
    """For any two secrets the shares of g holders are the same function of fresh randomness: one polynomial fits."""
    some = dict(list(deal([7], 10, 3).items())[4:7])
    points = {k: int(v[0]) for k, v in some.items()}
    for guess in (0, 1, 7, MODULUS - 1):
        assert slow_through({0: guess, **points}, 3, 0) == guess


@pytest.mark.parametrize("holders", [[], [1], [0, 1, 2], [1, 1, 2]])
def test_holders_must_be_distinct_and_more_than_the_degree(holders: list[int]) -> None:
    with pytest.raises(ValueError, match="distinct holders"):
        shares.deal_vector(vector([1]), 1, holders, Stream(1))


@pytest.mark.parametrize("box", [b"", b"x" * 15, b"\xff" * 24, bytes(32)])
def test_a_box_of_another_size_or_with_a_word_above_p_holds_nothing(box: bytes) -> None:
    assert shares.open_box(box, 3, False) is None


@pytest.mark.parametrize("box", [b"", b"x" * 15, b"x" * 24])
def test_a_key_is_16_bytes(box: bytes) -> None:
    assert shares.open_box(box, 3, True) is None


@settings(max_examples=60)
@given(MEMBERS, st.lists(ELEMENTS, min_size=1, max_size=4), st.data())
def test_f_liars_never_change_or_block_an_honest_dealers_value(
    members: int, secrets: list[int], data: st.DataObject
) -> None:
    answers = deal(secrets, members, data.draw(st.integers(0, 99)))
    faults, degree = fault_bound(members), sharing_degree(members)
    liars = data.draw(st.sets(st.integers(1, members), max_size=faults))
    other = deal([secret ^ 1 for secret in secrets], members, 7)
    for liar in liars:
        how = data.draw(st.sampled_from(["silent", "another polynomial", "one coordinate", "noise"]))
        if how == "silent":
            del answers[liar]
        elif how == "another polynomial":
            answers[liar] = other[liar]
        elif how == "one coordinate":
            answers[liar] = answers[liar].copy()
            at = data.draw(st.integers(0, len(secrets) - 1))
            answers[liar][at] = (int(answers[liar][at]) + data.draw(st.integers(1, 5))) % MODULUS
        else:
            answers[liar] = vector([data.draw(ELEMENTS) for _ in secrets])
    shuffled = {k: answers[k] for k in data.draw(st.permutations(sorted(answers)))}
    decoded = decode(shuffled, degree, answers_needed(members), members)
    assert decoded is not None and decoded.value.tolist() == secrets
    assert set(range(1, members + 1)) - liars <= set(decoded.members)


@settings(max_examples=60)
@given(st.integers(3, 8), st.data())
def test_decoding_is_the_rule_by_trying_every_subset(members: int, data: st.DataObject) -> None:
    """Any mix of two polynomials and noise, any number of answers."""
    degree, needed = sharing_degree(members), answers_needed(members)
    first, second = deal([1], members, 1), deal([2], members, 2)
    kinds = data.draw(st.lists(st.integers(0, 3), min_size=members, max_size=members))
    points = {}
    for member, kind in enumerate(kinds, 1):
        if kind < 3:
            points[member] = [int(first[member][0]), int(second[member][0]), data.draw(ELEMENTS)][kind]
    expected = slow_decode(points, degree, needed)
    decoded = decode({k: vector([v]) for k, v in points.items()}, degree, needed, members)
    assert (None if decoded is None else int(decoded.value[0])) == expected


def test_coordinates_that_rest_on_different_members_are_no_value() -> None:
    """Each coordinate alone passes through 5 of 7 answers; the whole answers of only 3 members agree."""
    answers = deal([1, 2], 7, 1)
    for member, at in ((1, 0), (2, 0), (6, 1), (7, 1)):
        answers[member] = answers[member].copy()
        answers[member][at] ^= np.uint64(1)
    for at in (0, 1):
        assert decode({k: v[at : at + 1] for k, v in answers.items()}, 2, 5, 7) is not None
    assert decode(answers, 2, 5, 7) is None


def test_words_of_p_or_more_are_no_answer() -> None:
    answers = deal([0, 2], 4, 1)
    shifted = {k: v.copy() for k, v in answers.items()}
    shifted[1][:] = MODULUS
    decoded = decode(shifted, 1, 3, 4)
    assert decoded is not None and decoded.members == (2, 3, 4) and decoded.value.tolist() == [0, 2]


def test_too_few_answers_and_ambiguous_numbers() -> None:
    answers = deal([9], 7, 1)
    assert decode({k: answers[k] for k in (1, 2, 3, 4)}, 2, 5, 7) is None, "N - f - 1 answers are not enough"
    with pytest.raises(ValueError, match="do not determine"):
        decode(answers, 2, 4, 7)
    with pytest.raises(ValueError, match="do not determine"):
        decode(answers, 4, 5, 7)


def test_products_of_shares_are_not_decoded() -> None:
    """A value of degree 2 g would need other numbers, with which liars could choose it."""
    left, right = deal([3], 7, 1), deal([4], 7, 2)
    products = {k: vector([int(left[k][0]) * int(right[k][0]) % MODULUS]) for k in left}
    assert decode(products, 2, 5, 7) is None


def test_the_largest_study_decodes() -> None:
    answers = deal(list(range(40)), 100, 5)
    for liar in range(1, 34):
        answers[liar] = answers[liar].copy()
        answers[liar][liar] ^= np.uint64(3)
    decoded = decode(answers, 33, 67, 100)
    assert decoded is not None and decoded.value.tolist() == list(range(40)) and decoded.members == (*range(34, 101),)
