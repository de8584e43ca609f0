"""The masks that hide a vector: one per pair of qualified members, one of each member's own.

Security assumption: Diffie-Hellman in the prime-order subgroup of edwards25519 is hard; every foreign point has
passed `crypto.is_point_valid`. y_i = x_i + PRG(b_i) + sum_{j>i} PRG(s_ij) - sum_{j<i} PRG(s_ij), j over the qualified
members, s_ij = KDF(a_i A_j) = KDF(a_j A_i): in a sum over everyone the pair masks cancel (Bonawitz et al. 2017,
section 4). Removing the self masks of U needs b_i for i in U; removing the pair masks towards dropped members needs
a_j for j outside U. Whoever knew both of one member could read its vector.
"""

from __future__ import annotations

from collections.abc import Mapping

from fednode.crypto import point_times, scalar_bytes
from fednode.smpc.prg import Stream, derive_key
from fednode.sums.attempt import SumContext

PHASE = "mask"


def is_pair_mask_added(member: int, other: int) -> bool:
    """Whether `member` adds (else subtracts) the mask it shares with `other`: it does towards later members."""
    return other > member


def pair_key(context: SumContext, scalar: int, other_point: bytes, member: int, other: int) -> bytes:
    """Return the key of the pair mask from one side's scalar and the other side's point."""
    first, second = min(member, other), max(member, other)
    return derive_key(point_times(scalar, other_point), context, PHASE, "pair", 0, first, second)


def self_key(context: SumContext, scalar: int, member: int) -> bytes:
    """Return the key of a member's self mask."""
    return derive_key(scalar_bytes(scalar), context, PHASE, "self", member, member, member)


def tail_key(context: SumContext, a_scalar: int, member: int) -> bytes:
    """Return the key of the tails that `member` draws: from the secret of its pair masks, which is never opened of a
    member whose vector is in the sum."""
    return derive_key(scalar_bytes(a_scalar), context, PHASE, "tails", member, member, member)


def own_streams(
    context: SumContext, member: int, a_scalar: int, b_scalar: int, qualified_points: Mapping[int, bytes]
) -> list[Stream]:
    """Return the streams that mask the vector of `member`; `qualified_points` are the A points of all of Q."""
    streams = [Stream(self_key(context, b_scalar, member), True)]
    for other in sorted(qualified_points):
        if other != member:
            key = pair_key(context, a_scalar, qualified_points[other], member, other)
            streams.append(Stream(key, is_pair_mask_added(member, other)))
    return streams


def removal_streams(
    context: SumContext,
    b_scalars: Mapping[int, int],
    a_scalars: Mapping[int, int],
    included_points: Mapping[int, bytes],
) -> list[Stream]:
    """Return the streams that turn the masked sum over U into the sum.

    `b_scalars` of exactly the members of U, `a_scalars` of exactly those of Q outside U, `included_points` the A
    points of U. No member may be in both: that is refused with `ValueError`.
    """
    if set(b_scalars) & set(a_scalars) or set(b_scalars) != set(included_points):
        raise ValueError("both secrets of one member must never meet")
    streams = [Stream(self_key(context, b_scalars[i], i), False) for i in sorted(b_scalars)]
    for dropped in sorted(a_scalars):
        for i in sorted(included_points):
            key = pair_key(context, a_scalars[dropped], included_points[i], dropped, i)
            streams.append(Stream(key, not is_pair_mask_added(i, dropped)))
    return streams
