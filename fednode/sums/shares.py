"""Secret sharing: vectors over F (Shamir), and the rule by which posted answers count; scalars of the curve, verifiably
(Feldman).

Security assumption: any g members learn nothing from their shares of a vector (g is the degree), and at most f of N
lie. Two polynomials of degree g that each pass through N - f of N answers share N - 2 f > g of them, so they are the
same: a value that counts is unique, an honest dealer's value always counts (its N - f honest holders are enough) and
whatever f holders answer neither changes nor blocks it. Products of shares have degree 2 g and no such rule: they
are never opened.

A share is linear in the secrets, so every linear function of shares is a share of that function, of degree g. The
shares of the first g holders are random anyway and travel as 16-byte keys. Sources: Shamir 1979; Gao 2003 (decoding).

Scalars: a polynomial is its coefficients, constant term first, modulo the group order; member k's share is its value
at k. Any T = len(coefficients) shares give the constant term, fewer say nothing about it. The polynomial is committed
in the group (Feldman 1987): discrete logarithms in the prime-order subgroup of edwards25519 are hard; the constant term
is uniform, so its commitment C_0 = secret * G tells nothing useful about it. A wrong share does not fit the
commitments. Foreign commitments have passed `crypto.are_commitments_valid`; why a part of small order in some of them
splits nobody is told at `crypto.is_share_valid`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress

import numpy as np

from fednode.crypto import GROUP_ORDER, Entropy, base_times, is_share_valid, random_scalar, sha256
from fednode.ids import fault_bound
from fednode.kernels import arrays as kernels
from fednode.keystream import KEY_BYTES
from fednode.sums.field import FIELD, MODULUS, FieldVector, combine, dot, expand, from_bytes, inverse, powers, to_bytes


def sharing_degree(members: int) -> int:
    """Return g = max(1, f): f members learn nothing, and one alone never does."""
    return max(1, fault_bound(members))


def answers_needed(members: int) -> int:
    """Return how many answers one polynomial must pass through: N - f."""
    return members - fault_bound(members)


# --- vectors over F: dealing -------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class DealtVector:
    """What each holder is sent: 16 bytes to expand (the first g holders) or the elements. All of it is secret."""

    length: int
    boxes: Mapping[int, bytes] = field(repr=False)


def deal_vector(secrets: FieldVector, degree: int, holders: Sequence[int], entropy: Entropy) -> DealtVector:
    """Share a flat vector among `holders` (distinct, not zero, more than `degree`): any g learn nothing of it."""
    order = sorted(holders)
    if len(set(order)) != len(order) or not 1 <= degree < len(order) or order[0] < 1:
        raise ValueError("more distinct holders than the degree are needed, numbered from 1")
    keys = {holder: entropy.random_bytes(KEY_BYTES) for holder in order[:degree]}
    known = np.stack([secrets, *(expand(key, secrets.size) for key in keys.values())])
    rest = order[degree:]
    points = (0, *order[:degree])
    shares = combine(_extension(points, tuple(rest)), known)
    return DealtVector(secrets.size, keys | {holder: to_bytes(row) for holder, row in zip(rest, shares, strict=True)})


def holds_key(holder: int, holders: Sequence[int], degree: int) -> bool:
    """Whether a holder's box is a key to expand: it is for the first `degree` holders in ascending order."""
    return holder in sorted(holders)[:degree]


def open_box(box: bytes, length: int, is_key: bool) -> FieldVector | None:
    """Return the share of `length` elements a box holds, or None if it holds none (`is_key`: see `holds_key`)."""
    if is_key:
        return expand(box, length) if len(box) == KEY_BYTES else None
    return from_bytes(box, length)


@lru_cache(maxsize=4096)
def lagrange(points: tuple[int, ...], at: int) -> tuple[int, ...]:
    """Return weights l_k with p(at) = sum l_k p(points[k]) for every polynomial of degree < len(points)."""
    if at in points:
        return tuple(int(point == at) for point in points)
    whole = 1
    for point in points:
        whole = whole * (at - point) % MODULUS
    return tuple(
        whole * inverse((at - point) * below) % MODULUS for point, below in zip(points, _gaps(points), strict=True)
    )


