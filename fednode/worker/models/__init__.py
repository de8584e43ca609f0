"""Networks of the models a study can name, one file each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from fednode.learn import models as kinds
from fednode.learn.study import StudySpec
from fednode.worker.models import logistic, mlp
from fednode.worker.registry import counterpart

Builder = Callable[[Any, tuple[int, ...], int], nn.Module]
"""Builds a network from the study's settings of the model, the shape of one input and the number of classes."""

NETWORKS: dict[str, Builder] = {"mlp": mlp.build, "logistic": logistic.build}
"""Networks by the names of `learn.models.MODELS`."""


def build_network(spec: StudySpec) -> nn.Module:
    """Return the study's network: float32 (n, *inputs) in, logits (n, classes) out; values are set by the caller.

    Raises `Rejected` if the training process does not know the model.
    """
    build = counterpart("model", kinds.MODELS, NETWORKS, spec.model)
    return build(spec.model, spec.data.inputs, len(spec.data.classes))
