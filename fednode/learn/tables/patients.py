"""Rows that a model is applied to: every row of the file keeps its place, and a note says what is not as it should be.

Security assumption: notes and identifiers hold cells of the file; they go to the caller of `fednode predict` and to
nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fednode.errors import DataError
from fednode.learn.rows import Rows
from fednode.learn.tables.cells import KNOWN, MISSING, OUTSIDE, Column
from fednode.learn.tables.check import check_number, names_other_unit
from fednode.learn.tables.kind import CategoryColumn, LabelColumn, NumberColumn, Tables
from fednode.learn.tables.schema import Encoded, encode_table
from fednode.learn.tables.site_map import PLAIN, SiteMap
from fednode.learn.tables.table import BLANK, RAGGED, REPEATED, TORN, Table, clean
from fednode.learn.tables.verdicts import OK, WARNING, Verdict, collect, cut, describe, reason_of
from fednode.learn.units import MICRO

MAX_NOTE_BYTES = 640
MAX_ID_BYTES = 256
_NAMED_MISSING = 8

_DAMAGE = {
    BLANK: "the row is blank: no prediction",
    TORN: "the row cannot be read, a quote is not closed or stands inside a cell: no prediction",
    REPEATED: "the row repeats the header: no prediction",
    RAGGED: "the row has another number of cells than the header: no prediction",
}


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """All rows of a file after its header, in order.

    `features` float64 (n, features) with NaN where a value is missing, `labels` int64 (n,), -1 where unknown;
    `is_usable` bool (n,): a prediction can be made. `lines`, `ids` (none unless asked for) and `notes` are one a row;
    `remarks` say what concerns whole columns.
    """

    rows: Rows
    is_usable: NDArray[np.bool_]
    lines: tuple[int, ...]
    ids: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


def read_patients(schema: Tables, table: Table, id_column: str = "", site: SiteMap = PLAIN) -> Patients:
    """Read the rows a model is applied to; raise `DataError` if the file lacks a column, or has one twice."""
    if table.names is None and not table.rows:
        raise DataError("the file is empty; export the table again, with its header")
    encoded = encode_table(schema, table, site)
    _check_header(schema, encoded, site)
    count, width = len(table.rows), encoded.rows.features.shape[1]
    features, labels = np.full((count, width), np.nan), np.full(count, -1, np.int64)
    features[encoded.index], labels[encoded.index] = encoded.rows.features, encoded.rows.labels
    is_known = ~np.isnan(features).all(axis=1)
    is_refused = np.zeros(count, bool)
    is_refused[encoded.index] = encoded.is_refused
    notes = _notes(schema, encoded, count)
    for index in np.flatnonzero(~is_known).tolist():
        if index not in encoded.damaged:
            notes[index].insert(0, "nothing usable is known of this row: no prediction")
    if schema.label.name in encoded.places.doubled:
        labels[:] = -1
    return Patients(
        Rows(features, labels), is_known & ~is_refused, tuple(table.line(index) for index in range(count)),
        _ids(table, id_column), tuple(cut("; ".join(texts), MAX_NOTE_BYTES) for texts in notes),
        (*table.remarks, *_remarks(schema, encoded)),
    )


def _check_header(schema: Tables, encoded: Encoded, site: SiteMap) -> None:
    places, label = encoded.places, schema.label.name
    for column in schema.columns:
        if column.name in places.doubled and column.name != label:
            raise DataError(f"the header names column '{column.name}' more than once; leave one, or rename the others")
    if shared := {name: other for name, other in places.shared.items() if label not in (name, other)}:
        pair = " and ".join(f"'{name}'" for name in next(iter(shared.items())))
        raise DataError(f"[data.map] reads {pair} from one column of the file; correct names there")
    absent = [column.name for column in schema.columns if column.name not in places.at and column.name != label]
    if not absent:
        return
    strange = [column for column in schema.columns if column.name in absent and names_other_unit(column, places)]
    if strange:
        pairs = ", ".join(f"'{places.near[column.name]}' for '{column.name}'" for column in strange[:8])
        fix = "give name and factor under [data.map] names and units"
        raise DataError(f"the header names columns in another unit than the study: {pairs}; {fix}")
    if all(name in places.near for name in absent):
        pairs = ", ".join(f"'{places.near[name]}' for '{name}'" for name in absent[:8])
        raise DataError(f"the header spells columns otherwise: {pairs}; name them under [data.map] names")
    others = site.headers()
    named = ", ".join(f"'{others.get(name, name)}'" for name in absent[:8])
    has = ", ".join(places.names[:8]) + (", ..." if len(places.names) > 8 else "")
    fix = "add them (empty where nobody measured), or say under [data.map] names what the file calls them"
    raise DataError(f"the file lacks columns of the model: {named}; it has {has[:200]}; {fix}")


def _ids(table: Table, column: str) -> tuple[str, ...]:
    if not column:
        return ()
    if table.names is None:
        raise DataError(f"the file has no header line, so there is no column '{column}'; add one")
    places = [index for index, name in enumerate(table.names) if clean(name) == column.strip()]
    if len(places) != 1:
        found = "no column" if not places else f"{len(places)} columns"
        raise DataError(f"the file has {found} '{column}'; name one that is there once with --id")
    at = places[0]
    return tuple(cut(row[at], MAX_ID_BYTES) if at < len(row) else "" for row in table.rows)


def _notes(schema: Tables, encoded: Encoded, count: int) -> list[list[str]]:
    notes: list[list[str]] = [[] for _ in range(count)]
    for index, what in encoded.damaged.items():
        notes[index].append(_DAMAGE[what])
    index = encoded.index.tolist()
    missing: dict[int, list[str]] = {}
    for wanted in schema.columns:
        if isinstance(wanted, LabelColumn):
            continue
        column = encoded.columns[wanted.name]
        texts = _texts(schema, wanted, column)
        for row in np.flatnonzero(~column.is_kind(KNOWN)).tolist():
            text = texts[int(column.codes[row])]
            if text:
                notes[index[row]].append(text)
            else:
                missing.setdefault(index[row], []).append(wanted.name)
    for place, names in missing.items():
        more = f" and {len(names) - _NAMED_MISSING} more" if len(names) > _NAMED_MISSING else ""
        notes[place].append(f"missing: {', '.join(names[:_NAMED_MISSING])}{more}")
    return notes


def _texts(schema: Tables, wanted: NumberColumn | CategoryColumn, column: Column) -> list[str]:
    """Return what to say about each distinct text of a column; nothing where it is missing or as it should be."""
    texts: list[str] = []
    for item in column.distinct:
        cell, kind = item.cell.strip()[:40], item.reading.kind
        if kind in (KNOWN, MISSING):
            texts.append("")
        elif kind == OUTSIDE and isinstance(wanted, NumberColumn):
            span = f"[{wanted.low_micro / MICRO:g}, {wanted.high_micro / MICRO:g}] {wanted.unit}".rstrip()
            what = {"missing": "counted as missing", "clip": "clipped", "refuse": "no prediction"}[schema.outside]
            texts.append(f"{wanted.name} '{cell}' outside {span}: {what}")
        else:
            texts.append(f"{wanted.name} '{cell}' unknown ({reason_of(kind)}): counted as missing")
    return texts


def _remarks(schema: Tables, encoded: Encoded) -> list[str]:
    """Return what concerns whole columns, worst first, for a summary."""
    found: list[str] = []
    for wanted in schema.columns:
        if isinstance(wanted, NumberColumn):
            verdict = check_number(schema, wanted, encoded.columns[wanted.name], encoded, shows_cells=True)
            if verdict.status != OK:
                found.append(f"column '{wanted.name}': {verdict.with_cells()}")
        elif isinstance(wanted, CategoryColumn):
            column = encoded.columns[wanted.name]
            if column.faults:
                cells = sum(item.rows for items in column.faults.values() for item in items)
                found.append(f"column '{wanted.name}': {cells} cells are no level of the study and count as missing")
        else:
            found += _remark_on_label(wanted.name, encoded)
    return found


def _remark_on_label(name: str, encoded: Encoded) -> list[str]:
    """Say why labels cannot be compared with predictions; a file without labels is as it should be."""
    if name in encoded.places.doubled:
        return [f"column '{name}': the header names it more than once, so no row counts as labelled"]
    if name in encoded.places.near:
        spelt = encoded.places.near[name]
        return [f"column '{name}': the header spells it '{spelt}'; name it under [data.map] names to use its labels"]
    faults = [
        collect(kind, items, encoded.lines, shows_cells=True) for kind, items in encoded.columns[name].faults.items()
    ]
    if not faults:
        return []
    text = Verdict(name, WARNING, describe(faults), faults=tuple(faults)).with_cells()
    return [f"column '{name}': no label is read from {text}"]
