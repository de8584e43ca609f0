"""Runs tests in forks of one process that has imported the libraries the tests use, and nothing of the package.

    python -m tests.smpc.forks    each line of the input is a JSON list of options of pytest; each line of the output
                                  is a JSON list of its exit status, negative for a signal, and of what it wrote
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
from dataclasses import dataclass
from pathlib import Path

import pytest

LIBRARIES = (
    "_hypothesis_pytestplugin", "blake3", "cryptography.hazmat.primitives.ciphers.aead", "hypothesis.strategies",
    "msgpack", "nacl.public", "nacl.pwhash", "nacl.secret", "numpy.ctypeslib", "numpy.typing", "pdb", "plyvel",
    "xdist.plugin",
)


@dataclass(frozen=True)
class Forks:
    """The process that forks; `folder` is its current folder and the first place of imports."""

    folder: Path
    process: subprocess.Popen[str]

    def run(self, *options: str) -> tuple[int, str]:
        """Run pytest in a fork; return its exit status and what it wrote."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()
        status, output = json.loads(self.process.stdout.readline())
        return status, output


@contextmanager
def forking(folder: Path) -> Iterator[Forks]:
    """Start the process that forks; it ends with the block."""
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.smpc.forks"]
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Forks(folder, process)


def run_in_fork(options: list[str]) -> tuple[int, str]:
    """Fork, run pytest there, wait for its end."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            status = pytest.ExitCode.INTERNAL_ERROR
            try:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                status = pytest.main(options)
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(ended), output.read().decode(errors="replace")


def serve() -> None:
    """Import the libraries, then answer until the input ends."""
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "fednode" not in sys.modules, "a fork would not read what was broken"
    assert len(os.listdir("/proc/self/task")) == 1, "a lock that another thread holds would stay held in a fork"
    gc.freeze()  # a fork that collects garbage would otherwise copy every page
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run_in_fork(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
