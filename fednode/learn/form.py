"""The study's form: TOML or JSON in, `StudySpec` out, and back again, as the records of a study declare it.

Nothing here knows a field. Keys, tables, kinds, bounds and defaults are read off the annotations (`declared`), so that
what a model, a kind of data or an algorithm declares is read, checked and printed without a line here. All mistakes of
a file are told at once, each in one sentence with its place. Decimals are read exactly, never through a float.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from fednode.codec import MAX_NAME, Name, Named, Range, Size
from fednode.documents import toml_of
from fednode.errors import ConfigError, Rejected
from fednode.learn.declared import Cells, Decimals, Default, Derived, Entries, In, Key, Kind, OneOf, Written
from fednode.learn.form_table import Fault, FormTable, Wrong, shown
from fednode.learn.study import StudySpec, decode_study, study_bytes
from fednode.learn.units import MAX_MEMBERS, MICRO, decimal_text, to_micro

FILE_FORMAT = 1
MAX_FAULTS = 8
"""More mistakes of one file are counted, not told."""

_NAME_SIZE = typing.get_args(Name)[1]


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """One field of a record: its form without notes, and the notes by class."""

    name: str
    key: str
    form: Any
    notes: Mapping[type, Any]

    def note(self, kind: type) -> Any:
        return self.notes.get(kind)


@cache
def _fields(cls: type) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        form, notes = _split(hints[field.name])
        key = notes[Key].name if Key in notes else field.name
        if Decimals in notes and Key not in notes:
            key = field.name.rpartition("_")[0]  # learning_rate_micro is written learning_rate
        found.append(_Field(field.name, key, form, notes))
    return tuple(found)


def _split(hint: Any) -> tuple[Any, dict[type, Any]]:
    if typing.get_origin(hint) is not Annotated:
        return hint, {}
    form, *notes = typing.get_args(hint)
    return form, {type(note): note for note in notes}


# --- reading --------------------------------------------------------------------------------------------------

def parse_study(text: str | bytes, source: str = "study file") -> StudySpec:
    """Read the text of a study file; raise `ConfigError` naming each mistake, its place and the fix."""
    return read_study_form(toml_of(text, source, ConfigError, "correct it there"), source)


def read_study_form(values: Mapping[str, Any], source: str = "study") -> StudySpec:
    """Read a study from nested tables, of TOML or of what `study_form` made; raise `ConfigError` as `parse_study`."""
    faults: list[Fault] = []
    root = FormTable(values, "", faults)
    spec: StudySpec | None = None
    try:
        if (number := root.take("format", int)) != FILE_FORMAT:
            raise root.wrong(f"format {number} is not known; this version reads format = {FILE_FORMAT}")
        spec = _record(StudySpec, root)
    except Wrong as error:
        faults.append(error.fault)
    root.done()
    if faults:
        faults.sort(key=lambda fault: fault.is_unknown)  # what is missing explains what is unknown
        told = "; ".join(fault.text for fault in faults[:MAX_FAULTS])
        more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise ConfigError(f"{source}: {told}{more}")
    assert spec is not None, "without a study there is a fault"
    try:
        return decode_study(study_bytes(spec))  # the codec's own bounds: lengths of texts and lists
    except Rejected as error:
        raise ConfigError(f"{source}: {error.reason}; shorten or correct the study file") from None


def _record(cls: type, table: FormTable) -> Any:
    """Return a record read from a table; raise `Wrong`, or note faults and return None, if it cannot be made."""
    found: dict[str, Any] = {}
    later: list[_Field] = []
    before = len(table.faults)
    for field in _fields(cls):
        if field.note(Derived) is not None:
            continue
        place = table.child(field.note(In).table, optional=False) if field.note(In) is not None else table
        default = field.note(Default)
        if default is not None and not place.has(field.key):
            place.know(field.key)
            if callable(default.value):
                later.append(field)
            else:
                found[field.name] = default.value
            continue
        try:
            found[field.name] = _value(field, place)
        except Wrong as error:
            table.faults.append(error.fault)
    if len(table.faults) > before:
        return None
    for field in later:
        found[field.name] = field.note(Default).value(found)
        if found[field.name] is None:
            raise table.absent(field.key)
    try:
        for field in _fields(cls):
            if field.note(Derived) is not None:
                found[field.name] = field.note(Derived).make(found)
        return cls(**found)
    except ValueError as error:
        raise Wrong(Fault(f"{error}; correct the study file")) from None


def _value(field: _Field, table: FormTable) -> Any:
    key, form, bound = field.key, field.form, field.note(Range) or field.note(Size)
    if (named := field.note(Named)) is not None:
        kind = field.note(Kind)
        inner = table.child(key, optional=kind is not None)
        return _of_kind(named, inner, None if kind is None else kind.name)
    if dataclasses.is_dataclass(form):
        inner_table = table if field.note(In) is not None else table.child(key, optional=_is_optional(form))
        return _record(typing.cast(type, form), inner_table)
    if (written := field.note(Written)) is not None:
        text = table.take(key, str)
        try:
            return written.parse(text)
        except ValueError as error:
            raise table.wrong(f"{key} '{text}' {error}") from None
    if (decimals := field.note(Decimals)) is not None:
        return _decimal_value(table, key, bound, decimals.unit)
    if field.note(Cells) is not None:
        return table.take_cells(key, _item_size(form))
    if field.note(Entries) is not None:
        return tuple(_entries(field, table))
    if typing.get_origin(form) is tuple:
        return _list(field, table, bound)
    if form is int:
        return table.take_int(key, bound.low, bound.high)
    if form is str:
        text = table.take_name(key, MAX_NAME) if bound == _NAME_SIZE else table.take_text(key, bound.low, bound.high)
        if (choice := field.note(OneOf)) is not None and text not in choice.choices:
            raise table.unknown(key, text, choice.choices)
        return text
    if form is bool:
        return table.take(key, bool)
    raise TypeError(f"a form cannot hold {form!r}")


def _is_optional(cls: Any) -> bool:
    return all(field.note(Default) is not None for field in _fields(cls))


def _of_kind(named: Named, table: FormTable, default: str | None) -> Any:
    table.know("kind")
    kind = default if default is not None and not table.has("kind") else table.take("kind", str)
    if kind not in named.registry:
        table.forget_unknown()  # what belongs to another kind is not told beside it
        raise table.unknown("kind", str(kind), tuple(named.registry))
    return _record(named.registry[str(kind)], table)


def _decimal_value(table: FormTable, key: str, bound: Range, unit: int) -> int:
    value = table.take_decimal(key)
    micro = to_micro(value)
    if micro is None:
        raise table.wrong(f"'{key}' must be a number with at most six decimals, not {shown(value)}")
    found = (2 * micro * unit + MICRO) // (2 * MICRO)
    low, high = -(-bound.low * MICRO // unit), bound.high * MICRO // unit
    if not low <= micro <= high:
        raise table.wrong(f"'{key}' is {value}; choose a value from {decimal_text(low)} to {decimal_text(high)}")
    return found


def _item_size(form: Any) -> int:
    _, notes = _split(typing.get_args(form)[0])
    return int(notes[Size].high)


def _list(field: _Field, table: FormTable, size: Size) -> tuple[Any, ...]:
    item, notes = _split(typing.get_args(field.form)[0])
    items = table.take(field.key, list)
    if item is int:
        bound = notes[Range]
        what, fits = f"whole numbers from {bound.low} to {bound.high}", [
            type(value) is int and bound.low <= value <= bound.high for value in items
        ]
    else:
        what, fits = "texts in quotes", [type(value) is str for value in items]
    if not all(fits) or not size.low <= len(items) <= size.high:
        default = field.note(Default)
        example = f", for example {literal(default.value)}" if default is not None and default.value else ""
        raise table.wrong(f"'{field.key}' must be a list of {size.low} to {size.high} {what}{example}")
    if (choice := notes.get(OneOf)) is not None:
        for value in items:
            if value not in choice.choices:
                raise table.unknown(field.key, value, choice.choices)
    return tuple(items)


def _entries(field: _Field, table: FormTable) -> Iterator[Any]:
    _, notes = _split(typing.get_args(field.form)[0])
    named, size, shared = notes[Named], field.note(Size), field.note(Entries).shared
    everywhere = table.take_cells(shared, MAX_NAME) if table.has(shared) else ()
    table.know(shared)
    for number, entry in enumerate(table.take(field.key, list), 1):
        if not isinstance(entry, dict):
            raise table.wrong(f"'{field.key}' must be written as [[...{field.key}]] tables")
        name = entry.get("name")
        what = field.key.removesuffix("s")
        inner = FormTable(entry, f"{what} {number} ({name}): " if name else f"{what} {number}: ", table.faults)
        table.adopt(inner)
        try:
            repeat = inner.take_int("repeat", 1, size.high) if inner.has("repeat") else 1
            inner.know("repeat")
            made = _of_kind(named, inner, None)
            if made is None:
                continue
            made = _changed(made, **{shared: tuple(dict.fromkeys((*everywhere, *getattr(made, shared))))})
            many = [_changed(made, name=f"{made.name}_{index}") for index in range(repeat)] if repeat > 1 else [made]
        except Wrong as error:
            table.faults.append(error.fault)
            continue
        yield from many


def _changed(record: Any, **values: object) -> Any:
    """Return a record with other values; raise `Wrong` if it cannot be made of them."""
    try:
        return dataclasses.replace(record, **values)
    except ValueError as error:
        raise Wrong(Fault(f"{error}; correct the study file")) from None


# --- and back -------------------------------------------------------------------------------------------------

def study_form(spec: StudySpec) -> dict[str, Any]:
    """Return a study as nested tables that `read_study_form` reads back to the same value; decimals are texts, so that
    they pass through JSON exactly."""
    return {"format": FILE_FORMAT, **_tree(spec)}


def to_toml(spec: StudySpec) -> str:
    """Return the text of a study file that `parse_study` reads back to the same value."""
    return "\n".join(_toml_lines(_tree(spec, Decimal), "", [f"format = {FILE_FORMAT}"])) + "\n"


def _tree(record: Any, decimal: type = str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for field in _fields(record.__class__):
        value, named = getattr(record, field.name), field.note(Named)
        if field.note(Derived) is not None or (field.note(Default) is not None and value in (None, (), "")):
            continue
        place = tree.setdefault(field.note(In).table, {}) if field.note(In) is not None else tree
        if named is not None:
            place[field.key] = {"kind": named.name_of(value), **_tree(value, decimal)}
        elif field.note(Written) is not None:
            place[field.key] = field.note(Written).show(value)
        elif dataclasses.is_dataclass(value):
            inner = _tree(value, decimal)
            if not inner:  # nothing but what counts anyway
                continue
            place.update(inner) if field.note(In) is not None else place.update({field.key: inner})
        elif field.note(Decimals) is not None:
            place[field.key] = decimal(decimal_text(_to_micro_of(value, field.note(Decimals).unit)))
        elif field.note(Entries) is not None:
            _, notes = _split(typing.get_args(field.form)[0])
            place[field.key] = [{"kind": notes[Named].name_of(item), **_tree(item, decimal)} for item in value]
        else:
            place[field.key] = list(value) if isinstance(value, tuple) else value
    return tree


def _to_micro_of(value: int, unit: int) -> int:
    return (2 * value * MICRO + unit) // (2 * unit)


def _toml_lines(tree: Mapping[str, Any], path: str, lines: list[str]) -> list[str]:
    """Add a table: its own values, then tables, then lists of tables."""
    tables = {key: value for key, value in tree.items() if isinstance(value, dict)}
    lists = {key: value for key, value in tree.items() if _is_tables(value)}
    lines += [f"{key} = {literal(value)}" for key, value in tree.items() if key not in tables and key not in lists]
    for key in sorted(tables, key=lambda key: any(map(_is_tables, tables[key].values()))):
        lines += ["", f"[{path}{key}]"]
        _toml_lines(tables[key], f"{path}{key}.", lines)
    for key, items in lists.items():
        for item in items:
            lines += ["", f"[[{path}{key}]]"]
            _toml_lines(item, f"{path}{key}.", lines)
    return lines


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def literal(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Sequence):
        return f"[{', '.join(map(literal, value))}]"
    raise TypeError(f"TOML has no {type(value).__name__}")


def check_members(members: int) -> None:
    """Raise `ConfigError` if the secure sum of this many members could wrap, or could not hide anything."""
    if members > MAX_MEMBERS:
        text = f"{members} members could overflow the 32-bit sum; at most {MAX_MEMBERS} can train together"
        raise ConfigError(text)
    if members < 3:
        text = f"{members} members cannot train: each would learn the others' update; 3 are the least"
        raise ConfigError(text)
