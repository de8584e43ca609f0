"""A metric added from outside the package, in this file alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.desk.views import metrics_view
from fednode.learn import metrics
from fednode.learn.form import parse_study
from fednode.sums.measures import Claims, Plan, Split, Tally, blur, divide, join
from tests.adding.federation import Federation, write_points
from tests.rounds.training import study_text

CAUGHT = Split(12, 2)


class Sensitivity:
    """The share of positives that are found, mean over hospitals."""

    def plan(self, classes: int) -> Plan:
        return (CAUGHT,) if classes == 2 else ()

    def claim(self, logits: NDArray[np.float64], labels: NDArray[np.int64], entropy: Entropy | None) -> Claims:
        is_found = logits.argmax(axis=1)[labels == 1] == 1
        return join([divide(CAUGHT.unit, blur(np.array([is_found.sum(), (~is_found).sum()]), entropy))])

    def value_ppm(self, sums: Sequence[Tally]) -> int | None:
        return 1_000_000 * sums[0].parts[0] // (sums[0].voices * CAUGHT.unit)

    def span_ppm(self, voices: int, liars: int) -> int:
        return -(-1_000_000 * liars // voices)


@pytest.mark.slow
def test_a_new_metric_is_summed_and_stands_on_the_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(metrics.METRICS, "sensitivity", Sensitivity())
    spec = replace(parse_study(study_text(2)), metrics=("sensitivity", "auc"))
    federation = Federation(spec, write_points(tmp_path), tmp_path).start().finish()
    measured = federation.reports()[-1].metrics
    assert measured is not None and [figure.name for figure in measured.figures] == ["sensitivity", "auc"]
    assert measured.figures[0].ppm > 700_000 and measured.figures[0].voices == 4
    view = metrics_view(measured, 1)
    assert isinstance(view, dict) and view["sensitivity_within"] == 0.25


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="metric 'sensitivity' is not known; known are auc"):
        replace(parse_study(study_text(1)), metrics=("sensitivity",))
