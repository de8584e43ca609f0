"""What leaves a hospital beside its update: statistics of columns and the quality of a model, as claims of one voice.

Security assumption: claims are shared and proven (`proofs.measures`), and only sums over at least three members are
opened. One hospital has one voice, however many rows it has: it says fractions, never counts. A liar can claim only
what some rows would give, and moves a mean over V hospitals by at most 1 / V of its range; honest sums are off by at
most one unit of each part, from rounding, and by what `blur` does.

A fraction of few rows tells how many there are, and three such fractions can be told apart in their sum: each is a
number k / n, and few of these add up to just this. So in each claim every count of rows that are alike is moved by up
to half a row, drawn anew (`blur`): between k / n and its neighbours nothing tells where the truth lies. Nobody gets a
row of a kind that it does not have, and where all rows are alike nothing changes.

Statistics (round 0): of each number its first two moments over the rows that have one, scaled to [0, 1] of its range;
of each category the share of each level among the rows that have one.
Quality of the model a round of training starts from, on held-out rows: the share that is right, and the mean loss of a
row as a part of MAX_ROW_LOSS. Of the last model, for two classes, also where the log-odds of positives and of negatives
lie, each as shares of SCORE_BINS bins: nothing is decided by these, so they are not shared in every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fednode.codec import U64, Size
from fednode.crypto import Entropy
from fednode.errors import Rejected
from fednode.learn.study import UNIT, CategoryColumn, NumberColumn, StudySpec, label_of
from fednode.learn.tables.schema import Rows, Scaling
from fednode.sums.bounds import LOSS_BITS, MAX_ROW_LOSS, SHARE_BITS
from fednode.sums.measures import CLAIM, MAX_BITS, Claims, Plan, Split, Tally, read_sums

MOMENTS = Split(MAX_BITS, 3, has_moments=True)
RIGHT = Split(SHARE_BITS, 2)
LOSS = Split(LOSS_BITS, 2)
SCORE_BINS = 32
SCORES = Split(12, SCORE_BINS)

ROW_LOSS_UNIT = 1 << 16
"""A row's loss is counted in 2^-16 nats."""

SCORE_LIMIT = 8.0
"""Log-odds are binned evenly over [-8, 8): probabilities of confident models crowd at 0 and 1, log-odds do not."""

DEVIATION_FLOOR_Q24 = UNIT >> 10
"""A deviation below 1/1024 of a feature's range is treated as that: constant features stay near zero."""

PPM = 1_000_000

