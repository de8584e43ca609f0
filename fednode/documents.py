"""TOML and JSON of other people: the one place that calls the parsers.

Security assumption: whoever wrote a document may have meant harm. Every failure of a parser, whatever it raises, is one
`Unreadable` with a reason; and what is read holds nothing that surprises later: no number beyond 64 bits or with a
huge exponent (Python refuses to print the one and computes for minutes with the other), nothing nested deeply, no text
that cannot be written as UTF-8, no name twice in one object.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar, Union

from fednode.errors import FednodeError

MAX_LEVELS = 32
"""Tables and lists inside each other; the deepest document of this project has 12."""

MAX_DIGITS = 40
"""Digits of a number that is not whole, before or after its point, exponent included."""

MAX_DOTS = 32
"""Parts of a dotted name in TOML: the parser's time grows with their square."""

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_LONG_NAME = re.compile(f"(?<![\\w-])(?:{_PART}){{{MAX_DOTS}}}")
_MARK = "\ufeff"
_T = TypeVar("_T")

Json = Union[None, bool, int, float, str, Sequence["Json"], Mapping[str, "Json"]]
"""Any JSON value, as the read models of the node are made of."""


class Unreadable(Exception):
    """A document cannot be read; the text is the reason, and says nothing of what the document holds."""


def text_of(data: bytes) -> str:
    """Return a document's text, without the byte order mark that editors put first; raise `Unreadable`."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Unreadable("its text is UTF-16")
    try:
        return data.decode().removeprefix(_MARK)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"it is not UTF-8 text (line {line})") from None


def read_toml(document: bytes | str) -> dict[str, Any]:
    """Return the tables of a TOML document, numbers that are not whole as `Decimal`; raise `Unreadable`."""
    return _guarded("TOML", document, _toml)


def read_json(document: bytes | str) -> Any:
    """Return the value of a JSON document, numbers that are not whole as `float`; raise `Unreadable`."""
    return _guarded("JSON", document, _json)


def toml_of(document: bytes | str, source: str, kind: type[FednodeError], fix: str) -> dict[str, Any]:
    """Return the tables of a TOML document; raise `kind` naming the source, the cause and the fix."""
    try:
        text = text_of(document) if isinstance(document, bytes) else document
    except Unreadable as error:
        raise kind(f"{source}: {error}; save it as UTF-8, or check the path") from None
    try:
        return read_toml(text)
    except Unreadable as error:
        raise kind(f"{source}: {error}; {fix}") from None


def _guarded(language: str, document: bytes | str, parse: Callable[[str], _T]) -> _T:
    text = text_of(document) if isinstance(document, bytes) else document.removeprefix(_MARK)
    try:
        value = parse(text)
    except RecursionError:
        raise Unreadable(f"not valid {language}: brackets lie inside each other too deeply") from None
    except (ValueError, ArithmeticError) as error:  # with the place; or a number of thousands of digits
        raise Unreadable(f"not valid {language}: {_first_line(error)}") from None
    _check(value)
    return value


def _first_line(error: Exception) -> str:
    if isinstance(error, (tomllib.TOMLDecodeError, json.JSONDecodeError)):
        return (str(error).splitlines() or [""])[0][:200]
    return "a number that is too long"


def _toml(text: str) -> dict[str, Any]:
    if (found := _LONG_NAME.search(text)) is not None:
        raise Unreadable(f"line {text.count(chr(10), 0, found.start()) + 1} has a name of more than {MAX_DOTS} parts")
    return tomllib.loads(text, parse_float=Decimal)


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("a name appears twice in one object")
    return found


def _no_constant(name: str) -> object:
    raise Unreadable(f"{name} is no number of JSON")


def _check(document: object) -> None:
    """Raise `Unreadable` for what the parsers take and others stumble over; without recursion."""
    level: list[object] = [document]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_LEVELS + 1:
            raise Unreadable(f"more than {MAX_LEVELS} tables or lists lie inside each other")
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.keys()
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            else:
                _check_leaf(value)
        level = inner


def _check_leaf(value: object) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise Unreadable("a text holds half a character (a lone surrogate)")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise Unreadable("a whole number has more than 64 bits")
    elif isinstance(value, Decimal) and value.is_finite():
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -MAX_DIGITS or value.adjusted() > MAX_DIGITS:
            raise Unreadable(f"a number has more than {MAX_DIGITS} digits before or after its point")
