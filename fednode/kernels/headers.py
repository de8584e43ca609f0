"""What a msgpack value would take, told from its headers before anything is built."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, cast

from fednode.kernels.library import LIBRARY

FOREIGN: Final = -1
"""A kind of value that the canonical encoding does not have, or bytes after the value."""
TOO_DEEP: Final = -2
"""Arrays nested more deeply than allowed."""
PROMISE: Final = -3
"""A header that promises more than follows it."""

assert LIBRARY is not None  # its message, where the package was installed without it, is the better one
_module = importlib.import_module("fednode.kernels._compiled")
_scan = cast("Callable[[bytes | bytearray | memoryview, int], int]", _module.scan)


def scan(data: bytes | bytearray | memoryview, depth: int) -> int:
    """Return how many bytes of memory the msgpack value in contiguous `data` would take, rounded up.

    A number below 0 says why it is refused instead. `depth`: how many arrays may lie inside each other, at most 255.
    Whether lengths and numbers are written in minimal form, and texts in UTF-8, is not looked at. Source: the msgpack
    specification, section "Formats".
    """
    return _scan(data, depth)
