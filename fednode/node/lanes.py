"""Jobs for the worker in two lanes, so that a short one never waits behind an hour of training.

Security assumption: as `trainer.py`. The second process has the same limits as the first, and lives only while short
jobs are done beside a long one: at most twice the memory, and as a rule once.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import assert_never

from fednode.learn.jobs import Answer, CheckData, ComputeStatistics, Evaluate, Job, Predict, Train
from fednode.node.trainer import DEFAULT_MEMORY_LIMIT_BYTES, WORKER_MODULE, WorkerTrainer

BESIDE = "-beside"
"""In the name of the second process's log."""


class Lane(Enum):
    """How long a job may keep others waiting."""

    TRAIN = "train"
    SHORT = "short"


def lane_of(job: Job) -> Lane:
    """Return a job's lane: what belongs to a round takes as long as it takes, what people wait for is short."""
    match job:
        case Train() | Evaluate() | ComputeStatistics():
            return Lane.TRAIN
        case CheckData() | Predict():
            return Lane.SHORT
        case _:
            assert_never(job)


class Lanes:
    """One worker that is kept warm, and a second for short jobs that find it with a long one.

    Short jobs wait for each other, and for the first worker to start: that takes seconds, as a second worker would.
    `log_path` takes the first worker's stderr; the second one's goes beside it.
    """

    def __init__(
        self,
        log_path: Path,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        module: str = WORKER_MODULE,
    ) -> None:
        self._first = WorkerTrainer(log_path, memory_limit_bytes, module)
        self._second = WorkerTrainer(log_path.with_stem(log_path.stem + BESIDE), memory_limit_bytes, module)
        self._long = 0
        """Long jobs that the first worker does or is to do."""
        self._beside = 0
        """Short jobs that the second worker does or is to do."""

    async def __aenter__(self) -> Lanes:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._second.stop()
        await self._first.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the first worker, or None while there is none."""
        return self._first.pid

    @property
    def pid_beside(self) -> int | None:
        """Process id of the second worker, or None while there is none."""
        return self._second.pid

    async def start(self) -> None:
        """Start the first worker if it does not run, so that torch is imported before the first job needs it."""
        await self._first.start()

    async def run(self, job: Job, timeout_s: float) -> Answer:
        """Return the worker's answer, as `WorkerTrainer.run` does, with the errors it raises."""
        if lane_of(job) is Lane.TRAIN:
            self._long += 1
            try:
                return await self._first.run(job, timeout_s)
            finally:
                self._long -= 1
        if not self._long:
            return await self._first.run(job, timeout_s)
        self._beside += 1
        try:
            return await self._second.run(job, timeout_s)
        finally:
            self._beside -= 1
            if not self._beside:
                await self._second.stop()
