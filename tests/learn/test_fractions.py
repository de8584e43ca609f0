"""From sums of fractions nobody computes how many rows each hospital has, nor what each of them said.

The one who tries knows the sum over three hospitals: a reader of the ledger that of right answers in each round, a
member that of statistics without its own. It goes through all numbers of rows and keeps those under which some counts
add up to every sum it saw. With exact fractions it finds them: the tests show that first.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations_with_replacement, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.learn.measures import RIGHT, Metrics, claim_quality
from fednode.learn.rows import Rows
from fednode.learn.tables.kind import MOMENTS, Tables, _claim_moments, claim_statistics
from fednode.sums.measures import PARTS_OF_A_ROW, blur
from tests.support.seeds import Stream

HELD_OUT = (7, 9, 11)
ROWS = (123, 200, 97)
MODELS = 12
COLUMNS = 8


def right_sums(entropy: Entropy | None) -> list[int]:
    """What the ledger says of some models: the share of rows right, summed over three hospitals."""
    draw = random.Random(3)
    said = [
        [claim_quality(Metrics(rows, draw.randrange(1, rows), 0), entropy) for rows in HELD_OUT]
        for _ in range(MODELS)
    ]
    return [sum(int(claims[0]) for claims in of_one_model) for of_one_model in said]


def fractions_of(unit: int, rows: int) -> NDArray[np.float64]:
    return np.arange(rows + 1) / rows * unit


def explanations(unit: int, rows: tuple[int, int, int], total: int) -> list[tuple[int, int, int]]:
    """The counts of three hospitals with so many rows that add up to a sum of fractions, rounding allowed for."""
    first, second, third = (fractions_of(unit, count) for count in rows)
    pairs = np.add.outer(first, second).ravel()
    order = np.argsort(pairs)
    found = []
    for count, value in enumerate(third):
        near = np.searchsorted(pairs[order], [total - value - 2, total - value + 2])
        found += [(*divmod(int(at), rows[1] + 1), count) for at in order[near[0] : near[1]]]
    return found


def sizes_that_explain(sums: list[int]) -> list[tuple[int, int, int]]:
    sizes: Iterable[tuple[int, int, int]] = combinations_with_replacement(range(1, 13), 3)
    return [rows for rows in sizes if all(explanations(RIGHT.unit, rows, total) for total in sums)]


def test_the_ledger_does_not_tell_how_many_rows_were_held_out() -> None:
    assert sizes_that_explain(right_sums(None)) == [HELD_OUT], "or the test could not fail"
    for seed in range(5):
        assert HELD_OUT not in sizes_that_explain(right_sums(Stream("fractions", seed)))


def column_sums(tables: Tables, entropy: Entropy | None) -> list[tuple[tuple[int, int, int], int]]:
    """Counts of three hospitals in columns of zeros and ones, and the sum of their means that members know."""
    draw, found = random.Random(4), []
    for _ in range(COLUMNS):
        counts, total = [], 0
        for rows in ROWS:
            counts.append(draw.randrange(1, rows))
            values = (np.arange(rows) < counts[-1]).astype(np.float64)
            empty = np.full(rows, np.nan)
            table = Rows(np.column_stack([values, empty, empty, empty]), np.zeros(rows, np.int64))
            second, between, _ = claim_statistics(tables.columns, table, entropy)[: MOMENTS.parts].tolist()
            total += second + between
        found.append(((counts[0], counts[1], counts[2]), total))
    return found


def test_a_member_does_not_compute_what_each_hospital_said_of_a_column(tables: Tables) -> None:
    """It may know how many rows each of the others has: that is no secret among hospitals."""
    exact = column_sums(tables, None)
    assert all(explanations(MOMENTS.unit, ROWS, total) == [counts] for counts, total in exact), "it could be done"
    blurred = column_sums(tables, Stream("columns"))
    assert sum(counts in explanations(MOMENTS.unit, ROWS, total) for counts, total in blurred) <= 1
    near: Iterable[tuple[int, int, int]] = product(*(range(rows - 1, rows + 2) for rows in ROWS))
    fits = [rows for rows in near if all(explanations(MOMENTS.unit, rows, total) for _, total in blurred)]
    assert ROWS not in fits


def test_a_member_does_not_compute_who_has_the_few_rows_of_a_rare_kind(tables: Tables) -> None:
    """Small counts are the easiest to tell apart: there are few of them."""
    rare, totals = (1, 2, 0), {}
    for name, entropy in (("exact", None), ("blurred", Stream("rare"))):
        total = 0
        for rows, count in zip(ROWS, rare, strict=True):
            values = (np.arange(rows) < count).astype(np.float64)
            table = Rows(np.column_stack([values, *[np.full(rows, np.nan)] * 3]), np.zeros(rows, np.int64))
            second, between, _ = claim_statistics(tables.columns, table, entropy)[: MOMENTS.parts].tolist()
            total += second + between
        totals[name] = total
    assert explanations(MOMENTS.unit, ROWS, totals["exact"]) == [rare]
    half = MOMENTS.unit / 2
    near = [
        counts for counts in product(range(4), repeat=3)
        if abs(sum(count / rows for count, rows in zip(counts, ROWS, strict=True)) * MOMENTS.unit - totals["blurred"])
        <= sum(half / rows for count, rows in zip(counts, ROWS, strict=True) if count)
    ]
    assert rare in near and len(near) >= 4, "all of these could be it"


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6), st.integers(0, 99))
def test_every_count_moves_by_up_to_half_a_row_and_none_appears(counts: list[int], seed: int) -> None:
    exact, half = np.array(counts, np.int64), PARTS_OF_A_ROW // 2
    assert blur(exact, None).tolist() == [count * PARTS_OF_A_ROW for count in counts]
    moved = blur(exact, Stream("blur", seed)) - blur(exact, None)
    assert (-half <= moved).all() and (moved < half).all()
    assert not moved[exact == 0].any(), "nobody has a row that it does not have"


def test_the_whole_way_to_the_next_count_is_covered_evenly() -> None:
    source, counts = Stream("evenly"), np.array([3, 3], np.int64)
    moved = np.array([blur(counts, source) for _ in range(4000)]) / PARTS_OF_A_ROW - 3
    for column in moved.T:
        often, _ = np.histogram(column, 8, (-0.5, 0.5))
        assert (abs(often - 500) < 110).all()
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.08


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(0, 99))
def test_blurred_statistics_are_possible_and_stay_among_what_the_rows_say(values: list[float], seed: int) -> None:
    blurred = _claim_moments(np.array(values), Stream("moments", seed))
    assert blurred.sum() == MOMENTS.unit and (blurred >= 0).all()
    assert MOMENTS.unit * int(blurred[0]) >= int(blurred[0] + blurred[1]) ** 2
    assert min(values) - 1e-6 <= (blurred[0] + blurred[1]) / MOMENTS.unit <= max(values) + 1e-6


def test_of_many_rows_the_mean_hardly_moves() -> None:
    values = np.random.default_rng(1).random(1000)
    exact = _claim_moments(values, None)
    for seed in range(20):
        blurred = _claim_moments(values, Stream("many", seed))
        assert abs(int(blurred[2] - exact[2])) < 0.02 * MOMENTS.unit
