"""Does a table fit a study? The one place that decides it: commands and the daemon show these verdicts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fednode.learn.rows import Rows
from fednode.learn.tables.cells import MISSING, OUTSIDE, Column, same_unit
from fednode.learn.tables.kind import Column as SpecColumn
from fednode.learn.tables.kind import LabelColumn, NumberColumn, Tables
from fednode.learn.tables.schema import Encoded, encode_table
from fednode.learn.tables.site_map import PLAIN, SiteMap
from fednode.learn.tables.table import RAGGED, REPEATED, TORN, Places, Table, loose, unit_in
from fednode.learn.tables.verdicts import ERROR, OK, WARNING, Fault, Verdict, collect, cut, describe, plural
from fednode.learn.units import MICRO

MAX_EXTRA_COLUMNS = 64
"""At most this many columns beyond the schema are named as ignored."""

LEAST_ROWS = 10
"""Rows with a label that a hospital needs to train: an update of fewer says too much about each of them."""

UNIT_SHARE = 0.5
"""Share of values outside the range from which the column probably has another unit."""

NARROW_SHARE = 0.05
"""All values within this share of the range, at its lower end: the column probably has another unit."""

NARROW_ROWS = 20

_WHAT_IS_DONE = {"missing": "count as missing", "clip": "are clipped", "refuse": "are refused by the study"}
_CODE_RATIO = 2
_UNKNOWN_CODES = frozenset((9.0, 99.0, 999.0, 9999.0, 8888.0, 888.0, 88.0, 77.0, 777.0))


@dataclass(frozen=True, slots=True)
class Checked:
    """Verdicts, those of the whole table first, then in schema order; and the labelled rows if none is an error.

    `class_rows` counts the rows of each class, in the order of the study's levels.
    """

    verdicts: tuple[Verdict, ...]
    rows: Rows | None
    class_rows: tuple[int, ...]

    @property
    def errors(self) -> tuple[Verdict, ...]:
        """The verdicts that forbid training."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == ERROR)


def check_table(schema: Tables, table: Table, site: SiteMap = PLAIN, shows_cells: bool = False) -> Checked:
    """Check every column of `table` and encode it; rows without a label are left out."""
    encoded = encode_table(schema, table, site)
    labels = encoded.rows.labels
    classes = len(schema.label.levels)
    class_rows = tuple(np.bincount(labels[labels >= 0], minlength=classes).tolist())
    verdicts = _of_file(table, encoded)
    if strange := site.columns() - {column.name for column in schema.columns}:
        verdicts.append(Verdict("", OK, cut(f"not in the study, but in [data.map]: {', '.join(sorted(strange))}")))
    for column in schema.columns:
        found = encoded.columns[column.name]
        problem = _of_header(column, encoded.places, site, shows_cells)
        if problem is not None:
            verdicts.append(problem)
        elif isinstance(column, LabelColumn):
            verdicts.append(_of_label(column, found, encoded, class_rows, shows_cells))
        elif isinstance(column, NumberColumn):
            verdicts.append(check_number(schema, column, found, encoded, shows_cells))
        else:
            verdicts.append(_of_cells(column.name, found, encoded, shows_cells))
    verdicts = _with_copies(verdicts, encoded.places)
    verdicts += _of_extra(encoded.places, shows_cells)
    if not any(verdict.status == ERROR for verdict in verdicts) and sum(class_rows) < LEAST_ROWS:
        text = f"{plural(sum(class_rows), 'row')} with a label, at least {LEAST_ROWS} are needed"
        verdicts.insert(0, Verdict("", ERROR, f"{text}: an update of fewer shows single patients"))
    if any(verdict.status == ERROR for verdict in verdicts):
        return Checked(tuple(verdicts), None, class_rows)
    keep = labels >= 0
    return Checked(tuple(verdicts), Rows(encoded.rows.features[keep], labels[keep]), class_rows)


# --- the whole file -----------------------------------------------------------------------------------------

def _of_file(table: Table, encoded: Encoded) -> list[Verdict]:
    """Judge what belongs to no column: how the file was read, and rows that cannot be."""
    found = [Verdict("", OK, cut(remark)) for remark in table.remarks]
    if not table.rows:
        return [*found, Verdict("", ERROR, "the file holds no rows; point the configuration at the data")]
    for kind in (TORN, REPEATED, RAGGED):
        bad = [number for number, what in encoded.damaged.items() if what == kind]
        if bad:
            fault = Fault(kind, len(bad), table.line(min(bad)), ())
            more = _hint_of_ragged(table, encoded.places, bad) if kind == RAGGED else ""
            found.append(Verdict("", ERROR, describe([fault]) + more, faults=(fault,)))
    return found


