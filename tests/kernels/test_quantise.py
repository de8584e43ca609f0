"""Rounding and norms against Python: integers where the result is one, and the same order of additions where not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.kernels.arrays import round_up_by_coins, sum_squares

SIZES = st.one_of(st.integers(0, 70), st.sampled_from([4095, 4096, 4097, 8200]))
FLOATS = st.floats(-4, 4, width=32)
COINS = st.one_of(st.sampled_from([0, 1, 2**31, 2**32 - 1]), st.integers(0, 2**32 - 1))


def slow_squares(values: list[float]) -> float:
    """As the kernel says: strips of 4096, in each 16 lanes, halves of which are added up."""
    total = 0.0
    for start in range(0, len(values), 4096):
        lanes = [0.0] * 16
        for at, value in enumerate(values[start : start + 4096]):
            lanes[at % 16] += value * value
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [lanes[k] + lanes[k + half] for k in range(half)]
        total += lanes[0]
    return total


@settings(max_examples=20)
@given(SIZES, st.integers(0, 2**32))
def test_squares_are_added_in_one_order_on_every_machine(size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (random.standard_normal(size) * 10.0 ** random.integers(-30, 15, size)).astype(np.float32)
    found = sum_squares(values)
    assert found == slow_squares(values.tolist())
    assert found == pytest.approx(float(sum(Fraction(value) ** 2 for value in values.tolist())), rel=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 17, 4099])
def test_a_number_that_is_not_finite_shows(bad: float, place: int) -> None:
    values = np.ones(4100, np.float32)
    values[place] = bad
    assert not np.isfinite(sum_squares(values))


@settings(max_examples=50)
@given(st.lists(st.tuples(FLOATS, COINS), max_size=70), st.floats(-(2.0**53), 2.0**53, allow_subnormal=False))
def test_rounding_is_that_of_integers(numbers: list[tuple[float, int]], factor: float) -> None:
    values, coins = np.array([x for x, _ in numbers], np.float32), np.array([c for _, c in numbers], np.uint32)
    # A product of two doubles is rounded once, as Python's is; round() of a float is exact, ties to even.
    expected = [(round(x * factor) + coin) >> 32 for x, coin in numbers]
    out = np.empty(values.size, np.int32)
    round_up_by_coins(out, values, coins, factor)
    assert out.tolist() == expected
    round_up_by_coins(values.view(np.int32), values, coins, factor)
    assert values.view(np.int32).tolist() == expected


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8195])
def test_rounding_in_place_is_rounding(size: int) -> None:
    random = np.random.default_rng(size)
    values = random.standard_normal(size).astype(np.float32)
    coins = random.integers(0, 2**32, size + 3, np.uint32)
    out = np.empty(size, np.int32)
    round_up_by_coins(out, values, coins, 2.0**50 / 3)
    slow = [(round(x * (2.0**50 / 3)) + coin) >> 32 for x, coin in zip(values.tolist(), coins.tolist(), strict=False)]
    assert out.tolist() == slow
    round_up_by_coins(values.view(np.int32), values, coins, 2.0**50 / 3)
    assert values.view(np.int32).tolist() == slow


def test_ties_go_to_the_even_integer() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
    lowered = np.full(6, 2**32 - 2, np.uint32)
    out = np.empty(6, np.int32)
    round_up_by_coins(out, values, lowered, 1.0)
    assert out.tolist() == [0, 1, 1, 0, 0, 0]  # of 0, 2, 2, 0, -2, -2
    round_up_by_coins(out, values, np.full(6, 2, np.uint32), 1.0)
    assert out.tolist() == [0, 0, 0, 0, 0, 0]
    round_up_by_coins(out, values, np.full(6, 1, np.uint32), 1.0)
    assert out.tolist() == [0, 0, 0, 0, -1, -1]


def test_arrays_that_do_not_fit_are_refused() -> None:
    out, values, coins = np.zeros(8, np.int32), np.zeros(8, np.float32), np.zeros(8, np.uint32)
    for wrong in ((out[:7], values, coins), (out, values, coins[:7]), (out.reshape(2, 4), values, coins),
                  (out.astype(np.int64), values, coins), (out, values.astype(np.float64), coins),
                  (coins.view(np.int32), values, coins)):
        with pytest.raises(ValueError, match="."):
            round_up_by_coins(*wrong, 1.0)
    both = np.zeros(9, np.float32)
    with pytest.raises(ValueError, match="itself only"):
        round_up_by_coins(both[1:].view(np.int32), both[:8], coins, 1.0)
    with pytest.raises(ValueError, match="flat"):
        sum_squares(np.zeros((2, 2), np.float32))
