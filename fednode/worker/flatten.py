"""A network whose parameters are views of one flat vector, in the order of the study's layout."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fednode.learn.merge import PART_VALUES
from fednode.learn.study import UNIT, Layout, StudySpec
from fednode.worker.models import build_model


class FlatModel:
    """The study's network with `values` and `gradient`, float32 (d,), as the storage of all its parameters.

    Writing to `values` changes the network; `backward` accumulates into `gradient`, so an optimiser is a few
    operations on two vectors.
    """

    def __init__(self, spec: StudySpec) -> None:
        layout = Layout.of(spec)
        self.network: nn.Module = build_model(spec)
        self.values = torch.zeros(layout.size)
        self.gradient = torch.zeros(layout.size)
        parameters = dict(self.network.named_parameters())
        if set(parameters) != {tensor.name for tensor in layout.tensors}:
            raise ValueError("the network does not have the tensors of the study's layout")
        for tensor in layout.tensors:
            part = slice(tensor.offset, tensor.offset + tensor.size)
            parameters[tensor.name].data = self.values[part].view(tensor.shape)
            parameters[tensor.name].grad = self.gradient[part].view(tensor.shape)

    def load(self, model: NDArray[np.int64]) -> None:
        """Set the parameters from a model state in units of 2^-24."""
        for start in range(0, model.size, PART_VALUES):
            part = model[start : start + PART_VALUES]
            self.values[start : start + part.size] = torch.from_numpy((part / UNIT).astype(np.float32))