def _hint_of_ragged(table: Table, places: Places, bad: Sequence[int]) -> str:
    width = len(places.names)
    sizes, are_all = {len(table.rows[number]) for number in bad}, len(bad) > len(table.rows) // 2
    text = f" (the header has {width} cells, the row in line {table.line(bad[0])} has {len(table.rows[bad[0]])})"
    if sizes == {width + 1} and are_all:
        text += "; one cell more than the header: row names in front that it does not name, or a comma within a number?"
    elif max(bad) == len(table.rows) - 1 and not are_all:
        text += "; is the end of the file no row of the table? remove it then"
    elif sizes == {1} and are_all:
        text += "; is the separator another one?"
    return text


def names_other_unit(wanted: SpecColumn, places: Places) -> bool:
    """Whether the header that a column is probably called by has another unit in brackets than the study."""
    unit = unit_in(places.near.get(wanted.name, ""))
    return bool(unit) and isinstance(wanted, NumberColumn) and not same_unit(unit, wanted.unit)


def _of_header(wanted: SpecColumn, places: Places, site: SiteMap, shows_cells: bool) -> Verdict | None:
    """Judge whether a column is in the file, once."""
    name = wanted.name
    if name in places.doubled:
        text = f"the header names it {places.doubled[name]} times (capitals aside); leave one, or rename the others"
        return Verdict(name, ERROR, text)
    if name in places.shared:
        text = f"[data.map] reads it and '{places.shared[name]}' from one column of the file; correct names there"
        return Verdict(name, ERROR, text)
    if name in places.at:
        return None
    if name in places.near:
        spelt = f" as '{places.near[name][:80]}'" if shows_cells else ""
        if isinstance(wanted, NumberColumn) and names_other_unit(wanted, places):
            text = f"the header names it{spelt} in another unit than {wanted.unit or 'none'}"
            return Verdict(name, ERROR, cut(f"{text}; give name and factor under [data.map] names and units"))
        return Verdict(name, ERROR, f"the header spells it otherwise{spelt}; name it under [data.map] names")
    mapped = " under the name that [data.map] gives it" if name in site.headers() else ""
    shown = ", ".join(places.names[:8]) + (", ..." if len(places.names) > 8 else "")
    has = f"; the file has {shown[:200]}" if shows_cells else ""
    fix = "export it (empty if nobody measures it), or say under [data.map] names what the file calls it"
    return Verdict(name, ERROR, cut(f"not in the header{mapped}{has}; {fix}"))


def _with_copies(verdicts: Sequence[Verdict], places: Places) -> list[Verdict]:
    """Warn of a second column of the same name, numbered as joins and data frames do it."""
    stems = {
        loose(found.group(1)) for index in places.extra
        if (found := re.fullmatch(r"(.+)[._](?:[0-9]{1,2}|x|y)", places.names[index])) is not None
    }
    text = "the file has a second column of this name with a number or letter behind it: is this the right one?"
    return [
        replace(
            verdict, status=ERROR if verdict.status == ERROR else WARNING,
            text=cut("; ".join(filter(None, (verdict.text, text)))),
        ) if verdict.column in places.at and loose(verdict.column) in stems else verdict
        for verdict in verdicts
    ]


def _of_extra(places: Places, shows_cells: bool) -> list[Verdict]:
    """Name what is ignored: on the owner's screen only, a header line may turn out to be a patient's row."""
    if not shows_cells:
        return []
    return [
        Verdict(cut(places.names[index], 128), OK, "not in the schema, ignored")
        for index in places.extra[:MAX_EXTRA_COLUMNS]
    ]


# --- columns ------------------------------------------------------------------------------------------------

def _faults(column: Column, lines: Sequence[int], shows_cells: bool) -> tuple[Fault, ...]:
    found = column.faults
    if "decimal" in found and all(item.reading.hint == "grouped" for item in found["decimal"]):
        found["comma"] = found.pop("decimal")
    return tuple(collect(kind, items, lines, shows_cells) for kind, items in found.items())


def _of_cells(name: str, column: Column, encoded: Encoded, shows_cells: bool) -> Verdict:
    faults = _faults(column, encoded.lines, shows_cells)
    gone = column.count(MISSING)
    if faults:
        return Verdict(name, ERROR, cut(describe(faults)), gone, 0, faults)
    if gone == len(encoded.lines) > 0:
        return Verdict(name, WARNING, "every value is missing; the federation's mean is used", gone)
    return Verdict(name, OK, "", gone)


