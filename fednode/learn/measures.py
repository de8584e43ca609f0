"""What every round measures of the model it starts from, on held-out rows: the share of rows that is right, and the
mean loss of a row as a part of MAX_ROW_LOSS. The last model is measured by the study's metrics too.

`sums.measures` says what such claims show of one hospital.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fednode.codec import U64
from fednode.crypto import Entropy
from fednode.learn.metrics import METRICS
from fednode.learn.study import StudySpec
from fednode.sums.bounds import LOSS_BITS, MAX_ROW_LOSS, SHARE_BITS
from fednode.sums.measures import CLAIM, Claims, Plan, Split, blur, divide, join

RIGHT = Split(SHARE_BITS, 2)
LOSS = Split(LOSS_BITS, 2)

ROW_LOSS_UNIT = 1 << 16
"""A row's loss is counted in 2^-16 nats."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """One hospital's own figures of one model: rows, rows classified right, the *sum* of losses in 2^-16 nats."""

    rows: U64
    correct: U64
    loss_q16: U64


QUALITY_PLAN: Plan = (RIGHT, LOSS)
"""What is claimed of the model a round of training starts from."""


def metric_plans(spec: StudySpec) -> dict[str, Plan]:
    """Return what is claimed for each of the study's metrics, by name."""
    return {name: METRICS[name].plan(len(spec.data.classes)) for name in spec.metrics}


def closing_plan(spec: StudySpec) -> Plan:
    """Return what is claimed of the last model."""
    return (*QUALITY_PLAN, *(split for plan in metric_plans(spec).values() for split in plan))


def claim_quality(metrics: Metrics, entropy: Entropy | None) -> Claims:
    """Return one hospital's claims of a model before the last one; `entropy`: see `blur`."""
    if not metrics.rows:
        return np.zeros(RIGHT.parts + LOSS.parts, CLAIM)
    loss = min(LOSS.unit, metrics.loss_q16 * LOSS.unit // (metrics.rows * MAX_ROW_LOSS * ROW_LOSS_UNIT))
    right = divide(RIGHT.unit, blur(np.array([metrics.correct, metrics.rows - metrics.correct]), entropy))
    return join([right, np.array([loss, LOSS.unit - loss])])


def claim_closing(
    spec: StudySpec, logits: NDArray[np.float64], labels: NDArray[np.int64], entropy: Entropy | None
) -> Claims:
    """Return one hospital's claims of the last model from its outputs (n, classes); `entropy`: see `blur`."""
    parts = [claim_quality(measure(logits, labels), entropy)]
    parts += [METRICS[name].claim(logits, labels, entropy) for name, plan in metric_plans(spec).items() if plan]
    return join([part.astype(np.int64) for part in parts])


def measure(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Metrics:
    """Measure finite model outputs (n, classes) against labels (n,) in [0, classes)."""
    top = logits.max(axis=1, keepdims=True)
    log_norm = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    losses = np.clip(log_norm - logits[np.arange(len(labels)), labels], 0.0, MAX_ROW_LOSS)
    loss_q16 = int(np.rint(losses * ROW_LOSS_UNIT).astype(np.int64).sum())
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Metrics(len(labels), correct, loss_q16)


def own_quality(claims: Claims) -> tuple[int, int] | None:
    """Return (share right in 1/RIGHT.unit, mean loss in MAX_ROW_LOSS/LOSS.unit nats) of one hospital's own claims of a
    model, None if it has no held-out rows."""
    return (int(claims[0]), int(claims[RIGHT.parts])) if claims[: RIGHT.parts].any() else None
