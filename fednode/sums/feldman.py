"""Verifiable sharing of scalars: Shamir shares with the polynomial committed in the group (Feldman 1987).

Security assumption: discrete logarithms in the prime-order subgroup of edwards25519 are hard; the constant term is
uniform, so its commitment C_0 = secret * G tells nothing useful about it. A wrong share does not fit the commitments.
Foreign commitments have passed `crypto.are_commitments_valid`; why a part of small order in some of them splits nobody
is told at `crypto.is_share_valid`.

A polynomial is its coefficients, constant term first, modulo the group order; member k's share is its value at k. Any
T = len(coefficients) shares give the constant term, fewer say nothing about it (Shamir 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fednode.crypto import GROUP_ORDER, Entropy, base_times, is_share_valid, random_scalar


def evaluate(coefficients: Sequence[int], point: int) -> int:
    """Return the polynomial's value at `point` modulo the group order (Horner)."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % GROUP_ORDER
    return value


def lagrange_at_zero(points: Sequence[int]) -> list[int]:
    """Return the weights l_k with p(0) = sum l_k p(points[k]) for every polynomial of degree < len(points)."""
    if len(set(points)) != len(points) or any(not 0 < point < GROUP_ORDER for point in points):
        raise ValueError("evaluation points must be distinct and not zero")
    weights = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % GROUP_ORDER
                below = below * (other - point) % GROUP_ORDER
        weights.append(above * pow(below, -1, GROUP_ORDER) % GROUP_ORDER)
    return weights


def interpolate_at_zero(shares: Mapping[int, int]) -> int:
    """Return the constant term of the polynomial through all `shares` (member -> share)."""
    points = sorted(shares)
    weights = lagrange_at_zero(points)
    return sum(weight * shares[point] for weight, point in zip(weights, points, strict=True)) % GROUP_ORDER


@dataclass(frozen=True, slots=True)
class Dealing:
    """A dealt secret: the coefficients (secret first) and their commitments."""

    coefficients: tuple[int, ...] = field(repr=False)
    points: tuple[bytes, ...]

    @property
    def secret(self) -> int:
        """The shared scalar."""
        return self.coefficients[0]

    def share_of(self, holder: int) -> int:
        """Return the holder's share."""
        return evaluate(self.coefficients, holder)


def deal(threshold: int, holders: Sequence[int], entropy: Entropy) -> Dealing:
    """Draw a secret and a polynomial of degree threshold - 1 such that no holder's share is zero."""
    while True:
        coefficients = tuple(random_scalar(entropy) for _ in range(threshold))
        if all(evaluate(coefficients, holder) for holder in holders):
            return Dealing(coefficients, tuple(base_times(value) for value in coefficients))


def reconstruct(points: Sequence[bytes], shares: Mapping[int, int]) -> int | None:
    """Return the secret from at least T = len(points) valid shares, or None.

    Any T shares that give the scalar of the key point will do, so the first T are tried before each is checked.
    The result is never a wrong scalar.
    """
    threshold = len(points)
    first = _secret_of(points, dict(sorted(shares.items())[:threshold]))
    if first is not None:
        return first
    valid = {holder: share for holder, share in sorted(shares.items()) if is_share_valid(points, holder, share)}
    return _secret_of(points, dict(list(valid.items())[:threshold]))


def _secret_of(points: Sequence[bytes], shares: Mapping[int, int]) -> int | None:
    if len(shares) < len(points):
        return None
    secret = interpolate_at_zero(shares)
    return secret if is_key_of(secret, points[0]) else None


def is_key_of(secret: int, point: bytes) -> bool:
    """Whether `secret` is the non-zero scalar of `point`."""
    return 0 < secret < GROUP_ORDER and base_times(secret) == point
