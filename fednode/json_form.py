"""Records as JSON that people can read: answers of a node, and proofs and checkpoints, which travel as files.

Security assumption: nothing is hashed or signed in this form. The form is read off the annotations of the records, so
that a field's name stands once, and bounds are those of the canonical encoding. Unknown, missing and repeated names are
refused. Bytes are lower-case hexadecimal, tuples lists, records objects, None is null.

Loads nothing heavy: the command line reads answers with it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, cast

from fednode.documents import Json, Unreadable, read_json
from fednode.errors import Rejected

T = TypeVar("T")

_PLAIN = (bool, int, float, str, types.NoneType)


def to_json(value: object) -> Json:
    """Return a record, or lists of records and plain values, as JSON values; raise `TypeError` for anything else."""
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    names = fields_of(type(value))
    if not names:
        raise TypeError(f"{type(value).__name__} is not shown")
    return {name: to_json(getattr(value, name)) for name in names}


def from_json(form: type[T], value: object) -> T:
    """Return what `to_json` made of a value of `form`; raise `Rejected` naming the field that does not fit."""
    found = _read(form, value, getattr(form, "__name__", "the answer"))
    if not dataclasses.is_dataclass(form):
        return cast(T, found)
    from fednode.codec import from_plain  # checks bounds; answers of a node have none

    return cast(T, from_plain(form, found))


def fields_of(form: type) -> dict[str, Any]:
    """Return the fields of a record by name, with their types; those of a class that it extends come first."""
    if form not in _known:
        hints = typing.get_type_hints(form, include_extras=True)
        names = [field.name for field in dataclasses.fields(form)] if dataclasses.is_dataclass(form) else list(hints)
        _known[form] = {name: hints[name] for name in names}
    return _known[form]


_known: dict[type, dict[str, Any]] = {}


def parse_json(text: str | bytes) -> object:
    """Read JSON; raise `Rejected` for what is none."""
    try:
        return read_json(text)
    except Unreadable as error:
        raise Rejected(str(error)) from None


def _read(form: Any, value: object, where: str) -> Any:
    """Return a value in its form; a record that has a canonical encoding as the tuple of its fields."""
    while isinstance(form, typing.NewType) or typing.get_origin(form) is Annotated:
        form = form.__supertype__ if isinstance(form, typing.NewType) else typing.get_args(form)[0]
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if form is object:
        return value
    if origin in (Union, types.UnionType):
        return _read_any(arguments, value, where)
    if origin is tuple:
        return _read_list(arguments, value, where)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise Rejected(f"{where} must be an object")
        return {name: _read(arguments[1], item, where) for name, item in value.items()}
    if form is bytes:
        return _read_bytes(value, where)
    if form is float and type(value) is int:
        return value
    if form not in _PLAIN:
        return _read_record(form, value, where)
    if type(value) is not form:
        raise Rejected(f"{where} must be of type {form.__name__}")
    return value


def _read_any(forms: tuple[Any, ...], value: object, where: str) -> object:
    """Return the value in the first of several forms that fits it."""
    left = [form for form in forms if form is not types.NoneType]
    if value is None and len(left) < len(forms):
        return None
    for form in left[:-1]:
        try:
            return _read(form, value, where)
        except Rejected:
            continue
    return _read(left[-1], value, where)


def _read_list(forms: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise Rejected(f"{where} must be a list")
    if forms[-1] is Ellipsis:
        return tuple(_read(forms[0], item, where) for item in value)
    if len(value) != len(forms):
        raise Rejected(f"{where} must be a list of {len(forms)}")
    return tuple(_read(form, item, where) for form, item in zip(forms, value, strict=True))


def _read_bytes(value: object, where: str) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        data = None
    if data is None or data.hex() != value:
        raise Rejected(f"{where} must be lower-case hexadecimal")
    return data


def _read_record(form: type, value: object, where: str) -> object:
    if not isinstance(value, Mapping):
        raise Rejected(f"{where} must be an object")
    fields = fields_of(form)
    if unknown := sorted(set(value).difference(fields)):
        raise Rejected(f"{where} has an unknown field '{unknown[0][:40]}'")
    if missing := next((name for name in fields if name not in value), None):
        raise Rejected(f"{where} has no field '{missing}'")
    found = {name: _read(inner, value[name], f"{where}.{name}") for name, inner in fields.items()}
    return tuple(found.values()) if dataclasses.is_dataclass(form) else form(**found)
