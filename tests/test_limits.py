"""Broken code is stopped by time and by memory, and the limits are gone afterwards."""

from __future__ import annotations

import resource
import time

import pytest

from fednode.fence import judge
from tests.limits import Limits, TimeIsUp, limited

SHORT = Limits(seconds=0.2, growth_bytes=256 << 20)
SMALL = Limits(seconds=20, growth_bytes=256 << 20)


def never_end() -> None:
    while True:
        pass


def take_all() -> None:
    taken = []
    while True:
        taken.append(bytearray(16 << 20))


def test_what_never_ends_is_ended_and_no_fence_takes_it_for_a_value() -> None:
    with pytest.raises(TimeIsUp, match="no end within"), limited(SHORT):
        judge("a value", never_end)


def test_who_catches_the_end_is_told_again() -> None:
    def insist() -> None:
        try:
            never_end()
        except TimeIsUp:
            never_end()

    with pytest.raises(TimeIsUp), limited(SHORT):
        insist()


def test_what_takes_all_memory_is_refused_it() -> None:
    with limited(SMALL), pytest.raises(MemoryError):
        take_all()


def test_nothing_of_the_limits_is_left_behind() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with limited(SHORT):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] != before[0]
    begin = time.process_time()
    while time.process_time() < begin + 2 * SHORT.seconds:
        pass
    assert resource.getrlimit(resource.RLIMIT_AS) == before
