"""Round 0 of a table study: means and deviations of its columns, from claims of one voice a hospital.

Of each number its first two moments over the rows that have one, scaled to [0, 1] of its range; of each category the
share of each level among the rows that have one. See `claims` for what these show of one hospital.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.learn.claims import blur, divide, join
from fednode.learn.rows import Rows
from fednode.learn.scaling import Scaling
from fednode.learn.tables.columns import CategoryColumn, Column, NumberColumn
from fednode.learn.units import UNIT
from fednode.sums.bounds import SHARE_BITS
from fednode.sums.measures import MAX_BITS, Claims, Plan, Split, Tally

MOMENTS = Split(MAX_BITS, 3, has_moments=True)

DEVIATION_FLOOR_Q24 = UNIT >> 10
"""A deviation below 1/1024 of a feature's range is treated as that: constant features stay near zero."""


def statistics_plan(columns: Sequence[Column]) -> Plan:
    """Return what is claimed in round 0: all numbers in the order of their columns, then all categories."""
    numbers = (MOMENTS for column in columns if isinstance(column, NumberColumn))
    levels = (len(column.levels) for column in columns if isinstance(column, CategoryColumn))
    return (*numbers, *(Split(SHARE_BITS, count) for count in levels))


def claim_statistics(columns: Sequence[Column], rows: Rows, entropy: Entropy | None) -> Claims:
    """Return one hospital's claims of round 0 from its encoded rows; `entropy`: see `blur`."""
    numbers, categories, start = list[NDArray[np.int64]](), list[NDArray[np.int64]](), 0
    for column in columns:
        if isinstance(column, NumberColumn):
            numbers.append(_claim_moments(rows.features[:, start], entropy))
            start += 1
        elif isinstance(column, CategoryColumn):
            block = rows.features[:, start : start + len(column.levels)]
            start += len(column.levels)
            counts = np.nansum(block, axis=0).astype(np.int64)
            categories.append(divide((1 << SHARE_BITS) - 1, blur(counts, entropy)))
    return join([*numbers, *categories])


def _claim_moments(values: NDArray[np.float64], entropy: Entropy | None) -> NDArray[np.int64]:
    known = values[~np.isnan(values)]
    if not known.size:
        return np.zeros(3, np.int64)
    unit = MOMENTS.unit
    found, counts = np.unique(known, return_counts=True)
    weights = blur(counts.astype(np.int64), entropy).astype(np.float64)
    first, squares = (float(np.average(powers, weights=weights)) for powers in (found, found * found))
    mean = min(unit, max(0, round(first * unit)))
    least = -(-mean * mean // unit)  # rounding must not take a moment below what any rows have
    second = min(mean, max(least, round(squares * unit)))
    return np.array([second, mean - second, unit - mean], np.int64)


def scaling_from(columns: Sequence[Column], sums: Sequence[Tally]) -> Scaling:
    """Return mean and deviation per feature over hospitals, one voice each, in exact integers, hence equal everywhere.

    The deviation is that of all hospitals' rows together if each had as many: within and between them. Where nobody
    has a value it is 1/2 and 1.
    """
    means, deviations = list[int](), list[int]()
    counted = sum(isinstance(column, NumberColumn) for column in columns)
    numbers, categories = iter(sums[:counted]), iter(sums[counted:])
    for column in columns:
        if isinstance(column, NumberColumn):
            found = next(numbers)
            second, between, _ = found.parts
            _add_feature(means, deviations, found.voices * MOMENTS.unit, second + between, second)
        elif isinstance(column, CategoryColumn):
            found = next(categories)
            for part in found.parts:
                _add_feature(means, deviations, found.voices * ((1 << SHARE_BITS) - 1), part, part)
    return Scaling(tuple(means), tuple(deviations))


def scaling_of_one(columns: Sequence[Column], claims: Claims) -> Scaling:
    """Return the scaling of one party's claims alone."""
    sums, start = list[Tally](), 0
    for split in statistics_plan(columns):
        parts = tuple(int(part) for part in claims[start : start + split.parts])
        sums.append(Tally(int(any(parts)), parts))
        start += split.parts
    return scaling_from(columns, sums)


def _add_feature(means: list[int], deviations: list[int], whole: int, first: int, second: int) -> None:
    """Add mean and deviation of a feature whose first two moments are `first` and `second` of `whole`.

    whole * second >= first^2 by the proofs of the claims, and for sums of them by Cauchy and Schwarz.
    """
    if whole == 0:
        means.append(UNIT // 2)
        deviations.append(UNIT)
        return
    means.append(first * UNIT // whole)
    deviation = isqrt((whole * second - first * first) * UNIT * UNIT // (whole * whole))
    deviations.append(min(UNIT, max(deviation, DEVIATION_FLOOR_Q24)))
