"""Separated text as spreadsheets, laboratory systems and R write it, with or without a line of column names.

How a file is written is found out where that cannot change a value: encoding, separator, lines before the header. What
can (decimal commas, codes, units) is left to the hospital's own map.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from fednode.learn.tables.kind import Column, NumberColumn, Tables, normal_token
from fednode.learn.tables.site_map import SiteMap
from fednode.learn.tables.table import TORN, Table, clean, count_names, is_header, name_forms
from fednode.worker.datasets.text import read_lines

SEPARATORS = (",", ";", "\t", "|", " ")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}

MAX_TITLE_LINES = 30
"""Lines before the header: titles, dates of the export, comments."""

SAMPLE_LINES = 200
MAX_CELL_LINES = 200
"""A quoted cell that goes on longer than this has lost its closing quote."""


def read(schema: Tables, path: Path, site: SiteMap) -> Table:
    """Read `path` whole. Rows keep the line they begin in; what cannot be read is a row of its own, marked as such."""
    lines, remarks = read_lines(path)
    if _is_wrapped(lines):
        lines = [_unwrapped(line) for line in lines]
        remarks.append("every line stands in quotes as a whole")
    csv.field_size_limit(2**31 - 1)  # a long note in a column nobody uses is no fault
    start = 0
    told = _told_separator(lines)
    if told is not None:
        start = 1
    forms = name_forms(schema, site)
    separator = told or _separator(schema, lines, forms)
    if told is not None and _header_line(lines, told, 1, forms) is None:
        found = _separator(schema, lines[1:], forms)
        if _header_line(lines, found, 1, forms) is not None:  # the line was written by another program than the rows
            told, separator = None, found
    header = _header_line(lines, separator, start, forms)
    if header is None and _names_others(schema, lines, separator, start, site):
        header = start
    if header is None and lines:
        remarks.append("no line names the columns: they are taken in the order of the study")
    first = start if header is None else header
    skipped = [line for line in lines[start:first] if line.strip()]
    if told is not None:
        remarks.append(f"separator {_NAMES.get(told, repr(told))}, from the line 'sep='")
    elif separator != ",":
        remarks.append(f"separator {_NAMES[separator]}")
    if skipped:
        remarks.append(f"the header is line {first + 1}; {len(skipped)} lines before it are no part of the table")
    names: tuple[str, ...] | None = None
    width: int | None = None
    if header is not None:
        _, first, cells = next(records(lines, separator, header))
        assert cells is not None, "it was read before"
        names, width = tuple(clean(cell) for cell in cells), len(cells)
    rows: list[tuple[str, ...]] = []
    places: list[int] = []
    damage: list[tuple[int, str]] = []
    for begun, _, cells in records(lines, separator, first, width):
        if cells is None:
            damage.append((len(rows), TORN))
        rows.append(tuple(cells or ()))
        places.append(begun + 1)
    return Table(names, tuple(rows), tuple(places), tuple(damage), tuple(remarks))


def records(
    lines: Sequence[str], separator: str, start: int, width: int | None = None
) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield the index of the first line, that behind the last, and the cells of every record, None where it is torn.

    After a torn record the next line is tried: a stray quote costs one row, not the rest of the file. So it is with a
    record of several lines that has not `width` cells, or whose lines are rows by themselves: a quote that was never
    closed swallowed them.
    """
    at = begun = start

    def feed() -> Iterator[str]:
        nonlocal at
        while at < len(lines):
            if at - begun >= MAX_CELL_LINES:
                raise csv.Error("a quote is not closed")
            at += 1
            line = lines[at - 1]
            yield line.strip() + "\n" if separator == " " else line

    while at < len(lines):
        reader = csv.reader(feed(), delimiter=separator, strict=True, skipinitialspace=separator == " ")
        while at < len(lines):
            begun, cells = at, None
            try:
                cells = next(reader)
            except csv.Error:
                at = begun + 1
            is_long = cells is not None and at - begun > 1 and width is not None
            if is_long and (len(cells or ()) != width or _are_rows(lines[begun:at], separator, width)):
                at, cells = begun + 1, None
            yield begun, at, cells
            if cells is None:
                break  # a reader that failed is not asked again


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Whether each line is one quoted text with separators in it, as some exports do."""
    sample = [line.strip() for line in lines[:SAMPLE_LINES] if line.strip()]
    quotes = {line[0] + line[-1] for line in sample}
    if not sample or quotes not in ({'""'}, {"''"}):
        return False
    quote = sample[0][0]
    return all(len(line) > 1 and quote not in line[1:-1].replace(quote * 2, "") for line in sample) and any(
        all(separator in line for line in sample) for separator in SEPARATORS[:-1]
    )


def _unwrapped(line: str) -> str:
    text = line.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].replace(text[0] * 2, text[0]) + "\n" if is_quoted else line


def _are_rows(lines: Sequence[str], separator: str, width: int | None) -> bool:
    return width is not None and width > 1 and all(
        line.count(separator) >= width - 1 for line in lines if line.strip()
    )


def _told_separator(lines: Sequence[str]) -> str | None:
    """Return the separator that a first line 'sep=;' names, as some spreadsheets write it."""
    first = lines[0].strip("\r\n\ufeff").strip('"') if lines else ""
    is_told = first.lower().startswith("sep=") and len(first) == 5
    return first[4] if is_told else None


def _separator(schema: Tables, lines: Sequence[str], forms: frozenset[str]) -> str:
    """Return the separator that shows most of the study's columns in one line, else the one that fits most rows."""
    sample = lines[:SAMPLE_LINES]

    def merit(separator: str) -> tuple[int, int, int]:
        named = 0
        widths: dict[int, int] = {}
        for place, _, cells in records(sample, separator, 0):
            if cells is None or not any(cells):
                continue
            if place < MAX_TITLE_LINES:
                named = max(named, count_names(forms, cells))
            widths[len(cells)] = widths.get(len(cells), 0) + 1
        fitting = max((count for width, count in widths.items() if width >= len(schema.columns) - 1), default=0)
        return named, fitting, -SEPARATORS.index(separator)

    return max(SEPARATORS, key=merit)


def _header_line(lines: Sequence[str], separator: str, start: int, forms: frozenset[str]) -> int | None:
    """Return the index of the line that names the columns, None where the file has none."""
    for place, _, cells in records(lines[: start + SAMPLE_LINES], separator, start):
        if place - start >= MAX_TITLE_LINES:
            return None
        if cells and is_header(forms, cells):
            return place
    return None


def _names_others(schema: Tables, lines: Sequence[str], separator: str, start: int, site: SiteMap) -> bool:
    """Whether the first line names columns, but not as the study does: words above a row with numbers."""
    first = [cells for _, _, cells in itertools.islice(records(lines, separator, start), 2)]
    if len(first) < 2 or first[0] is None or first[1] is None or len(first[0]) != len(first[1]):
        return False
    known = {normal_token(text) for column in schema.columns for text in _texts_of(column)} | set(site.missing)

    def is_name(cell: str) -> bool:
        return any(letter.isalpha() for letter in cell) and normal_token(cell) not in known

    words = [is_name(cell) for cell in first[0]]
    named = sum(words)
    values = sum(
        is_word and bool(below.strip()) and not is_name(below)
        for is_word, below in zip(words, first[1], strict=True)
    )
    return 2 * named > sum(bool(cell.strip()) for cell in first[0]) and 2 * values >= named


def _texts_of(column: Column) -> tuple[str, ...]:
    return column.missing if isinstance(column, NumberColumn) else (*column.levels, *column.missing)