@lru_cache(maxsize=256)
def _gaps(points: tuple[int, ...]) -> tuple[int, ...]:
    """Return for each point the product of its differences to the others."""
    products = []
    for point in points:
        product = 1
        for other in points:
            if other != point:
                product = product * (point - other) % MODULUS
        products.append(product)
    return tuple(products)


@lru_cache(maxsize=64)
def _extension(points: tuple[int, ...], others: tuple[int, ...]) -> FieldVector:
    """Return the matrix that takes values at `points` to those at `others`; all dealers of an attempt need the same."""
    weights = np.array([lagrange(points, other) for other in others], FIELD).reshape(len(others), len(points))
    weights.setflags(write=False)
    return weights


# --- vectors over F: the decoding rule ---------------------------------------------------------------------------

@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The value that counts and the members whose whole answers lie on its polynomials, ascending."""

    value: FieldVector = field(repr=False)
    members: tuple[int, ...]


def decode(answers: Mapping[int, FieldVector], degree: int, needed: int, members: int) -> Decoded | None:
    """Return the vector that counts: `needed` whole answers of equal length lie on one polynomial of `degree`.

    A member off in one coordinate is off in all: otherwise every coordinate could rest on other shares and together
    they would be nobody's statement. `members` is N. None if nothing counts; the order of answers does not matter.
    `ValueError` for numbers under which more than one value could count.
    """
    if 2 * needed - members <= degree or len(answers) > members:
        raise ValueError(f"{needed} of {members} answers do not determine a polynomial of degree {degree}")
    left = tuple(sorted(answers))
    if len(left) < needed:
        return None
    rows = np.stack([answers[member] for member in left])
    left, rows = _select(left, rows, np.less(rows, MODULUS).min(axis=1).tolist())
    while len(left) >= needed:
        matrix = np.column_stack([dot(rows, powers(_mixer(rows), rows.shape[1])), rows])
        wrong = _find_conflict(matrix, left, degree)
        if wrong is None:
            return Decoded(combine(_extension(left[: degree + 1], (0,)), rows[: degree + 1])[0], left)
        is_on = kernels.decode(np.array(left, FIELD), np.ascontiguousarray(matrix[:, wrong]), degree, needed)
        if is_on is None:
            return None
        left, rows = _select(left, rows, is_on.tolist())
    return None


def share_at(decoded: Decoded, answers: Mapping[int, FieldVector], degree: int, at: int) -> FieldVector:
    """Return what the polynomials of a decoded value give at a member's place: what its share would have to answer."""
    base = decoded.members[: degree + 1]
    values: FieldVector = combine(_extension(base, (at,)), np.stack([answers[member] for member in base]))[0]
    return values


def _select(
    members: tuple[int, ...], rows: FieldVector, is_kept: list[bool]
) -> tuple[tuple[int, ...], FieldVector]:
    """Return the members that are kept and their rows."""
    return tuple(compress(members, is_kept)), rows if all(is_kept) else rows[is_kept]


def _mixer(rows: FieldVector) -> int:
    """Return what mixes all coordinates into one, which is decoded first and shows all liars at once.

    Any number would be right: whoever is off in the mixture is off, and whoever hides in it is found in the coordinates
    themselves. But f liars that hid, each in another coordinate, would cost f decodings; so it depends on all answers.
    """
    return int.from_bytes(sha256(to_bytes(rows.reshape(-1)))[:8], "little") % MODULUS


def _find_conflict(matrix: FieldVector, members: tuple[int, ...], degree: int) -> int | None:
    """Return the first coordinate in which the rows do not lie on one polynomial, or None."""
    base, rest = members[: degree + 1], members[degree + 1 :]
    expected = combine(_extension(base, rest), matrix[: degree + 1])
    conflicts = (expected != matrix[degree + 1 :]).any(axis=0)
    return int(conflicts.argmax()) if conflicts.any() else None


# --- scalars, with the polynomial committed ----------------------------------------------------------------------

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
