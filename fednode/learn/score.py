"""How good predictions are on rows whose class is known: discrimination, the confusion table and calibration.

Sensitivity and specificity are those of the class with the largest probability; the area under the curve is the
Mann-Whitney statistic with ties counted half (Hanley and McNeil 1982); calibration in ten bins of equal width, and the
Brier score, as in Steyerberg et al. 2010 (Epidemiology 21:128).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows predicted between `low` and `high`: how many, the mean prediction, and the share in which it came true."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class against the rest. None where no row allows the figure."""

    sensitivity: float | None
    specificity: float | None
    auc: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """Figures over the rows that have a label and a prediction.

    `confusion[true][predicted]` counts rows; `classes` has one entry a class. `calibration` is that of the second class
    of two, and of the largest probability where there are more; `brier` is the mean squared distance of that.
    """

    rows: int
    correct: int
    unlabelled: int
    unpredicted: int
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassScore, ...]
    calibration: tuple[CalibrationBin, ...]
    brier: float | None


def score(shares: NDArray[np.float32], labels: NDArray[np.int64]) -> Score:
    """Compare probabilities (n, classes), NaN where there is none, with labels (n,), -1 where unknown."""
    is_predicted, is_labelled = ~np.isnan(shares).any(axis=1), labels >= 0
    used = is_predicted & is_labelled
    chances, truth, classes = shares[used].astype(np.float64), labels[used], shares.shape[1]
    chosen = chances.argmax(axis=1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, chosen), 1)
    if classes == 2:
        forecast, came_true = chances[:, 1], truth == 1
    else:
        forecast, came_true = chances.max(axis=1, initial=0.0), truth == chosen
    return Score(
        len(truth), int(np.trace(confusion)), int((~is_labelled).sum()), int((is_labelled & ~is_predicted).sum()),
        tuple(tuple(row) for row in confusion.tolist()),
        tuple(_one_against_rest(chances[:, index], truth == index, chosen == index) for index in range(classes)),
        _calibration(forecast, came_true),
        float(np.square(forecast - came_true).mean()) if len(truth) else None,
    )


def _one_against_rest(
    chances: NDArray[np.float64], is_true: NDArray[np.bool_], is_chosen: NDArray[np.bool_]
) -> ClassScore:
    return ClassScore(
        float(is_chosen[is_true].mean()) if is_true.any() else None,
        float((~is_chosen[~is_true]).mean()) if (~is_true).any() else None,
        area_under_curve(chances, is_true),
    )


def area_under_curve(scores: NDArray[np.float64], is_positive: NDArray[np.bool_]) -> float | None:
    """Return the share of pairs (positive, negative) that the scores order rightly; None without both classes."""
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    wins = mean_rank[places][is_positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def _calibration(forecast: NDArray[np.float64], came_true: NDArray[np.bool_]) -> tuple[CalibrationBin, ...]:
    places = np.minimum((forecast * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    found = []
    for place in range(CALIBRATION_BINS):
        is_in = places == place
        if is_in.any():
            low, high = place / CALIBRATION_BINS, (place + 1) / CALIBRATION_BINS
            predicted, observed = float(forecast[is_in].mean()), float(came_true[is_in].mean())
            found.append(CalibrationBin(low, high, int(is_in.sum()), predicted, observed))
    return tuple(found)
