"""Arithmetic in the field of p = 2^64 - 2^32 + 1 elements.

Security assumption: elements are secret; nothing but `decode` takes another path or another address for other values.
All are below p (the caller checks what comes from outside), in C-contiguous uint64 arrays.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import COUNT, array, bind

Elements = NDArray[np.uint64]
MAX_POINTS: Final = 256
"""Of a polynomial that is decoded."""

_MAX_TERMS = 1 << 31
_READ, _WRITE, _WORD = array("<u8"), array("<u8", writable=True), ctypes.c_uint64


def _kernel(name: str, *arguments: Any) -> Any:
    return bind(f"fednode_field_{name}", _WRITE, *arguments)


_add, _subtract, _multiply = (_kernel(name, _READ, _READ, COUNT, COUNT) for name in ("add", "subtract", "multiply"))
_powers = _kernel("powers", _WORD, _WORD, COUNT)
_dot = _kernel("dot", _READ, _READ, COUNT, COUNT)
_combine = _kernel("combine", _READ, _READ, COUNT, COUNT, COUNT)
_transform = _kernel("transform", _READ, _READ, COUNT, ctypes.c_uint)
_decode = bind(
    "fednode_field_decode", array("|b1", writable=True), _READ, _READ, COUNT, COUNT, COUNT, result=ctypes.c_int
)


def add(a: Elements, b: Elements) -> Elements:
    """Return a + b in the shape of a; b has that shape too, or one element for all."""
    return _pairwise(_add, a, b)


def subtract(a: Elements, b: Elements) -> Elements:
    """Return a - b likewise."""
    return _pairwise(_subtract, a, b)


def multiply(a: Elements, b: Elements) -> Elements:
    """Return a * b likewise."""
    return _pairwise(_multiply, a, b)


def _pairwise(kernel: Any, a: Elements, b: Elements) -> Elements:
    if a.shape != b.shape and b.size != 1:
        raise ValueError("vectors of two lengths have no pairs")
    out = np.empty_like(a)
    kernel(out, a, b, a.size, 1 if b.size == a.size else 0)
    return out


def powers(first: int, base: int, count: int) -> Elements:
    """Return first, first * base, first * base^2, ... (count elements); first and base below p."""
    out = np.empty(count, np.uint64)
    _powers(out, first, base, count)
    return out


def dot(matrix: Elements, vector: Elements) -> Elements:
    """Return matrix @ vector: (n, m) times (m,)."""
    rows, width = matrix.shape
    if vector.shape != (width,) or width >= _MAX_TERMS:
        raise ValueError("the rows and the vector are of two lengths")
    out = np.empty(rows, np.uint64)
    _dot(out, matrix, vector, rows, width)
    return out


def combine(weights: Elements, rows: Elements) -> Elements:
    """Return weights @ rows: (n, m) times (m, d)."""
    count, terms = weights.shape
    if rows.ndim != 2 or len(rows) != terms or terms >= _MAX_TERMS:
        raise ValueError("there is not one weight for each row")
    out = np.empty((count, rows.shape[1]), np.uint64)
    _combine(out, weights, rows, count, terms, rows.shape[1])
    return out


def transform(rows: Elements, roots: Elements) -> Elements:
    """Return the values at 1, w, w^2, ... of polynomials (n, 2^b), constant term first; `roots`: w^k, k < 2^b / 2."""
    count, size = rows.shape
    if size < 1 or size & (size - 1) or roots.shape != (size // 2,):
        raise ValueError("a transform is of a power of two and has half as many roots")
    out = np.empty_like(rows)
    _transform(out, rows, roots, count, size.bit_length() - 1)
    return out


def decode(points: Elements, values: Elements, degree: int, needed: int) -> NDArray[np.bool_] | None:
    """Return which of the public points (at most 256) lie on the polynomial of `degree` through `needed` of them.

    None if there is none. `points` are distinct and not zero. Right whenever count - needed is at most
    (count - degree - 1) / 2. Source: Gao 2003, algorithm 1.
    """
    count = points.size
    if points.shape != (count,) or values.shape != (count,) or count > MAX_POINTS or degree < 0 or needed < 1:
        raise ValueError(f"a polynomial is decoded from at most {MAX_POINTS} points, each with a value")
    is_on = np.zeros(count, np.bool_)
    return is_on if _decode(is_on, points, values, count, degree, needed) else None
