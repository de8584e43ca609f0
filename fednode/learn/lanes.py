"""Statistics and metrics as lanes of a secure sum: what else leaves a hospital, only summed.

Security assumption: only sums over at least three members are ever opened; a member can lie about its own
lanes, within the ranges checked when a sum is opened. Values are unsigned 64-bit integers, each carried as
eight 8-bit limbs in uint32 lanes: a sum over N < 2^24 members cannot wrap, and beside an update the lanes are short
(a proof that bounds the length of both together leaves little room for more); `decode_sum` puts them together again.

Statistics (round 0): rows, rows per class, then n, sum u, sum u^2 per feature, with u in units of 2^-16.
Metrics: rows, correct, loss, then, for two classes, 64-bin histograms of the log-odds of positives and
negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fednode.codec import U64, Size
from fednode.errors import DataError, Rejected
from fednode.learn.schema import Rows, Scaling
from fednode.learn.spec import MAX_CLASSES, UNIT, UNIT_BITS, StudySpec, feature_count, label_of

LIMB_BITS = 8
LIMBS = 8
STATISTIC_BITS = 16
STATISTIC_UNIT = 1 << STATISTIC_BITS
LOSS_UNIT = 1 << 16
MAX_ROW_LOSS = 64
"""Nats; one row's loss is capped here so that a sum of losses has a bound."""

SCORE_BINS = 64
SCORE_LIMIT = 8.0
"""Log-odds are binned evenly over [-8, 8): probabilities of confident models crowd at 0 and 1, log-odds do not."""

MAX_ROWS = 1 << 24
"""Rows one member may count; 256 members' sums of squares then stay below 2^64 (2^24 * 2^32 * 2^8)."""

DEVIATION_FLOOR_Q24 = UNIT >> 10
"""A deviation below 1/1024 of a feature's range is treated as that: constant features stay near zero."""

PERMYRIAD = 10_000
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Metrics:
    """Federation-wide figures of one model; integers only, because they are on the ledger.

    `loss_q16` is the *sum* of losses in 2^-16 nats; the histograms are empty for more than two classes.
    """

    rows: U64
    correct: U64
    loss_q16: U64
    positives: Annotated[tuple[U64, ...], Size(0, SCORE_BINS)]
    negatives: Annotated[tuple[U64, ...], Size(0, SCORE_BINS)]

    @property
    def accuracy_permyriad(self) -> int:
        """Share of correct rows in 1/10000, rounded down; 0 without rows."""
        return PERMYRIAD * self.correct // self.rows if self.rows else 0

    @property
    def mean_loss_ppm(self) -> int:
        """Mean loss in 10^-6 nats, rounded down; 0 without rows."""
        return PPM * self.loss_q16 // (LOSS_UNIT * self.rows) if self.rows else 0

    @property
    def auc_ppm(self) -> int | None:
        """Area under the ROC curve in 10^-6 (Mann-Whitney, ties in a bin count half).

        None for more than two classes, or if one does not occur.
        """
        total = sum(self.positives) * sum(self.negatives)
        if total == 0:
            return None
        below = wins_twice = 0
        for positive, negative in zip(self.positives, self.negatives, strict=True):
            wins_twice += positive * (2 * below + negative)
            below += negative
        return PPM * wins_twice // (2 * total)


@dataclass(frozen=True, slots=True)
class Statistics:
    """The opened sums of round 0: rows, rows per class, and (n, sum u, sum u^2) per feature."""

    rows: U64
    class_rows: Annotated[tuple[U64, ...], Size(2, MAX_CLASSES)]
    features: tuple[tuple[U64, U64, U64], ...]


def statistics_lane_count(spec: StudySpec) -> int:
    """Return how many uint32 lanes round 0 takes."""
    return LIMBS * (1 + len(label_of(spec).levels) + 3 * feature_count(spec))


def metric_lane_count(spec: StudySpec) -> int:
    """Return how many uint32 lanes the metrics take."""
    return LIMBS * (3 + (2 * SCORE_BINS if len(label_of(spec).levels) == 2 else 0))


# --- limbs --------------------------------------------------------------------------------------------------

