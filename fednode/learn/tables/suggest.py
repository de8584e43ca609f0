"""How a file could be read as it is: a site map that was tried on it before anybody is told.

Nothing is proposed that loses a measured value or guesses what a code means: capitals, notation, the study's own unit
behind a number, texts that mean 'not measured' everywhere, and, for values beyond a detection limit, half of it
(Hornung and Reed 1990, Appl Occup Environ Hyg 5:46). What a person has to decide is named, not proposed.
"""

from __future__ import annotations

from dataclasses import replace

from fednode.learn.tables.cells import Column, same_unit
from fednode.learn.tables.check import names_other_unit
from fednode.learn.tables.kind import MAX_TOKEN_BYTES, NumberColumn, Tables, normal_token
from fednode.learn.tables.schema import Encoded, encode_table
from fednode.learn.tables.site_map import MAX_HEADER_BYTES, MAX_TRANSLATIONS, OtherName, OtherUnit, OtherValue, SiteMap
from fednode.learn.tables.table import Table

_PASSES = 4
"""A map of names shows the cells of more columns, one of units their decimal signs."""

_MAX_MISSING = 256


def suggest(schema: Tables, table: Table, site: SiteMap) -> SiteMap | None:
    """Return `site` with what would let more cells be read; None if nothing can be proposed."""
    found, encoded, has_both_signs = site, encode_table(schema, table, site), False
    best, fewest = site, _unread(encoded)
    for _ in range(_PASSES):
        wider = _widen(schema, encoded, found)
        if has_both_signs:
            wider = replace(wider, decimal=found.decimal)
        if wider == found:
            break
        after = encode_table(schema, table, wider)
        if wider.decimal != found.decimal and _unread(after) >= _unread(encoded):
            one_sign = replace(wider, decimal=found.decimal)
            other = encode_table(schema, table, one_sign)
            if _unread(other) < _unread(after) or one_sign == found:
                wider, after, has_both_signs = one_sign, other, True
        found, encoded = wider, after
        if _unread(encoded) < fewest:  # a unit that is known may only show the notation of the number before it
            best, fewest = found, _unread(encoded)
    return None if best == site else best


def _unread(encoded: Encoded) -> int:
    """Count cells that cannot be read; a column that is not found is worse than one of which no cell can be read."""
    rows = max(1, len(encoded.lines))
    faulty = sum(
        item.rows for c in encoded.columns.values() for kind, items in c.faults.items() for item in items
        if (kind, item.reading.hint) != ("point", "grouped")  # '1.234' beside decimal commas was misread before
    )
    return faulty + 2 * rows * sum(name not in encoded.places.at for name in encoded.columns)


def _widen(schema: Tables, encoded: Encoded, site: SiteMap) -> SiteMap:
    named = {other.column for other in site.names}
    near = {name: header for name, header in encoded.places.near.items() if name not in named}
    strange = {column.name for column in schema.columns if names_other_unit(column, encoded.places)}
    names = [OtherName(c, h) for c, h in near.items() if c not in strange and 0 < len(h.encode()) <= MAX_HEADER_BYTES]
    values, units, missing, decimal = list(site.values), list(site.units), list(site.missing), site.decimal
    all_faults = [encoded.columns[column.name].faults for column in schema.columns]
    if any(item.reading.hint != "grouped" for faults in all_faults for item in faults.get("decimal", [])):
        decimal = ","
    findings = {normal_token(item.cell) for faults in all_faults for item in faults.get("level", [])}
    for column, faults in zip(schema.columns, all_faults, strict=True):
        read = encoded.columns[column.name]
        # what '>1.000' stands for is asked once the decimal sign is known
        for kind in ("case", "limit", "thousands") if decimal == site.decimal else ("case",):
            for item in faults.get(kind, []):
                if item.reading.hint and len(values) < MAX_TRANSLATIONS and _fits(item.cell):
                    values.append(OtherValue(column.name, item.cell.strip(), item.reading.hint))
        for item in faults.get("code", []):
            token = item.cell.strip()
            if normal_token(token) in findings and isinstance(column, NumberColumn):
                values.append(OtherValue(column.name, token, ""))  # a list for all columns would lose the findings
            elif token not in missing and len(missing) < _MAX_MISSING and _fits(token):
                missing.append(token)
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
