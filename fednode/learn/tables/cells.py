"""Cells of a table, read one distinct text at a time: a value, a missing value, or a fault with its kind.

Security assumption: cells are patients' data. What leaves this module for anybody but the caller on the hospital's own
terminal are counts, lines and kinds; a text of a cell stands in `Distinct.cell` and `Reading.hint` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fednode.learn.tables.kind import CategoryColumn, LabelColumn, NumberColumn, normal_token
from fednode.learn.tables.site_map import Notation

KNOWN = ""
MISSING = "missing"
OUTSIDE = "outside"

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?"
_PLAIN = re.compile(_NUMBER)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]{1,3})?")
_SPACERS = "' \u2019\u00a0\u202f"
_GROUPED = re.compile(rf"[+-]?[0-9]{{1,3}}(?:[,.{_SPACERS}][0-9]{{3}})+(?:[.,][0-9]+)?")
_GROUPED_BY = {
    "." : re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?"),
    "," : re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]+)?"),
}
"""Numbers with separators of thousands where this is the decimal sign."""

_POINT_OF_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")
_LEAST_BESIDE_THOUSANDS = 100
_LIMIT = re.compile(rf"([<>\u2264\u2265]=?)\s*([0-9.,{_SPACERS}]*[0-9])")
_WITH_UNIT = re.compile(
    rf"(?:[<>\u2264\u2265]=?\s*)?(?:{_NUMBER}|[+-]?[0-9]*,[0-9]+|{_GROUPED.pattern})"
    r"(?:\s*([^\W\d_].*|[%°\u00b5\u2030].*|/[^\W\d_].*)|\s+(10\s*[\^*eE].*|1\s*/\s*[^\W\d_].*))",
    re.DOTALL,
)
_MONTH = (
    "jan|feb|m[a\u00e4]r|mrz|apr|ma[iyg]|jun|jul|aug|sep|o[ckt]t|nov|de[cz]"  # English, German, Dutch
    "|janv|f[e\u00e9]v|avr|juin|juil|ao[u\u00fb]|d[e\u00e9]c|ene|abr|ago|dic|gen|giu|lug|set|out|mrt|mei"
)
_DATE = re.compile(
    rf"[0-9]{{1,4}}[./-][0-9]{{1,2}}[./-][0-9]{{1,4}}(?:[ T].*)?"
    rf"|[0-9]{{1,2}}[.\s-]*(?:{_MONTH})[^\W\d_]*[.\s-]*[0-9]{{0,4}}|(?:{_MONTH})[^\W\d_]*[.\s-]*[0-9]{{1,4}}",
    re.IGNORECASE,
)
"""A spreadsheet turns 5.3 into 5 March."""

_MINUS = str.maketrans(dict.fromkeys("\u2212\u2013\ufe63\uff0d", "-"))
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u201e": "\u201c", "\u2018": "\u2019", "\u00ab": "\u00bb"}
_CODES = frozenset((
    "na", "n/a", "n.a.", "n.a", "#n/a", "#nv", "#value!", "#wert!", "#div/0!", "#ref!", "nan", "<na>", "null", "?",
    "??", "unknown", "unk", "unbekannt", "missing", "fehlt", "k.a.", "not available", "not measured", "inconnu",
    "desconocido",
))
"""Texts that mean 'not measured' everywhere. Not among them: what may be a finding ('nil', 'n.d.', 'none', 'x')."""

_NUMBER_CODES = _CODES | {"-", "--", "---", ".", ".."}
"""In a column of levels a dash may stand for a negative finding."""


class Reading(NamedTuple):
    """What one cell says: `value` is a number or the index of a level, NaN unless `kind` is KNOWN or OUTSIDE.

    `hint` is what the cell may stand for, where it can be guessed: for the eyes of who owns the file.
    """

    value: float
    kind: str = KNOWN
    hint: str = ""


_GONE = Reading(np.nan, MISSING)


class Distinct(NamedTuple):
    """One text of a column: how many rows hold it, and the index of the first of them."""

    cell: str
    reading: Reading
    rows: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column read: `values` float64 (n,), NaN where there is none.

    `distinct` are its texts in order of appearance, and `codes` int64 (n,) says which one each row holds; -1 are
    numbers in range written as numbers are, of which there are too many to list.
    """

    distinct: tuple[Distinct, ...]
    codes: NDArray[np.int64]
    values: NDArray[np.float64]

    def is_kind(self, kind: str) -> NDArray[np.bool_]:
        """Return which rows hold a cell of this kind, bool (n,)."""
        return np.array([*(item.reading.kind == kind for item in self.distinct), kind == KNOWN], bool)[self.codes]

    def count(self, kind: str) -> int:
        """Return how many rows hold a cell of this kind; not of KNOWN, which are not all listed."""
        return sum(item.rows for item in self.distinct if item.reading.kind == kind)

    @property
    def faults(self) -> dict[str, list[Distinct]]:
        """The distinct texts that cannot be used, by kind, in order of appearance."""
        found: dict[str, list[Distinct]] = {}
        for item in self.distinct:
            if item.reading.kind not in (KNOWN, MISSING, OUTSIDE):
                found.setdefault(item.reading.kind, []).append(item)
        return found


