"""Data against schema: a verdict per column, and rows of text cells to model inputs.

Security assumption: the file is the hospital's own, so its faults are mistakes, not attacks. Verdicts name columns,
counts, lines and kinds; a cell is in them only where the caller asks for it (`shows_cells`), which the commands do for
their own terminal and the daemon never does.

A feature u lies in [0, 1]: a number is scaled by its range [low, high], each level of a category is 0 or 1; missing is
NaN until the federation's global means fill it. What lies outside the range is missing, clipped or refused, as the
study says. Everything else uses u, so the precision of sums, means and deviations does not depend on a column's unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fednode.learn.layout import Scaling
from fednode.learn.rows import Rows
from fednode.learn.tables.cells import OUTSIDE, Column, find_thousands, level_reader, number_reader, read_column
from fednode.learn.tables.kind import CategoryColumn, LabelRule, NumberColumn, Tables
from fednode.learn.tables.site_map import PLAIN, SiteMap
from fednode.learn.tables.table import BLANK, RAGGED, REPEATED, Places, Table, clean, find_columns
from fednode.learn.units import MICRO, UNIT

STANDARD_LIMIT = 8.0
"""Standardised features are clipped here, so that one rare level cannot dominate a step."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Every row of a table that can be read, encoded, with what its cells said.

    `index` int64 (n,) are the places of these rows in the table, `lines` their lines of the file; `damaged` says of the
    other rows what is wrong. `is_refused` bool (n,) marks rows with a value outside its range if the study refuses it;
    `thousands` counts for a column the values that may have a point of thousands, with the line of the first.
    """

    rows: Rows
    columns: dict[str, Column]
    places: Places
    index: NDArray[np.int64]
    lines: list[int]
    damaged: dict[int, str]
    is_refused: NDArray[np.bool_]
    thousands: dict[str, tuple[int, int]]


def encode_table(schema: Tables, table: Table, site: SiteMap = PLAIN) -> Encoded:
    """Read and encode all rows. A column that is not in the file counts as missing: `Encoded.places` tells."""
    places = find_columns(schema, table, site)
    width, damaged = len(places.names), dict(table.damage)
    for number, row in enumerate(table.rows):
        if number in damaged:
            continue
        if not any(cell.strip() for cell in row):
            damaged[number] = BLANK
        elif table.names is not None and tuple(clean(cell) for cell in row[:width]) == places.names:
            damaged[number] = REPEATED
        elif len(row) < width or any(cell.strip() for cell in row[width:]):
            damaged[number] = RAGGED
    index = [number for number in range(len(table.rows)) if number not in damaged]

    def cells(name: str) -> list[str]:
        at = places.at.get(name)
        return [""] * len(index) if at is None else [table.rows[number][at] for number in index]

    notation_of = site.notations()
    columns: dict[str, Column] = {}
    features: list[NDArray[np.float64]] = []
    labels = np.full(len(index), -1, np.int64)
    is_refused = np.zeros(len(index), bool)
    thousands: dict[str, tuple[int, int]] = {}
    for wanted in schema.columns:
        notation = notation_of(wanted.name)
        if isinstance(wanted, NumberColumn):
            low, high = wanted.low_micro / MICRO, wanted.high_micro / MICRO
            texts = cells(wanted.name)
            column = read_column(texts, *number_reader(wanted, notation, low, high))
            if notation.decimal == "." and len(found := find_thousands(texts, column.values)):
                thousands[wanted.name] = len(found), table.line(index[int(found[0])])
            features.append(_scale(column, low, high, schema.outside))
            if schema.outside == "refuse":
                is_refused |= column.is_kind(OUTSIDE)
        elif isinstance(wanted, CategoryColumn):
            column = read_column(cells(wanted.name), level_reader(wanted, notation))
            features.append(_one_hot(column, len(wanted.levels)))
        elif wanted.rule is None:
            column = read_column(cells(wanted.name), level_reader(wanted, notation))
            labels = np.nan_to_num(column.values, nan=-1.0).astype(np.int64)
        else:
            read, _ = number_reader(wanted, notation, -np.inf, np.inf)  # every text of a label is listed
            column = read_column(cells(wanted.name), read)
            labels = apply_rule(wanted.rule, column.values)
        columns[wanted.name] = column
    rows = Rows(np.concatenate(features, axis=1), labels)
    lines = [table.line(number) for number in index]
    return Encoded(rows, columns, places, np.array(index, np.int64), lines, damaged, is_refused, thousands)


def _scale(column: Column, low: float, high: float, outside: str) -> NDArray[np.float64]:
    values = column.values
    if outside == "missing":
        values = np.where(column.is_kind(OUTSIDE), np.nan, values)
    scaled: NDArray[np.float64] = (np.clip(values, low, high) - low) / (high - low)
    return scaled[:, np.newaxis]


def _one_hot(column: Column, levels: int) -> NDArray[np.float64]:
    values = column.values
    block: NDArray[np.float64] = (values[:, None] == np.arange(levels)).astype(np.float64)
    block[np.isnan(values)] = np.nan
    return block


_COMPARE: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


def apply_rule(rule: LabelRule, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the class of each value, int64 (n,): 1 where the rule holds, 0 where not, -1 where it is NaN."""
    labels = _COMPARE[rule.operator](values, rule.threshold_micro / MICRO).astype(np.int64)
    labels[np.isnan(values)] = -1
    return labels


def standardise(rows: Rows, scaling: Scaling) -> NDArray[np.float32]:
    """Fill missing values with the global mean and standardise: float32 (n, features) within +-STANDARD_LIMIT."""
    mean = np.asarray(scaling.mean_q24, np.float64) / UNIT
    deviation = np.asarray(scaling.deviation_q24, np.float64) / UNIT
    filled = np.where(np.isnan(rows.features), mean, rows.features)
    return np.clip((filled - mean) / deviation, -STANDARD_LIMIT, STANDARD_LIMIT).astype(np.float32)
