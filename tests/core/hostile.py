"""Values that fit the wire formats and nothing else: drawn from the annotations of the records themselves."""

from __future__ import annotations

import dataclasses
import random
import types
import typing
from typing import Annotated, Any, Union

from fednode.codec import Range, Size
from fednode.errors import Rejected

MAX_TRIES = 40
MAX_ITEMS = 6


class Draw:
    """Draws values of any form the codec knows; prefers numbers and bytes that mean something at the moment."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numbers: list[int] = [0, 1, 2, 3, 4, 5, 255, 65535, 2**31, 2**32 - 1]
        self.blobs: list[bytes] = [bytes(32), bytes(64), b"\xff" * 32, b"\xff" * 64, b"\x01" + bytes(31)]

    def value(self, form: Any) -> Any:
        """Return a value of `form` that can be encoded."""
        for _ in range(MAX_TRIES):
            try:
                return self._value(form)
            except (ValueError, Rejected):  # a relation between fields that chance did not meet
                continue
        raise Rejected("no value found")

    def _value(self, form: Any) -> Any:
        if isinstance(form, typing.NewType):
            return self._value(form.__supertype__)
        origin = typing.get_origin(form)
        if origin is Annotated:
            inner, bound = typing.get_args(form)[:2]
            return self._bounded(inner, bound)
        if origin in (Union, types.UnionType):
            options = typing.get_args(form)
            chosen = self.random.choice(options)
            return None if chosen is type(None) else self._value(chosen)
        if origin is tuple:
            items = typing.get_args(form)
            if len(items) == 2 and items[1] is Ellipsis:
                return tuple(self._value(items[0]) for _ in range(self.random.randrange(MAX_ITEMS)))
            return tuple(self._value(item) for item in items)
        if dataclasses.is_dataclass(form):
            hints = typing.get_type_hints(form, include_extras=True)
            return form(*[self._value(hints[field.name]) for field in dataclasses.fields(form)])  # type: ignore[operator]
        return self._leaf(form, None)

    def _bounded(self, inner: Any, bound: object) -> Any:
        if isinstance(bound, Range):
            fitting = [number for number in self.numbers if bound.low <= number <= bound.high]
            return self.random.choice([*fitting, bound.low, bound.high])
        assert isinstance(bound, Size)
        while isinstance(inner, typing.NewType):
            inner = inner.__supertype__
        if inner in (bytes, str):
            return self._leaf(inner, bound)
        item = typing.get_args(inner)[0]
        count = self.random.choice([bound.low, min(bound.high, bound.low + self.random.randrange(MAX_ITEMS))])
        return tuple(self._value(item) for _ in range(count))

    def _leaf(self, form: Any, bound: Size | None) -> Any:
        low, high = (bound.low, min(bound.high, bound.low + 100)) if bound is not None else (0, 40)
        if form is bool:
            return self.random.random() < 0.5
        if form is int:
            return self.random.choice(self.numbers)
        if form is str:
            return "".join(self.random.choice("abc \u00e9") for _ in range(self.random.randint(low, high) // 2 or low))
        fitting = [blob for blob in self.blobs if low <= len(blob) <= (bound.high if bound else 40)]
        if fitting and self.random.random() < 0.8:
            return self.random.choice(fitting)
        return self.random.randbytes(self.random.randint(low, high))


def mutate(drawn: random.Random, data: bytes) -> bytes:
    """Return `data` with a few bytes changed, cut out, doubled or put in."""
    out = bytearray(data)
    for _ in range(drawn.randint(1, 4)):
        place = drawn.randrange(len(out) + 1)
        match drawn.randrange(5):
            case 0 if place < len(out):
                out[place] ^= 1 << drawn.randrange(8)
            case 1 if place < len(out):
                out[place] = drawn.choice((0, 0x80, 0x90, 0xC0, 0xC4, 0xCF, 0xDC, 0xFF))
            case 2:
                del out[place : place + drawn.randint(1, 9)]
            case 3:
                out[place:place] = out[max(0, place - drawn.randint(1, 40)) : place]
            case _:
                out[place:place] = drawn.randbytes(drawn.randint(1, 5))
    return bytes(out)
