"""What people call things: a number, a name, or the beginning of one where only one thing is called so. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")


def named(names: Mapping[K, str], text: str) -> list[K]:
    """Return what is called `text`; if nothing is, what has a name that begins so, capitals aside.

    One result is what was meant. None or several are for the caller to refuse.
    """
    exact = [key for key, name in names.items() if name == text]
    if exact or not text:
        return exact
    return [key for key, name in names.items() if name.casefold().startswith(text.casefold())]


def candidates(names: Mapping[K, str], found: list[K]) -> str:
    """Return the names of these, or of all there are if there are none of these, for an error."""
    return ", ".join(f"'{names[key]}'" for key in found or names) or "none yet"
