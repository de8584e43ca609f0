"""Canonical encoding: msgpack arrays in minimal form, and typed records on top of it.

Security assumption: everything that is hashed or signed passes through here, so one value has exactly one
encoding. A decoder accepts bytes only if encoding the decoded value gives the same bytes again; maps, floats and
extension types do not exist; depth and size are bounded before anything is built.

    pack / unpack       plain values: None, bool, int (64 bit), bytes, str, tuple
    encode / decode     frozen dataclasses, field by field in order, checked against their annotations
    @tagged(n)          gives a dataclass its number in a union; unions are encoded as (number, field, ...)
    Named(registry)     any dataclass of a dictionary by name; encoded as (name, field, ...)
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, TypeAlias, TypeVar, Union

import msgpack

from fednode.errors import Rejected
from fednode.fence import judge
from fednode.kernels.library import FOREIGN, PROMISE, TOO_DEEP, scan

MAX_DEPTH = 16
"""Deepest nesting of arrays; the protocol needs 6, and a recursive decoder needs some bound."""

MAX_BUILT_BYTES = 32 * 1024 * 1024
"""What the value in a message may take beyond twice the message: a frame of nothing but the shortest items takes 60
times its bytes."""

Plain: TypeAlias = "None | bool | int | bytes | str | tuple[Plain, ...]"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of an integer field, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Size:
    """Bounds of the length of a bytes, str (UTF-8 bytes) or tuple field, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """One of the dataclasses of `registry`, a dictionary by name: `Annotated[Base, Named("model", MODELS)]`.

    What is added to the dictionary can be encoded and decoded from then on; an unknown name is refused with the known
    ones. `what` says what the registry lists, for that sentence.
    """

    what: str
    registry: Mapping[str, type]

    def name_of(self, value: object) -> str:
        """Return the name under which the class of `value` is registered; raise `Rejected` if it is not."""
        for name, kind in self.registry.items():
            if type(value) is kind:
                return name
        raise Rejected(f"{type(value).__name__} is no registered {self.what}")

    def find(self, name: object) -> type:
        """Return the class of this name; raise `Rejected`, naming those there are, for an unknown one."""
        found = self.registry.get(name) if isinstance(name, str) else None
        if found is None:
            said = f"'{name[:64]}'" if isinstance(name, str) else type(name).__name__
            raise Rejected(f"{self.what} {said} is not known; known are {', '.join(sorted(self.registry))}")
        return found


U8 = Annotated[int, Range(0, 2**8 - 1)]
U16 = Annotated[int, Range(0, 2**16 - 1)]
U32 = Annotated[int, Range(0, 2**32 - 1)]
U64 = Annotated[int, Range(0, 2**64 - 1)]
I32 = Annotated[int, Range(-(2**31), 2**31 - 1)]
I64 = Annotated[int, Range(-(2**63), 2**63 - 1)]
Bytes32 = Annotated[bytes, Size(32, 32)]
Bytes64 = Annotated[bytes, Size(64, 64)]
MAX_NAME = 64
"""Characters of a name; what takes one from people counts them."""

Name = Annotated[str, Size(1, 4 * MAX_NAME)]
"""The UTF-8 bytes of a name."""



def pack(value: Plain) -> bytes:
    """Return the one canonical encoding of `value`.

    Raises `TypeError` for floats, maps, lists and other foreign types and `ValueError` for integers beyond 64 bits
    or nesting beyond `MAX_DEPTH`: both are bugs of the caller, not of a peer.
    """
    _check_plain(value, 0)
    return _pack(value)


def _pack(value: Plain) -> bytes:
    try:
        return typing.cast(bytes, msgpack.packb(value, use_bin_type=True))
    except OverflowError as error:
        raise ValueError("integer beyond 64 bits") from error


