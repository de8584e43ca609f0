"""Short jobs beside long ones: a worker that holds its training until it is let go, and one that answers at once."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from fednode.learn import jobs
from fednode.learn.form import parse_study
from fednode.learn.layout import Scaling
from fednode.learn.units import UNIT
from fednode.node.lanes import Lane, Lanes, lane_of
from tests.rounds.training import study_text

SPEC = parse_study(study_text())
DATA = jobs.DataAt("/x.csv")
MODEL = jobs.ModelAt("/none", bytes(32))
SCALING = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)
TRAIN = jobs.Train(SPEC, bytes(32), 1, 2, SCALING, MODEL, DATA)
CHECK = jobs.CheckData(SPEC, DATA)
PREDICT = jobs.Predict(MODEL, DATA)
TIMEOUT_S = 60

WORKER = """
import os, sys
from fednode.learn.jobs import Failed, Train, decode_job, encode_answer

while head := sys.stdin.buffer.read(4):
    job = decode_job(sys.stdin.buffer.read(int.from_bytes(head, "big")))
    if isinstance(job, Train):
        with open({begun!r}, "w") as begun:
            begun.write("begun")
        with open({over!r}) as over:
            over.read()
    sys.stdout.buffer.write(encode_answer(Failed("input", str(os.getpid())))[0])
    sys.stdout.flush()
"""


class Stage:
    """Lanes whose workers hold every training until `let_go`; what a job answers is its worker's process id."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begun, self._over = folder / "begun", folder / "over"
        for pipe in (self._begun, self._over):
            os.mkfifo(pipe)
        (folder / "holding_worker.py").write_text(WORKER.format(begun=str(self._begun), over=str(self._over)))
        monkeypatch.setenv("PYTHONPATH", str(folder))
        self.log = folder / "worker.log"
        self.lanes = Lanes(self.log, module="holding_worker")
        self.trained: list[int] = []

    async def ask(self, job: jobs.Job) -> int:
        answer = await self.lanes.run(job, TIMEOUT_S)
        assert isinstance(answer, jobs.Failed)
        return int(answer.text)

    async def train(self) -> None:
        self.trained.append(await self.ask(TRAIN))

    async def until_training(self) -> None:
        await trio.to_thread.run_sync(self._begun.read_text, abandon_on_cancel=True)

    async def let_go(self) -> None:
        await trio.to_thread.run_sync(self._over.write_text, "over", abandon_on_cancel=True)

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[Stage]:
        with trio.fail_after(TIMEOUT_S):
            async with self.lanes:
                yield self


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AbstractAsyncContextManager[Stage]:
    return Stage(tmp_path, monkeypatch).playing()


async def test_a_short_job_does_not_wait_for_a_training(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.train)
        await stage.until_training()
        beside = {await stage.ask(CHECK), await stage.ask(PREDICT)}
        assert stage.trained == [] and stage.lanes.pid is not None, "the training is still under way"
        assert stage.lanes.pid not in beside
        await stage.let_go()
    assert stage.trained == [stage.lanes.pid]


async def test_short_jobs_at_the_start_share_the_worker_that_is_being_started(stage: Stage) -> None:
    found: list[int] = []

    async def one() -> None:
        found.append(await stage.ask(CHECK))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.lanes.start)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(one)
    assert len(found) == 3 and set(found) == {stage.lanes.pid}


async def test_the_second_worker_is_gone_when_nothing_is_left_for_it(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.train)
        await stage.until_training()
        first = await stage.ask(CHECK)
        assert stage.lanes.pid_beside is None
        with pytest.raises(ProcessLookupError):
            os.kill(first, 0)
        found: list[int] = []

        async def one() -> None:
            found.append(await stage.ask(CHECK))

        async with trio.open_nursery() as short:
            for _ in range(3):
                short.start_soon(one)
        assert len(set(found)) == 1, "jobs that wait for it share one process"
        assert stage.lanes.pid_beside is None
        await stage.let_go()


async def test_a_short_job_takes_the_first_worker_where_that_is_free(stage: Stage) -> None:
    """What it reads of the table is then at hand for the training that follows."""
    first = await stage.ask(CHECK)
    assert first == stage.lanes.pid and stage.lanes.pid_beside is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.train)
        await stage.until_training()
        await stage.let_go()
    assert stage.trained == [first]


async def test_both_workers_end_with_the_lanes(stage: Stage) -> None:
    pids: list[int | None] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.train)
        await stage.until_training()
        pids.append(stage.lanes.pid)
        nursery.cancel_scope.cancel()
    assert stage.lanes.pid is None and stage.lanes.pid_beside is None
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0] or 0, 0)


def test_every_job_has_a_lane() -> None:
    assert {lane_of(job) for job in (CHECK, PREDICT)} == {Lane.SHORT}
    rounds = (TRAIN, jobs.Evaluate(SPEC, SCALING, MODEL, DATA), jobs.ComputeStatistics(SPEC, DATA))
    assert {lane_of(job) for job in rounds} == {Lane.TRAIN}
