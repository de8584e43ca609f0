"""The compiled library: found beside this file and loaded once."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import Any, Final

from fednode.errors import Unavailable

COUNT: Final = ctypes.c_size_t


def load() -> ctypes.CDLL:
    """Return the library; raise `Unavailable` where the package was installed without it."""
    found = find_spec("fednode.kernels._compiled")
    if found is None or found.origin is None:
        raise Unavailable(
            "the compiled part of fednode is missing; install it again where gcc is at hand "
            "(in a checkout: scripts/setup)"
        )
    return ctypes.CDLL(found.origin)


def array(dtype: str, *, writable: bool = False) -> type[Any]:
    """Return the argument type of a C-contiguous array of `dtype`; anything else is refused with `ArgumentError`."""
    import numpy as np  # here: whoever only reads a ledger starts without it

    if writable:
        return np.ctypeslib.ndpointer(dtype=np.dtype(dtype), flags=["C_CONTIGUOUS", "WRITEABLE"])
    return np.ctypeslib.ndpointer(dtype=np.dtype(dtype), flags=["C_CONTIGUOUS"])


LIBRARY: Final = load()
