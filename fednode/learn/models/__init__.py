"""Models a study can name: their settings, and the tensors these give. The worker has the network of the same name."""

from __future__ import annotations

from typing import Protocol

from fednode.learn.layout import Tensor
from fednode.learn.models.logistic import Logistic
from fednode.learn.models.mlp import Mlp


class ModelKind(Protocol):
    """The part [model] of a study: a frozen dataclass that the codec can encode."""

    def tensors(self, inputs: tuple[int, ...], classes: int) -> tuple[Tensor, ...]:
        """Return the tensors of the network for inputs of this shape, in the order of its state."""


MODELS: dict[str, type[ModelKind]] = {"mlp": Mlp, "logistic": Logistic}
"""Models by the name that a study gives under [model]."""
