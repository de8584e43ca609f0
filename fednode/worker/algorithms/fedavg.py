"""Federated averaging: some epochs of the optimiser from the global model."""

from __future__ import annotations

from fednode.worker.algorithms.local import Contribution, Local


def train_fedavg(local: Local) -> Contribution:
    """Return how the trained values have changed."""
    start = local.flat.values.clone()
    local.run_epochs()
    return Contribution({"update": local.flat.values - start})
