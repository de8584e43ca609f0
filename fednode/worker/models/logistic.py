"""(Multinomial) logistic regression."""

from __future__ import annotations

from math import prod

from torch import nn

from fednode.learn.models.logistic import Logistic
from fednode.worker.models.mlp import Perceptron


def build(model: Logistic, inputs: tuple[int, ...], classes: int) -> nn.Module:
    """Build one affine layer."""
    return Perceptron((prod(inputs), classes))
