"""Read models as JSON and back: every door turns an answer into JSON here, and whoever asked reads it back here.

The form is read off the annotations of the records, so that a field's name stands once. Bytes are hexadecimal, tuples
lists, records objects; what is None is written as null. Loads nothing heavy: the command line reads answers with it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union, cast

from fednode.desk.record import Record, fields_of
from fednode.documents import Json
from fednode.errors import Unavailable

T = TypeVar("T")

ODD_ANSWER = "the daemon answered with something unexpected; use one version of fednode for both"


def view_to_json(value: object) -> Json:
    """Return a record, or lists of records and plain values, as JSON values; raise `TypeError` for anything else."""
    if value is None or isinstance(value, (bool, float, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (tuple, list)):
        return [view_to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): view_to_json(item) for name, item in value.items()}
    if isinstance(value, Record):
        return {name: view_to_json(item) for name, item in vars(value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: view_to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is not shown")


def view_from_json(form: type[T], value: object) -> T:
    """Return what `view_to_json` made of a value of `form`: a record, a tuple of them, a mapping, or a plain value.

    Raises `Unavailable` if it is anything else, or has a field too many or too few.
    """
    return cast(T, _read(form, value))


def _read(form: Any, value: object) -> object:
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if form is object:
        return value
    if origin in (Union, types.UnionType):
        return _read_any(arguments, value)
    if origin is tuple:
        if not isinstance(value, list):
            raise Unavailable(ODD_ANSWER)
        return tuple(_read(arguments[0], item) for item in value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise Unavailable(ODD_ANSWER)
        return {name: _read(arguments[1], item) for name, item in value.items()}
    if isinstance(form, type) and issubclass(form, Record):
        return _read_record(form, value)
    if form is float and isinstance(value, int) and not isinstance(value, bool):
        return value
    if type(value) is not (types.NoneType if form is None else form):
        raise Unavailable(ODD_ANSWER)
    return value


def _read_any(forms: tuple[Any, ...], value: object) -> object:
    """Return the value in the first of several forms that fits it."""
    for form in forms:
        try:
            return _read(form, value)
        except Unavailable:
            continue
    raise Unavailable(ODD_ANSWER)


def _read_record(form: type[Record], value: object) -> Record:
    fields = fields_of(form)
    if not isinstance(value, Mapping) or set(value) != set(fields):
        raise Unavailable(ODD_ANSWER)
    return form(**{name: _read(inner, value[name]) for name, inner in fields.items()})
