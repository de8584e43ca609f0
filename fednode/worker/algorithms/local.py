"""What an algorithm's local training is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from fednode.learn.study import StudySpec
from fednode.worker.flatten import FlatModel

Correct = Callable[[torch.Tensor, torch.Tensor], None]
"""Changes the gradient (d,) of a batch in place, given the values (d,) at which it was taken."""


class RunEpochs(Protocol):
    """Passes over the rows as often as the study says; returns the number of steps."""

    def __call__(self, correct: Correct | None = None) -> int: ...


@dataclass(frozen=True, slots=True, eq=False)
class Local:
    """One hospital's round: the network with the global model loaded, and the means to train it.

    `server` are the vectors that the algorithm's server side keeps, float32 (d,) each, d the number of trained values.
    `own` is what this hospital kept of the last round that counted, b"" if it kept nothing.
    """

    spec: StudySpec
    flat: FlatModel
    server: Mapping[str, torch.Tensor]
    own: bytes = field(repr=False)
    run_epochs: RunEpochs


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """What is summed, by segment, float32 or float64 (d,) each; longer vectors than the bound are shortened.

    `own` is what this hospital keeps for the round after this one, if this one counts; None if nothing.
    """

    segments: Mapping[str, torch.Tensor] = field(repr=False)
    own: bytes | None = field(repr=False, default=None)