def _check_plain(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("value nested too deeply")
    kind = type(value)
    if kind is tuple:
        for item in typing.cast("tuple[object, ...]", value):
            _check_plain(item, depth + 1)
    elif kind not in (int, bytes, str, bool, types.NoneType):
        raise TypeError(f"{kind.__name__} has no canonical encoding")


def unpack(data: bytes | bytearray | memoryview, max_bytes: int) -> Plain:
    """Decode foreign bytes of at most `max_bytes`; raise `Rejected` unless they are canonical."""
    value = _read(data, max_bytes)
    try:
        canonical = pack(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise _not_canonical(error) from None
    if canonical != data:
        raise Rejected("not in minimal form")
    return value


def _read(data: bytes | bytearray | memoryview, max_bytes: int) -> Plain:
    """Decode without a look at what only encoding again shows: kinds of values, depth, minimal form."""
    if len(data) > max_bytes:
        raise Rejected(f"message of {len(data)} bytes, at most {max_bytes} allowed")
    if not 0 <= (built := scan(data, MAX_DEPTH)) <= MAX_BUILT_BYTES + 2 * len(data):
        raise Rejected(_NOT_BUILT.get(built, f"{len(data)} bytes of many small items"))
    try:
        return typing.cast(Plain, msgpack.unpackb(
            data, use_list=False, raw=False, max_map_len=0, max_ext_len=0,
            max_str_len=len(data), max_bin_len=len(data), max_array_len=len(data),
        ))
    except (ValueError, msgpack.UnpackException) as error:  # of what the headers do not show: text that is not UTF-8
        raise _not_canonical(error) from None


def _not_canonical(error: Exception) -> Rejected:
    return Rejected(f"not canonical msgpack ({type(error).__name__})")


_NOT_BUILT = {
    FOREIGN: "not canonical msgpack (a kind of value that it does not have)",
    TOO_DEEP: f"not canonical msgpack (more than {MAX_DEPTH} arrays inside each other)",
    PROMISE: "not canonical msgpack (a header promises more than follows)",
}


# --- typed records -------------------------------------------------------------------------------------------

Encoder = Callable[[typing.Any], Plain]
Decoder = Callable[[Plain], typing.Any]
_TAG = "__codec_tag__"
_plans: dict[object, tuple[Encoder, Decoder]] = {}
_kinds: dict[tuple[object, ...], dict[int, tuple[Encoder, Decoder]]] = {}
"""The members of each union by their number."""


def tagged(number: int) -> Callable[[type[T]], type[T]]:
    """Give a dataclass its number within a tagged union. Numbers are part of the wire format: never reuse one."""

    def mark(cls: type[T]) -> type[T]:
        setattr(cls, _TAG, number)
        return cls

    return mark


def tag_of(cls: type) -> int:
    """Return the union number of a `@tagged` dataclass."""
    return typing.cast(int, getattr(cls, _TAG))


def extend_union(union: object, added: type) -> None:
    """Let a union take one more tagged dataclass; raise `ValueError` if its number stands for another."""
    _plan(union)
    kinds = _kinds[typing.get_args(union)]
    if tag_of(added) in kinds:
        raise ValueError(f"number {tag_of(added)} is taken")
    kinds[tag_of(added)] = _plan(added)


def to_plain(form: object, value: object) -> Plain:
    """Return `value` as nested tuples according to `form` (a dataclass or a union of tagged dataclasses)."""
    return _plan(form)[0](value)


def from_plain(form: object, value: Plain) -> typing.Any:
    """Build a value of `form` from nested tuples; raise `Rejected` where they do not fit its annotations."""
    return _plan(form)[1](value)


def encode(value: object, form: object | None = None) -> bytes:
    """Encode a dataclass; give `form` when it must carry its union number."""
    return _pack(to_plain(form if form is not None else type(value), value))  # a form has checked kinds and depth


def decode(form: type[T], data: bytes | bytearray | memoryview, max_bytes: int) -> T:
    """Decode foreign bytes into `form` (a dataclass or a union of tagged ones); raise `Rejected` if they do not fit."""
    plain = _read(data, max_bytes)
    value = judge("a message", lambda: from_plain(form, plain))  # kinds and depth are those of the form from here on
    if _pack(plain) != data:
        raise Rejected("not in minimal form")
    return typing.cast(T, value)


def _plan(form: object) -> tuple[Encoder, Decoder]:
    plan = _plans.get(form)
    if plan is None:
        plan = _build(form)
        _plans[form] = plan
    return plan


def _build(form: object) -> tuple[Encoder, Decoder]:
    if isinstance(form, typing.NewType):
        return _plan(form.__supertype__)
    origin = typing.get_origin(form)
    if origin is Annotated:
        inner, *notes = typing.get_args(form)
        bounds = [note for note in notes if isinstance(note, (Range, Size, Named))]  # others read other notes
        if len(bounds) > 1:
            raise TypeError(f"{form!r} has more than one bound; of nested ones only the inner would hold")
        if not bounds:
            return _plan(inner)
        return _named(bounds[0]) if isinstance(bounds[0], Named) else _bounded(inner, bounds[0])
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(form))
    if origin is tuple:
        args = typing.get_args(form)
        return _sequence(args[0]) if len(args) == 2 and args[1] is Ellipsis else _fixed(args)
    if dataclasses.is_dataclass(form):
        return _record(typing.cast(type, form))
    if form in (int, bytes, str, bool):
        return _leaf(typing.cast(type, form))
    raise TypeError(f"no encoding for {form!r}")


def _leaf(kind: type) -> tuple[Encoder, Decoder]:
    def check(value: Plain) -> Plain:
        if type(value) is not kind:
            raise Rejected(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    def to(value: typing.Any) -> Plain:
        return check(int(value) if isinstance(value, IntEnum) else value)  # a named number is encoded as the number

    return (to if kind is int else check), check


def _bounded(inner: object, bound: Range | Size) -> tuple[Encoder, Decoder]:
    kind = inner.__supertype__ if isinstance(inner, typing.NewType) else inner
    if kind is int and isinstance(bound, Range):
        return _bounded_int(bound.low, bound.high)
    if kind is bytes and isinstance(bound, Size):
        return _bounded_bytes(bound.low, bound.high)
    encode_inner, decode_inner = _plan(inner)

    def check(value: typing.Any) -> None:
        if isinstance(bound, Range):
            _check_range(value, bound.low, bound.high, "integer")
        else:
            _check_range(len(value.encode() if isinstance(value, str) else value), bound.low, bound.high, "length")

    def to(value: typing.Any) -> Plain:
        plain = encode_inner(value)
        check(value)
        return plain

    def back(plain: Plain) -> typing.Any:
        if isinstance(bound, Size) and isinstance(plain, tuple):
            check(plain)  # before the items are built
        value = decode_inner(plain)
        check(value)
        return value

    return to, back


def _check_range(measure: int, low: int, high: int, what: str) -> None:
    if not low <= measure <= high:
        raise Rejected(f"{what} {measure} outside {low}..{high}")


# Most fields of most messages are one of these two: each is one call here instead of five.

def _bounded_int(low: int, high: int) -> tuple[Encoder, Decoder]:
    to_inner, check_inner = _leaf(int)

    def to(value: typing.Any) -> Plain:
        number = value if type(value) is int else typing.cast(int, to_inner(value))
        if not low <= number <= high:
            _check_range(number, low, high, "integer")
        return number

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not int:
            check_inner(plain)
        elif not low <= plain <= high:
            _check_range(plain, low, high, "integer")
        return plain

    return to, back


def _bounded_bytes(low: int, high: int) -> tuple[Encoder, Decoder]:
    _, check_inner = _leaf(bytes)

    def check(value: typing.Any) -> typing.Any:
        if type(value) is not bytes:
            check_inner(value)
        elif not low <= len(value) <= high:
            _check_range(len(value), low, high, "length")
        return value

    return check, check


def _sequence(item: object) -> tuple[Encoder, Decoder]:
    encode_item, decode_item = _plan(item)

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple:
            raise Rejected(f"expected an array, got {type(plain).__name__}")
        return tuple(map(decode_item, plain))

    return lambda value: tuple(map(encode_item, value)), back


def _fixed(items: tuple[object, ...]) -> tuple[Encoder, Decoder]:
    plans = [_plan(item) for item in items]
    if len(plans) == 2:
        return _pair(*plans)

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple or len(plain) != len(plans):
            raise Rejected(f"expected an array of {len(plans)}")
        return tuple(plan[1](part) for plan, part in zip(plans, plain, strict=True))

    return lambda value: tuple(plan[0](part) for plan, part in zip(plans, value, strict=True)), back


def _pair(left: tuple[Encoder, Decoder], right: tuple[Encoder, Decoder]) -> tuple[Encoder, Decoder]:
    """The same for two items, of which large messages hold many: a third of the time."""
    (encode_left, decode_left), (encode_right, decode_right) = left, right

    def to(value: typing.Any) -> Plain:
        first, second = value
        return encode_left(first), encode_right(second)

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple or len(plain) != 2:
            raise Rejected("expected an array of 2")
        return decode_left(plain[0]), decode_right(plain[1])

    return to, back


def _record(cls: type) -> tuple[Encoder, Decoder]:
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    plans = [_plan(hints[name]) for name in names]
    encoders = [(name, plan[0]) for name, plan in zip(names, plans, strict=True)]
    decoders = [plan[1] for plan in plans]

    def to(value: typing.Any) -> Plain:
        if type(value) is not cls:
            raise Rejected(f"expected {cls.__name__}, got {type(value).__name__}")
        return tuple([plan(getattr(value, name)) for name, plan in encoders])

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple or len(plain) != len(decoders):
            raise Rejected(f"{cls.__name__} has {len(decoders)} fields")
        try:
            return cls(*[plan(part) for plan, part in zip(decoders, plain, strict=True)])
        except ValueError as error:  # raised by a __post_init__ that checks relations between fields
            raise Rejected(f"{cls.__name__}: {error}") from None

    return to, back


def _named(kinds: Named) -> tuple[Encoder, Decoder]:
    def to(value: typing.Any) -> Plain:
        name = kinds.name_of(value)
        return (name, *typing.cast("tuple[Plain, ...]", _plan(type(value))[0](value)))

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple or not plain:
            raise Rejected(f"expected a {kinds.what}, got {type(plain).__name__}")
        return _plan(kinds.find(plain[0]))[1](plain[1:])

    return to, back


def _union(options: tuple[object, ...]) -> tuple[Encoder, Decoder]:
    if types.NoneType in options:
        rest = tuple(option for option in options if option is not types.NoneType)
        some = _plan(rest[0]) if len(rest) == 1 else _union(rest)
        return (
            lambda value: None if value is None else some[0](value),
            lambda plain: None if plain is None else some[1](plain),
        )
    by_tag = {tag_of(typing.cast(type, option)): _plan(option) for option in options}
    if len(by_tag) != len(options):
        raise TypeError(f"two members of {options!r} share a tag")
    _kinds[options] = by_tag

    def to(value: typing.Any) -> Plain:
        number = tag_of(type(value))
        return (number, *typing.cast("tuple[Plain, ...]", by_tag[number][0](value)))

    def back(plain: Plain) -> typing.Any:
        if type(plain) is not tuple or not plain or type(plain[0]) is not int or plain[0] not in by_tag:
            raise Rejected("unknown message kind")
        return by_tag[plain[0]][1](plain[1:])

    return to, back
