"""Metrics of the last model that a study can name, beside accuracy and loss, which every round measures.

Each hospital claims splits of one voice on its held-out rows; only their sum over at least three hospitals is opened,
and what it gives stands on the ledger with the number of voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Entropy
from fednode.learn.metrics.auc import Auc
from fednode.sums.measures import Claims, Plan, Tally


class Metric(Protocol):
    """One figure in 10^-6, between 0 and 1."""

    def plan(self, classes: int) -> Plan:
        """Return what a hospital claims for a model of so many classes; nothing where the metric has no meaning."""

    def claim(
        self, logits: NDArray[np.float64], labels: NDArray[np.int64], entropy: Entropy | None
    ) -> Claims:
        """Return one hospital's claims from outputs (n, classes) and labels (n,); `entropy`: see `blur`."""

    def value_ppm(self, sums: Sequence[Tally]) -> int | None:
        """Return the figure over all hospitals in 10^-6 from the opened sums, None if they do not allow one."""

    def span_ppm(self, voices: int, liars: int) -> int:
        """Return by how much `liars` of so many voices can have moved it, in 10^-6, rounded up."""


METRICS: dict[str, Metric] = {"auc": Auc()}
"""Metrics by the name that a study gives."""
