"""All timers of a daemon: one heap and one task instead of a task per timer."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

import trio

MAX_TIMERS = 100_000
"""A busy node has a few dozen; quick rounds with deadlines of hours leave one behind for every phase of the past."""

MIN_HEAP = 64


Key = TypeVar("Key", bound=Hashable)


class Timers(Generic[Key]):
    """Calls `fire(key)` once, a while after `start(key, delay)`. Starting a key again replaces its timer."""

    def __init__(self, fire: Callable[[Key], None]) -> None:
        self._fire = fire
        self._heap: list[tuple[float, int, Key]] = []
        self._due: dict[Key, int] = {}
        self._serial = count()
        self._changed = trio.Event()

    def start(self, key: Key, delay_ms: int) -> None:
        """Fire `key` after `delay_ms`; an earlier timer of the same key will not fire."""
        serial = next(self._serial)
        self._due[key] = serial
        heapq.heappush(self._heap, (trio.current_time() + delay_ms / 1000, serial, key))
        if len(self._heap) > max(MIN_HEAP, min(MAX_TIMERS, 2 * len(self._due))):
            self._tidy()
        if self._heap and self._heap[0][1] == serial:
            self._changed.set()

    def _tidy(self) -> None:
        """Drop what was replaced; if there is still too much, forget what is furthest away."""
        alive = [entry for entry in self._heap if self._due.get(entry[2]) == entry[1]]
        if len(alive) > MAX_TIMERS:
            alive = heapq.nsmallest(MAX_TIMERS // 2, alive)
            self._due = {key: serial for _, serial, key in alive}
        heapq.heapify(alive)
        self._heap = alive

    async def run(self) -> None:
        """Fire timers until cancelled."""
        while True:
            self._changed = trio.Event()
            deadline = self._heap[0][0] if self._heap else float("inf")
            with trio.move_on_at(deadline):
                await self._changed.wait()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, serial, key = heapq.heappop(self._heap)
                if self._due.get(key) == serial:
                    del self._due[key]
                    self._fire(key)