PARTS_OF_A_ROW = 1 << 16
"""Rows are counted in these where counts are moved by less than one."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """One hospital's own figures of one model: rows, rows classified right, the *sum* of losses in 2^-16 nats, and how
    many positives and negatives have log-odds in each bin (empty for more than two classes)."""

    rows: U64
    correct: U64
    loss_q16: U64
    positives: Annotated[tuple[U64, ...], Size(0, SCORE_BINS)]
    negatives: Annotated[tuple[U64, ...], Size(0, SCORE_BINS)]

    @property
    def auc_ppm(self) -> int | None:
        """Area under the ROC curve in 10^-6; None for more than two classes, or if one does not occur."""
        return area_ppm(self.positives, self.negatives)


# --- plans --------------------------------------------------------------------------------------------------

def statistics_plan(spec: StudySpec) -> Plan:
    """Return what is claimed in round 0: all numbers in the order of their columns, then all categories."""
    numbers = (MOMENTS for column in spec.columns if isinstance(column, NumberColumn))
    levels = (len(column.levels) for column in spec.columns if isinstance(column, CategoryColumn))
    return (*numbers, *(Split(SHARE_BITS, count) for count in levels))


QUALITY_PLAN: Plan = (RIGHT, LOSS)
"""What is claimed of the model a round of training starts from."""


def closing_plan(spec: StudySpec) -> Plan:
    """Return what is claimed of the last model."""
    return (*QUALITY_PLAN, SCORES, SCORES) if len(label_of(spec).levels) == 2 else QUALITY_PLAN


# --- one hospital's claims --------------------------------------------------------------------------------------

def divide(unit: int, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return shares of `counts` (n,) in whole parts of `unit` that add up to it, largest remainders first; zeros if
    there is nothing to share."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros_like(counts)
    exact = [unit * int(count) for count in counts]
    shares = [value // total for value in exact]
    order = sorted(range(len(exact)), key=lambda at: (-(exact[at] % total), at))
    for at in order[: unit - sum(shares)]:
        shares[at] += 1
    return np.array(shares, np.int64)


def blur(counts: NDArray[np.int64], entropy: Entropy | None) -> NDArray[np.int64]:
    """Return `counts` of rows (n,) in parts of a row, each that is not zero moved by up to half a row; exact without
    entropy, for figures that do not leave a hospital."""
    exact = counts * PARTS_OF_A_ROW
    if entropy is None:
        return exact
    drawn = np.frombuffer(entropy.random_bytes(2 * counts.size), "<u2").astype(np.int64) - PARTS_OF_A_ROW // 2
    return np.where(counts > 0, exact + drawn, 0)


def claim_statistics(spec: StudySpec, rows: Rows, entropy: Entropy | None) -> Claims:
    """Return one hospital's claims of round 0 from its encoded rows; `entropy`: see `blur`."""
    numbers, categories, start = list[NDArray[np.int64]](), list[NDArray[np.int64]](), 0
    for column in spec.columns:
        if isinstance(column, NumberColumn):
            numbers.append(_claim_moments(rows.features[:, start], entropy))
            start += 1
        elif isinstance(column, CategoryColumn):
            block = rows.features[:, start : start + len(column.levels)]
            start += len(column.levels)
            counts = np.nansum(block, axis=0).astype(np.int64)
            categories.append(divide((1 << SHARE_BITS) - 1, blur(counts, entropy)))
    return _joined([*numbers, *categories])


