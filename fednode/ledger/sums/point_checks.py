"""Checks of points, proofs and opened scalars, remembered.

Security assumption: every function here is pure, so remembering a verdict cannot change it. A transaction is checked
when it enters the pool, when a leader picks it and when the block runs; the group arithmetic is done once.
"""

from __future__ import annotations

from functools import lru_cache

from fednode.crypto import (
    Secret,
    are_commitments_valid,
    base_times,
    is_knowledge_proven,
    is_share_valid,
    scalar_from_bytes,
    x25519,
)
from fednode.errors import Rejected
from fednode.sums.coin import is_link
from fednode.sums.equal_logs import are_logs_equal

_REMEMBERED = 2048

_PROBE = Secret(b"\x01" * 32)
"""Any scalar does: X25519 gives zero, for every scalar, exactly when the key has low order."""


@lru_cache(_REMEMBERED)
def are_points_valid(points: tuple[bytes, ...]) -> bool:
    """Whether a dealer's commitments may be used, the key point first; see `crypto.are_commitments_valid`."""
    return are_commitments_valid(points)


@lru_cache(_REMEMBERED)
def is_key_proven(point: bytes, context: bytes, proof: bytes) -> bool:
    """Whether the maker of a valid point knows its scalar."""
    return is_knowledge_proven(point, context, proof)


@lru_cache(_REMEMBERED)
def is_opened_share_valid(points: tuple[bytes, ...], holder: int, share: bytes) -> bool:
    """Whether `share` is a canonical scalar on the polynomial committed to by valid `points`, at `holder`."""
    try:
        value = scalar_from_bytes(share)
    except Rejected:
        return False
    return is_share_valid(points, holder, value)


@lru_cache(_REMEMBERED)
def is_shared_point(holder_point: bytes, dealer_point: bytes, shared: bytes, context: bytes, proof: bytes) -> bool:
    """Whether `shared` is proven to be the holder's scalar times the dealer's point: the key of what was redealt."""
    return are_logs_equal(holder_point, dealer_point, shared, context, proof)


@lru_cache(_REMEMBERED)
def is_opened_scalar(point: bytes, scalar: bytes) -> bool:
    """Whether `scalar` is canonical and `scalar` * G is `point`."""
    try:
        value = scalar_from_bytes(scalar)
    except Rejected:
        return False
    return value != 0 and base_times(value) == point


@lru_cache(_REMEMBERED)
def is_seal_key_valid(key: bytes) -> bool:
    """Whether something can be sealed to an X25519 key: it is not of low order."""
    try:
        x25519(_PROBE, key)
    except Rejected:
        return False
    return True


@lru_cache(_REMEMBERED)
def is_next_link(known: bytes, known_index: int, link: bytes, index: int) -> bool:
    """Whether `link` is link `index` of the chain of which `known` is link `known_index`; up to 65536 hashes."""
    return is_link(known, known_index, link, index)
