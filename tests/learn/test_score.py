from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.learn.score import area_under_curve, score


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores, truth = np.array([s for s, _ in pairs], float), np.array([t for _, t in pairs], bool)
    high, low = scores[truth], scores[~truth]
    found = area_under_curve(scores, truth)
    if not len(high) or not len(low):
        assert found is None
    else:
        wins = (high[:, None] > low).sum() + (high[:, None] == low).sum() / 2
        assert found == pytest.approx(wins / (len(high) * len(low)))


def test_two_classes_give_sensitivity_specificity_and_calibration_of_the_second() -> None:
    second = np.array([0.9, 0.8, 0.4, 0.3, 0.2, 0.6, np.nan, 0.7], np.float32)
    labels = np.array([1, 1, 1, 0, 0, 0, 1, -1])
    found = score(np.stack([1 - second, second], axis=1), labels)
    assert (found.rows, found.correct, found.unlabelled, found.unpredicted) == (6, 4, 1, 1)
    assert found.confusion == ((2, 1), (1, 2))
    one = found.classes[1]
    assert (one.sensitivity, one.specificity, one.auc) == pytest.approx((2 / 3, 2 / 3, 8 / 9))
    assert sum(part.rows for part in found.calibration) == 6
    assert found.calibration[-1].observed == 1.0
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.36 + 0.09 + 0.04 + 0.36) / 6, abs=1e-6)


def test_more_classes_are_measured_one_against_the_rest() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]], np.float32)
    found = score(shares, np.array([0, 1, 2]))
    assert found.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 0))
    assert [one.sensitivity for one in found.classes] == [1.0, 1.0, 0.0]
    assert found.classes[1].specificity == 0.5


def test_no_row_gives_no_figure() -> None:
    found = score(np.full((2, 2), np.nan, np.float32), np.array([0, 1]))
    assert (found.rows, found.brier, found.classes[0].auc, found.calibration) == (0, None, None, ())