def _claim_moments(values: NDArray[np.float64], entropy: Entropy | None) -> NDArray[np.int64]:
    known = values[~np.isnan(values)]
    if not known.size:
        return np.zeros(3, np.int64)
    unit = MOMENTS.unit
    found, counts = np.unique(known, return_counts=True)
    weights = blur(counts.astype(np.int64), entropy).astype(np.float64)
    first, squares = (float(np.average(powers, weights=weights)) for powers in (found, found * found))
    mean = min(unit, max(0, round(first * unit)))
    least = -(-mean * mean // unit)  # rounding must not take a moment below what any rows have
    second = min(mean, max(least, round(squares * unit)))
    return np.array([second, mean - second, unit - mean], np.int64)


def claim_quality(metrics: Metrics, entropy: Entropy | None) -> Claims:
    """Return one hospital's claims of a model before the last one; `entropy`: see `blur`."""
    if not metrics.rows:
        return np.zeros(RIGHT.parts + LOSS.parts, CLAIM)
    loss = min(LOSS.unit, metrics.loss_q16 * LOSS.unit // (metrics.rows * MAX_ROW_LOSS * ROW_LOSS_UNIT))
    right = divide(RIGHT.unit, blur(np.array([metrics.correct, metrics.rows - metrics.correct]), entropy))
    return _joined([right, np.array([loss, LOSS.unit - loss])])


def claim_metrics(metrics: Metrics, entropy: Entropy | None) -> Claims:
    """Return one hospital's claims of the last model; `entropy`: see `blur`."""
    bins = (np.array(counts, np.int64) for counts in (metrics.positives, metrics.negatives))
    scores = [divide(SCORES.unit, blur(counts, entropy)) for counts in bins]
    return _joined([claim_quality(metrics, entropy).astype(np.int64), *scores])


def _joined(parts: Sequence[NDArray[np.int64]]) -> Claims:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(CLAIM)


def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Metrics:
    """Measure finite model outputs (n, classes) against labels (n,) in [0, classes)."""
    top = logits.max(axis=1, keepdims=True)
    log_norm = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    losses = np.clip(log_norm - logits[np.arange(len(labels)), labels], 0.0, MAX_ROW_LOSS)
    loss_q16 = int(np.rint(losses * ROW_LOSS_UNIT).astype(np.int64).sum())
    correct = int((logits.argmax(axis=1) == labels).sum())
    if logits.shape[1] != 2:
        return Metrics(len(labels), correct, loss_q16, (), ())
    odds = logits[:, 1] - logits[:, 0]
    places = (odds + SCORE_LIMIT) * (SCORE_BINS / (2 * SCORE_LIMIT))
    bins = np.clip(places, 0, SCORE_BINS - 1).astype(np.int64)
    positives = np.bincount(bins[labels == 1], minlength=SCORE_BINS)
    negatives = np.bincount(bins[labels == 0], minlength=SCORE_BINS)
    return Metrics(len(labels), correct, loss_q16, tuple(positives.tolist()), tuple(negatives.tolist()))


def own_quality(claims: Claims) -> tuple[int, int] | None:
    """Return (share right in 1/RIGHT.unit, mean loss in MAX_ROW_LOSS/LOSS.unit nats) of one hospital's own claims of a
    model, None if it has no held-out rows."""
    return (int(claims[0]), int(claims[RIGHT.parts])) if claims[: RIGHT.parts].any() else None


# --- the opened sums ------------------------------------------------------------------------------------------

def tally(plan: Plan, words: Sequence[int], members: int) -> tuple[Tally, ...]:
    """Read opened words; raise `Rejected` if they are not sums of proven claims."""
    try:
        return read_sums(plan, words, members)
    except ValueError as error:
        raise Rejected(str(error)) from None


def scaling_from(spec: StudySpec, sums: Sequence[Tally]) -> Scaling:
    """Return mean and deviation per feature over hospitals, one voice each, in exact integers, hence equal everywhere.

    The deviation is that of all hospitals' rows together if each had as many: within and between them. Where nobody
    has a value it is 1/2 and 1.
    """
    means, deviations = list[int](), list[int]()
    counted = sum(isinstance(column, NumberColumn) for column in spec.columns)
    numbers, categories = iter(sums[:counted]), iter(sums[counted:])
    for column in spec.columns:
        if isinstance(column, NumberColumn):
            found = next(numbers)
            second, between, _ = found.parts
            _add_feature(means, deviations, found.voices * MOMENTS.unit, second + between, second)
        elif isinstance(column, CategoryColumn):
            found = next(categories)
            for part in found.parts:
                _add_feature(means, deviations, found.voices * ((1 << SHARE_BITS) - 1), part, part)
    return Scaling(tuple(means), tuple(deviations))


def scaling_of_one(spec: StudySpec, claims: Claims) -> Scaling:
    """Return the scaling of one party's claims alone."""
    sums, start = list[Tally](), 0
    for split in statistics_plan(spec):
        parts = tuple(int(part) for part in claims[start : start + split.parts])
        sums.append(Tally(int(any(parts)), parts))
        start += split.parts
    return scaling_from(spec, sums)


def _add_feature(means: list[int], deviations: list[int], whole: int, first: int, second: int) -> None:
    """Add mean and deviation of a feature whose first two moments are `first` and `second` of `whole`.

    whole * second >= first^2 by the proofs of the claims, and for sums of them by Cauchy and Schwarz.
    """
    if whole == 0:
        means.append(UNIT // 2)
        deviations.append(UNIT)
        return
    means.append(first * UNIT // whole)
    deviation = isqrt((whole * second - first * first) * UNIT * UNIT // (whole * whole))
    deviations.append(min(UNIT, max(deviation, DEVIATION_FLOOR_Q24)))


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
