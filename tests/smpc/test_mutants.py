"""Every broken variant of the secure sum is noticed by the test that names its rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.limits import Limits
from tests.smpc.forks import Forks, forking
from tests.smpc.gate import ALL, LIMITS, OPTIONS, copy_checkout, judge_variant
from tests.smpc.mutants import Mutant


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forking(copy_checkout(tmp_path_factory.mktemp("mutants"))) as forks:
        yield forks


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_broken_variant_is_noticed(forks: Forks, mutant: Mutant) -> None:
    verdict = judge_variant(mutant, forks)
    assert verdict.is_killed, verdict.reason


@pytest.mark.slow
def test_nothing_is_noticed_where_nothing_is_broken(forks: Forks) -> None:
    ended = forks.run(replace(LIMITS, seconds=600), *OPTIONS, *{mutant.killed_by for mutant in ALL[::8]})
    assert ended.status == 0, ended.output


@pytest.mark.parametrize(("broken", "limits", "reason"), [
    ("while True: pass", Limits(3, 1 << 30),
     "test_loop.py::test_it: no end within 3 s of processor time, or 1800 s by the clock"),
    ("x = []\n    while True: x.append(bytearray(16 << 20))", Limits(30, 256 << 20),
     "test_loop.py::test_it: more than 256 MiB of memory"),
    ("import subprocess\n    assert subprocess.Popen(['sleep', '600']).pid < 0", Limits(30, 1 << 30),
     "test_loop.py::test_it"),
    ("pass", Limits(30, 1 << 30), None),
], ids=["computes for ever", "takes all memory", "leaves a process behind", "is not broken"])
def test_a_variant_that_never_ends_is_noticed_and_said_so(
    tmp_path: Path, broken: str, limits: Limits, reason: str | None
) -> None:
    (tmp_path / "fednode").mkdir()
    for name, text in (("__init__", ""), ("loop", "def wait() -> None:\n    return\n")):
        (tmp_path / "fednode" / f"{name}.py").write_text(text)
    (tmp_path / "test_loop.py").write_text("from fednode.loop import wait\n\ndef test_it() -> None:\n    wait()\n")
    with forking(tmp_path) as forks:
        verdict = judge_variant(Mutant("", "loop.py", "return", broken, "test_loop.py::test_it"), forks, limits)
    assert verdict.is_killed == (reason is not None) and reason in (None, verdict.reason)
