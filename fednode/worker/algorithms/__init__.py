"""The hospital's side of the algorithms a study can name, one file each."""

from __future__ import annotations

from typing import Protocol

from fednode.learn import algorithms as kinds
from fednode.learn.study import StudySpec
from fednode.worker.algorithms.fedavg import train_fedavg
from fednode.worker.algorithms.local import Contribution, Local
from fednode.worker.registry import counterpart


class TrainLocally(Protocol):
    """Trains for one round, and returns what this hospital contributes."""

    def __call__(self, local: Local) -> Contribution: ...


TRAINERS: dict[str, TrainLocally] = {"fedavg": train_fedavg}
"""Local training by the names of `learn.algorithms.ALGORITHMS`."""


def trainer_of(spec: StudySpec) -> TrainLocally:
    """Return the local training of a study's algorithm; raise `Rejected` if the training process has none."""
    return counterpart("algorithm", kinds.ALGORITHMS, TRAINERS, spec.algorithm)