def check_number(
    schema: Tables, wanted: NumberColumn, column: Column, encoded: Encoded, shows_cells: bool
) -> Verdict:
    """Judge a column of numbers: its cells, its range, its unit."""
    base = _of_cells(wanted.name, column, encoded, shows_cells)
    low, high = wanted.low_micro / MICRO, wanted.high_micro / MICRO
    span = f"[{low:g}, {high:g}] {wanted.unit}".rstrip()
    outside, notes = column.count(OUTSIDE), [base.text] if base.text else []
    status = base.status
    known = len(encoded.lines) - base.missing - sum(fault.count for fault in base.faults)
    if outside:
        first = encoded.lines[int(column.is_kind(OUTSIDE).argmax())]
        what = _WHAT_IS_DONE[schema.outside]
        notes.append(f"{outside} of {known} values lie outside {span} and {what}, first in line {first}")
        status = ERROR if schema.outside == "refuse" else max(status, WARNING, key=(OK, WARNING, ERROR).index)
        if outside > UNIT_SHARE * known:
            notes.append(f"is the column in another unit than {wanted.unit or 'the study'}? see [data.map] units")
    elif known >= NARROW_ROWS and _is_narrow(column.values, low, high):
        notes.append(f"all values lie in the lowest {NARROW_SHARE:.0%} of {span}: is the column in another unit?")
        status = max(status, WARNING, key=(OK, WARNING, ERROR).index)
    if wanted.name in encoded.thousands:
        count, line = encoded.thousands[wanted.name]
        text = f"{plural(count, 'value')} with three digits behind the point beside whole numbers, first in line {line}"
        notes.append(f"{text}: is it a point of thousands, and 1.037 means 1037? export without it then")
        status = max(status, WARNING, key=(OK, WARNING, ERROR).index)
    return Verdict(wanted.name, status, cut("; ".join(notes)), base.missing, outside, base.faults)


def _is_narrow(values: NDArray[np.float64], low: float, high: float) -> bool:
    """Whether values that differ stay near the lower end of the range."""
    known = values[~np.isnan(values)]
    return bool(known.max() < low + NARROW_SHARE * (high - low) and known.min() < known.max())


def _of_label(
    wanted: LabelColumn, column: Column, encoded: Encoded, class_rows: Sequence[int], shows_cells: bool
) -> Verdict:
    """Judge the label: its cells, the rows of each class, and codes that a rule would take for a class."""
    base = _of_cells(wanted.name, column, encoded, shows_cells)
    if base.status == ERROR or not encoded.lines:
        return base
    if base.missing == len(encoded.lines):
        text = "no row has a label; nothing can be learned from this file"
        return Verdict(wanted.name, ERROR, text, base.missing)
    status, notes = OK, [", ".join(f"{n} {level}" for n, level in zip(class_rows, wanted.levels, strict=True))]
    if base.missing:
        notes.append(f"{plural(base.missing, 'row')} without a label left out")
    if empty := [level for n, level in zip(class_rows, wanted.levels, strict=True) if not n]:
        status = WARNING
        notes.append(f"no row of class {', '.join(empty)}: is the export filtered?")
    if wanted.rule is not None and (odd := _odd_codes(column)):
        status = WARNING
        rows = sum(column.distinct[code].rows for code in odd)
        line = min(encoded.lines[column.distinct[code].first] for code in odd)
        shown = f" ({', '.join(column.distinct[code].cell.strip()[:20] for code in odd[:5])})" if shows_cells else ""
        notes.append(
            f"{plural(rows, 'label')}{shown} may be a code for 'unknown', first in line {line}, and the rule makes a "
            "class of that; if it is one, list it under [data.map] missing"
        )
    return Verdict(wanted.name, status, cut("; ".join(notes)), base.missing)


def _odd_codes(column: Column) -> list[int]:
    """Return which texts of a label look like a code: a negative number among others, a 9, 99, ... far above them."""
    values = {code: item.reading.value for code, item in enumerate(column.distinct) if item.reading.kind != MISSING}
    usual = [value for value in values.values() if value >= 0 and value not in _UNKNOWN_CODES]
    most = max(usual, default=0.0)
    negative = sum(item.rows for item in column.distinct if item.reading.value < 0)
    is_signed = negative > sum(item.rows for item in column.distinct) // 4
    return [
        code for code, value in values.items()
        if (value < 0 and not is_signed) or (value in _UNKNOWN_CODES and value >= _CODE_RATIO * most)
    ]
