"""A wrong clock is told from the others' blocks, once, and not for one odd block."""

from __future__ import annotations

from fednode.node.clock_check import AGREEING_BLOCKS, ClockCheck

DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS


def test_right_clock_is_not_mentioned() -> None:
    check = ClockCheck()
    for offset_ms in (0, -4_000, 4_900, -60_000, 0):
        assert check.look(NOW_MS + offset_ms, NOW_MS) is None


def test_wrong_clock_is_told_once_with_its_direction() -> None:
    for offset_ms, word in ((DAY_MS, "behind"), (-DAY_MS, "ahead of"), (6_000, "behind")):
        check = ClockCheck()
        told = [check.look(NOW_MS + offset_ms, NOW_MS) for _ in range(10)]
        said = [text for text in told if text is not None]
        assert len(said) == 1 and told[AGREEING_BLOCKS - 1] == said[0]
        assert f"clock is {word} the other members' by some {abs(offset_ms) // 1000} s; set it" in said[0]


def test_one_block_that_waited_long_says_nothing() -> None:
    check = ClockCheck()
    for _ in range(5):
        assert check.look(NOW_MS - DAY_MS, NOW_MS) is None
        assert check.look(NOW_MS, NOW_MS) is None
