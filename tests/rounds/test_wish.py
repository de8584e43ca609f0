"""A hospital's own word that training is done, from its own held-out rows alone."""

from __future__ import annotations

import numpy as np
import pytest

from fednode.learn.measures import LOSS, RIGHT
from fednode.learn.study import StopRule
from fednode.rounds.votes import Wish
from fednode.sums.measures import CLAIM


def claims(right: float, loss: float) -> np.ndarray:
    share, lost = round(right * RIGHT.unit), round(loss * LOSS.unit)
    return np.array([share, RIGHT.unit - share, lost, LOSS.unit - lost], CLAIM)


@pytest.mark.parametrize(("target", "right", "wants"), [(9000, 0.9, True), (9000, 0.89, False), (0, 1.0, False)])
def test_it_wishes_to_stop_at_the_target(target: int, right: float, wants: bool) -> None:
    wish = Wish(StopRule(target, 0))
    wish.note(b"one", claims(right, 0.1))
    assert wish.wants_stop is wants


def test_it_wishes_to_stop_after_rounds_without_a_lower_loss_and_changes_its_mind() -> None:
    wish, said = Wish(StopRule(0, 2)), []
    for model, loss in enumerate((0.5, 0.4, 0.4, 0.41, 0.3, 0.3, 0.3)):
        wish.note(b"%d" % model, claims(0.5, loss))
        said.append(wish.wants_stop)
    assert said == [False, False, False, True, False, False, True]


def test_a_round_that_is_tried_again_is_no_round_without_progress() -> None:
    wish = Wish(StopRule(0, 1))
    for _ in range(3):
        wish.note(b"same", claims(0.5, 0.4))
        assert not wish.wants_stop


def test_a_hospital_without_held_out_rows_has_no_wish() -> None:
    wish = Wish(StopRule(1, 1))
    for model in (b"a", b"b", b"c"):
        wish.note(model, np.zeros(4, CLAIM))
        assert not wish.wants_stop
