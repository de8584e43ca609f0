"""The field F of p = 2^64 - 2^32 + 1 elements on numpy vectors (VDAF's Field64).

Elements are uint64 arrays of any shape with values in [0, p); every function takes and returns such arrays. Scalars
are Python integers. 2^32 divides p - 1, so there are roots of unity for polynomials of any length met here. The
arithmetic itself is `kernels.arrays`.
Source: draft-irtf-cfrg-vdaf, section 6.1 (parameters and generator).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels import arrays as kernels
from fednode.keystream import AesCtr

FieldVector = NDArray[np.uint64]
MODULUS: Final = 2**64 - 2**32 + 1
FIELD: Final = np.dtype("<u8")
ELEMENT_BYTES: Final = 8
GENERATOR: Final = pow(7, 2**32 - 1, MODULUS)
"""Generates the roots of unity of order 2^32."""
ROOT_ORDER_BITS: Final = 32

_P: Final = np.uint64(MODULUS)
_EPSILON: Final = np.uint64(2**32 - 1)
"""2^64 modulo p."""
_ONE: Final = np.uint64(1)


def from_integers(values: Sequence[int] | NDArray[np.int64]) -> FieldVector:
    """Return integers of any sign (an int64 array, or a sequence of any size) as elements."""
    if isinstance(values, np.ndarray):
        words = values.astype(np.int64).view(np.uint64)
        return np.where(values < 0, words - _EPSILON, words)  # 2^64 - |v| - (2^32 - 1) = p - |v|
    return np.array([value % MODULUS for value in values], FIELD)


def centre(values: FieldVector) -> NDArray[np.int64]:
    """Return the representatives in (-p/2, p/2): the integers themselves if none lay outside."""
    return np.where(values > _P >> _ONE, values + _EPSILON, values).view(np.int64)


def is_canonical(values: FieldVector) -> bool:
    """Whether every word is below p; nothing else may enter from outside."""
    return bool((values < _P).all())


def add(a: FieldVector, b: FieldVector) -> FieldVector:
    """Return a + b."""
    return kernels.add(*_paired(a, b))


def subtract(a: FieldVector, b: FieldVector) -> FieldVector:
    """Return a - b."""
    return kernels.subtract(*_paired(a, b))


def multiply(a: FieldVector, b: FieldVector) -> FieldVector:
    """Return a * b."""
    return kernels.multiply(*_paired(a, b))


def scale(a: FieldVector, factor: int) -> FieldVector:
    """Return a times an integer of any size."""
    return kernels.multiply(np.ascontiguousarray(a), np.array([factor % MODULUS], FIELD))


def _paired(a: FieldVector, b: FieldVector) -> tuple[FieldVector, FieldVector]:
    """Return both in one shape, as the kernels take them; a single element stays one."""
    if a.shape != b.shape and (b.size != 1 or b.ndim > a.ndim):
        a, b = np.broadcast_arrays(a, b)
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


def total(values: FieldVector, axis: int = -1) -> FieldVector:
    """Return the sum along an axis of fewer than 2^31 elements."""
    return dot(np.moveaxis(values, axis, -1), np.ones(values.shape[axis], FIELD))


def dot(a: FieldVector, b: FieldVector, axis: int = -1) -> FieldVector:
    """Return the sum of products along an axis, shapes broadcast."""
    if b.ndim > 1 or axis != -1:
        return total(multiply(a, b), axis)
    rows = np.ascontiguousarray(a).reshape(-1, a.shape[-1])
    return kernels.dot(rows, np.ascontiguousarray(b)).reshape(a.shape[:-1])


def combine(weights: FieldVector, rows: FieldVector) -> FieldVector:
    """Return weights @ rows: weights (n, m) or (m,), rows (m, d)."""
    combined = kernels.combine(np.ascontiguousarray(np.atleast_2d(weights)), np.ascontiguousarray(rows))
    return combined if weights.ndim == 2 else combined[0]


def inverse(value: int) -> int:
    """Return 1 / value; `ValueError` for zero."""
    return pow(value, -1, MODULUS)


def powers(base: int, count: int, first: int = 1) -> FieldVector:
    """Return first * (1, base, base^2, ...), count elements."""
    return kernels.powers(first % MODULUS, base % MODULUS, count)


def root_of_unity(order: int) -> int:
    """Return the primitive root of an order that is a power of two, at most 2^32."""
    bits = order.bit_length() - 1
    if order != 1 << bits or bits > ROOT_ORDER_BITS:
        raise ValueError("roots of unity are of an order that is a power of two, at most 2^32")
    return pow(GENERATOR, 1 << (ROOT_ORDER_BITS - bits), MODULUS)


def evaluate_at_roots(coefficients: FieldVector) -> FieldVector:
    """Return the values at 1, w, w^2, ... of polynomials (..., n), n a power of two: last axis in, last axis out."""
    return _transform(coefficients, root_of_unity(coefficients.shape[-1]))


def interpolate_at_roots(values: FieldVector) -> FieldVector:
    """Return the coefficients (..., n) of the polynomials with these values at 1, w, w^2, ..., constant term first."""
    size = values.shape[-1]
    return scale(_transform(values, inverse(root_of_unity(size))), inverse(size))


def _transform(values: FieldVector, root: int) -> FieldVector:
    """The number theoretic transform (Cooley and Tukey 1965) along the last axis."""
    size = values.shape[-1]
    rows = np.ascontiguousarray(values).reshape(-1, size)
    return kernels.transform(rows, _half_turn(size, root)).reshape(values.shape)


@lru_cache(maxsize=16)
def _half_turn(size: int, root: int) -> FieldVector:
    """Return the first half of the powers of a root of unity of order `size`."""
    roots = powers(root, size // 2)
    roots.setflags(write=False)
    return roots


@lru_cache(maxsize=16)
def lagrange_at_roots(size: int, point: int) -> FieldVector:
    """Return weights l_k with p(point) = sum l_k p(w^k) for every p of degree < size (`point` no such root).

    l_k = (point^size - 1) / size * w^k / (point - w^k).
    """
    roots = powers(root_of_unity(size), size)
    factor = (pow(point, size, MODULUS) - 1) * inverse(size) % MODULUS
    if factor == 0:
        raise ValueError("the point is one of the roots")
    differences = subtract(np.full(size, point % MODULUS, FIELD), roots)
    weights = scale(multiply(roots, invert_all(differences)), factor)
    weights.setflags(write=False)  # it is remembered: every share is queried at the same point
    return weights


def invert_all(values: FieldVector) -> FieldVector:
    """Return the inverses of a flat vector without zeros; one inversion and three products each (Montgomery)."""
    prefix, running = [], 1
    for value in values.tolist():
        prefix.append(running)
        running = running * value % MODULUS
    running = inverse(running)
    inverted = np.empty(values.size, FIELD)
    for at in range(values.size - 1, -1, -1):
        inverted[at] = running * prefix[at] % MODULUS
        running = running * int(values[at]) % MODULUS
    return inverted


def expand(key: bytes, count: int) -> FieldVector:
    """Return `count` uniform elements from a 16-byte key (AES-128-CTR); words of p or more are skipped.

    Security assumption: AES-128 in counter mode is a pseudo-random generator; a key is used for one purpose.
    """
    stream = AesCtr(key)
    found = np.empty(0, FIELD)
    while found.size < count:
        words = np.frombuffer(stream.read((count - found.size) * ELEMENT_BYTES), FIELD)
        found = np.concatenate([found, words[words < _P]])
    return found


def to_bytes(values: FieldVector) -> bytes:
    """Return the elements of a flat vector, 8 bytes little endian each."""
    return values.astype(FIELD).tobytes()


def from_bytes(data: bytes | memoryview, count: int) -> FieldVector | None:
    """Return exactly `count` elements, or None for another length or a word that is not below p."""
    if len(data) != count * ELEMENT_BYTES:
        return None
    values = np.frombuffer(data, FIELD)
    if not values.flags.aligned:
        values = values.copy()
    return values if is_canonical(values) else None
