"""Models a study can name, one file each."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fednode.learn.study import Logistic, Mlp, StudySpec, feature_count, label_of
from fednode.worker.models import logistic, mlp

Builder = Callable[[StudySpec, int, int], nn.Module]

MODELS: dict[type, Builder] = {Mlp: mlp.build, Logistic: logistic.build}


def build_model(spec: StudySpec) -> nn.Module:
    """Return the study's network: float32 (n, features) in, logits (n, classes) out; values are set by the caller."""
    return MODELS[type(spec.model)](spec, feature_count(spec), len(label_of(spec).levels))
