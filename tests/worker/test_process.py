"""The real worker process behind the daemon's trainer, and fakes of it that misbehave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fednode.errors import TrainingError
from fednode.learn import jobs
from fednode.learn.layout import Layout, Scaling
from fednode.learn.merge import initial_model
from fednode.learn.model_file import ModelFile, write_model
from fednode.learn.study import StudySpec
from fednode.learn.units import UNIT
from fednode.node.trainer import WorkerTrainer
from fednode.worker.answer import answer
from fednode.worker.prepared import DataCache

STUDY = bytes(range(32))
SCALING = Scaling((UNIT // 2,) * 2, (UNIT // 4,) * 2)
TIMEOUT_S = 120


@asynccontextmanager
async def working(trainer: WorkerTrainer) -> AsyncIterator[WorkerTrainer]:
    async with trainer:
        yield trainer
    assert trainer.pid is None


@pytest.mark.slow
async def test_the_process_answers_like_the_function_and_comes_back_after_a_crash(
    spec: StudySpec, data_file: Path, tmp_path: Path
) -> None:
    model = ModelFile(STUDY, 1, spec, SCALING, initial_model(Layout.of(spec), STUDY))
    (tmp_path / "model").write_bytes(write_model(model))
    start = jobs.ModelAt(str(tmp_path / "model"), model.hash)
    train = jobs.Train(spec, STUDY, 1, 2, SCALING, start, jobs.DataAt(str(data_file)))
    here = answer(train, DataCache())
    assert isinstance(here, jobs.Trained)
    async with working(WorkerTrainer(tmp_path / "worker.log")) as trainer:
        first = await trainer.run(train, TIMEOUT_S)
        assert isinstance(first, jobs.Trained)
        assert first.delta == here.delta
        assert bytes(first.claims)[8:] == bytes(here.claims)[8:], "the share of rows right is blurred"
        pid = trainer.pid
        no_model = jobs.ModelAt(str(data_file), bytes(32))
        predict = jobs.Predict(no_model, jobs.DataAt(str(data_file)))
        assert isinstance(await trainer.run(predict, TIMEOUT_S), jobs.Failed)
        assert trainer.pid == pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TrainingError, match="ended by signal 9"):
            await trainer.run(train, TIMEOUT_S)
        again = await trainer.run(train, TIMEOUT_S)
        assert isinstance(again, jobs.Trained)
        assert again.delta == here.delta
        assert trainer.pid != pid


@pytest.mark.slow
async def test_memory_beyond_the_limit_is_a_failure_of_the_worker_alone(
    spec: StudySpec, data_file: Path, tmp_path: Path
) -> None:
    async with working(WorkerTrainer(tmp_path / "worker.log", memory_limit_bytes=200 << 20)) as trainer:
        with pytest.raises(TrainingError, match="training process"):
            await trainer.run(jobs.CheckData(spec, jobs.DataAt(str(data_file))), TIMEOUT_S)


@pytest.mark.slow
def test_the_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """A shell stands for the daemon: when it is killed, its end of the worker's stdin closes."""
    command = f"{sys.executable} -m fednode.worker.main {8 << 30} & echo $!; wait"
    holder = subprocess.Popen(
        ["sh", "-c", f"exec 3>&1; cat | ({command})"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    worker = int(holder.stdout.readline())
    os.kill(worker, 0)
    holder.stdin.close()
    holder.wait(TIMEOUT_S)  # sh waits for the worker
    holder.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


# --- workers that misbehave -----------------------------------------------------------------------------------

PREFACE = """
import os, sys, time
from fednode.learn.jobs import *
head = sys.stdin.buffer.read(4)
sys.stdin.buffer.read(int.from_bytes(head, "big"))
"""


UNASKED_UPDATE = "[sys.stdout.buffer.write(part) for part in encode_answer(Trained(bytes(8), 1, b'', 1, 1))]; "\
    "sys.stdout.flush(); time.sleep(60)"


def bad_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> WorkerTrainer:
    (tmp_path / "bad_worker.py").write_text(PREFACE + code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return WorkerTrainer(tmp_path / "worker.log", module="bad_worker")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemError('out of reason')", "ended with code 1: SystemError: out of reason"),
        ("os._exit(7)", "ended with code 7; see"),
        ("os.abort()", "ended by signal 6"),
        ("sys.stdout.buffer.write(b'\\xff' * 4); sys.stdout.flush(); time.sleep(60)", "answered nonsense \\(frame of"),
        ("sys.stdout.buffer.write(b'\\0\\0\\0\\1\\x90'); sys.stdout.flush(); time.sleep(60)", "answered nonsense"),
        ("sys.stdout.buffer.write(b'\\0\\0\\0\\x09ab'); sys.stdout.flush(); os._exit(0)", "ended with code 0"),
        ("print('hello', flush=True); time.sleep(60)", "answered nonsense"),
        (UNASKED_UPDATE, "answered nonsense \\(update of 8 bytes, 0 expected"),
    ],
)
async def test_a_broken_worker_is_a_training_error_with_its_cause(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    async with working(bad_worker(tmp_path, monkeypatch, code)) as trainer:
        with pytest.raises(TrainingError, match=message) as caught:
            await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), TIMEOUT_S)
        assert trainer.pid is None
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "sent", "message"),
    [
        (-4, -4, "answered nonsense \\(update of"), (4, 4, "answered nonsense \\(update of"),
        (0, -1, "ended with code 3"), (0, -4, "ended with code 3"),
    ],
)
async def test_an_update_of_another_length_or_cut_off_is_a_training_error(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, sent: int, message: str
) -> None:
    """`size` and `sent`: how many bytes more than the model has the worker announces and sends."""
    whole = 4 * Layout.of(spec).size
    code = f"frame, _ = encode_answer(Trained(bytes({whole + size}), 1, b'', 1, 1))\n" \
        f"sys.stdout.buffer.write(frame + bytes({whole + sent})); sys.stdout.flush(); os._exit(3)"
    train = jobs.Train(spec, STUDY, 1, 2, SCALING, jobs.ModelAt("/none", bytes(32)), jobs.DataAt("/x.csv"))
    async with working(bad_worker(tmp_path, monkeypatch, code)) as trainer:
        with pytest.raises(TrainingError, match=message):
            await trainer.run(train, TIMEOUT_S)


