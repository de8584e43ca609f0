"""The compiled library, loaded once, and what needs no arrays: what this processor can do; msgpack headers, read before
anything is built; points of edwards25519 that everybody may see (commitments to a polynomial, evaluated, and proofs of
knowledge).

Security assumption: all of it is known to everybody, so it may take other time for other values. A commitment is
32 bytes that are the one encoding of a point (RFC 8032, section 5.1.3) not of order 1, 2, 4 or 8. Its point may still
have a part of small order, so results are multiplied by 8, which takes that part away: see `crypto.is_share_valid`.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from fednode.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUNT: Final = ctypes.c_size_t
ADDRESS: Final = ctypes.c_void_p
Element = TypeVar("Element", bound="np.generic")


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


def address(values: NDArray[Any], dtype: str, *, writable: bool = False) -> int:
    """Return where the elements of a C-contiguous array of `dtype` begin; raise `ValueError` for any other.

    For arrays that are handed over many times: checked once, by what keeps them alive. Reading or writing through the
    address needs the array to live on.
    """
    flags = values.flags
    if values.dtype != dtype or not flags.c_contiguous or not flags.aligned or (writable and not flags.writeable):
        raise ValueError(f"a kernel takes a contiguous {'writable ' if writable else ''}array of {dtype}")
    place: int = values.ctypes.data
    return place


def settle(values: NDArray[Element]) -> NDArray[Element]:
    """Return the array itself, or a copy if it lies where its elements may not, as what is read from bytes does."""
    return values if values.flags.c_contiguous and values.flags.aligned else values.copy()


def bind(name: str, *types: type[Any], result: type[Any] | None = None) -> Callable[..., Any]:
    """Return a function of the library with the types of its arguments."""
    function = LIBRARY[name]
    function.argtypes, function.restype = list(types), result
    return function


LIBRARY: Final = load()


# --- the processor -----------------------------------------------------------------------------------------------

_has_wide_aes = bind("fednode_has_wide_aes", result=ctypes.c_int)


def has_wide_aes() -> bool:
    """Whether it has AES and carry-less products on four blocks at a time (VAES and VPCLMULQDQ with AVX-512)."""
    return bool(_has_wide_aes())


# --- headers of msgpack ------------------------------------------------------------------------------------------

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


# --- points ------------------------------------------------------------------------------------------------------

POINT_BYTES: Final = 32
MAX_INDEX: Final = 2**32 - 1
_BYTES, _INT = ctypes.c_char_p, ctypes.c_int
_are_commitments = bind("fednode_are_commitments", _BYTES, COUNT, result=_INT)
_evaluate = bind("fednode_evaluate_commitments", _BYTES, _BYTES, COUNT, ctypes.c_uint32, result=_INT)
_base_less = bind("fednode_base_less", _BYTES, _BYTES, _BYTES, _BYTES, result=_INT)


def are_commitments(points: bytes) -> bool:
    """Whether `points`, 32 bytes each, joined, are all commitments."""
    return len(points) % POINT_BYTES == 0 and bool(_are_commitments(points, len(points) // POINT_BYTES))


def evaluate_commitments(points: bytes, index: int) -> bytes | None:
    """Return 8 (C_0 + index C_1 + index^2 C_2 + ...), encoded; None if some C_k is no commitment, or there is none.

    `points`: C_0, C_1, ... joined. 1 <= index < 2^32. The identity is encoded like any other point.
    """
    if not 1 <= index <= MAX_INDEX:
        raise ValueError("holders are numbered from 1")
    if not points or len(points) % POINT_BYTES:
        return None
    out = ctypes.create_string_buffer(POINT_BYTES)
    return out.raw if _evaluate(out, points, len(points) // POINT_BYTES, index) else None


def base_less(response: bytes, challenge: bytes, point: bytes) -> bytes | None:
    """Return response * G - challenge * point, encoded, for numbers of 32 bytes (lowest first) that are no secret.

    None if the point is no commitment.
    """
    if not len(response) == len(challenge) == len(point) == POINT_BYTES:
        raise ValueError("numbers and points have 32 bytes")
    out = ctypes.create_string_buffer(POINT_BYTES)
    return out.raw if _base_less(out, response, challenge, point) else None
