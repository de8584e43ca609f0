"""Kernels on arrays: vectors of a model's length, and elements of the field of p = 2^64 - 2^32 + 1 elements.

Signs are bits, lowest first in each byte; a one is +1.

Security assumption: elements of the field are secret; nothing but `decode` takes another path or another address for
other values. All are below p (the caller checks what comes from outside), in C-contiguous uint64 arrays.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import ADDRESS, COUNT, address, array, bind, settle

# --- merge -------------------------------------------------------------------------------------------------------

_largest = bind("fednode_largest", ADDRESS, COUNT, result=ctypes.c_uint32)
_merge = bind("fednode_merge", ADDRESS, ADDRESS, ADDRESS, ctypes.c_int64, ctypes.c_int, COUNT)


def find_largest(values: NDArray[np.int32]) -> int:
    """Return the largest size of `values`, int32 (n,); 2^31 for -2^31, 0 if there are none."""
    values = settle(values)
    largest: int = _largest(address(values, "<i4"), values.size)
    return largest


def merge(
    model: NDArray[np.int64], total: NDArray[np.int32], factor: int, bits: int, out: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Return model + ((total * factor + 2^(bits - 1)) >> bits), int64 (d,), for int64 (d,) and int32 (d,).

    The result is written to `out`, which lies apart from the others, if it is given. The caller keeps |total * factor|
    below 2^62 and the result below 2^63; 1 <= bits <= 62.
    """
    if model.shape != total.shape or model.ndim != 1 or not 1 <= bits <= 62:
        raise ValueError("a merge takes two flat vectors of one length")
    merged = np.empty_like(model) if out is None else out
    if merged.shape != model.shape or np.may_share_memory(merged, model) or np.may_share_memory(merged, total):
        raise ValueError("a merge is written to a vector of its own")
    model, total = settle(model), settle(total)
    _merge(
        address(merged, "<i8", writable=True), address(model, "<i8"), address(total, "<i4"), factor, bits, model.size
    )
    return merged


# --- keystreams added part by part, and sums modulo 2^32 ---------------------------------------------------------

MAX_ROWS: Final = 64
_add_streams = bind("fednode_add_streams", ADDRESS, ADDRESS, COUNT, COUNT, ctypes.c_uint64, COUNT)
_sum = bind("fednode_sum", ADDRESS, ADDRESS, COUNT, COUNT)


