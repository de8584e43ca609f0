"""The one virtual clock: simulated time is a heap of calls, and nothing reads a real clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class VirtualClock:
    """Calls in the order of their time; calls of one moment happen in the order they were asked for."""

    def __init__(self, now_ms: int = 0) -> None:
        self.now_ms = now_ms
        self._queue: list[tuple[int, int, Callable[..., object], tuple[object, ...]]] = []
        self._asked = 0

    @property
    def has_calls(self) -> bool:
        """Whether anything is still to happen."""
        return bool(self._queue)

    def after(self, delay_ms: int, call: Callable[..., object], *args: object) -> None:
        """Call later."""
        self._asked += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._asked, call, args))

    def step(self) -> None:
        """Let the next call happen, at its time."""
        self.now_ms, _, call, args = heapq.heappop(self._queue)
        call(*args)
