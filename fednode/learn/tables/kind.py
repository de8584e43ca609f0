"""Tables as a kind of data: their columns, what is claimed of these in round 0, and the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isqrt
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fednode.codec import Name, Named, Size
from fednode.crypto import Entropy
from fednode.learn.declared import Cells, Decimals, Default, Entries, OneOf, Written
from fednode.learn.layout import Scaling
from fednode.learn.rows import Rows
from fednode.learn.units import MAX_CLASSES, MAX_FEATURES, MICRO, UNIT, Micro, decimal_text, to_micro
from fednode.sums.bounds import SHARE_BITS
from fednode.sums.measures import MAX_BITS, Claims, Plan, Split, Tally, blur, divide, join
from fednode.texts import check_plain

# --- columns: what a study says of each, and the form in which cells and levels are compared ----------------------


MAX_TOKEN_BYTES = 64
Token = Annotated[str, Size(0, MAX_TOKEN_BYTES)]
Tokens = Annotated[tuple[Token, ...], Size(0, 256)]
RULE_OPERATORS = (">=", "<=", "==", "!=", ">", "<")


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A measured quantity within [low, high]. `missing` lists tokens that mean 'not measured'."""

    name: Name
    unit: Annotated[str, Size(0, 32), Default("")]
    low_micro: Annotated[Micro, Decimals(MICRO)]
    high_micro: Annotated[Micro, Decimals(MICRO)]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_plain("names, levels and units", self.name, self.unit, *self.missing)
        if self.low_micro >= self.high_micro:
            raise ValueError(f"column '{self.name}': low must be below high")


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """One of `levels`; becomes one 0/1 feature per level, in this order."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, 256), Cells()]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_plain("names, levels and units", self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """The class is 1 where `value <operator> threshold` holds, else 0."""

    operator: Annotated[str, Size(1, 2)]
    threshold_micro: Micro

    def __post_init__(self) -> None:
        if self.operator not in RULE_OPERATORS:
            raise ValueError(f"label rule '{self.operator}' is none of {' '.join(RULE_OPERATORS)}")

    @staticmethod
    def parse(text: str) -> LabelRule:
        """Read a rule as people write it, '> 0'; raise `ValueError` with what it must be."""
        operator = next((op for op in RULE_OPERATORS if text.strip().startswith(op)), "")
        try:
            micro = to_micro(Decimal(text.strip()[len(operator) :].strip()))
        except ArithmeticError:
            micro = None
        if not operator or micro is None:
            raise ValueError('must be a comparison with a number, for example "> 0"')
        return LabelRule(operator, micro)

    def show(self) -> str:
        """Return the rule as people write it."""
        return f"{self.operator} {decimal_text(self.threshold_micro)}"


def _levels_of_rule(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the two outcomes of a label's rule; without a rule the levels must be given."""
    if found["rule"] is None:
        return None
    text = f"{found['name']} {found['rule'].show()}"
    return f"not {text}", text


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """What is predicted. `levels` are the classes in order; with a rule they only name its outcomes (false, true)."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, MAX_CLASSES), Cells(), Default(_levels_of_rule)]
    rule: Annotated[LabelRule | None, Written(LabelRule.parse, LabelRule.show), Default(None)]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_plain("names, levels and units", self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)
        if self.rule is not None and len(self.levels) != 2:
            raise ValueError(f"column '{self.name}': a label rule has two outcomes, not {len(self.levels)}")

Column = NumberColumn | CategoryColumn | LabelColumn

COLUMNS: dict[str, type] = {"number": NumberColumn, "category": CategoryColumn, "label": LabelColumn}


def normal_token(cell: str) -> str:
    """Return the form in which cells and levels are compared: '1', '1.0' and ' 1.00 ' are one token.

    Total over texts, which other hospitals write: a number of more than 18 digits before the point, or more than 64
    places, is compared as it is written. The exponent is looked at before anything is computed or written out.
    """
    token = cell.strip()
    if "_" in token or not token.isascii():  # Decimal reads 1_0 and foreign digits as numbers too
        return token
    try:
        number = Decimal(token)
    except InvalidOperation:
        return token
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_TOKEN_BYTES or number.adjusted() >= 18:
        return token
    plain = format(number, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain.removeprefix("+")


def _check_distinct(name: str, levels: tuple[str, ...]) -> None:
    if len({normal_token(level) for level in levels}) != len(levels):
        raise ValueError(f"column '{name}': a level is listed twice")


# --- round 0: means and deviations of the columns, from claims of one voice a hospital ----------------------------
# Of each number its first two moments over the rows that have one, scaled to [0, 1] of its range; of each category
# the share of each level among the rows that have one. See `sums.measures` for what these show of one hospital.


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


# --- the kind of data -----------------------------------------------------------------------------------------------


MAX_COLUMNS = 2048

OUTSIDE_RULES = ("missing", "clip", "refuse")
"""What happens to a number outside its column's range, in training and in prediction alike: it counts as missing, it is
moved to the nearer end, or the table (the row, in prediction) is refused."""


@dataclass(frozen=True, slots=True)
class Tables:
    """One table a hospital, with these columns in any order; one of them is the label."""

    columns: Annotated[
        tuple[Annotated[Column, Named("column kind", COLUMNS)], ...], Size(2, MAX_COLUMNS), Entries("missing")
    ]
    outside: Annotated[str, Size(1, 8), OneOf(OUTSIDE_RULES), Default(OUTSIDE_RULES[0])] = OUTSIDE_RULES[0]

    def __post_init__(self) -> None:
        if self.outside not in OUTSIDE_RULES:
            raise ValueError(f"outside '{self.outside}' is none of {', '.join(OUTSIDE_RULES)}")
        if sum(isinstance(column, LabelColumn) for column in self.columns) != 1:
            raise ValueError("a schema has exactly one column of kind label")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"two columns are named '{next(n for n in names if names.count(n) > 1)}'")
        if not 1 <= (count := self.features) <= MAX_FEATURES:
            raise ValueError(f"the schema gives {count} features, between 1 and {MAX_FEATURES} are possible")

    @property
    def label(self) -> LabelColumn:
        """The one label column."""
        return next(column for column in self.columns if isinstance(column, LabelColumn))

    @property
    def classes(self) -> tuple[str, ...]:
        """The label's levels."""
        return self.label.levels

    @property
    def features(self) -> int:
        """Number of model inputs: one per number, one per level of a category."""
        numbers = sum(isinstance(column, NumberColumn) for column in self.columns)
        return numbers + sum(len(column.levels) for column in self.columns if isinstance(column, CategoryColumn))

    @property
    def inputs(self) -> tuple[int, ...]:
        """Shape of one input: (features,)."""
        return (self.features,)

    def statistics_plan(self) -> Plan:
        """Return what is claimed of the columns in round 0."""
        return statistics_plan(self.columns)

    def scaling_from(self, sums: Sequence[Tally]) -> Scaling:
        """Return mean and deviation of each feature over hospitals."""
        return scaling_from(self.columns, sums)
