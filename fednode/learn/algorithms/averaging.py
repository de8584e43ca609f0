"""Averages of the hospitals' updates, as every algorithm's step is given them; and federated averaging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fednode.kernels import arrays
from fednode.learn.units import UNIT_BITS


@dataclass(frozen=True, slots=True)
class Round:
    """The round that is concluded: its number, how many hospitals are in the sum, and how many the ledger has."""

    number: int
    included: int
    members: int


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """A stretch of an opened segment: `total` int32 (n,) times `factor` is the weighted mean in units of 2^-48."""

    total: NDArray[np.int32]
    factor: int

    def add_to(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return values (n,) in units of 2^-24 plus the mean, rounded to the nearest."""
        return arrays.merge(values, self.total, self.factor, UNIT_BITS)

    def mean(self) -> NDArray[np.int64]:
        """Return the hospitals' weighted mean in units of 2^-24, int64 (n,)."""
        return self.add_to(np.zeros(self.total.size, np.int64))



@dataclass(frozen=True, slots=True)
class FedAvg:
    """Federated averaging (McMahan et al. 2017): the model moves by the weighted mean of the updates. It has no
    settings and keeps nothing."""

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
