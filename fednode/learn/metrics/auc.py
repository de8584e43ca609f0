"""The area under the ROC curve of two classes, over all hospitals together.

Each hospital says where the log-odds of its positives and of its negatives lie, each as shares of `SCORE_BINS` bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.sums.measures import Claims, Plan, Split, Tally, blur, divide, join

SCORE_BINS = 32
SCORES = Split(12, SCORE_BINS)

SCORE_LIMIT = 8.0
"""Log-odds are binned evenly over [-8, 8): probabilities of confident models crowd at 0 and 1, log-odds do not."""

PPM = 1_000_000


class Auc:
    """Area under the ROC curve."""

    def plan(self, classes: int) -> Plan:
        """Return the bins of positives and of negatives."""
        return (SCORES, SCORES) if classes == 2 else ()

    def claim(
        self, logits: NDArray[np.float64], labels: NDArray[np.int64], entropy: Entropy | None
    ) -> Claims:
        """Return the shares of this hospital's positives and negatives in each bin."""
        return join([divide(SCORES.unit, blur(counts, entropy)) for counts in count_bins(logits, labels)])

    def value_ppm(self, sums: Sequence[Tally]) -> int | None:
        """Return the area under the summed shares."""
        positives, negatives = sums
        return area_ppm(positives.parts, negatives.parts)

    def span_ppm(self, voices: int, liars: int) -> int:
        """Return by how much liars can have moved it: each pair of voices with one of theirs counts as they like."""
        left = max(voices - liars, 0)
        return PPM if not left else -(-PPM * (voices**2 - left**2) // voices**2)


def count_bins(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many positives and how many negatives have log-odds in each bin, int64 (SCORE_BINS,) each."""
    odds = logits[:, 1] - logits[:, 0]
    places = (odds + SCORE_LIMIT) * (SCORE_BINS / (2 * SCORE_LIMIT))
    bins = np.clip(places, 0, SCORE_BINS - 1).astype(np.int64)
    positives = np.bincount(bins[labels == 1], minlength=SCORE_BINS)
    return positives, np.bincount(bins[labels == 0], minlength=SCORE_BINS)


def area_ppm(positives: Sequence[int], negatives: Sequence[int]) -> int | None:
    """Return the area under the ROC curve in 10^-6 (Mann-Whitney, ties in a bin count half), None without a class."""
    total = sum(positives) * sum(negatives)
    if total == 0:
        return None
    below = wins_twice = 0
    for positive, negative in zip(positives, negatives, strict=True):
        wins_twice += positive * (2 * below + negative)
        below += negative
    return PPM * wins_twice // (2 * total)
