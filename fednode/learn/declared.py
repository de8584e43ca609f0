"""Notes on the fields of a study's records: how each is written in the study's form.

The codec reads `Range`, `Size` and `Named` in the same annotations; what stands here adds what only people need. A
field without notes is a key of its own name that must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """The field is written under another name than its own."""

    name: str


@dataclass(frozen=True, slots=True)
class In:
    """The field stands in this table; so do all fields of a record, instead of in a table of the field's name."""

    table: str


@dataclass(frozen=True, slots=True, eq=False)
class Default:
    """What counts where the key is absent: a value, or a function of the record's other values that returns one, or
    None if they give none."""

    value: Any


@dataclass(frozen=True, slots=True)
class Kind:
    """Which of a registry is meant where the table does not say `kind`."""

    name: str


@dataclass(frozen=True, slots=True)
class Decimals:
    """The number is written as a decimal of at most six places, and kept as a whole number of 1/`unit`."""

    unit: int


@dataclass(frozen=True, slots=True)
class OneOf:
    """The text is one of these."""

    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cells:
    """Texts as they stand in cells: one stands for a list of one, and numbers for their decimal form."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """The record is written as a text: `parse` raises `ValueError` with what it must be."""

    parse: Callable[[str], Any]
    show: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Entries:
    """The list is written as tables. An entry with `repeat = n` stands for n, named name_0 to name_(n-1); what the
    table around them lists under `shared` is put before what each entry lists there."""

    shared: str


@dataclass(frozen=True, slots=True, eq=False)
class Derived:
    """The field is not written: it follows from the record's other values."""

    make: Callable[[Mapping[str, Any]], Any]
