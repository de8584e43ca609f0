"""Data against schema: a verdict per column, and rows of text cells to model inputs.

Security assumption: the file is the hospital's own, so its faults are mistakes, not attacks; verdicts name
columns, counts and at most one offending cell, and go to this hospital's own screen only, never to the
ledger.

A feature u lies in [0, 1]: a number is clipped to [low, high] and scaled by that range, each level of a
category is 0 or 1; missing is NaN until the federation's global means fill it. Everything else uses u, so the
precision of sums, means and deviations does not depend on a column's unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fednode.codec import I64, U32, Size
from fednode.learn.spec import (
    MAX_FEATURES,
    MICRO,
    UNIT,
    CategoryColumn,
    Column,
    LabelColumn,
    LabelRule,
    NumberColumn,
    StudySpec,
    feature_count,
    label_of,
    normal_token,
)

CLIPPED_WARNING = 0.05
"""Share of clipped values from which a column's verdict is a warning: low and high probably have another unit."""

MAX_EXTRA_COLUMNS = 64
"""At most this many columns beyond the schema are named as ignored."""

STANDARD_LIMIT = 8.0
"""Standardised features are clipped here, so that one rare level cannot dominate a step."""


@dataclass(frozen=True, slots=True)
class Table:
    """A data file as text: column names (None: the file has no header line) and rows of cells."""

    names: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found in one column: `status` is ok, warning or error; the text says what to do."""

    column: Annotated[str, Size(0, 128)]
    status: Annotated[str, Size(1, 8)]
    text: Annotated[str, Size(0, 2000)]
    missing: U32
    clipped: U32


@dataclass(frozen=True, slots=True)
class Scaling:
    """Global mean and deviation per feature, of u in [0, 1], in units of 2^-24; part of the model."""

    mean_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]
    deviation_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]

    def __post_init__(self) -> None:
        if len(self.mean_q24) != len(self.deviation_q24):
            raise ValueError("as many means as deviations")
        in_range = all(0 <= mean <= UNIT for mean in self.mean_q24)
        if not in_range or not all(0 < deviation <= UNIT for deviation in self.deviation_q24):
            raise ValueError("mean or deviation outside the unit range")


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows: `features` float64 (n, features), u in [0, 1] or NaN; `labels` int64 (n,), -1 where unknown."""

    features: NDArray[np.float64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Checked:
    """Verdicts in schema order, and the rows if no verdict is an error."""

    verdicts: tuple[Verdict, ...]
    rows: Rows | None

    @property
    def errors(self) -> tuple[Verdict, ...]:
        """The verdicts that forbid training."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "error")


def check_table(spec: StudySpec, table: Table, label_needed: bool = True) -> Checked:
    """Check every column of `table` and encode it. Rows without a label are dropped, unless no label is needed."""
    if not table.rows:
        return _unusable("the file holds no rows; point the configuration at the data")
    names = table.names or tuple(column.name for column in spec.columns)
    short = next((index for index, row in enumerate(table.rows) if len(row) != len(names)), None)
    if short is not None:
        found = len(table.rows[short])
        return _unusable(f"row {short + 1} has {found} cells, {len(names)} expected; correct that row")
    cells = dict(zip(names, zip(*table.rows, strict=True), strict=True))
    features: list[NDArray[np.float64]] = []
    labels = np.full(len(table.rows), -1, np.int64)
    verdicts: list[Verdict] = []
    for column in spec.columns:
        if column.name not in cells:
            if isinstance(column, LabelColumn) and not label_needed:
                continue
            verdicts.append(Verdict(column.name, "error", _absent(column, names), 0, 0))
        elif isinstance(column, LabelColumn):
            labels, verdict = _encode_label(column, cells[column.name])
            if label_needed or verdict.status != "error":
                verdicts.append(verdict)
        else:
            block, verdict = _encode_number(column, cells[column.name]) if isinstance(
                column, NumberColumn
            ) else _encode_category(column, cells[column.name])
            features.append(block)
            verdicts.append(verdict)
    known = {column.name for column in spec.columns}
    extra = [name for name in names if name not in known]
    verdicts += [Verdict(name[:32], "ok", "not in the schema, ignored", 0, 0) for name in extra[:MAX_EXTRA_COLUMNS]]
    if any(verdict.status == "error" for verdict in verdicts):
        return Checked(tuple(verdicts), None)
    keep = labels >= 0 if label_needed else np.ones(len(labels), bool)
    return Checked(tuple(verdicts), Rows(np.concatenate(features, axis=1)[keep], labels[keep]))


def _unusable(text: str) -> Checked:
    return Checked((Verdict("", "error", text, 0, 0),), None)


def has_header(spec: StudySpec, first_row: Sequence[str]) -> bool:
    """Whether the first line of a file names columns: at least half of the schema's names appear in it."""
    cells = {cell.strip() for cell in first_row}
    return 2 * sum(column.name in cells for column in spec.columns) >= len(spec.columns)


def standardise(rows: Rows, scaling: Scaling) -> NDArray[np.float32]:
    """Fill missing values with the global mean and standardise: float32 (n, features) within +-STANDARD_LIMIT."""
    mean = np.asarray(scaling.mean_q24, np.float64) / UNIT
    deviation = np.asarray(scaling.deviation_q24, np.float64) / UNIT
    filled = np.where(np.isnan(rows.features), mean, rows.features)
    return np.clip((filled - mean) / deviation, -STANDARD_LIMIT, STANDARD_LIMIT).astype(np.float32)


def is_scaling_of(spec: StudySpec, scaling: Scaling) -> bool:
    """Whether `scaling` has one mean per feature of the study."""
    return len(scaling.mean_q24) == feature_count(spec)


def class_names(spec: StudySpec) -> tuple[str, ...]:
    """Return the names of the classes in the order of the model's outputs."""
    return label_of(spec).levels


def _absent(column: Column, names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"column '{column.name}' is missing; the file has {shown[:200]}"


def _numbers(
    cells: Sequence[str], missing: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], str | None]:
    """Return values (NaN where missing), the mask of missing cells, and the first cell that is no number."""
    absent = {normal_token(token) for token in missing} | {""}
    values = np.full(len(cells), np.nan)
    mask = np.zeros(len(cells), bool)
    for index, cell in enumerate(cells):
        if normal_token(cell) in absent:
            mask[index] = True
            continue
        try:
            values[index] = float(cell)
        except ValueError:
            return values, mask, cell
        if not np.isfinite(values[index]):
            return values, mask, cell
    return values, mask, None


def _encode_number(column: NumberColumn, cells: Sequence[str]) -> tuple[NDArray[np.float64], Verdict]:
    values, mask, offender = _numbers(cells, column.missing)
    gone = int(mask.sum())
    if offender is not None:
        text = f"'{offender[:40]}' is not a number; correct it or list it under missing"
        return values[:, None], Verdict(column.name, "error", text, gone, 0)
    low, high = column.low_micro / MICRO, column.high_micro / MICRO
    with np.errstate(invalid="ignore"):
        outside = int(((values < low) | (values > high)).sum())
    scaled = (np.clip(values, low, high) - low) / (high - low)
    status, notes = "ok", []
    if gone == len(cells):
        status, notes = "warning", ["every value is missing; the federation's mean is used"]
    if outside:
        share = outside / (len(cells) - gone)
        status = "warning" if share > CLIPPED_WARNING else status
        span = f"[{low:g}, {high:g}] {column.unit}".rstrip()
        notes.append(f"{outside} of {len(cells) - gone} values clipped to {span}")
    return scaled[:, None], Verdict(column.name, status, "; ".join(notes), gone, outside)


def _levels(
    cells: Sequence[str], levels: Sequence[str], missing: Sequence[str]
) -> tuple[NDArray[np.int64], int, str | None]:
    """Return the level index per cell (-1 missing), how many are missing, and the first unknown cell."""
    order = {normal_token(level): index for index, level in enumerate(levels)}
    absent = ({normal_token(token) for token in missing} | {""}) - order.keys()
    indices = np.full(len(cells), -1, np.int64)
    gone = 0
    for position, cell in enumerate(cells):
        token = normal_token(cell)
        if token in absent:
            gone += 1
        elif token in order:
            indices[position] = order[token]
        else:
            return indices, gone, cell
    return indices, gone, None


def _encode_category(column: CategoryColumn, cells: Sequence[str]) -> tuple[NDArray[np.float64], Verdict]:
    indices, gone, offender = _levels(cells, column.levels, column.missing)
    block = (indices[:, None] == np.arange(len(column.levels))).astype(np.float64)
    block[indices < 0] = np.nan
    if offender is not None:
        levels = ", ".join(column.levels)[:200]
        text = f"'{offender[:40]}' is none of the levels {levels}; recode it or list it under missing"
        return block, Verdict(column.name, "error", text, gone, 0)
    if gone == len(cells):
        text = "every value is missing; the federation's shares are used"
        return block, Verdict(column.name, "warning", text, gone, 0)
    return block, Verdict(column.name, "ok", "", gone, 0)


_COMPARE: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


def _encode_label(column: LabelColumn, cells: Sequence[str]) -> tuple[NDArray[np.int64], Verdict]:
    if column.rule is None:
        labels, gone, offender = _levels(cells, column.levels, column.missing)
    else:
        labels, gone, offender = _apply_rule(column.rule, cells, column.missing)
    if offender is not None:
        wanted = "a number" if column.rule is not None else f"one of {', '.join(column.levels)[:200]}"
        text = f"'{offender[:40]}' is not {wanted}; correct it or list it under missing"
        return labels, Verdict(column.name, "error", text, gone, 0)
    if gone == len(cells):
        text = "no row has a label; nothing can be learned from this file"
        return labels, Verdict(column.name, "error", text, gone, 0)
    note = f"{gone} rows without a label are left out" if gone else ""
    return labels, Verdict(column.name, "ok", note, gone, 0)


def _apply_rule(
    rule: LabelRule, cells: Sequence[str], missing: Sequence[str]
) -> tuple[NDArray[np.int64], int, str | None]:
    values, mask, offender = _numbers(cells, missing)
    with np.errstate(invalid="ignore"):
        labels = _COMPARE[rule.operator](values, rule.threshold_micro / MICRO).astype(np.int64)
    labels[mask] = -1
    return labels, int(mask.sum()), offender
