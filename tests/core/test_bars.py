"""Who is kept away after a machine broke: never more than can be at fault, and nobody for good."""

from __future__ import annotations

import pytest

from fednode.core.bars import MAX_PAUSE_S, Bars
from fednode.fence import Stumbled
from fednode.ids import MemberId, fault_bound


@pytest.mark.parametrize("count", [1, 3, 4, 7, 10])
def test_no_more_than_can_be_at_fault_are_kept_away(count: int) -> None:
    bars = Bars()
    most = max(1, fault_bound(count))
    for sender in range(1, most + 1):
        assert f"member {sender}; it is kept away" in bars.add(Stumbled(sender, f"frame of member {sender}"), count)
        assert MemberId(sender) in bars and not bars.pause_s
    assert sorted(bars) == list(range(1, most + 1))
    assert "none is kept away" in bars.add(Stumbled(most + 1, "frame"), count)
    assert (len(bars), bars.pause_s) == (0, 1)


def test_each_forgiving_is_followed_by_a_longer_pause_up_to_a_bound() -> None:
    bars, pauses = Bars(), []
    for _ in range(9):
        bars.add(Stumbled(1, "frame"), 4)
        assert not bars.pause_s, "the first is kept away at once"
        bars.add(Stumbled(2, "frame"), 4)
        pauses.append(bars.pause_s)
    assert pauses == [1, 2, 4, 8, 16, 32, *3 * [MAX_PAUSE_S]]
