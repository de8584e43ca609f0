"""Columns of a table: what a study says of each, and the form in which cells and levels are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from fednode.codec import Name, Size
from fednode.learn.declared import Cells, Decimals, Default, Written
from fednode.learn.units import MAX_CLASSES, MICRO, Micro, check_printable, decimal_text, to_micro

MAX_TOKEN_BYTES = 64
Token = Annotated[str, Size(0, MAX_TOKEN_BYTES)]
Tokens = Annotated[tuple[Token, ...], Size(0, 256)]
RULE_OPERATORS = (">=", "<=", "==", "!=", ">", "<")


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """A measured quantity within [low, high]. `missing` lists tokens that mean 'not measured'."""

    name: Name
    unit: Annotated[str, Size(0, 32), Default("")]
    low_micro: Annotated[Micro, Decimals(MICRO)]
    high_micro: Annotated[Micro, Decimals(MICRO)]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_printable(self.name, self.unit, *self.missing)
        if self.low_micro >= self.high_micro:
            raise ValueError(f"column '{self.name}': low must be below high")


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """One of `levels`; becomes one 0/1 feature per level, in this order."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, 256), Cells()]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_printable(self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)


@dataclass(frozen=True, slots=True)
class LabelRule:
    """The class is 1 where `value <operator> threshold` holds, else 0."""

    operator: Annotated[str, Size(1, 2)]
    threshold_micro: Micro

    def __post_init__(self) -> None:
        if self.operator not in RULE_OPERATORS:
            raise ValueError(f"label rule '{self.operator}' is none of {' '.join(RULE_OPERATORS)}")

    @staticmethod
    def parse(text: str) -> LabelRule:
        """Read a rule as people write it, '> 0'; raise `ValueError` with what it must be."""
        operator = next((op for op in RULE_OPERATORS if text.strip().startswith(op)), "")
        try:
            micro = to_micro(Decimal(text.strip()[len(operator) :].strip()))
        except ArithmeticError:
            micro = None
        if not operator or micro is None:
            raise ValueError('must be a comparison with a number, for example "> 0"')
        return LabelRule(operator, micro)

    def show(self) -> str:
        """Return the rule as people write it."""
        return f"{self.operator} {decimal_text(self.threshold_micro)}"


def _levels_of_rule(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the two outcomes of a label's rule; without a rule the levels must be given."""
    if found["rule"] is None:
        return None
    text = f"{found['name']} {found['rule'].show()}"
    return f"not {text}", text


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """What is predicted. `levels` are the classes in order; with a rule they only name its outcomes (false, true)."""

    name: Name
    levels: Annotated[tuple[Token, ...], Size(2, MAX_CLASSES), Cells(), Default(_levels_of_rule)]
    rule: Annotated[LabelRule | None, Written(LabelRule.parse, LabelRule.show), Default(None)]
    missing: Annotated[Tokens, Cells(), Default(())]

    def __post_init__(self) -> None:
        check_printable(self.name, *self.levels, *self.missing)
        _check_distinct(self.name, self.levels)
        if self.rule is not None and len(self.levels) != 2:
            raise ValueError(f"column '{self.name}': a label rule has two outcomes, not {len(self.levels)}")

Column = NumberColumn | CategoryColumn | LabelColumn

COLUMNS: dict[str, type] = {"number": NumberColumn, "category": CategoryColumn, "label": LabelColumn}


def normal_token(cell: str) -> str:
    """Return the form in which cells and levels are compared: '1', '1.0' and ' 1.00 ' are one token.

    Total over texts, which other hospitals write: a number of more than 18 digits before the point, or more than 64
    places, is compared as it is written. The exponent is looked at before anything is computed or written out.
    """
    token = cell.strip()
    if "_" in token or not token.isascii():  # Decimal reads 1_0 and foreign digits as numbers too
        return token
    try:
        number = Decimal(token)
    except InvalidOperation:
        return token
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MAX_TOKEN_BYTES or number.adjusted() >= 18:
        return token
    plain = format(number, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain.removeprefix("+")


def _check_distinct(name: str, levels: tuple[str, ...]) -> None:
    if len({normal_token(level) for level in levels}) != len(levels):
        raise ValueError(f"column '{name}': a level is listed twice")
