"""What every answer is made of: a record of named values that never changes.

The fields of a class are its annotations and those of the class it extends. A dataclass would have its methods written
and compiled when the class is made, 1.5 ms each; a command, which ends after a tenth of a second, loads the records of
every question there is. Here nothing is made before a record is.
"""

from __future__ import annotations

from typing import TypeVar, dataclass_transform

from fednode.json_form import fields_of


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """Made from one value for each field, by name; raises `TypeError` for one too few or too many."""

    def __init__(self, **values: object) -> None:
        fields = fields_of(type(self))
        if odd := values.keys() ^ fields.keys():
            raise TypeError(f"{type(self).__name__} lacks or does not know: {', '.join(sorted(odd))}")
        self.__dict__.update((name, values[name]) for name in fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).items()))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({values})"


T = TypeVar("T", bound=Record)


def extended(form: type[T], base: Record, **more: object) -> T:
    """Return a record of `form` with the fields of `base`, whose class it extends, and `more`."""
    return form(**vars(base), **more)