Read = Callable[[str], Reading]
Quick = Callable[[Sequence[str]], NDArray[np.float64]]
"""Numbers of the cells that need no closer look, NaN for all others."""


def read_column(cells: Sequence[str], read: Read, quick: Quick | None = None) -> Column:
    """Read a column; `read` is asked once for each distinct text that `quick` leaves over."""
    values = np.full(len(cells), np.nan) if quick is None else quick(cells)
    codes = np.full(len(cells), -1, np.int64)
    order: dict[str, int] = {}
    first: list[int] = []
    left = np.flatnonzero(np.isnan(values)).tolist()
    for index in left:
        code = order.setdefault(cells[index], len(order))
        if code == len(first):
            first.append(index)
        codes[index] = code
    counts = np.bincount(codes[left], minlength=len(order)).tolist()
    distinct = tuple(Distinct(cell, read(cell), counts[code], first[code]) for cell, code in order.items())
    values[left] = np.array([item.reading.value for item in distinct], np.float64)[codes[left]]
    return Column(distinct, codes, values)


def find_thousands(cells: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows whose point may be one of thousands: '1.037' beside 850, and no other kind of fraction."""
    is_fraction = ~np.isnan(values) & (values != np.floor(values))
    rows = np.flatnonzero(is_fraction)
    if not len(rows) or not (values[~is_fraction] >= _LEAST_BESIDE_THOUSANDS).any():
        return rows[:0]
    return rows if all(_POINT_OF_THOUSANDS.fullmatch(tidy(cells[row])) for row in rows.tolist()) else rows[:0]


def tidy(cell: str) -> str:
    """Return a cell without blanks and quotes around it, and with an ASCII minus before a number."""
    text = cell.strip().strip("\ufeff\u200b").strip()
    if text.startswith('="') and text.endswith('"'):
        text = text[1:]  # how spreadsheets keep a number as text
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text.translate(_MINUS) if len(text) > 1 and text[0] in "\u2212\u2013\ufe63\uff0d" else text


def number_reader(
    column: NumberColumn | LabelColumn, notation: Notation, low: float, high: float
) -> tuple[Read, Quick]:
    """Return two readers of numbers in the study's unit; those outside [low, high] are OUTSIDE."""
    absent = {normal_token(token) for token in column.missing} | notation.missing | {""}
    special = {float(token) for token in absent | notation.values.keys() if _PLAIN.fullmatch(token)}
    factor = notation.factor_of("")

    def read(cell: str) -> Reading:
        text = tidy(cell)
        told = notation.values.get(normal_token(text))
        text = text if told is None else told
        if normal_token(text) in absent:
            return _GONE
        bare, times = _without_unit(text, notation)
        plain = bare if told is not None and _PLAIN.fullmatch(bare) else _plain_number(bare, notation.decimal)
        if plain is None:
            return _fault_of_number(bare, text[len(bare):], notation)
        value = float(plain) * times if times != 1.0 else float(plain)
        if not np.isfinite(value):
            return Reading(np.nan, "text")
        return Reading(value) if low <= value <= high else Reading(value, OUTSIDE)

    def quick(cells: Sequence[str]) -> NDArray[np.float64]:
        values = np.full(len(cells), np.nan)
        if notation.decimal == ".":
            plain = [index for index, cell in enumerate(cells) if _PLAIN.fullmatch(cell)]
            found = [float(cells[index]) for index in plain]
            values[plain] = [np.nan if value in special else value for value in found] if special else found
            values *= factor
            values[~((values >= low) & (values <= high) & np.isfinite(values))] = np.nan
        return values

    return read, quick


def _without_unit(text: str, notation: Notation) -> tuple[str, float]:
    """Return a cell without the unit behind its number, and by how much the number is multiplied."""
    for unit, factor in notation.units:
        if unit and same_unit(text[-len(unit):], unit):
            return text[: -len(unit)].rstrip(), factor
    return text, notation.factor_of("")


def _plain_number(text: str, decimal: str) -> str | None:
    if decimal == ",":
        if "." in text and not ("," in text and _GROUPED_BY[","].fullmatch(text)):
            return None
        text = text.replace(".", "").replace(",", ".", 1)
    return text if _PLAIN.fullmatch(text) else None


def _fault_of_number(text: str, unit: str, notation: Notation) -> Reading:
    """Name what is wrong with a cell that is no number; `unit` stood behind it and is known."""
    if text.lower() in _NUMBER_CODES:
        return Reading(np.nan, "code")
    if (found := _LIMIT.fullmatch(text)) is not None:
        stand_in = _stand_in(found.group(1), found.group(2), notation.decimal)
        return Reading(np.nan, "limit", stand_in and stand_in + unit)
    if notation.decimal == "," and _PLAIN.fullmatch(text):
        return Reading(np.nan, "point", "grouped" if _GROUPED.fullmatch(text) else "")
    if _DECIMAL_COMMA.fullmatch(text) and notation.decimal == ".":
        return Reading(np.nan, "decimal", "grouped" if _GROUPED.fullmatch(text) else "")
    if _DATE.fullmatch(text) and not _GROUPED.fullmatch(text):
        return Reading(np.nan, "date")
    if _GROUPED.fullmatch(text):
        last = max(text.rfind("."), text.rfind(","))
        is_fraction = last >= 0 and len({letter for letter in text if letter in ".," + _SPACERS}) > 1
        whole = re.sub(r"[^0-9+-]", "", text[:last] if is_fraction else text)
        return Reading(np.nan, "thousands", (f"{whole}.{text[last + 1:]}" if is_fraction else whole) + unit)
    if (found := _WITH_UNIT.fullmatch(text)) is not None:
        return Reading(np.nan, "unit", (found.group(1) or found.group(2)).strip())
    return Reading(np.nan, "text")


def _stand_in(sign: str, digits: str, decimal: str) -> str:
    """Propose a number for a value beyond a limit: half of a lower limit, the upper one itself.

    Nothing where a sign may be decimal or one of thousands: '1,000' beside decimal points, '0.200' beside commas.
    """
    text, other = re.sub(f"[{_SPACERS}]", "", digits), "," if decimal == "." else "."
    if _GROUPED_BY[decimal].fullmatch(text) and other in text:
        if decimal not in text and text.count(other) == 1:
            return ""
        text = text.replace(other, "")
    plain = text.replace(",", ".")
    if not _PLAIN.fullmatch(plain):
        return ""
    return f"{float(plain) / 2:.6g}" if sign[0] in "<\u2264" else plain


def level_reader(column: CategoryColumn | LabelColumn, notation: Notation) -> Read:
    """Return a reader of levels: the value is the level's index."""
    order = {normal_token(level): float(index) for index, level in enumerate(column.levels)}
    absent = ({normal_token(token) for token in column.missing} | notation.missing | {""}) - order.keys()
    loose: dict[str, list[str]] = {}
    for level in column.levels:
        loose.setdefault(_loose(level), []).append(level)

    def read(cell: str) -> Reading:
        text = tidy(cell)
        text = notation.values.get(normal_token(text), text)
        token = normal_token(text)
        if notation.decimal == "," and token not in order and _DECIMAL_COMMA.fullmatch(text):
            token = normal_token(text.replace(",", "."))
        if token in absent:
            return _GONE
        if token in order:
            return Reading(order[token])
        near = loose.get(_loose(text), [])
        if len(near) == 1:
            return Reading(np.nan, "case", near[0])
        return Reading(np.nan, "code" if text.lower() in _CODES else "level")

    return read


def _loose(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text.casefold())


def same_unit(one: str, other: str) -> bool:
    """Whether two texts are one unit: capitals, blanks and the two signs for micro aside."""
    plain = [text.casefold().replace("\u00b5", "u").replace("\u03bc", "u").replace(" ", "") for text in (one, other)]
    return plain[0] == plain[1]
