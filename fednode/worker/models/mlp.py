"""A multilayer perceptron with ReLU between its layers."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
from torch import nn

from fednode.learn.models.mlp import Mlp


class Perceptron(nn.Module):
    """Affine layers of the given widths; with two widths it is (multinomial) logistic regression."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes)."""
        *hidden, last = self.layers
        for layer in hidden:
            inputs = torch.relu(layer(inputs))
        logits: torch.Tensor = last(inputs)
        return logits


def build(model: Mlp, inputs: tuple[int, ...], classes: int) -> nn.Module:
    """Build the network of a study whose model is `Mlp`."""
    return Perceptron((prod(inputs), *model.hidden, classes))
