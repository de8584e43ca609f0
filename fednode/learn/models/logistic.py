"""(Multinomial) logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from fednode.learn.layout import Tensor
from fednode.learn.models.mlp import affine_tensors


@dataclass(frozen=True, slots=True)
class Logistic:
    """(Multinomial) logistic regression: one affine layer."""

    def tensors(self, inputs: tuple[int, ...], classes: int) -> tuple[Tensor, ...]:
        """Return its weight and its bias."""
        return tuple(affine_tensors((prod(inputs), classes)))
