"""Signed sums against Python integers, at sizes around words and blocks and at the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.kernels.arrays import BUCKETS, SignRoom, find_largest, sum_products, sum_signed

SIZES = [0, 1, 15, 16, 31, 32, 33, 4095, 4096, 4097, 8192, 12289]
EXTREMES = [-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 1]


def draw_values(random: np.random.Generator, size: int) -> np.ndarray:
    values = random.integers(-(2**31), 2**31, size).astype(np.int32)
    places = random.random(size) < 0.3
    values[places] = random.choice(np.array(EXTREMES, np.int32), int(places.sum()))
    return values


def slow_sign(signs: bytes, at: int) -> int:
    return 1 if signs[at // 8] >> (at % 8) & 1 else -1


def centre(value: int, bits: int) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def make_room(random: np.random.Generator, rows: int, blocks: int) -> SignRoom:
    room = SignRoom(rows, blocks * BUCKETS)
    for row in room.signs:
        row[:] = random.bytes(len(row))
    room.shifts[:] = random.choice([0, 1, 31, 32, 4095, int(random.integers(BUCKETS))], room.shifts.shape)
    return room


def check_fold(size: int, seed: int, kind: type, rows: int = 3) -> None:
    random = np.random.default_rng(seed)
    room = make_room(random, rows, 4)
    values = draw_values(random, size)
    sums = random.integers(-(2**31), 2**31, (rows, 2 * BUCKETS)).astype(kind)
    expected = [row.tolist() for row in sums]
    for row in range(rows):
        for at, value in enumerate(values.tolist()):
            place = int(room.shifts[row, at // BUCKETS]) + at % BUCKETS
            expected[row][place] += slow_sign(bytes(room.signs[row]), at) * value
    room.fold(sums, values)
    bits = 8 * sums.itemsize
    assert sums.tolist() == [[centre(value, bits) for value in row] for row in expected]


@pytest.mark.parametrize("kind", [np.int32, np.int64])
@pytest.mark.parametrize("size", [0, 1, 33, 4097])
def test_a_fold_adds_every_value_under_its_sign_at_its_place(size: int, kind: type) -> None:
    check_fold(size, size, kind)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.sampled_from(SIZES), st.integers(0, 2**32), st.sampled_from([np.int32, np.int64]), st.sampled_from([1, 4, 8, 12])
)
def test_folds_of_any_size_in_any_number_of_rows(size: int, seed: int, kind: type, rows: int) -> None:
    check_fold(size, seed, kind, rows)


@pytest.mark.parametrize("value", EXTREMES)
def test_folds_of_one_value_only(value: int) -> None:
    room = make_room(np.random.default_rng(1), 2, 1)
    for kind in (np.int32, np.int64):
        sums = np.zeros((2, 2 * BUCKETS), kind)
        room.fold(sums, np.full(BUCKETS, value, np.int32))
        for row in range(2):
            shift, signs = int(room.shifts[row, 0]), bytes(room.signs[row])
            signed = [centre(slow_sign(signs, at) * value, 8 * sums.itemsize) for at in range(BUCKETS)]
            assert sums[row].tolist() == [0] * shift + signed + [0] * (BUCKETS - shift)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32))
def test_signed_sums_are_those_of_integers(words: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.choice([-(2**63), -1, 0, 1, 2**63 - 1, int(random.integers(2**62))], 32 * words).astype(np.int64)
    signs = random.integers(0, 256, (rows, 4 * words), np.uint8)
    slow = [
        centre(sum(slow_sign(row.tobytes(), at) * value for at, value in enumerate(values.tolist())), 64)
        for row in signs
    ]
    assert sum_signed(values, signs).tolist() == slow


@given(st.integers(0, 70), st.integers(0, 5), st.integers(0, 2**32))
def test_products_are_summed_modulo_2_32(size: int, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values, words = (random.integers(0, 2**32, shape, np.uint32) for shape in (size, (rows, size)))
    values[: size // 2] = 2**32 - 1
    slow = [sum(a * b for a, b in zip(row, values.tolist(), strict=True)) % 2**32 for row in words.tolist()]
    assert sum_products(values, words).tolist() == slow


def test_what_lies_apart_or_unaligned_is_copied() -> None:
    room = make_room(np.random.default_rng(2), 1, 1)
    values = np.arange(-50, 50, dtype=np.int32)
    shifted = np.frombuffer(b"\x00" + values.tobytes(), np.int32, 100, 1)
    spread = np.repeat(values, 2)[::2]
    sums = []
    for same in (values, shifted, spread):
        sums.append(np.zeros((1, 2 * BUCKETS), np.int32))
        room.fold(sums[-1], same)
        assert find_largest(same) == 50
    assert (sums[0] == sums[1]).all() and (sums[0] == sums[2]).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    room = SignRoom(2, BUCKETS)
    sums, values = np.zeros((2, 2 * BUCKETS), np.int32), np.zeros(BUCKETS, np.int32)
    for wrong in ((sums[:1], values), (sums, np.zeros(BUCKETS + 1, np.int32)), (sums, values.reshape(2, -1)),
                  (sums.astype(np.float64), values), (sums, values.astype(np.int64))):
        with pytest.raises(ValueError, match="."):
            room.fold(*wrong)
    room.shifts[1, 0] = BUCKETS
    with pytest.raises(ValueError, match="below 4096"):
        room.fold(sums, values)
    with pytest.raises(ValueError, match="whole blocks"):
        SignRoom(1, 100)
    with pytest.raises(ValueError, match="words of 32"):
        sum_signed(np.zeros(33, np.int64), np.zeros((1, 4), np.uint8))
    with pytest.raises(ValueError, match="as long"):
        sum_products(np.zeros(3, np.uint32), np.zeros((1, 4), np.uint32))
