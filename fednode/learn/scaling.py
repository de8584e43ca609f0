"""How inputs are scaled before a model sees them: computed by all hospitals together, and part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fednode.codec import I64, Size
from fednode.learn.units import MAX_FEATURES, UNIT


@dataclass(frozen=True, slots=True)
class Scaling:
    """Global mean and deviation per feature, of u in [0, 1], in units of 2^-24; part of the model."""

    mean_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]
    deviation_q24: Annotated[tuple[I64, ...], Size(1, MAX_FEATURES)]

    def __post_init__(self) -> None:
        if len(self.mean_q24) != len(self.deviation_q24):
            raise ValueError("as many means as deviations")
        in_range = all(0 <= mean <= UNIT for mean in self.mean_q24)
        if not in_range or not all(0 < deviation <= UNIT for deviation in self.deviation_q24):
            raise ValueError("mean or deviation outside the unit range")
