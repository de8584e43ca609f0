"""Memory for received blobs, used again for the next one as soon as nobody can read the last.

Security assumption: none of the peer; what it sends is looked at only after it was written, never what a room held
before. Rooms hold what came over the line (masked pieces, models), no keys, and are not cleared between two blobs.

The first touch of memory is dear: the kernel clears every page, and under a hypervisor that fetches it as well the
processor time is between a tenth and the whole of what decrypting the same bytes takes. A transfer after another does
without it.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from contextlib import suppress
from time import thread_time_ns

import numpy as np

from fednode.p2p import wire_limits

_MADV_POPULATE_WRITE = 23
"""Linux 5.14; Python does not name it."""


class Room:
    """Pages for one blob at a time, which cost nothing until they are about to be written.

    A `bytearray` would be filled with zeros first: 30 ms of the event loop for 100 MiB, and real memory for a blob
    that is only promised. Pages are fetched many at a time, which takes a third of what the faults would. Large pages
    take half of that again on most machines, and twice as much where memory is fragmented: the first two blocks of a
    room try both, the others follow the cheaper one.
    """

    __slots__ = ("_costs_ns", "idle_since", "pages", "ready_bytes")

    def __init__(self, size_bytes: int) -> None:
        self.pages = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.ready_bytes = 0
        """How much of it is real memory, from the beginning on."""
        self.idle_since: float | None = None
        self._costs_ns: list[int] = []

    def prepare(self, stop: int) -> None:
        """Fetch the pages up to `stop` that are not there yet, if the system can; else each comes when written."""
        start = self.ready_bytes - self.ready_bytes % mmap.PAGESIZE
        if stop <= self.ready_bytes:
            return
        self.ready_bytes = stop
        has_tried_both, began_ns = len(self._costs_ns) == 2, thread_time_ns()
        with suppress(OSError, ValueError):
            if (self._costs_ns[0] < self._costs_ns[1]) if has_tried_both else not self._costs_ns:
                self.pages.madvise(mmap.MADV_HUGEPAGE, start, stop - start)
            self.pages.madvise(_MADV_POPULATE_WRITE, start, stop - start)
        if not has_tried_both:
            self._costs_ns.append((thread_time_ns() - began_ns) // (stop - start >> 12 or 1))

    def trim(self, stop: int) -> None:
        """Give the system back what lies behind `stop`, also what an earlier blob left there."""
        start = stop + -stop % mmap.PAGESIZE
        if start < len(self.pages):
            self.pages.madvise(mmap.MADV_DONTNEED, start)
        self.ready_bytes = min(self.ready_bytes, start)


class Lease:
    """A room for as long as anybody holds `view`, a part of it, or an array over one.

    The views are of an object made for this lease alone; when the last of them is gone, so is that object, and only
    then does the room go back.
    """

    __slots__ = ("_room", "view")

    def __init__(self, rooms: Rooms, room: Room, size_bytes: int) -> None:
        self._room = room
        owner = np.frombuffer(room.pages, np.uint8, size_bytes)
        weakref.finalize(owner, rooms.give_back, room).atexit = False
        self.view = owner.data

    def prepare(self, stop: int) -> None:
        """Make the memory up to `stop` ready to be written."""
        self._room.prepare(stop)

    def trim(self, stop: int) -> None:
        """Hold no memory behind `stop` until it is made ready again."""
        self._room.trim(stop)


class Rooms:
    """The rooms that wait for their next blob: so much memory, and so long, at most.

    `take` and `expire` are for the event loop. A room comes back on whichever thread dropped its last view, also out of
    the garbage collector in the middle of the two others: hence a lock that its holder may take again, and steps in
    which a room more at the end of the list does no harm.
    """

    def __init__(self) -> None:
        self._idle: list[Room] = []
        self._idle_bytes = 0
        self._lock = threading.RLock()

    @property
    def idle_bytes(self) -> int:
        """Return how much memory waits here."""
        return self._idle_bytes

    def take(self, size_bytes: int) -> Lease:
        """Return memory of this size: the smallest room that does not waste more than a quarter of it, or a new one."""
        with self._lock:
            fitting = [
                (len(room.pages), index)
                for index, room in enumerate(self._idle)
                if size_bytes <= len(room.pages) and room.ready_bytes <= size_bytes + size_bytes // 4
            ]
            room = self._remove(min(fitting)[1]) if fitting else Room(-(-size_bytes // _STEP_BYTES) * _STEP_BYTES)
        room.idle_since = None
        return Lease(self, room, size_bytes)

    def _remove(self, index: int) -> Room:
        room = self._idle.pop(index)
        self._idle_bytes -= room.ready_bytes
        return room

    def give_back(self, room: Room) -> None:
        """Nobody can read the room any more."""
        with self._lock:
            if self._idle_bytes + room.ready_bytes <= wire_limits.MAX_IDLE_ROOM_BYTES:
                self._idle.append(room)
                self._idle_bytes += room.ready_bytes

    def expire(self, now: float) -> None:
        """Give the system back what was not needed for a while; `now` in seconds of any clock, always the same."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                room = self._idle[index]
                if room.idle_since is None:
                    room.idle_since = now
                elif room.idle_since + wire_limits.ROOM_KEPT_S <= now:
                    self._remove(index)


_STEP_BYTES = 2 * 1024 * 1024
"""Rooms are whole large pages: blobs of nearly the same size fit into each other's."""
