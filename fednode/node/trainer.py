"""The worker process seen from the daemon: started when needed, kept warm, killed and replaced when it fails.

Security assumption: nothing the worker answers is believed beyond its form; the update it returns is clipped again
when it is quantised. A crash, a hang or exhausted memory in training code ends the worker, never the daemon. The
worker inherits no descriptors, no secrets and an environment reduced to what Python needs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import trio

from fednode.errors import Rejected, TrainingError
from fednode.fence import judge
from fednode.home.files import PRIVATE_FILE
from fednode.learn.jobs import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    UPDATE_VALUE_BYTES,
    Answer,
    Job,
    Train,
    TrainedHead,
    decode_answer,
    encode_job,
)
from fednode.learn.layout import vector_plan

WORKER_MODULE = "fednode.worker.main"
DEFAULT_MEMORY_LIMIT_BYTES = 8 << 30
"""Address space of the worker; importing torch alone reserves about 1 GiB of it."""

CAUSE_BYTES = 4096
_READ_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20
"""What the system lets an ordinary account have: an update then takes a hundred reads instead of two thousand."""

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


class WorkerTrainer:
    """Owns at most one worker process and gives it one job at a time.

    `log_path` takes the worker's stderr, begun anew with each process; its last lines name the cause of a crash.
    """

    def __init__(
        self,
        log_path: Path,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        module: str = WORKER_MODULE,
    ) -> None:
        self._log_path = log_path
        self._command = [sys.executable, "-m", module, str(memory_limit_bytes)]
        self._turn = trio.Lock()
        self._process: trio.Process | None = None

    async def __aenter__(self) -> WorkerTrainer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, or None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the worker if it does not run, so that torch is imported before the first job needs it."""
        async with self._turn:
            await self._running()

    async def run(self, job: Job, timeout_s: float) -> Answer:
        """Return the worker's answer (possibly `Failed`).

        Raises `TrainingError` if the worker crashes, breaks the protocol or takes longer than `timeout_s`, the time
        to start it included. The worker is then gone, and the next job starts a new one; so it is after a
        cancellation.
        """
        async with self._turn:
            return await self._run(job, timeout_s)

    async def _run(self, job: Job, timeout_s: float) -> Answer:
        is_done = False
        try:
            frame = encode_job(job)
        except (Rejected, UnicodeEncodeError) as error:  # a folder's name may be no text
            fix = "shorten and correct paths and names of columns"
            raise TrainingError(f"the training process cannot be asked this ({error.reason}); {fix}") from None
        try:
            with trio.fail_after(timeout_s):
                process = await self._running()
                answer = await _exchange(process, job, frame)
            is_done = True
            return answer
        except trio.TooSlowError:
            text = f"the training process gave no answer in {timeout_s:g} s and was ended; raise train_timeout_s"
            raise TrainingError(f"{text} or use a smaller file") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
            raise TrainingError(await self._crash_text()) from None
        except Rejected as error:
            raise TrainingError(f"the training process answered nonsense ({error.reason}) and was ended") from None
        finally:
            if not is_done:
                await self._kill()

    async def stop(self) -> None:
        """End the worker, whatever it is doing. A later job would start a new one."""
        await self._kill()

    async def _running(self) -> trio.Process:
        if self._process is not None and self._process.poll() is not None:
            await self._kill()
        if self._process is None:
            self._process = await self._spawn()
        return self._process

    async def _spawn(self) -> trio.Process:
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environment.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="0")
        try:
            log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TrainingError(f"cannot write {self._log_path}: {reason}; make the folder writable") from None
        try:
            process = await trio.lowlevel.open_process(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment
            )
            with contextlib.suppress(OSError):
                fcntl.fcntl(_descriptor(process), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            return process
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TrainingError(f"the training process could not be started: {reason}; free some memory") from None
        finally:
            os.close(log)

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):  # a killed child is reaped within milliseconds
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()

    async def _crash_text(self) -> str:
        code = None
        if self._process is not None:
            with trio.move_on_after(1):  # the pipe closes just before the process is reaped
                code = await self._process.wait()
        if code is None:
            ended = "closed its pipe"
        else:
            ended = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
        cause = _last_line(self._log_path)
        return f"the training process {ended}" + (f": {cause}" if cause else "") + f"; see {self._log_path}"


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - CAUSE_BYTES))
            lines = file.read(CAUSE_BYTES).decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(part if part.isprintable() else " " for part in lines[-1][:300]) if lines else ""


def _descriptor(process: trio.Process) -> int:
    """Return the end of the pipe that the worker answers on."""
    assert isinstance(process.stdout, trio.lowlevel.FdStream), "the worker is started with pipes"
    return process.stdout.fileno()


async def _exchange(process: trio.Process, job: Job, frame: bytes) -> Answer:
    assert process.stdin is not None, "the worker is started with pipes"
    await process.stdin.send_all(frame)
    descriptor = _descriptor(process)
    length = int.from_bytes(await _read_exactly(descriptor, LENGTH_BYTES), "big")
    if length > MAX_FRAME_BYTES:
        raise Rejected(f"frame of {length} bytes, at most {MAX_FRAME_BYTES} allowed")
    record = await _read_exactly(descriptor, length)
    answer = await trio.to_thread.run_sync(partial(judge, "an answer", partial(decode_answer, bytes(record))))
    if not isinstance(answer, TrainedHead):
        return answer
    expected = UPDATE_VALUE_BYTES * vector_plan(job.spec).length if isinstance(job, Train) else 0
    if answer.delta_bytes != expected:
        raise Rejected(f"update of {answer.delta_bytes} bytes, {expected} expected")
    return answer.with_delta(await _read_exactly(descriptor, expected))


async def _read_exactly(descriptor: int, count: int) -> memoryview:
    """Read from a pipe, which does not block, straight to where the data stay: an update is held once."""
    data = np.empty(count, np.uint8).data
    filled = 0
    while filled < count:
        try:
            got = os.readv(descriptor, [data[filled : filled + _READ_BYTES]])
        except BlockingIOError:
            await trio.lowlevel.wait_readable(descriptor)
            continue
        if not got:
            raise EOFError
        filled += got
        await trio.lowlevel.checkpoint()
    return data
