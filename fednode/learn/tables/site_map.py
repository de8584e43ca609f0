"""How one hospital writes the study's columns: names, codes, decimal sign and units of its own export.

It is the hospital's own and local: it never becomes part of a study, and no other member learns of it. It only says how
a cell is to be read; what is trained on is the value in the study's terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated

from fednode.codec import Size
from fednode.learn.tables.kind import MAX_COLUMNS, MAX_TOKEN_BYTES, normal_token

MAX_HEADER_BYTES = 256
MAX_TRANSLATIONS = 4096
DECIMAL_SIGNS = (".", ",")

ColumnName = Annotated[str, Size(1, 64)]
Word = Annotated[str, Size(0, MAX_TOKEN_BYTES)]


@dataclass(frozen=True, slots=True)
class OtherName:
    """The column `column` of the study is called `header` in the file."""

    column: ColumnName
    header: Annotated[str, Size(1, MAX_HEADER_BYTES)]


@dataclass(frozen=True, slots=True)
class OtherValue:
    """In `column`, the cell `cell` stands for `value`; both as in the file's own unit and notation."""

    column: ColumnName
    cell: Word
    value: Word


@dataclass(frozen=True, slots=True)
class OtherUnit:
    """Cells of `column` may end with `text`; their number times `factor` is in the study's unit.

    If it is the column's only unit, that holds for numbers without a unit too.
    """

    column: ColumnName
    text: Word
    factor: Word = "1"

    def __post_init__(self) -> None:
        try:
            factor = Decimal(self.factor)
        except InvalidOperation:
            raise ValueError(f"factor '{self.factor}' of column '{self.column}' is no number") from None
        if not factor.is_finite() or not Decimal("1e-9") <= abs(factor) <= Decimal("1e9"):
            raise ValueError(f"factor {self.factor} of column '{self.column}' must lie between 1e-9 and 1e9")


@dataclass(frozen=True, slots=True)
class SiteMap:
    """Everything one hospital says about its own notation. The empty one reads a file as the study is written."""

    names: Annotated[tuple[OtherName, ...], Size(0, MAX_COLUMNS)] = ()
    values: Annotated[tuple[OtherValue, ...], Size(0, MAX_TRANSLATIONS)] = ()
    units: Annotated[tuple[OtherUnit, ...], Size(0, MAX_COLUMNS)] = ()
    missing: Annotated[tuple[Word, ...], Size(0, 256)] = ()
    decimal: Annotated[str, Size(1, 1)] = "."

    def __post_init__(self) -> None:
        if self.decimal not in DECIMAL_SIGNS:
            raise ValueError(f"decimal sign '{self.decimal}' is neither . nor ,")

    def notations(self) -> Callable[[str], Notation]:
        """Return how the cells of each column are written, by the column's name in the study."""
        values: dict[str, dict[str, str]] = {}
        units: dict[str, list[tuple[str, float]]] = {}
        for other in self.values:
            values.setdefault(other.column, {})[normal_token(other.cell)] = other.value
        for unit in self.units:
            units.setdefault(unit.column, []).append((unit.text, float(Decimal(unit.factor))))
        missing = frozenset(normal_token(token) for token in self.missing)

        def of(column: str) -> Notation:
            longest_first = tuple(sorted(units.get(column, []), key=lambda unit: -len(unit[0])))
            return Notation(values.get(column, {}), missing, self.decimal, longest_first)

        return of

    def headers(self) -> dict[str, str]:
        """Return what the file calls those columns of the study that it calls otherwise."""
        return {other.column: other.header for other in self.names}

    def columns(self) -> set[str]:
        """Return the columns of which something is said."""
        return {o.column for o in self.names} | {o.column for o in self.values} | {o.column for o in self.units}


@dataclass(frozen=True, slots=True)
class Notation:
    """How the cells of one column are written; tokens are in their normal form, units with their factors."""

    values: Mapping[str, str]
    missing: frozenset[str]
    decimal: str
    units: tuple[tuple[str, float], ...]

    def factor_of(self, unit: str) -> float:
        """Return the factor of a unit; that of a number without one is the column's, if there is one unit alone."""
        if not unit and len(self.units) == 1:
            return self.units[0][1]
        return dict(self.units).get(unit, 1.0)


PLAIN = SiteMap()
