"""What a message would take is told from its headers: against a slow twin, and against what Python really takes."""

from __future__ import annotations

import random
import sys
import tracemalloc

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.codec import MAX_BUILT_BYTES, MAX_DEPTH, pack, unpack
from fednode.errors import Rejected
from fednode.kernels.library import FOREIGN, PROMISE, TOO_DEEP, scan


def slow(data: bytes, depth: int) -> int:
    """The same by recursion, item by item."""
    place, cost, pending = 0, 0, 1

    def item(level: int) -> int:
        nonlocal place, cost, pending
        if place >= len(data):
            return PROMISE
        first = data[place]
        place, pending = place + 1, pending - 1
        sizes = {0xC4: 1, 0xD9: 1, 0xC5: 2, 0xDA: 2, 0xC6: 4, 0xDB: 4, 0xDC: 2, 0xDD: 4}
        numbers = {0xCC: 1, 0xD0: 1, 0xCD: 2, 0xD1: 2, 0xCE: 4, 0xD2: 4, 0xCF: 8, 0xD3: 8}
        rest, length = len(data) - place, 0
        if first in sizes or first in numbers:
            width = sizes.get(first, 0) or numbers[first]
            if width > rest:
                return PROMISE
            length = int.from_bytes(data[place : place + width], "big") if first in sizes else 0
            place += width
        elif 0x90 <= first < 0xA0:
            length = first - 0x90
        elif 0xA0 <= first < 0xC0:
            length = first - 0xA0
        elif not (first < 0x80 or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3)):
            return FOREIGN
        is_array = 0x90 <= first < 0xA0 or first in (0xDC, 0xDD)
        if length + (pending if is_array else 0) > len(data) - place:
            return PROMISE
        cost += 64 + (8 if is_array else 1) * length
        if not is_array:
            place += length
            return 0
        if length and level == depth:
            return TOO_DEEP
        pending += length
        for _ in range(length):
            if (found := item(level + 1)) < 0:
                return found
        return 0

    found = item(0)
    return found if found < 0 else cost if place == len(data) else FOREIGN


HEADS = bytes.fromhex("00017f808f90919293a0a1a2c0c1c2c4c5cacccfd4d9dcdde0")
SHORT = st.lists(st.sampled_from(HEADS))
PROMISES = [b"\x92\xc0", b"\xdd\xff\xff\xff\xff\xc0", b"\xdb\xff\xff\xff\xff", b"\xc6\x00\x00", b"", b"\x92\x92\xc0"]
ITEMS = [b"\x91\x90", b"\xa2ab", b"\xcd\x12\x34", b"\xc4\x02ab", b"\x92\xc0\xc0", b"\xcf" + b"\xff" * 8]


@given(SHORT.map(bytes) | st.binary(max_size=80), st.integers(0, 6))
def test_all_bytes_are_judged_as_the_slow_twin_does(data: bytes, depth: int) -> None:
    assert scan(data, depth) == slow(data, depth)
    assert scan(memoryview(b"x" + data)[1:], depth) == slow(data, depth)


def test_refusals_have_their_reasons() -> None:
    with pytest.raises(Rejected, match="inside each other"):
        unpack(b"\x91" * (MAX_DEPTH + 1) + b"\xc0", 100)
    assert unpack(b"\x91" * MAX_DEPTH + b"\xc0", 100) is not None
    assert unpack(b"\x91" * MAX_DEPTH + b"\x90", 100) is not None
    for promise in PROMISES:
        with pytest.raises(Rejected, match="promises"):
            unpack(promise, 100)
    for foreign in (b"\x80", b"\xca\x00\x00\x00\x00", b"\xd4\x00\x00", b"\xc1", b"\xc0\xc0"):
        with pytest.raises(Rejected, match="kind of value"):
            unpack(foreign, 100)


def test_headers_inside_each_other_build_nothing() -> None:
    """400 of them that promise 1.5 million items each: versions of msgpack before 1.2.4 take 5 GB for it."""
    total, depth = 1_500_000, 400
    data = (b"\xdd" + (total - 1).to_bytes(4, "big")) * depth
    data += b"\xc0" * (total - len(data))
    tracemalloc.start()
    try:
        with pytest.raises(Rejected):
            unpack(data, len(data))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("item", ITEMS)
def test_what_is_built_takes_no_more_than_was_told(item: bytes) -> None:
    data = b"\xdc\x4e\x20" + item * 20_000
    tracemalloc.start()
    try:
        value = msgpack.unpackb(data, use_list=False)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(value) == 20_000
    assert taken <= scan(data, 16)


def test_two_megabytes_of_the_shortest_items_are_refused_before_they_are_built() -> None:
    data = b"\xdd" + (1_000_000).to_bytes(4, "big") + b"\x91\x90" * 1_000_000
    assert scan(data, 16) > MAX_BUILT_BYTES + 2 * len(data)
    with pytest.raises(Rejected, match="small items"):
        unpack(data, len(data))


def test_what_the_project_packs_is_measured() -> None:
    drawn = random.Random(1)
    for _ in range(200):
        items = [(), (1, b"x" * drawn.randrange(70_000)), "ä" * drawn.randrange(300), -(2**63), 2**64 - 1, None]
        value = tuple(drawn.choices(items, k=drawn.randrange(40)))
        assert sys.getsizeof(value) < scan(pack(value), MAX_DEPTH) + 64
