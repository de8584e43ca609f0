"""One table of a form while it is read: every key is taken or told as unknown, with the nearest one that is known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

_T = TypeVar("_T")
_EXPECTED = {int: "a whole number", str: "a text in quotes", list: "a list", dict: "a table", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake, as a sentence with its place; `is_unknown`: a key that nobody knows."""

    text: str
    is_unknown: bool = False


class Wrong(Exception):
    """A value cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


class FormTable:
    """A table being read; `place` says where it stands, `faults` are those of the whole form."""

    def __init__(self, values: Mapping[str, Any], place: str, faults: list[Fault]) -> None:
        self._values = dict(values)
        self._known: list[str] = []
        self._children: dict[str, FormTable] = {}
        self._others: list[FormTable] = []
        self._place = place
        self.faults = faults

    def wrong(self, message: str) -> Wrong:
        """Return the error for a value of this table."""
        return Wrong(Fault(self._place + message))

    def absent(self, key: str) -> Wrong:
        """Return the error for a missing key, naming a present one that looks like a slip of the pen."""
        near = difflib.get_close_matches(key, [name for name in self._values if name not in self._known], n=1)
        if near:
            del self._values[near[0]]  # told here, not as unknown too
        return self.wrong(f"'{key}' is missing; " + (f"is '{near[0]}' meant to be it?" if near else "add it"))

    def unknown(self, key: str, value: str, known: Sequence[str]) -> Wrong:
        """Return the error for a text that is none of `known`, naming the nearest one."""
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose {either(known)}"
        return self.wrong(f"{key} '{value}' is not known; {hint}")

    def has(self, key: str) -> bool:
        """Whether the key is there and was not taken."""
        return key in self._values

    def know(self, key: str) -> None:
        """Remember that a key could be here."""
        if key not in self._known:
            self._known.append(key)

    def take(self, key: str, kind: type[_T]) -> _T:
        """Return the value of `key`, exactly of type `kind`."""
        value = self._take(key)
        if type(value) is not kind:
            raise self.wrong(f"'{key}' must be {_EXPECTED.get(kind, kind.__name__)}, not {shown(value)}")
        return value

    def _take(self, key: str) -> Any:
        self.know(key)
        if key not in self._values:
            raise self.absent(key)
        return self._values.pop(key)

    def take_text(self, key: str, low: int, high: int) -> str:
        """Return a text of `low` to `high` UTF-8 bytes."""
        text = self.take(key, str)
        if not low <= len(text.encode()) <= high:
            raise self.wrong(f"'{key}' must have {low} to {high} bytes, not {len(text.encode())}; change it")
        return text

    def take_name(self, key: str, high: int) -> str:
        """Return a text of 1 to `high` characters."""
        text = self.take(key, str)
        if not 1 <= len(text) <= high:
            raise self.wrong(f"'{key}' must have 1 to {high} characters, not {len(text)}; change it")
        return text

    def take_int(self, key: str, low: int, high: int) -> int:
        """Return a whole number within [low, high]."""
        value = self.take(key, int)
        if not low <= value <= high:
            raise self.wrong(f"'{key}' is {value}; choose a value from {low} to {high}")
        return value

    def take_decimal(self, key: str) -> object:
        """Return what stands for a decimal: a number, or a text of one, as JSON carries it."""
        value = self._take(key)
        if isinstance(value, str):
            try:
                return Decimal(value)
            except InvalidOperation:
                return value
        return value

    def take_cells(self, key: str, high: int) -> tuple[str, ...]:
        """Return a list of texts of at most `high` bytes; one stands for a list of one, a number for its digits."""
        value = self._take(key)
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, bool) or not isinstance(item, (str, int, Decimal)) for item in items):
            raise self.wrong(f"'{key}' must be a list of texts or numbers, not {shown(value)}")
        cells = tuple(str(item) for item in items)
        if any(len(cell.encode()) > high for cell in cells):
            raise self.wrong(f"a text of '{key}' has more than {high} bytes; shorten it")
        return cells

    def child(self, key: str, optional: bool) -> FormTable:
        """Return the table `key` of this one, empty if it is absent and `optional`."""
        if key not in self._children:
            values = {} if optional and key not in self._values else self._child_values(key)
            self.know(key)
            self._children[key] = FormTable(values, f"[{key}] ", self.faults)
        return self._children[key]

    def _child_values(self, key: str) -> dict[str, Any]:
        try:
            return self.take(key, dict)
        except Wrong as error:  # told once, not for each of its keys
            self._children[key] = FormTable({}, f"[{key}] ", [])
            raise error

    def adopt(self, table: FormTable) -> None:
        """Ask a table of a list for unknown keys together with this one."""
        self._others.append(table)

    def forget_unknown(self) -> None:
        """Do not tell unknown keys of this table."""
        self._values = {}

    def done(self) -> None:
        """Note keys nobody asked for, naming the nearest known one."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(self._known))}"
            self.faults.append(Fault(f"{self._place}unknown key '{key}'; {hint}", True))
        for table in (*self._children.values(), *self._others):
            table.done()


def either(names: Sequence[str]) -> str:
    """Return names as a choice: a, b or c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def shown(value: object) -> str:
    """Return a value for a message, or what it is where it could be long."""
    return f"'{value}'" if isinstance(value, (str, int, Decimal)) else type(value).__name__
