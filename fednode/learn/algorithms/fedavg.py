"""Federated averaging (McMahan et al. 2017): the model moves by the weighted mean of the updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fednode.learn.algorithms.step import Round, Summed


@dataclass(frozen=True, slots=True)
class FedAvg:
    """Federated averaging; it has no settings and keeps nothing."""

    keeps_own: ClassVar[bool] = False

    def segments(self, clip_q24: int) -> Mapping[str, int]:
        """Return the update alone."""
        return {"update": clip_q24}

    def state(self) -> Mapping[str, int]:
        """Return that nothing is kept."""
        return {}

    def step(
        self, state: Mapping[str, NDArray[np.int64]], sums: Mapping[str, Summed], at: Round
    ) -> Mapping[str, NDArray[np.int64]]:
        """Add the mean update to the model."""
        return {"model": sums["update"].add_to(state["model"])}
