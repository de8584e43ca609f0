"""Memory of received blobs: who may write it next, and how much of it waits for how long."""

from __future__ import annotations

import gc
import mmap
import random
import threading

import numpy as np
import pytest

from fednode.p2p import rooms as rooms_module
from fednode.p2p import wire_limits
from fednode.p2p.rooms import Lease, Room, Rooms

MIB = 1 << 20


def place(lease: Lease) -> int:
    return int(np.frombuffer(lease.view, np.uint8).ctypes.data)


def used(rooms: Rooms, size_bytes: int) -> Lease:
    lease = rooms.take(size_bytes)
    lease.prepare(size_bytes)
    return lease


def test_a_room_is_free_when_the_last_view_is_gone() -> None:
    rooms = Rooms()
    lease = used(rooms, 4 * MIB)
    first = place(lease)
    last = np.frombuffer(lease.view[10:20].toreadonly(), np.uint16)
    del lease
    assert rooms.idle_bytes == 0
    other = used(rooms, 4 * MIB)
    assert place(other) != first
    del last
    assert rooms.idle_bytes == 4 * MIB
    assert place(used(rooms, 4 * MIB - 5)) == first


@pytest.mark.parametrize(
    "use", [lambda view: view[5:], np.asarray, lambda view: np.frombuffer(view, np.uint32)[7:].view()]
)
def test_nothing_that_is_still_read_is_given_away(use: object) -> None:
    assert callable(use)
    rooms = Rooms()
    lease = used(rooms, MIB)
    lease.view[:] = b"a" * MIB
    held = use(lease.view)
    del lease
    others = [used(rooms, MIB) for _ in range(3)]
    for other in others:
        other.view[:] = b"b" * MIB
    assert set(bytes(held)) == set(b"a")
    assert rooms.idle_bytes == 0


def test_a_view_that_only_the_collector_can_free() -> None:
    rooms = Rooms()
    ring: list[object] = [used(rooms, MIB).view]
    ring.append(ring)
    del ring
    gc.collect()
    assert rooms.idle_bytes == MIB


def test_rooms_that_are_too_small_or_would_waste_memory_are_left() -> None:
    rooms = Rooms()
    small, fitting, large = used(rooms, 4 * MIB), used(rooms, 9 * MIB), used(rooms, 12 * MIB)
    places = [place(lease) for lease in (small, fitting, large)]
    del small, fitting, large
    lease = used(rooms, 8 * MIB)
    assert place(lease) == places[1]
    assert rooms.idle_bytes == 16 * MIB
    assert place(used(rooms, 8 * MIB)) not in places


def test_what_waits_is_bounded_in_bytes_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_limits, "MAX_IDLE_ROOM_BYTES", 3 * MIB)
    rooms = Rooms()
    leases = [used(rooms, MIB) for _ in range(5)]
    leases.clear()
    assert rooms.idle_bytes == 3 * MIB
    rooms.expire(100.0)
    lease = used(rooms, MIB)
    rooms.expire(100.0 + wire_limits.ROOM_KEPT_S / 2)
    del lease
    rooms.expire(99.9 + wire_limits.ROOM_KEPT_S)
    assert rooms.idle_bytes == 3 * MIB
    rooms.expire(100.0 + wire_limits.ROOM_KEPT_S)
    assert rooms.idle_bytes == MIB, "the one that was used in between waits from then on"
    rooms.expire(99.9 + 2 * wire_limits.ROOM_KEPT_S)
    assert rooms.idle_bytes == 0


def test_only_memory_that_was_made_ready_counts() -> None:
    rooms = Rooms()
    lease = rooms.take(40 * MIB)
    lease.prepare(5 * MIB)
    del lease
    assert rooms.idle_bytes == 5 * MIB
    rooms.take(6 * MIB).prepare(6 * MIB)
    assert rooms.idle_bytes == 6 * MIB, "it is the same room"


def test_a_room_that_is_trimmed_holds_what_is_in_use() -> None:
    rooms = Rooms()
    lease = used(rooms, 12 * MIB)
    lease.view[:] = b"a" * (12 * MIB)
    lease.trim(5_000)
    assert bytes(lease.view[:5_000]) == b"a" * 5_000
    assert bytes(lease.view[8 * MIB : 8 * MIB + 9]) == bytes(9), "it is not there any more"
    del lease
    assert rooms.idle_bytes == 5_000 + -5_000 % mmap.PAGESIZE
    lease = used(rooms, 12 * MIB)
    lease.trim(12 * MIB)
    lease.view[-1] = 7
    del lease
    assert rooms.idle_bytes == 12 * MIB


def test_threads_drop_what_the_loop_takes() -> None:
    rooms = Rooms()
    draw = random.Random(3)
    broken: list[int] = []

    def read(view: memoryview, mark: int) -> None:
        if set(bytes(view)) != {mark}:
            broken.append(mark)

    for number in range(60):
        threads = []
        for mark in range(1, 4):
            lease = used(rooms, MIB + draw.randrange(1000))
            lease.view[:] = bytes([mark + number]) * len(lease.view)
            threads.append(threading.Thread(target=read, args=(lease.view[:10_000], mark + number)))
            del lease
            threads[-1].start()
        rooms.expire(float(number))
        for thread in threads:
            thread.join()
    threads.clear()
    del thread
    assert not broken
    rooms.expire(100.0)
    rooms.expire(100.0 + wire_limits.ROOM_KEPT_S)
    assert rooms.idle_bytes == 0


@pytest.mark.parametrize(("costs_ns", "is_large"), [((1_000, 9_000), True), ((9_000, 1_000), False)])
def test_pages_of_both_sizes_are_tried_and_the_cheaper_ones_used(
    monkeypatch: pytest.MonkeyPatch, costs_ns: tuple[int, int], is_large: bool
) -> None:
    class Pages:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def madvise(self, advice: int, start: int, size_bytes: int) -> None:
            self.asked.append(advice)

    block_bytes = 1 << 22
    room, pages = Room(8 * block_bytes), Pages()
    room.pages = pages  # type: ignore[assignment]
    now = iter([0, costs_ns[0], 0, costs_ns[1], 0, 0, 0, 0])
    monkeypatch.setattr(rooms_module, "thread_time_ns", lambda: 1024 * next(now))
    for number in range(3):
        room.prepare((number + 1) * block_bytes)
    assert pages.asked.count(mmap.MADV_HUGEPAGE) == (2 if is_large else 1)
    assert len(pages.asked) - pages.asked.count(mmap.MADV_HUGEPAGE) == 3
    room.prepare(2 * block_bytes)
    assert len(pages.asked) == 3 + pages.asked.count(mmap.MADV_HUGEPAGE), "they are there already"
