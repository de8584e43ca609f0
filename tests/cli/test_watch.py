"""`fednode watch` over the real socket: a line for each round that closes, and an end with the study's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fednode.cli import words
from fednode.documents import Json
from fednode.sums.phase import Phase
from tests.cli.conftest import Fednode
from tests.cli.test_answers import ANSWERS, FAILED, REPORT, STATUS, SUMMARY

Serve = Callable[[Path, Mapping[str, Json]], None]


def test_every_round_is_a_line_and_the_study_ends_it(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    ended = {**STATUS, "studies": [{**SUMMARY, "status": "finished", "round": None, "next_round": 5}]}
    daemon_answers(tmp_path / "home", {**ANSWERS, "follow": ended})
    shown = fednode("--home", tmp_path / "home", "watch", "heart")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert "round  3 training" in lines[0] and "left out: cl?[31mara (sent no update)" in lines[0]
    assert f"FAILED: {FAILED['reason']}" in lines[1]
    assert lines[2:] == ["the study is finished", "next: fednode model export best -o model.safetensors"]
    assert REPORT["number"] == 3 and "\x1b" not in shown.out


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_words(phase: Phase) -> None:
    name = phase.name.lower()
    assert words.doing(name) == words.DOING[name]
    assert words.missed(name)
