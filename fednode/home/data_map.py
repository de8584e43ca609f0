"""[data.map.NAME] of hospital.toml: how this hospital writes the columns of a study, as people write it down.

    [data.map.liver]                        # the name or id of a study, or default
    names.age = "Alter"                     # what the file calls a column
    values.outcome = { "dead" = "died" }    # what a cell stands for
    missing = ["-9", "n.a."]                # further codes for 'not measured'
    decimal = ","                           # numbers are written 5,1
    units.bilirubin = "mg/dl"               # stands behind the number
    units.albumin = { text = "g/l", factor = 0.1 }      # so many of the study's unit are one of the file's
    units.crp = ["mg/l", { text = "mg/dl", factor = 10 }]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.learn.tables.site_map import OtherName, OtherUnit, OtherValue, SiteMap

DEFAULT = "default"
_MAX_MAP_BYTES = 1 << 20
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def _text(value: object) -> object:
    """Take a number for its decimal form: codes are often written without quotes."""
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return str(value) if is_number else value


Text = Annotated[str, BeforeValidator(_text)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Unit(_Part):
    """What stands behind a number, and by how much it is multiplied to be in the study's unit."""

    text: str = ""
    factor: Text = "1"


class DataMap(_Part):
    """One [data.map.NAME]."""

    names: dict[str, str] = Field(default={})
    values: dict[str, dict[str, Text]] = Field(default={})
    missing: tuple[Text, ...] = Field(default=(), strict=False)
    decimal: Literal[".", ","] = "."
    units: dict[str, str | Unit | list[str | Unit]] = Field(default={})

    @model_validator(mode="after")
    def _is_usable(self) -> DataMap:
        self.site_map()
        return self

    def site_map(self) -> SiteMap:
        """Return the same as the worker takes it; raise `ValueError` where something is too long or no number."""
        found = SiteMap(
            tuple(OtherName(column, header) for column, header in self.names.items()),
            tuple(OtherValue(c, cell, value) for c, pairs in self.values.items() for cell, value in pairs.items()),
            tuple(
                OtherUnit(column, unit, "1") if isinstance(unit, str) else OtherUnit(column, unit.text, unit.factor)
                for column, units in self.units.items() for unit in (units if isinstance(units, list) else [units])
            ),
            self.missing, self.decimal,
        )
        try:
            return decode(SiteMap, encode(found), _MAX_MAP_BYTES)
        except Rejected as error:
            raise ValueError(f"a text is empty or too long ({error.reason})") from None


def map_toml(name: str, site: SiteMap) -> list[str]:
    """Return the lines of a [data.map.NAME] that `DataMap` reads as `site`."""
    lines = [f"[data.map.{_key(name)}]"]
    if site.decimal != ".":
        lines.append(f"decimal = {_quoted(site.decimal)}")
    if site.missing:
        lines.append(f"missing = [{', '.join(_quoted(token) for token in site.missing)}]")
    lines += [f"names.{_key(other.column)} = {_quoted(other.header)}" for other in site.names]
    values: dict[str, list[str]] = {}
    for value in site.values:
        values.setdefault(value.column, []).append(f"{_quoted(value.cell)} = {_quoted(value.value)}")
    lines += [f"values.{_key(column)} = {{ {', '.join(pairs)} }}" for column, pairs in values.items()]
    units: dict[str, list[str]] = {}
    for unit in site.units:
        table = f"{{ text = {_quoted(unit.text)}, factor = {_quoted(unit.factor)} }}"
        units.setdefault(unit.column, []).append(_quoted(unit.text) if unit.factor == "1" else table)
    for column, several in units.items():
        text = ", ".join(several)
        lines.append(f"units.{_key(column)} = {text if len(several) == 1 else f'[{text}]'}")
    return lines


def pick(maps: Mapping[str, DataMap], study_name: str, study_id: bytes) -> tuple[str, SiteMap] | None:
    """Return the map for a study and its name: by the study's id, else by its name, else the default, else None."""
    for name in (study_id.hex(), study_name, DEFAULT):
        if name in maps:
            return name, maps[name].site_map()
    return None


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
