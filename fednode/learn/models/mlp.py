"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Annotated

from fednode.codec import Range, Size
from fednode.learn.declared import Default
from fednode.learn.layout import Tensor, he_uniform


@dataclass(frozen=True, slots=True)
class Mlp:
    """Fully connected layers of the given widths with ReLU between them."""

    hidden: Annotated[tuple[Annotated[int, Range(1, 4096)], ...], Size(1, 8), Default((64, 32))]

    def tensors(self, inputs: tuple[int, ...], classes: int) -> tuple[Tensor, ...]:
        """Return weight and bias of each layer."""
        return tuple(affine_tensors((prod(inputs), *self.hidden, classes)))


def affine_tensors(widths: tuple[int, ...]) -> Iterator[Tensor]:
    """Yield weight and bias of the affine layers between these widths."""
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        yield Tensor(f"layers.{index}.weight", (outputs, inputs), he_uniform(inputs))
        yield Tensor(f"layers.{index}.bias", (outputs,), he_uniform(inputs))
