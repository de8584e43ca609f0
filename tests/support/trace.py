"""Which files of the package a piece of work passes through: those in which a function ran."""

from __future__ import annotations

import functools
import gc
import sys
from pathlib import Path
from types import CodeType, FrameType

import fednode

PACKAGE = Path(fednode.__file__).resolve().parent


class FileTrace:
    """Files of the package in which a function ran while the trace was on: one trace at a time, in one thread.

    What runs when a file is imported is no function, and methods that dataclasses write themselves belong to no file.
    """

    def __init__(self) -> None:
        self._codes: set[CodeType] = set()

    def start(self) -> None:
        """Begin, or go on. Caches of the package are emptied first, or what they know would look like no work."""
        # By type, not by isinstance: that asks foreign objects for their class, and some of them warn.
        for cache in [found for found in gc.get_objects() if type(found) is functools._lru_cache_wrapper]:
            if getattr(cache, "__module__", "").startswith(f"{fednode.__name__}."):
                cache.cache_clear()
        sys.setprofile(self._note)

    def stop(self) -> None:
        """End."""
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self._codes.add(frame.f_code)

    def functions(self) -> dict[str, list[str]]:
        """Return, by file (`core/core.py`), the functions that ran."""
        found: dict[str, list[str]] = {}
        for code in self._codes:
            path = Path(code.co_filename)
            if code.co_name != "<module>" and path.is_relative_to(PACKAGE):
                found.setdefault(path.relative_to(PACKAGE).as_posix(), []).append(code.co_qualname)
        return {name: sorted(found[name]) for name in sorted(found)}
