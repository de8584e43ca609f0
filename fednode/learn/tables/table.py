"""A data file as text cells, with the line of the file each row begins in, and which cells belong to which column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fednode.learn.tables.kind import Tables
from fednode.learn.tables.site_map import PLAIN, SiteMap

_UNIT = re.compile(r"(?<=\S)\s*[(\[]([^()\[\]]*)[)\]]$")

BLANK = "blank"
"""The row holds nothing but separators."""

TORN = "torn"
"""A quote in the row is not closed, or stands where none may."""

RAGGED = "ragged"
"""The row has another number of cells than the header."""


REPEATED = "repeated"
"""The row names the columns once more: files were put behind each other."""


@dataclass(frozen=True, slots=True)
class Table:
    """Column names (None: the file has no header line) and rows of cells.

    `lines` are those of the file, one a row (none given: rows follow the header, a line each); `damage` says for the
    index of a row why its cells cannot be used; `remarks` say how the file was read, without a cell of it.
    """

    names: tuple[str, ...] | None
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...] = ()
    damage: tuple[tuple[int, str], ...] = ()
    remarks: tuple[str, ...] = ()

    def line(self, index: int) -> int:
        """Return the line of the file, from 1, in which a row begins."""
        return self.lines[index] if self.lines else index + (1 if self.names is None else 2)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the study's columns stand in a file, and what is wrong with its header.

    `shared` names for a column another one that is read from the same place. `near` and `names` are texts of the
    file's header line: for the eyes of who owns the file.
    """

    at: dict[str, int]
    doubled: dict[str, int]
    shared: dict[str, str]
    near: dict[str, str]
    extra: tuple[int, ...]
    names: tuple[str, ...]


def find_columns(schema: Tables, table: Table, site: SiteMap = PLAIN) -> Places:
    """Find the study's columns by the names of the header, or by their order where there is none."""
    names = [column.name for column in schema.columns]
    if table.names is None:
        return Places({name: index for index, name in enumerate(names)}, {}, {}, {}, (), tuple(names))
    headers = [clean(header) for header in table.names]
    others = site.headers()
    wanted = {name: clean(others.get(name, name)) for name in names}
    taken = set(wanted.values())
    by_header: dict[str, list[int]] = {}
    by_form: dict[str, list[int]] = {}
    for index, header in enumerate(headers):
        by_header.setdefault(header, []).append(index)
        if header not in taken:
            by_form.setdefault(loose(header), []).append(index)
    places: dict[str, int] = {}
    doubled: dict[str, int] = {}
    near: dict[str, str] = {}
    used: set[int] = set()
    for name, header in wanted.items():
        equal, alike = by_header.get(header, []), by_form.get(loose(header), [])
        used |= {*equal, *alike}
        if equal:
            places[name] = equal[0]
        if len(equal) + len(alike) > 1:
            doubled[name] = len(equal) + len(alike)
        elif alike:
            near[name] = headers[alike[0]]
    owners: dict[int, list[str]] = {}
    for name, at in places.items():
        owners.setdefault(at, []).append(name)
    shared = {name: other for group in owners.values() for name in group for other in group if other != name}
    return Places(places, doubled, shared, near, tuple(i for i in range(len(headers)) if i not in used), tuple(headers))


def clean(header: str) -> str:
    """Return a header without blanks, quotes and marks around it."""
    return header.strip().strip("\ufeff\u200b").strip("\"'").strip()


def loose(header: str) -> str:
    """Return the form in which headers that differ in capitals, blanks, dashes and a unit in brackets are equal."""
    return re.sub(r"[\s_.-]+", "", _UNIT.sub("", clean(header)).casefold())


def unit_in(header: str) -> str:
    """Return the unit that stands in brackets behind a header's name, '' if none does."""
    found = _UNIT.search(clean(header))
    return found.group(1).strip() if found is not None else ""


def name_forms(schema: Tables, site: SiteMap = PLAIN) -> frozenset[str]:
    """Return the loose forms of the names that a header has for the study's columns."""
    others = site.headers()
    return frozenset(loose(others.get(column.name, column.name)) for column in schema.columns)


def count_names(forms: frozenset[str], cells: Sequence[str]) -> int:
    """Return how many of the study's columns a line names, capitals aside."""
    return len(forms & {loose(cell) for cell in cells})


def is_header(forms: frozenset[str], cells: Sequence[str]) -> bool:
    """Whether a line of a file names columns: at least half of the study's are among them."""
    return 2 * count_names(forms, cells) >= len(forms)
