"""How a file could be read as it is: a site map that was tried on it before anybody is told.

Nothing is proposed that loses a measured value or guesses what a code means: capitals, notation, the study's own unit
behind a number, texts that mean 'not measured' everywhere, and, for values beyond a detection limit, half of it
(Hornung and Reed 1990, Appl Occup Environ Hyg 5:46). What a person has to decide is named, not proposed.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.learn.cells import Column, same_unit
from fednode.learn.check import names_other_unit
from fednode.learn.schema import Encoded, encode_table
from fednode.learn.site_map import MAX_HEADER_BYTES, MAX_TRANSLATIONS, OtherName, OtherUnit, OtherValue, SiteMap
from fednode.learn.spec import MAX_TOKEN_BYTES, NumberColumn, StudySpec, normal_token
from fednode.learn.table import Table

_PASSES = 4
"""A map of names shows the cells of more columns, one of units their decimal signs."""

_MAX_MISSING = 256


def suggest(spec: StudySpec, table: Table, site: SiteMap) -> SiteMap | None:
    """Return `site` with what would let more cells be read; None if nothing can be proposed."""
    found, encoded = site, encode_table(spec, table, site)
    for _ in range(_PASSES):
        wider = _widen(spec, encoded, found)
        if wider == found:
            break
        after = encode_table(spec, table, wider)
        if _unread(after) >= _unread(encoded):
            wider = replace(wider, decimal=found.decimal)  # a file with both decimal signs
            after = encode_table(spec, table, wider)
            if wider == found or _unread(after) >= _unread(encoded):
                break
        found, encoded = wider, after
    return None if found == site else found


def _unread(encoded: Encoded) -> int:
    """Count cells that cannot be read; a column that is not found is worse than one of which no cell can be read."""
    rows = max(1, len(encoded.lines))
    faulty = sum(item.rows for c in encoded.columns.values() for items in c.faults.values() for item in items)
    return faulty + 2 * rows * sum(name not in encoded.places.at for name in encoded.columns)


def _widen(spec: StudySpec, encoded: Encoded, site: SiteMap) -> SiteMap:
    named = {other.column for other in site.names}
    near = {name: header for name, header in encoded.places.near.items() if name not in named}
    strange = {column.name for column in spec.columns if names_other_unit(column, encoded.places)}
    names = [OtherName(c, h) for c, h in near.items() if c not in strange and 0 < len(h.encode()) <= MAX_HEADER_BYTES]
    values, units, missing, decimal = list(site.values), list(site.units), list(site.missing), site.decimal
    for column in spec.columns:
        read = encoded.columns[column.name]
        faults = read.faults
        for kind in ("case", "limit", "thousands"):
            for item in faults.get(kind, []):
                if item.reading.hint and len(values) < MAX_TRANSLATIONS and _fits(item.cell):
                    values.append(OtherValue(column.name, item.cell.strip(), item.reading.hint))
        for item in faults.get("code", []):
            token = item.cell.strip()
            if token not in missing and len(missing) < _MAX_MISSING and _fits(token):
                missing.append(token)
        if "decimal" in faults and any(item.reading.hint != "grouped" for item in faults["decimal"]):
            decimal = ","
        is_own = isinstance(column, NumberColumn) and column.name not in {unit.column for unit in units}
        if is_own and isinstance(column, NumberColumn) and (unit := _own_unit(column, read)):
            units.append(OtherUnit(column.name, unit))
    return SiteMap((*site.names, *names), tuple(values), tuple(units), tuple(missing), decimal)


def _fits(cell: str) -> bool:
    return 0 < len(cell.strip().encode()) <= MAX_TOKEN_BYTES and normal_token(cell) != ""


def _own_unit(column: NumberColumn, read: Column) -> str:
    """Return the unit that stands in the cells if it is the study's."""
    texts = {item.reading.hint for item in read.faults.get("unit", [])}
    alike = bool(texts) and all(same_unit(text, column.unit) for text in texts)
    return min(texts) if alike and len(min(texts).encode()) <= MAX_TOKEN_BYTES else ""
