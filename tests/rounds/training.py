"""A worker without torch: the same answers to the same jobs, by logistic regression on one step of full gradient."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fednode.ids import Hash
from fednode.learn import jobs as work
from fednode.learn.layout import Scaling
from fednode.learn.measures import claim_closing, claim_quality, measure
from fednode.learn.model_file import read_model
from fednode.learn.rows import Rows
from fednode.learn.study import StudySpec
from fednode.learn.tables.check import check_table
from fednode.learn.tables.kind import Tables, claim_statistics
from fednode.learn.tables.schema import standardise
from fednode.learn.tables.table import Table
from fednode.learn.units import UNIT
from tests.support.studies import number, points_study


def study_text(rounds: int = 1, accuracy: float = 0, patience: int = 0) -> str:
    """The study file."""
    return points_study(
        number("noise", -4, 4, repeat=5), learning_rate=0.5, rounds=rounds,
        stop={"accuracy": accuracy, "no_improvement_rounds": patience},
        timeouts={"start_after_s": 5, "train_timeout_s": 4, "phase_timeout_s": 1},
    )


def points(seed: int, count: int = 20) -> Table:
    """A table that fits the study."""
    drawn = random.Random(seed)
    rows = []
    for index in range(count):
        centre, name = (-1.5, "left") if index % 2 else (1.5, "right")
        noise = [f"{drawn.gauss(0, 0.7):.3f}" for _ in range(6)]
        rows.append((f"{drawn.gauss(centre, 0.7):.3f}", *noise, name))
    return Table(("x", "y", *(f"noise_{k}" for k in range(5)), "group"), tuple(rows))


def strange_table() -> Table:
    """A table of another study."""
    return Table(("a", "group"), (("1", "left"), ("2", "right")))


class FakeWorker:
    """Answers jobs about one table. Whoever wants it to fail puts answers into `failures`: they are given first."""

    def __init__(self, table: Table, models: Mapping[Hash, bytes]) -> None:
        """`models` are the model files of its hospital, by hash."""
        self.table = table
        self.models = models
        self.failures: list[work.Failed] = []
        self.check_failures: list[work.Failed] = []
        self.delay_ms = 0
        self.asked: list[str] = []

    def answer(self, job: work.Job) -> work.Answer:
        """Do one job."""
        self.asked.append(type(job).__name__)
        if self.failures and not isinstance(job, work.CheckData):
            return self.failures.pop(0)
        assert not isinstance(job, work.Predict)
        if self.check_failures and isinstance(job, work.CheckData):
            return self.check_failures.pop(0)
        tables = job.spec.data
        assert isinstance(tables, Tables)
        checked = check_table(tables, self.table)
        if isinstance(job, work.CheckData):
            count = 0 if checked.rows is None else len(checked.rows.labels)
            return work.DataChecked(checked.verdicts, count, count)
        assert checked.rows is not None
        if isinstance(job, work.ComputeStatistics):
            return work.StatisticsComputed(claim_statistics(tables.columns, checked.rows, None).tobytes())
        values = read_model(self.models[Hash(job.model.hash)]).values
        inputs, logits = _logits(checked.rows, job.scaling, values)
        metrics = measure(logits, checked.rows.labels)
        claims = claim_quality(metrics, None).tobytes()
        if isinstance(job, work.Evaluate):
            return work.Evaluated(metrics, claim_closing(job.spec, logits, checked.rows.labels, None).tobytes())
        delta = _step(job.spec, checked.rows, inputs, logits)
        return work.Trained(delta.astype("<f4").tobytes(), len(checked.rows.labels), claims, 10**6, 1)


def _logits(
    rows: Rows, scaling: Scaling, values: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    inputs = standardise(rows, scaling).astype(np.float64)
    weights = values[:-2].reshape(2, -1) / UNIT
    return inputs, inputs @ weights.T + values[-2:] / UNIT


def _step(
    spec: StudySpec, rows: Rows, inputs: NDArray[np.float64], logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(rows.labels)), rows.labels] -= 1
    weights = -(shares.T @ inputs) / len(rows.labels)
    update = np.concatenate([weights.reshape(-1), -shares.mean(axis=0)])
    norm, clip = float(np.linalg.norm(update)), spec.clip_q24 / UNIT
    return update * min(1.0, clip / norm) if norm else update
