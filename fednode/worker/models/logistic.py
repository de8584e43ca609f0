"""(Multinomial) logistic regression."""

from __future__ import annotations

from torch import nn

from fednode.learn.study import StudySpec
from fednode.worker.models.mlp import Perceptron


def build(spec: StudySpec, features: int, classes: int) -> nn.Module:
    """Build one affine layer."""
    return Perceptron((features, classes))
