"""A network whose tensors are views of flat vectors, in the order of the study's layout."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fednode.errors import Rejected
from fednode.learn.layout import CARRIED, TRAINED, Layout, TensorLayout
from fednode.learn.merge import PART_VALUES
from fednode.learn.study import StudySpec
from fednode.learn.units import UNIT
from fednode.worker.models import build_network


class FlatModel:
    """The study's network with its tensors in flat storage, float32.

    `values` and `gradient` (trained values,) are those of the tensors that train: writing to `values` changes the
    network, `backward` accumulates into `gradient`, so an optimiser is a few operations on two vectors. `carried` are
    the values of the others, which the network changes itself while it is in training mode.
    """

    def __init__(self, spec: StudySpec) -> None:
        """Raise `Rejected` unless the network has the tensors of the study's layout."""
        layout = Layout.of(spec)
        self.network: nn.Module = build_network(spec)
        self.values = torch.zeros(layout.trained)
        self.gradient = torch.zeros(layout.trained)
        self.carried = torch.zeros(layout.carried)
        self._tensors = layout.network()
        parameters = dict(self.network.named_parameters())
        _compare(self.network, parameters, self._tensors)
        state = parameters | dict(self.network.named_buffers())
        starts = {TRAINED: 0, CARRIED: 0}
        for tensor in self._tensors:
            storage = self.values if tensor.role == TRAINED else self.carried
            part = slice(starts[tensor.role], starts[tensor.role] + tensor.size)
            starts[tensor.role] = part.stop
            state[tensor.name].data = storage[part].view(tensor.shape)
            if tensor.role == TRAINED:
                parameters[tensor.name].grad = self.gradient[part].view(tensor.shape)
            else:
                state[tensor.name].requires_grad_(False)

    def load(self, model: NDArray[np.int64]) -> None:
        """Set the network's values from a model state in units of 2^-24; what follows them is not the network's."""
        starts = {TRAINED: 0, CARRIED: 0}
        for tensor in self._tensors:
            storage = self.values if tensor.role == TRAINED else self.carried
            for start in range(0, tensor.size, PART_VALUES):
                count = min(PART_VALUES, tensor.size - start)
                part = model[tensor.offset + start : tensor.offset + start + count]
                at = starts[tensor.role] + start
                storage[at : at + count] = torch.from_numpy((part / UNIT).astype(np.float32))
            starts[tensor.role] += tensor.size


def _compare(network: nn.Module, parameters: dict[str, nn.Parameter], tensors: tuple[TensorLayout, ...]) -> None:
    state = {name: tuple(tensor.shape) for name, tensor in (parameters | dict(network.named_buffers())).items()}
    for tensor in tensors:
        if state.get(tensor.name) != tensor.shape:
            raise Rejected(f"the study lists a tensor '{tensor.name}' {tensor.shape}, which its network does not have")
        if tensor.role == TRAINED and tensor.name not in parameters:
            raise Rejected(f"tensor '{tensor.name}' of the study would train, but the network does not train it")
    if missing := set(parameters).difference(tensor.name for tensor in tensors):
        raise Rejected(f"the study does not list the tensor '{min(missing)}' of its network")


def check_network(spec: StudySpec) -> None:
    """Raise `Rejected` unless the study's network can be built and has the tensors of its layout; nothing is
    allocated."""
    with torch.device("meta"):
        network = build_network(spec)
    _compare(network, dict(network.named_parameters()), Layout.of(spec).network())
