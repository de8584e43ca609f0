"""Sums of words against Python integers: every word, at sizes around the strips of the kernel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.kernels.arrays import MAX_ROWS, StreamRoom, sum_words

SIZES = st.one_of(st.integers(0, 70), st.sampled_from([2047, 2048, 2049, 4095, 4096, 4097, 5003]))
EXTREMES = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)


def draw_words(random: np.random.Generator, size: int) -> np.ndarray:
    """Words of which a third are extreme."""
    words = random.integers(0, 2**32, size, np.uint32)
    places = random.random(size) < 0.3
    words[places] = random.choice(EXTREMES, int(places.sum()))
    return words


@settings(max_examples=25)
@given(SIZES, st.integers(1, 7), st.integers(0, 127), st.integers(0, 2**32))
def test_streams_are_added_and_subtracted_as_integers(size: int, rows: int, signs: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    room = StreamRoom(7, 4 * size + 16)
    streams = [draw_words(random, size) for _ in range(rows)]
    for row, stream in zip(room.rows, streams, strict=False):
        row[: 4 * size] = stream.tobytes()
    values = draw_words(random, size)
    before = values.tolist()
    room.add_to(values, rows, signs % (1 << rows))
    for at, old in enumerate(before):
        mask = sum(int(stream[at]) * (-1 if signs >> row & 1 else 1) for row, stream in enumerate(streams))
        assert int(values[at]) == (old + mask) % 2**32


@settings(max_examples=40)
@given(SIZES, st.integers(1, 9), st.integers(0, 3), st.integers(0, 2**32))
def test_vectors_are_summed_as_integers_wherever_their_bytes_lie(size: int, rows: int, skip: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = [draw_words(random, size) for _ in range(rows)]
    buffers = [np.frombuffer(bytes(skip) + vector.tobytes(), np.uint8)[skip:] for vector in vectors]
    columns = zip(*(vector.tolist() for vector in vectors), strict=True)
    assert sum_words(buffers).tolist() == [sum(column) % 2**32 for column in columns]


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="room"):
        StreamRoom(MAX_ROWS + 1, 16)
    with pytest.raises(ValueError, match="room"):
        StreamRoom(1, 15)
    room = StreamRoom(2, 16)
    for values, used, signs in (
        (np.zeros(5, np.uint32), 1, 0), (np.zeros(4, np.uint32), 3, 0), (np.zeros(4, np.uint32), 2, 4),
        (np.zeros((2, 2), np.uint32), 1, 0), (np.zeros(8, np.uint32)[::2], 1, 0), (np.zeros(2, np.int64), 1, 0),
    ):
        with pytest.raises(ValueError, match="."):
            room.add_to(values, used, signs)
    sealed = np.zeros(4, np.uint32)
    sealed.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        room.add_to(sealed, 1, 0)
    eight, four = np.zeros(8, np.uint8), np.zeros(4, np.uint8)
    for buffers in ([], [eight, four], [eight[:6]], [eight.view(np.uint32)], [np.zeros((2, 4), np.uint8)]):
        with pytest.raises(ValueError, match="one length"):
            sum_words(buffers)
    with pytest.raises(ValueError, match="contiguous"):
        sum_words([np.zeros(16, np.uint8)[::2]])