async def test_a_hanging_worker_is_ended_at_its_time_limit(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(bad_worker(tmp_path, monkeypatch, "time.sleep(600)")) as trainer:
        with pytest.raises(TrainingError, match="no answer in 0.5 s and was ended"):
            await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), 0.5)
        assert trainer.pid is None


async def test_a_cancelled_job_ends_its_worker(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(bad_worker(tmp_path, monkeypatch, "time.sleep(600)")) as trainer:
        with trio.move_on_after(0.5) as scope:
            await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), TIMEOUT_S)
        assert scope.cancelled_caught
        assert trainer.pid is None


async def test_the_worker_sees_no_secrets_of_the_daemon(
    spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDNODE_PASSPHRASE", "hunter2")
    code = "frame, _ = encode_answer(Failed('input', ' '.join(sorted(os.environ))))\n" \
        "sys.stdout.buffer.write(frame); sys.stdout.flush()"
    async with working(bad_worker(tmp_path, monkeypatch, code)) as trainer:
        found = await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), TIMEOUT_S)
        assert isinstance(found, jobs.Failed)
        assert "FEDNODE_PASSPHRASE" not in found.text
        assert "OMP_NUM_THREADS" in found.text


async def test_one_job_at_a_time(spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake answers each job with its number; interleaved frames would mix them up."""
    code = """
count = 0
while True:
    count += 1
    sys.stdout.buffer.write(encode_answer(Failed("input", str(count)))[0]); sys.stdout.flush()
    head = sys.stdin.buffer.read(4)
    if not head: break
    sys.stdin.buffer.read(int.from_bytes(head, "big"))
"""
    seen: list[str] = []

    async def one(trainer: WorkerTrainer) -> None:
        found = await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), TIMEOUT_S)
        assert isinstance(found, jobs.Failed)
        seen.append(found.text)

    async with working(bad_worker(tmp_path, monkeypatch, code)) as trainer, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one, trainer)
    assert seen == ["1", "2", "3", "4"]


async def test_an_unwritable_log_is_named(spec: StudySpec, tmp_path: Path) -> None:
    async with working(WorkerTrainer(tmp_path / "none" / "worker.log")) as trainer:
        with pytest.raises(TrainingError, match="cannot write .*worker.log"):
            await trainer.run(jobs.CheckData(spec, jobs.DataAt("/x.csv")), TIMEOUT_S)