class StreamRoom:
    """Room for `rows` (at most 64) pieces of keystream, which are added to a part of a vector in one pass."""

    __slots__ = ("_address", "_bytes", "rows")

    def __init__(self, rows: int, row_bytes: int) -> None:
        if not 1 <= rows <= MAX_ROWS or row_bytes % 4:
            raise ValueError(f"there is room for 1 to {MAX_ROWS} rows of whole words")
        self._bytes = np.empty((rows, row_bytes), np.uint8)
        self._address = address(self._bytes, "u1")
        self.rows: list[memoryview] = [row.data for row in self._bytes]

    def add_to(self, values: NDArray[np.uint32], used: int, subtracted: int) -> None:
        """Add the first `used` rows to `values`, uint32 (n,), in place; subtract those whose bit is in `subtracted`."""
        rows, row_bytes = self._bytes.shape
        if values.ndim != 1 or 4 * values.size > row_bytes or not 0 <= used <= rows or not 0 <= subtracted < 1 << rows:
            raise ValueError("the keystreams are shorter or fewer than what they are added to")
        place = address(values, "<u4", writable=True)
        _add_streams(place, self._address, row_bytes // 4, used, subtracted, values.size)


def sum_words(buffers: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint32]:
    """Return the sum modulo 2^32, uint32 (n,), of at least one flat array of 4 n bytes each, read as little endian."""
    sizes = {(buffer.dtype, buffer.ndim, buffer.size) for buffer in buffers}
    if len(sizes) != 1 or buffers[0].dtype != np.uint8 or buffers[0].ndim != 1 or buffers[0].size % 4:
        raise ValueError("a sum takes vectors of whole words and of one length")
    total = np.empty(buffers[0].size // 4, np.uint32)
    places = (ctypes.c_void_p * len(buffers))(*[address(buffer, "u1") for buffer in buffers])
    _sum(address(total, "<u4", writable=True), places, len(buffers), total.size)
    return total


# --- from float32 to integers by stochastic rounding -------------------------------------------------------------

_sum_squares = bind("fednode_sum_squares", ADDRESS, COUNT, result=ctypes.c_double)
_round = bind("fednode_round", ADDRESS, ADDRESS, ADDRESS, ctypes.c_double, COUNT)


def sum_squares(values: NDArray[np.float32]) -> float:
    """Return the sum of the squares of `values`, float32 (n,), added up in float64 in an order that never changes."""
    if values.ndim != 1:
        raise ValueError("a norm is that of a flat vector")
    values = settle(values)
    total: float = _sum_squares(address(values, "<f4"), values.size)
    return total


def round_up_by_coins(
    out: NDArray[np.int32], values: NDArray[np.float32], coins: NDArray[np.uint32], factor: float
) -> None:
    """Set `out`, int32 (n,), to (rint(values * factor) + coins) >> 32, for float32 (n,) and at least n coins.

    `out` may be the memory of the values itself. The caller keeps |values * factor| below 2^62 and the results below
    2^31.
    """
    if not out.ndim == values.ndim == coins.ndim == 1 or out.shape != values.shape or coins.size < out.size:
        raise ValueError("every value is rounded by a coin of its own")
    values = settle(values)
    to, place = address(out, "<i4", writable=True), address(values, "<f4")
    if 0 < abs(to - place) < 4 * values.size or np.may_share_memory(out, coins):
        raise ValueError("what is rounded may be written over by itself only")
    _round(to, place, address(coins, "<u4"), factor, values.size)


# --- sums under random signs: into buckets that rotate, and of buckets into numbers ------------------------------

BUCKETS: Final = 4096
_fold = bind("fednode_fold", ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS, COUNT, COUNT, COUNT)
_fold_wide = bind("fednode_fold_wide", ADDRESS, ADDRESS, ADDRESS, COUNT, ADDRESS, COUNT, COUNT, COUNT)
_sum_signed = bind("fednode_sum_signed", array("<i8", writable=True), array("<i8"), array("u1"), COUNT, COUNT)
_sum_products = bind("fednode_sum_products", array("<u4", writable=True), array("<u4"), array("<u4"), COUNT, COUNT)


class SignRoom:
    """Signs of up to `length` values and shifts of their blocks of 4096, for each of `rows` rows.

    `signs` are memories of length / 8 bytes and 16 spare ones, to be filled; `shifts` is uint32 (rows, blocks).
    """

    __slots__ = ("_places", "_signs", "length", "shifts", "signs")

    def __init__(self, rows: int, length: int) -> None:
        if rows < 1 or length < 1 or length % BUCKETS:
            raise ValueError("signs are kept for whole blocks")
        self.length = length
        self._signs = np.empty((rows, length // 8 + 16), np.uint8)
        self.signs: list[memoryview] = [row.data for row in self._signs]
        self.shifts: Final = np.zeros((rows, length // BUCKETS), np.uint32)
        self._places = address(self._signs, "u1"), address(self.shifts, "<u4")

    def fold(self, sums: NDArray[np.int32] | NDArray[np.int64], values: NDArray[np.int32]) -> None:
        """Add `values`, int32 (n,), to `sums`, int32 or int64 (rows, 2 * 4096), modulo 2^32 or 2^64.

        Value k, under its sign, goes to place (shift of its block) + k mod 4096.
        """
        rows = len(self._signs)
        if values.ndim != 1 or values.size > self.length or sums.shape != (rows, 2 * BUCKETS):
            raise ValueError("a fold takes no more values than there are signs")
        if self.shifts.max() >= BUCKETS:
            raise ValueError("a shift is below 4096")
        values = settle(values)
        fold, kind = (_fold, "<i4") if sums.dtype == np.int32 else (_fold_wide, "<i8")
        signs, shifts = self._places
        fold(
            address(sums, kind, writable=True), address(values, "<i4"), signs, self._signs.shape[1] // 4,
            shifts, self.length // BUCKETS, rows, values.size,
        )


def sum_signed(values: NDArray[np.int64], signs: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return sums of `values`, int64 (n,), n a multiple of 32, under each row of `signs`, uint8 (rows, n / 8).

    Modulo 2^64.
    """
    if values.ndim != 1 or signs.ndim != 2 or values.size % 32 or signs.shape[1] * 8 != values.size:
        raise ValueError("signs are as many as values, in words of 32")
    sums = np.empty(len(signs), np.int64)
    _sum_signed(sums, values, signs, len(signs), values.size)
    return sums


def sum_products(values: NDArray[np.uint32], words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return `words`, uint32 (rows, n), times `values`, uint32 (n,), modulo 2^32."""
    if values.ndim != 1 or words.ndim != 2 or words.shape[1] != values.size:
        raise ValueError("a row of words is as long as the values")
    sums = np.empty(len(words), np.uint32)
    _sum_products(sums, values, words, len(words), values.size)
    return sums


# --- the field ---------------------------------------------------------------------------------------------------

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
