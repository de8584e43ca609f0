"""That two points are the same secret times two others: log_G(P) = log_B(S), without a word on the secret.

Security assumptions: discrete logarithms in the prime-order group of edwards25519 are hard, SHA-512 is a random oracle.
Source: Chaum and Pedersen 1992, made non-interactive; as challenge and response, so both commitments are recomputed and
none can be chosen. A proof is bound to all four points and a context: there is one encoding of it, and it fits nothing
else.
"""

from __future__ import annotations

import hashlib
from typing import Final

from fednode.crypto import (
    GROUP_ORDER,
    IDENTITY,
    Entropy,
    base_times,
    is_point_valid,
    point_add,
    point_times,
    scalar_bytes,
    scalar_from_bytes,
)
from fednode.errors import Rejected

PROOF_BYTES: Final = 64


def prove_equal_logs(scalar: int, base: bytes, context: bytes, entropy: Entropy) -> bytes:
    """Return 64 bytes (challenge, response) that `scalar` * G and `scalar` * `base` have one logarithm.

    `Rejected` for a base that is no point of the prime-order group; `ValueError` for a scalar that is zero. The nonce
    is drawn from `entropy`, hashed with the secret and all that is proven: entropy that repeats itself after a restart
    never leads to one nonce under two challenges, which would show the scalar.
    """
    if not is_point_valid(base):
        raise Rejected("the base is no point of the prime-order group")
    point, shared = base_times(scalar), point_times(scalar % GROUP_ORDER, base)
    drawn = entropy.random_bytes(64)
    nonce = _hash(b"fednode/1/equal-logs nonce", drawn, scalar_bytes(scalar % GROUP_ORDER), base, context)
    challenge = _challenge(point, base, shared, base_times(nonce), point_times(nonce, base), context)
    return scalar_bytes(challenge) + scalar_bytes((nonce + challenge * scalar) % GROUP_ORDER)


def are_logs_equal(point: bytes, base: bytes, shared: bytes, context: bytes, proof: bytes) -> bool:
    """Whether a proof shows log_G(`point`) = log_`base`(`shared`); False for points outside the prime-order group."""
    if len(proof) != PROOF_BYTES or not all(is_point_valid(given) for given in (point, base, shared)):
        return False
    try:
        challenge, response = scalar_from_bytes(proof[:32]), scalar_from_bytes(proof[32:])
    except Rejected:
        return False
    if not challenge or not response:
        return False
    away = GROUP_ORDER - challenge
    by_generator = point_add(base_times(response), point_times(away, point))
    by_base = point_add(point_times(response, base), point_times(away, shared))
    if IDENTITY in (by_generator, by_base):
        return False
    return _challenge(point, base, shared, by_generator, by_base, context) == challenge


def _challenge(point: bytes, base: bytes, shared: bytes, by_generator: bytes, by_base: bytes, context: bytes) -> int:
    return _hash(b"fednode/1/equal-logs", point, base, shared, by_generator, by_base, context)


def _hash(*parts: bytes) -> int:
    """Return a scalar that depends on all parts; of variable length is at most the last one."""
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % GROUP_ORDER
