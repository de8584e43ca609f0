"""Shamir sharing of scalars over the group order (Shamir 1979).

A polynomial is its coefficients, constant term first; member k's share is its value at k. Any T = len(coefficients)
shares give the constant term, fewer say nothing about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fednode.crypto import GROUP_ORDER


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
