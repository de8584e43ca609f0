"""Sums of a long vector under random signs: into buckets that rotate, and of buckets into numbers.

Signs are bits, lowest first in each byte; a one is +1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fednode.kernels.library import ADDRESS, COUNT, address, array, bind, settle

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
