"""Runs tests in forks of one process that has imported the libraries the tests use, and nothing of the package.

    python -m tests.smpc.forks    each line of the input is a JSON list of the limits of a fork and options of pytest;
                                  each line of the output is one of its exit status, negative for a signal, of what
                                  it wrote, and of the limit it met, if it met one
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

from tests.limits import Limits, await_end, confine, past_limit

LIBRARIES = (
    "_hypothesis_pytestplugin", "blake3", "cryptography.hazmat.primitives.ciphers.aead", "hypothesis.strategies",
    "msgpack", "nacl.public", "nacl.pwhash", "nacl.secret", "numpy.ctypeslib", "numpy.typing", "pdb", "plyvel",
    "xdist.plugin",
)


@dataclass(frozen=True)
class Ended:
    """Exit status, what was written, and which limit was met."""

    status: int
    output: str
    past: str | None


@dataclass(frozen=True)
class Forks:
    """The process that forks; `folder` is its current folder and the first place of imports."""

    folder: Path
    process: subprocess.Popen[str]

    def run(self, limits: Limits, *options: str) -> Ended:
        """Run pytest in a fork."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([astuple(limits), options]) + "\n")
        self.process.stdin.flush()
        return Ended(*json.loads(self.process.stdout.readline()))


@contextmanager
def forking(folder: Path) -> Iterator[Forks]:
    """Start the process that forks; it ends with the block."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.smpc.forks"]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forks(folder, process)


def run_in_fork(limits: Limits, options: list[str]) -> Ended:
    """Fork, run pytest there within limits, wait for its end."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            status = pytest.ExitCode.INTERNAL_ERROR
            try:
                confine(limits)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                status = pytest.main(options)
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        code = await_end(child)
        output.seek(0)
        written = output.read().decode(errors="replace")
        return Ended(code, written, past_limit(code, written, limits))


def serve() -> None:
    """Import the libraries, then answer until the input ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "fednode" not in sys.modules, "a fork would not read what was broken"
    assert len(os.listdir("/proc/self/task")) == 1, "a lock that another thread holds would stay held in a fork"
    gc.freeze()  # a fork that collects garbage would otherwise copy every page
    for line in sys.stdin:
        limits, options = json.loads(line)
        sys.stdout.write(json.dumps(astuple(run_in_fork(Limits(*limits), options))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
