"""Algorithms a study can name: what is summed, what the server's side keeps, and its step in integers.

There is no server: every member takes the same step on the same opened sums, and the model's hash covers all of it.
The worker has the hospital's side under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fednode.learn.algorithms.averaging import FedAvg, Round, Summed


class Algorithm(Protocol):
    """The part [algorithm] of a study: a frozen dataclass that the codec can encode.

    Every vector it names has one value for each trained value of the model. What is called 'model' is the model's own.
    `keeps_own` says whether a hospital keeps something of its own from round to round.
    """

    keeps_own: ClassVar[bool]

    def segments(self, clip_q24: int) -> Mapping[str, int]:
        """Return what each hospital contributes, by name, with its L2 bound in units of 2^-24; `clip_q24` is the
        study's. 'update' comes first: the change of the trained values."""

    def state(self) -> Mapping[str, int]:
        """Return what the server's side keeps between rounds, by name, with its first value in units of 2^-24."""

    def step(
        self, state: Mapping[str, NDArray[np.int64]], sums: Mapping[str, Summed], at: Round
    ) -> Mapping[str, NDArray[np.int64]]:
        """Return 'model' and the state after a round, from a stretch of each, int64 (n,) in units of 2^-24.

        Value by value, so that a stretch does not depend on where it was cut; exact integers, so that it is the same
        on every machine. Values beyond +-2^39 end the round without a result.
        """


ALGORITHMS: dict[str, type[Algorithm]] = {"fedavg": FedAvg}
"""Algorithms by the name that a study gives under [algorithm]."""
