"""Records as JSON that people can read: proofs and checkpoints, which travel as files.

Security assumption: nothing is hashed or signed in this form. What is read here is built field by field from the same
annotations as the canonical encoding, bounds included; unknown, missing and repeated names are refused.

Bytes are lower-case hexadecimal, tuples lists, records objects; a field that is None is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Annotated, TypeVar, Union, cast

from fednode.codec import Plain, from_plain
from fednode.documents import Unreadable, read_json
from fednode.errors import Rejected

T = TypeVar("T")


def to_json(value: object) -> object:
    """Return a record as nested dictionaries and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: to_json(item) for name, item in fields if item is not None}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(form: type[T], value: object) -> T:
    """Build a record of `form` from what `to_json` made; raise `Rejected` naming the field that does not fit."""
    return cast(T, from_plain(form, _plain(form, value, form.__name__)))


def parse_json(text: str | bytes) -> object:
    """Read JSON; raise `Rejected` for what is none."""
    try:
        return read_json(text)
    except Unreadable as error:
        raise Rejected(str(error)) from None


def _plain(form: object, value: object, where: str) -> Plain:
    if isinstance(form, typing.NewType):
        return _plain(form.__supertype__, value, where)
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin is Annotated:
        return _plain(arguments[0], value, where)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else _plain(inner[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise Rejected(f"{where} must be a list")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_plain(arguments[0], item, where) for item in value)
        if len(value) != len(arguments):
            raise Rejected(f"{where} must be a list of {len(arguments)}")
        return tuple(_plain(inner, item, where) for inner, item in zip(arguments, value, strict=True))
    if dataclasses.is_dataclass(form):
        return _record(cast(type, form), value, where)
    if form is bytes:
        return _bytes(value, where)
    if value is None or isinstance(value, (bool, int, str)):
        return value  # whether it is the right one of these, the codec checks
    raise Rejected(f"{where} must be a {getattr(form, '__name__', 'value')}")


@functools.cache
def _fields(form: type) -> dict[str, object]:
    hints = typing.get_type_hints(form, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(form)}


def _record(form: type, value: object, where: str) -> Plain:
    if not isinstance(value, dict):
        raise Rejected(f"{where} must be an object")
    fields = _fields(form)
    if unknown := sorted(set(value).difference(fields)):
        raise Rejected(f"{where} has an unknown field '{unknown[0][:40]}'")
    items: list[Plain] = []
    for name, field in fields.items():
        if name not in value and types.NoneType not in typing.get_args(field):
            raise Rejected(f"{where} has no field '{name}'")
        items.append(_plain(field, value.get(name), f"{where}.{name}"))
    return tuple(items)


def _bytes(value: object, where: str) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else None
    except ValueError:
        data = None
    if data is None or data.hex() != value:
        raise Rejected(f"{where} must be lower-case hexadecimal")
    return data
