"""A model added from outside the package, in this file alone: batch normalisation, whose running means are carried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from torch import nn

from fednode.codec import Range
from fednode.errors import Rejected
from fednode.learn import models
from fednode.learn.form import parse_study, to_toml
from fednode.learn.layout import CARRIED, Constant, Layout, Tensor, he_uniform, vector_plan
from fednode.learn.merge import initial_model
from fednode.learn.study import StudySpec, decode_study, study_bytes, with_model
from fednode.learn.units import UNIT
from fednode.worker import models as networks
from fednode.worker.flatten import FlatModel, check_network
from tests.adding.federation import Federation, write_points
from tests.rounds.training import study_text


@dataclass(frozen=True, slots=True)
class Normalised:
    """One hidden layer with batch normalisation."""

    width: Annotated[int, Range(1, 64)]

    def tensors(self, inputs: tuple[int, ...], classes: int) -> tuple[Tensor, ...]:
        width, fan_in = self.width, prod(inputs)
        return (
            Tensor("hidden.weight", (width, fan_in), he_uniform(fan_in)),
            Tensor("norm.weight", (width,), Constant(UNIT)),
            Tensor("norm.bias", (width,), Constant(0)),
            Tensor("norm.running_mean", (width,), Constant(0), CARRIED),
            Tensor("norm.running_var", (width,), Constant(UNIT), CARRIED),
            Tensor("out.weight", (classes, width), he_uniform(width)),
            Tensor("out.bias", (classes,), Constant(0)),
        )


class Network(nn.Module):
    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(torch.relu(self.norm(self.hidden(inputs))))
        return logits


def build(model: Normalised, inputs: tuple[int, ...], classes: int) -> nn.Module:
    return Network(prod(inputs), model.width, classes)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> StudySpec:
    monkeypatch.setitem(models.MODELS, "normalised", Normalised)
    monkeypatch.setitem(networks.NETWORKS, "normalised", build)
    return with_model(parse_study(study_text(3)), Normalised(6))


@pytest.mark.slow
def test_a_new_model_trains_and_what_it_carries_is_averaged(spec: StudySpec, tmp_path: Path) -> None:
    assert decode_study(study_bytes(spec)) == spec == parse_study(to_toml(spec))
    assert [segment.name for segment in vector_plan(spec).segments] == ["update", "carried"]
    federation = Federation(spec, write_points(tmp_path), tmp_path).start().finish()
    measured = federation.reports()[-1].metrics
    assert measured is not None and measured.accuracy_permyriad > 8_500
    values, start = federation.model().values, initial_model(Layout.of(spec), federation.model().study)
    for tensor in Layout.of(spec).tensors:
        part = slice(tensor.offset, tensor.offset + tensor.size)
        assert (values[part] != start[part]).any(), f"{tensor.name} does not move"
    flat = FlatModel(spec)
    flat.load(values)
    state = flat.network.state_dict()
    for tensor in Layout.of(spec).network():
        part = values[tensor.offset : tensor.offset + tensor.size].reshape(tensor.shape)
        np.testing.assert_array_equal(state[tensor.name].numpy(), (part / UNIT).astype(np.float32))
    assert (state["norm.running_var"] > 0).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: replace(t, shape=(7,)), "tensor 'norm.bias' .* which its network does not have"),
        (lambda t: replace(t, name="norm.offset"), "tensor 'norm.offset' .* does not have"),
        (lambda t: None, "does not list the tensor 'norm.bias'"),
    ],
)
def test_a_layout_that_is_not_the_networks_is_refused_before_training(
    spec: StudySpec, change: object, reason: str
) -> None:
    check_network(spec)
    changed = [change(t) if t.name == "norm.bias" else t for t in spec.layout]  # type: ignore[operator]
    with pytest.raises(Rejected, match=reason):
        check_network(replace(spec, layout=tuple(tensor for tensor in changed if tensor is not None)))


def test_an_unknown_model_is_refused_with_the_known_ones(spec: StudySpec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = study_bytes(spec)
    monkeypatch.delitem(models.MODELS, "normalised")
    with pytest.raises(Rejected, match="model 'normalised' is not known; known are logistic, mlp"):
        decode_study(data)
    monkeypatch.setitem(models.MODELS, "normalised", Normalised)
    monkeypatch.delitem(networks.NETWORKS, "normalised")
    with pytest.raises(Rejected, match="the training process does not know the model 'normalised'"):
        check_network(spec)
