"""Prints one digest of what every vector kernel makes of the same inputs: run on builds for different processors."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from fednode.kernels import arrays

SIZES = (0, 1, 15, 16, 17, 31, 33, 4095, 4096, 4097, 65531, 65536)


def main() -> None:
    """Feed all results to one hash."""
    digest = hashlib.sha256()
    for size in SIZES:
        random = np.random.default_rng(size)
        values = random.integers(-(2**31), 2**31, size).astype(np.int32)
        values[::7] = -(2**31)
        words = values.view(np.uint32).copy()
        room = arrays.SignRoom(8, 65536)
        masks = arrays.StreamRoom(5, 4 * 65536)
        for row in (*room.signs, *masks.rows):
            row[:] = random.bytes(len(row))
        room.shifts[:] = random.integers(0, 4096, room.shifts.shape)
        for kind in (np.int32, np.int64):
            sums = random.integers(-(2**31), 2**31, (8, 8192)).astype(kind)
            room.fold(sums, values)
            digest.update(sums.tobytes())
        masks.add_to(words, 5, 11)
        digest.update(words.tobytes() + arrays.sum_words([values.view(np.uint8)] * 3).tobytes())
        floats = (random.standard_normal(size) * 10.0 ** random.integers(-20, 12, size)).astype(np.float32)
        digest.update(f"{arrays.find_largest(values)} {arrays.sum_squares(floats).hex()}".encode())
        floats = random.uniform(-4, 4, size).astype(np.float32)
        for factor in (2.0**53, 1e15 / 3, 0.5):
            rounded = np.empty(size, np.int32)
            arrays.round_up_by_coins(rounded, floats, random.integers(0, 2**32, size, np.uint32), factor)
            digest.update(rounded.tobytes())
        model = random.integers(-(2**39), 2**39, size)
        digest.update(arrays.merge(model, values, 2**30 + 12345, 24).tobytes())
        whole = size // 32 * 32
        signs = random.integers(0, 256, (3, whole // 8), np.uint8)
        digest.update(arrays.sum_signed(model[:whole], signs).tobytes())
        digest.update(arrays.sum_products(words, random.integers(0, 2**32, (3, size), np.uint32)).tobytes())
    sys.stdout.write(digest.hexdigest())


if __name__ == "__main__":
    main()
