"""Timers: one heap, each key once, a restart replaces."""

from __future__ import annotations

from collections.abc import Hashable

import trio
import trio.testing

from fednode.node import timers as module
from fednode.node.timers import Timers


def run(script: list[tuple[float, str, int]], until: float) -> list[tuple[float, Hashable]]:
    """Start (at, key, delay) timers on a clock that jumps; return what fired when."""
    fired: list[tuple[float, Hashable]] = []

    async def main() -> None:
        timers = Timers(lambda key: fired.append((round(trio.current_time() - begin, 3), key)))
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.run)
            for at, key, delay_ms in script:
                await trio.sleep_until(begin + at)
                timers.start(key, delay_ms)
            await trio.sleep_until(begin + until)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return fired


def test_fires_once_in_order() -> None:
    assert run([(0, "b", 200), (0, "a", 100), (0, "c", 300)], 1) == [(0.1, "a"), (0.2, "b"), (0.3, "c")]


def test_restart_replaces_earlier_and_later() -> None:
    assert run([(0, "a", 500), (0.1, "a", 100)], 1) == [(0.2, "a")]
    assert run([(0, "a", 100), (0.05, "a", 500)], 1) == [(0.55, "a")]


def test_no_delay_fires_at_once() -> None:
    assert run([(0.5, "a", 0)], 1) == [(0.5, "a")]


def test_replaced_timers_do_not_pile_up() -> None:
    """A study with day-long deadlines starts one after the other, each replacing the last."""
    timers = Timers(lambda key: None)
    size = []

    async def main() -> None:
        for _ in range(5_000):
            timers.start("phase", 86_400_000)
            size.append(len(timers._heap))

    trio.run(main, clock=trio.testing.MockClock())
    assert max(size) < 100


def test_too_many_different_ones_forget_those_furthest_away() -> None:
    fired: list[Hashable] = []

    async def main() -> None:
        timers = Timers(fired.append)
        for number in range(module.MAX_TIMERS + 500):
            timers.start(number, 86_400_000 + number)
        timers.start("soon", 10)
        assert len(timers._heap) <= module.MAX_TIMERS + 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timers.run)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert fired == ["soon"]
