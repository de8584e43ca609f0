"""One job for the worker process, asked by a command: torch and the hospital's table stay out of this process."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fednode.errors import DataError, TrainingError
from fednode.learn.jobs import Answer, Failed, Job

JOB_TIMEOUT_S = 600.0


def run_job(job: Job) -> Answer:
    """Start a worker, let it do `job`, end it; raise `DataError` or `TrainingError` with the worker's sentence."""
    import trio

    from fednode.node.trainer import WorkerTrainer

    async def main() -> Answer:
        with tempfile.TemporaryDirectory(prefix="fednode-") as folder:
            async with WorkerTrainer(Path(folder) / "worker.log") as trainer:
                return await trainer.run(job, JOB_TIMEOUT_S)

    answer = trio.run(main)
    if isinstance(answer, Failed):
        raise (DataError if answer.kind == "data" else TrainingError)(answer.text)
    return answer
