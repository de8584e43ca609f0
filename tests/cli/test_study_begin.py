"""What is printed of a study that waits for its hospitals, and the vote to begin without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fednode.desk import outcomes, read_models
from fednode.documents import Json
from tests.cli.conftest import Fednode, filled

Serve = Callable[[Path, Mapping[str, Json]], None]
TOLD = "3 of 4, not ready: St. Dora"


def waiting(**more: Json) -> dict[str, Any]:
    return filled(read_models.ShownStudy, {
        "id": "5a" * 32, "name": "heart", "status": "waiting", "rounds_done": 0, "rounds": 10, "waiting_for": [4],
        "taking_part": TOLD, "not_ready": [4], "own_part": None, "has_data": True,
        "beginning": {"since_height": 0, "since_ms": 1, "without": []}, "round": None, **more,
    })


def test_who_is_not_ready_is_named_wherever_a_study_is_shown(
    fednode: Fednode, tmp_path: Path, daemon_answers: Serve
) -> None:
    own = "the study waits for this hospital: it is not ready (its daemon is still reading the table)"
    summary = filled(read_models.StudySummary, waiting())
    answers: dict[str, Json] = {"study_list": [summary], "round_list": [], "study_show": waiting(own_part=own)}
    daemon_answers(tmp_path / "home", answers)
    assert TOLD in fednode("--home", tmp_path / "home", "study", "list").out
    assert f"no round has opened yet; ready: {TOLD}" in fednode("--home", tmp_path / "home", "round", "list").out
    shown = fednode("--home", tmp_path / "home", "study", "start", "heart").out
    assert f"ready: {TOLD}" in shown and own in shown and "--without HOSPITAL" in shown
    values = json.loads(fednode("--home", tmp_path / "home", "study", "start", "heart", "--format", "json").out)
    assert (values["taking_part"], values["waiting_for"], values["own_part"]) == (TOLD, [4], own)


def test_a_vote_to_begin_without_one_is_asked_about_and_counted(
    fednode: Fednode, tmp_path: Path, daemon_answers: Serve
) -> None:
    without = [{"member": 4, "voters": [1, 2]}]
    done = filled(outcomes.StudyBegun, {
        "height": 9, "study": "5a" * 32, "status": "waiting", "taking_part": TOLD, "votes": 1, "needed": 3,
        "beginning": {"since_height": 0, "since_ms": 1, "without": without},
    })
    daemon_answers(tmp_path / "home", {"study_begin": done})
    words = ("--home", tmp_path / "home", "study", "start", "heart", "--without", "St. Dora")
    unsure = fednode(*words)
    assert (unsure.code, "without St. Dora" in unsure.err, "--yes" in unsure.err) == (2, True, True)
    assert "in block 9; to begin without member 4: 2 of 3 votes" in fednode(*words, "--yes").out
    assert json.loads(fednode(*words, "--yes", "--format", "json").out) == done


def test_the_last_vote_tells_that_it_has_begun(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    begun = filled(outcomes.StudyBegun, {
        "height": 9, "status": "running", "taking_part": TOLD, "votes": 3, "needed": 3,
    })
    daemon_answers(tmp_path / "home", {"study_begin": begun})
    said = fednode("--home", tmp_path / "home", "study", "start", "heart", "--without", "4", "--yes")
    assert f"in block 9; the study is running, {TOLD}" in said.out


def test_a_round_without_a_hospital_says_so(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    report = filled(read_models.ReportView, {
        "number": 1, "kind": "training", "outcome": "ok", "counted": [1, 2, 3], "expected": [1, 2, 3], "absent": [],
        "taking_part": TOLD, "not_ready": [4], "study": "5a" * 32, "attempts": 1, "seconds": 1.5,
    })
    daemon_answers(tmp_path / "home", {"round_list": [report], "round_show": report, "study_show": waiting()})
    assert "3 of 4, not ready: St. Dora" in fednode("--home", tmp_path / "home", "round", "list").out
    assert "not ready when the round opened, so not in it: St. Dora" in (
        fednode("--home", tmp_path / "home", "round", "show").out
    )
