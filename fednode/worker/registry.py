"""The training process's half of what a study names: found under the name that its other half has in `learn`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fednode.codec import Named
from fednode.errors import Rejected

T = TypeVar("T")


def counterpart(what: str, named: Mapping[str, type], known: Mapping[str, T], value: object) -> T:
    """Return what `known` has under the name of the class of `value` in `named`; raise `Rejected`, saying which names
    are known, if there is none."""
    name = Named(what, named).name_of(value)
    if name not in known:
        raise Rejected(f"the training process does not know the {what} '{name}'; known are {', '.join(sorted(known))}")
    return known[name]
