"""What a check of a table found, column by column, and how it is said.

Security assumption: a `Verdict.text` goes to journals, logs and status answers, so it holds counts, lines and kinds and
no cell of the file. Texts of cells stand in `Fault.cells` alone, which is empty unless the caller asked for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fednode.codec import U32, Size
from fednode.learn.tables.cells import Distinct

MAX_FOUND = 64
"""At most this many distinct texts of one kind are listed."""

_SHOWN = 12
_CELL_BYTES = 120
_TEXT_BYTES = 2000

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True, slots=True)
class Found:
    """One text of a cell: how many rows hold it, the line of the first, and what it may stand for ('' if unknown)."""

    cell: Annotated[str, Size(0, _CELL_BYTES)]
    hint: Annotated[str, Size(0, _CELL_BYTES)]
    count: U32
    line: U32


@dataclass(frozen=True, slots=True)
class Fault:
    """All cells of a column that cannot be used for one reason: how many, and the line of the first."""

    kind: Annotated[str, Size(1, 16)]
    count: U32
    line: U32
    cells: Annotated[tuple[Found, ...], Size(0, MAX_FOUND)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found in one column ('' is the whole table): `status` is ok, warning or error.

    `missing` and `outside` count cells without a value, and those beyond the study's range.
    """

    column: Annotated[str, Size(0, 256)]
    status: Annotated[str, Size(1, 8)]
    text: Annotated[str, Size(0, _TEXT_BYTES)]
    missing: U32 = 0
    outside: U32 = 0
    faults: Annotated[tuple[Fault, ...], Size(0, 16)] = ()

    @property
    def sentence(self) -> str:
        """The text, with the name of the column."""
        return f"column '{self.column}': {self.text}" if self.column else self.text

    def with_cells(self) -> str:
        """Return the text with the cells that are at fault, for the owner's own screen."""
        text = self.text
        for fault in self.faults:
            if fault.cells:
                words = _count(fault)
                text = text.replace(words, f"{words} ({_cells(fault)})", 1)
        return text


_WORDS = {
    "decimal": ("with a decimal comma", 'say decimal = "," in [data.map]'),
    "comma": ("with a comma, decimal or of thousands", 'say decimal = "," in [data.map] only if it is decimal'),
    "point": (
        "with a point beside decimal commas, decimal or of thousands",
        "export without points of thousands and with one decimal sign, or translate them under [data.map] values",
    ),
    "thousands": ("with separators of thousands", "export without them, or translate them under [data.map] values"),
    "limit": ("beyond a detection limit", "say under [data.map] values which number stands for them"),
    "unit": ("with a unit behind the number", "name it under [data.map] units"),
    "code": ("with a code for 'not measured'", "list it under [data.map] missing"),
    "date": ("with a date", "correct the export: did a spreadsheet make dates of numbers, or is a column shifted?"),
    "text": ("without a number", "correct them, or translate them under [data.map] values"),
    "case": ("not spelt as the study's levels", "translate them under [data.map] values"),
    "level": ("with none of the study's levels", "recode them, or translate them under [data.map] values"),
    "ragged": ("with another number of cells than the header", "correct them"),
    "repeated": ("repeating the header", "remove them"),
    "torn": ("with a quote that is not closed or stands inside a cell", "correct them, or export the file again"),
}
"""Kinds of faults: what the cells (rows for the last three) are, and what to do. No advice loses a measured value."""

_OF_ROWS = ("ragged", "repeated", "torn")


def collect(kind: str, found: Sequence[Distinct], line: Sequence[int], shows_cells: bool) -> Fault:
    """Make a fault of the distinct texts of one kind; `line` gives the line of the file for a row's index."""
    count, first = sum(item.rows for item in found), min(line[item.first] for item in found)
    cells = tuple(
        Found(cut(item.cell, _CELL_BYTES), cut(item.reading.hint, _CELL_BYTES), item.rows, line[item.first])
        for item in found[:MAX_FOUND]
    )
    return Fault(kind, count, first, cells if shows_cells else ())


def describe(faults: Sequence[Fault]) -> str:
    """Return what is wrong and what to do, without a cell."""
    return "; ".join(f"{_count(fault)}, first in line {fault.line}: {_WORDS[fault.kind][1]}" for fault in faults)


def _count(fault: Fault) -> str:
    noun = "row" if fault.kind in _OF_ROWS else "cell"
    return f"{plural(fault.count, noun)} {_WORDS[fault.kind][0]}"


def plural(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _cells(fault: Fault) -> str:
    shown = [f"'{found.cell}'" + (f" {found.count}x" if found.count > 1 else "") for found in fault.cells[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(fault.cells) - _SHOWN} more" if len(fault.cells) > _SHOWN else "")


def reason_of(kind: str) -> str:
    """Return what cells of this kind are, for a note beside one row."""
    return _WORDS[kind][0]


def cut(text: str, size: int = _TEXT_BYTES) -> str:
    """Return the beginning of a text, at most `size` bytes of UTF-8."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")
