"""Parts of the package that are replaced for a while, outside a test that could ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

Patch = tuple[object, str, object]


@contextmanager
def applied(patches: tuple[Patch, ...]) -> Iterator[None]:
    """Run with a broken rule."""
    saved = [(owner, name, vars(owner)[name]) for owner, name, _ in patches]
    for owner, name, replacement in patches:
        setattr(owner, name, replacement)
    try:
        yield
    finally:
        for owner, name, original in saved:
            setattr(owner, name, original)
