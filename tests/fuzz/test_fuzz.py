"""Fuzzing: the corpus of the tree, random bytes, and where atheris is installed some seconds by coverage."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.hostile import mutate
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import MAX_BYTES, TARGETS

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 4
SLOW = {"exports", "proofs"}
"""A chain is made and checked first."""

NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in TARGETS]


@pytest.mark.parametrize("name", NAMES)
def test_corpus_and_its_changes(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert files, "no corpus"
    target, drawn = TARGETS[name], random.Random(name)
    for file in files:
        data = file.read_bytes()
        target(data)
        for _ in range(5 if name in SLOW else 10):
            target(mutate(drawn, data)[:MAX_BYTES])
    target(b"")


def test_corpus_is_small_and_real() -> None:
    """A decoder that refuses all of its own corpus is not fuzzed."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert sum(path.stat().st_size for path in files) < 200_000
    for name in ("codec", "control", "consensus"):
        assert [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] == seeds(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_some_seconds_by_coverage(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: there is no build of it for this machine")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(SECONDS), "--corpus", str(tmp_path)],
        check=False, capture_output=True, text=True, timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "stat::number_of_executed_units" in done.stderr
