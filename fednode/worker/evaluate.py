"""What a model says about rows, and how often it is right."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fednode.learn.layout import Scaling
from fednode.learn.measures import Metrics, measure
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.worker.data import reader_of
from fednode.worker.flatten import FlatModel
from fednode.worker.train import NumericalFailure


def compute_logits(
    spec: StudySpec, model: NDArray[np.int64], scaling: Scaling, rows: Rows
) -> NDArray[np.float64]:
    """Return the model's outputs, float64 (n, classes); raise `NumericalFailure` unless all are finite."""
    flat = FlatModel(spec)
    flat.load(model)
    flat.network.eval()
    inputs = torch.from_numpy(reader_of(spec).scale(rows, scaling))
    with torch.no_grad():
        logits: NDArray[np.float64] = flat.network(inputs).double().numpy()
    if not np.isfinite(logits).all():
        raise NumericalFailure("the model's outputs are not finite; its values are too large to use")
    return logits


def evaluate(spec: StudySpec, model: NDArray[np.int64], scaling: Scaling, rows: Rows) -> Metrics:
    """Measure a model on labelled rows."""
    return measure(compute_logits(spec, model, scaling, rows), rows.labels)


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the softmax of logits, float32 (n, classes)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares.astype(np.float32)
