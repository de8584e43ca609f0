"""Points of edwards25519 that everybody may see: commitments to a polynomial, evaluated, and proofs of knowledge.

Security assumption: everything here is known to everybody, so it may take other time for other points. A commitment is
32 bytes that are the one encoding of a point (RFC 8032, section 5.1.3) not of order 1, 2, 4 or 8. Its point may still
have a part of small order, so results are multiplied by 8, which takes that part away: see `crypto.is_share_valid`.
"""

from __future__ import annotations

import ctypes
from typing import Final

from fednode.kernels.library import COUNT, bind

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
