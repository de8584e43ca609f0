"""When a hospital finds by its own held-out rows that training is done: its vote, which nobody else's claims move.

Security assumption: the vote shows one bit a round of what this hospital measured, on the ledger, to everybody.
"""

from __future__ import annotations

from fednode.learn.measures import RIGHT, own_quality
from fednode.learn.study import StopRule
from fednode.sums.measures import Claims

PERMYRIAD = 10_000


class Wish:
    """Follows the measures of one study's models. In memory only: a restart counts rounds without progress anew."""

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self._model: bytes | None = None
        self._best: int | None = None
        self._stale = 0
        self.wants_stop = False

    def note(self, model: bytes, claims: Claims) -> None:
        """Take in what this hospital claims of the model a round started from; of one model once."""
        if model == self._model:
            return
        self._model, own = model, own_quality(claims)
        if own is None:
            self.wants_stop = False
            return
        right, loss = own
        self._stale = 0 if self._best is None or loss < self._best else self._stale + 1
        self._best = loss if self._best is None else min(loss, self._best)
        is_reached = 0 < self._rule.accuracy_permyriad * RIGHT.unit <= PERMYRIAD * right
        self.wants_stop = is_reached or 0 < self._rule.no_improvement_rounds <= self._stale