def encode_limbs(values: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Split uint64 values (n,) into uint32 lanes (8 n,), least significant limb first, each below 2^8."""
    shifts = np.arange(0, 64, LIMB_BITS, dtype=np.uint64)
    limbs = (values[:, None] >> shifts) & np.uint64((1 << LIMB_BITS) - 1)
    return limbs.astype(np.uint32).reshape(-1)


def decode_sum(lanes: NDArray[np.uint32], members: int) -> list[int]:
    """Put summed lanes together; raise `Rejected` if a lane or value is beyond what `members` honest ones can give."""
    if len(lanes) % LIMBS:
        raise Rejected(f"{len(lanes)} lanes are not a multiple of {LIMBS}")
    if lanes.size and int(lanes.max()) > members * ((1 << LIMB_BITS) - 1):
        raise Rejected("a lane is larger than the sum of its limbs can be")
    columns = lanes.reshape(-1, LIMBS).tolist()
    values = [sum(limb << (LIMB_BITS * k) for k, limb in enumerate(limbs)) for limbs in columns]
    if any(value >> 64 for value in values):
        raise Rejected("a summed value exceeds 64 bits")
    return values


# --- statistics ---------------------------------------------------------------------------------------------

def encode_statistics(spec: StudySpec, rows: Rows) -> NDArray[np.uint32]:
    """Return one member's round-0 lanes, shape (statistics_lane_count,), from its encoded rows."""
    if len(rows.labels) > MAX_ROWS:
        raise DataError(f"the file has {len(rows.labels)} rows, at most {MAX_ROWS} can be counted; split it")
    known = ~np.isnan(rows.features)
    scaled = np.rint(np.where(known, rows.features, 0.0) * STATISTIC_UNIT).astype(np.uint64)
    counts = known.sum(axis=0).astype(np.uint64)
    per_feature = np.stack([counts, scaled.sum(axis=0), (scaled * scaled).sum(axis=0)])
    classes = np.bincount(rows.labels, minlength=len(label_of(spec).levels)).astype(np.uint64)
    total = np.array([len(rows.labels)], np.uint64)
    return encode_limbs(np.concatenate([total, classes, per_feature.T.reshape(-1)]))


def decode_statistics(spec: StudySpec, lanes: NDArray[np.uint32], members: int) -> Statistics:
    """Read the opened sums of round 0; raise `Rejected` if they contradict each other (some member lied)."""
    if len(lanes) != statistics_lane_count(spec):
        raise Rejected(f"{len(lanes)} statistics lanes, {statistics_lane_count(spec)} expected")
    values = decode_sum(lanes, members)
    classes = len(label_of(spec).levels)
    rows, class_rows, rest = values[0], tuple(values[1 : 1 + classes]), values[1 + classes :]
    features = tuple((rest[i], rest[i + 1], rest[i + 2]) for i in range(0, len(rest), 3))
    if not 0 < rows <= members * MAX_ROWS or sum(class_rows) != rows:
        raise Rejected("rows and rows per class do not agree")
    for count, total, squares in features:
        is_ordered = count <= rows and total <= count * STATISTIC_UNIT and squares <= total * STATISTIC_UNIT
        if not is_ordered or count * squares < total * total:
            raise Rejected("count, sum and sum of squares of a feature contradict each other")
    return Statistics(rows, class_rows, features)


def scaling_from(statistics: Statistics) -> Scaling:
    """Return the global mean and deviation per feature, in exact integers, hence equal on every machine."""
    means: list[int] = []
    deviations: list[int] = []
    for count, total, squares in statistics.features:
        if count == 0:
            means.append(UNIT // 2)
            deviations.append(UNIT)
            continue
        means.append((total << (UNIT_BITS - STATISTIC_BITS)) // count)
        variance_n2 = count * squares - total * total  # n^2 times the variance, in units of 2^-32
        deviation = isqrt((variance_n2 << (2 * (UNIT_BITS - STATISTIC_BITS))) // (count * count))
        deviations.append(min(UNIT, max(deviation, DEVIATION_FLOOR_Q24)))
    return Scaling(tuple(means), tuple(deviations))


# --- metrics ------------------------------------------------------------------------------------------------

def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Metrics:
    """Measure finite model outputs (n, classes) against labels (n,) in [0, classes)."""
    top = logits.max(axis=1, keepdims=True)
    log_norm = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    losses = np.clip(log_norm - logits[np.arange(len(labels)), labels], 0.0, MAX_ROW_LOSS)
    correct = int((logits.argmax(axis=1) == labels).sum())
    loss_q16 = int(np.rint(losses * LOSS_UNIT).astype(np.int64).sum())
    if logits.shape[1] != 2:
        return Metrics(len(labels), correct, loss_q16, (), ())
    odds = logits[:, 1] - logits[:, 0]
    places = (odds + SCORE_LIMIT) * (SCORE_BINS / (2 * SCORE_LIMIT))
    bins = np.clip(places, 0, SCORE_BINS - 1).astype(np.int64)
    positives = np.bincount(bins[labels == 1], minlength=SCORE_BINS)
    negatives = np.bincount(bins[labels == 0], minlength=SCORE_BINS)
    return Metrics(len(labels), correct, loss_q16, tuple(positives.tolist()), tuple(negatives.tolist()))


def encode_metrics(metrics: Metrics) -> NDArray[np.uint32]:
    """Return one member's metric lanes."""
    values = (metrics.rows, metrics.correct, metrics.loss_q16, *metrics.positives, *metrics.negatives)
    return encode_limbs(np.array(values, np.uint64))


def decode_metrics(spec: StudySpec, lanes: NDArray[np.uint32], members: int) -> Metrics:
    """Read opened metric lanes; raise `Rejected` if they contradict each other."""
    if len(lanes) != metric_lane_count(spec):
        raise Rejected(f"{len(lanes)} metric lanes, {metric_lane_count(spec)} expected")
    rows, correct, loss_q16, *bins = decode_sum(lanes, members)
    if rows > members * MAX_ROWS or correct > rows or loss_q16 > rows * MAX_ROW_LOSS * LOSS_UNIT:
        raise Rejected("more correct rows or more loss than rows allow")
    if bins and sum(bins) != rows:
        raise Rejected("the score histograms do not add up to the rows")
    half = len(bins) // 2
    return Metrics(rows, correct, loss_q16, tuple(bins[:half]), tuple(bins[half:]))
