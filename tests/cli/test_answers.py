"""What a daemon answers, as people and programs see it, over the real control socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fednode.cli import show
from fednode.desk import read_models
from fednode.documents import Json
from fednode.home.journal import Journal
from fednode.ids import MemberId
from tests.cli.conftest import Fednode, filled

Serve = Callable[[Path, Mapping[str, Json]], None]
STUDY, MODEL, BLOCK = "5a" * 32, "6b" * 32, "3c" * 32

REPORT: dict[str, Any] = filled(read_models.ReportView, {
    "study": STUDY, "number": 3, "kind": "training", "outcome": "ok", "reason": "", "expected": [1, 2, 3, 4],
    "counted": [1, 2, 4], "absent": [{"member": 3, "phase": "commit", "attempt": 0}], "barred": [], "faulty": [],
    "attempts": 2,
    "voids": [{"attempt": 0, "phase": "commit", "reason": "too few members committed", "dropped": [3]}],
    "phases": [
        {"attempt": 0, "phase": "keys", "step": 0, "opened_height": 52, "closed_height": 54, "seconds": 0.165,
         "opened_ms": 1795268183000, "closed_ms": 1795268183165, "expired": False},
        {"attempt": 1, "phase": "roster", "step": 1, "opened_height": 60, "closed_height": 62, "seconds": 5.01,
         "opened_ms": 1795268188000, "closed_ms": 1795268193010, "expired": True},
    ],
    "start_model": MODEL, "model_hash": MODEL, "sum_digest": BLOCK, "weight": 740,
    "metrics": {
        "hospitals": 4, "accuracy": 0.7777, "accuracy_within": 0.25, "loss": 0.5209, "loss_within": 2.0, "auc": 0.8267,
        "auc_within": 0.4375,
    },
    "opened_height": 52, "closed_height": 70, "opened_ms": 1795268183000, "closed_ms": 1795268193984, "seconds": 10.984,
    "taking_part": "4 of 4",
})
FAILED = {**REPORT, "number": 4, "outcome": "failed", "reason": "no agreement on the result", "metrics": None}
SUMMARY: dict[str, Any] = filled(read_models.StudySummary, {
    "id": STUDY, "name": "heart", "status": "running", "rounds_done": 3, "rounds": 10, "waiting_for": [3],
    "metrics": REPORT["metrics"], "reason": "", "has_data": True,
    "round": {"number": 5, "kind": "training", "phase": {"name": "keys"}, "absent": []},
})
STUDY_SHOWN = filled(read_models.ShownStudy, SUMMARY)
MEMBERS: list[Json] = [filled(read_models.MemberView, member) for member in [
    {"id": 1, "name": "anna", "is_me": True, "is_connected": True, "address": None, "refused": None},
    {"id": 2, "name": "berta", "is_me": False, "is_connected": True, "address": "/ip4/192.0.2.2/tcp/7"},
    {"id": 3, "name": "cl\x1b[31mara", "is_me": False, "is_connected": False, "address": None, "refused": None},
    {"id": 4, "name": "dora", "is_me": False, "is_connected": False, "address": None, "refused": "speaks version 9"},
]]
CHAIN: dict[str, Json] = filled(read_models.ChainView, {
    "name": "fed", "id": STUDY, "height": 70, "hash": BLOCK, "time": "2026-11-21T13:36:32.375Z",
    "time_ms": 1795268193984, "members": 4, "fault_bound": 1, "quorum": 3, "reachable": 2, "has_quorum": False,
    "is_signing": True, "not_signing_reason": None, "source": "daemon",
})
STATUS: dict[str, Json] = filled(read_models.StatusView, {
    "member": {"id": 1, "name": "anna"}, "chain": CHAIN, "members": MEMBERS, "studies": [SUMMARY], "pid": 7,
    "uptime_s": 3.5, "rss_mb": 120.1, "problems": ["no space left on the disk"],
})
DONE: dict[str, Json] = {"id": BLOCK, "height": 71, "study": STUDY, "status": "paused", "votes": 2, "needed": 3}
ANSWERS: dict[str, Json] = {
    "status": STATUS, "chain_status": CHAIN, "member_list": MEMBERS, "study_list": [SUMMARY], "study_show": STUDY_SHOWN,
    "round_list": [REPORT, FAILED], "round_show": REPORT, "study_pause": DONE, "study_vote": DONE,
    "model_list": [filled(read_models.ModelView, {
        "hash": MODEL, "study": STUDY, "study_name": "heart", "round": 3, "counted": [1], "is_here": True,
    })],
    "chain_show": [filled(read_models.BlockView, {
        "height": 7, "hash": BLOCK, "time": "2026", "time_ms": 1795268193984, "transactions": [
            {"id": MODEL, "kind": "keys", "sender": 1, "ok": False, "reason": "phase-closed"},
        ],
    })],
}


@pytest.fixture
def home(tmp_path: Path, daemon_answers: Serve) -> Path:
    """A home whose daemon gives `ANSWERS`."""
    daemon_answers(tmp_path / "home", ANSWERS)
    return tmp_path / "home"


def test_status_names_what_is_wrong(fednode: Fednode, home: Path) -> None:
    out = fednode("--home", home, "status").out
    assert "anna (member 1)" in out
    assert "NO QUORUM: no block until 3 members sign" in out
    assert "problem: no space left on the disk" in out
    assert "refused: speaks version 9" in out
    assert "5 training: keys" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("status",), STATUS), (("chain", "status"), CHAIN), (("member", "list"), MEMBERS),
        (("study", "list"), [SUMMARY]), (("round", "list"), [REPORT, FAILED]), (("round", "show"), REPORT),
        (("model", "list"), ANSWERS["model_list"]), (("chain", "show", "7"), ANSWERS["chain_show"][0]),  # type: ignore
    ],
)
def test_json_is_what_the_daemon_said(fednode: Fednode, home: Path, arguments: tuple[str, ...], answer: Json) -> None:
    result = fednode("--home", home, *arguments, "--format", "json")
    assert result.code == 0
    assert json.loads(result.out) == answer


def test_a_round_is_a_tree_with_every_loss_named(fednode: Fednode, home: Path) -> None:
    lines = fednode("--home", home, "round", "show", "3").out.splitlines()
    assert lines == [
        "round 3 (training) of study 5a5a5a5a5a5a: ok",
        "├─ 2026-11-21 13:36:23Z, 11 s, blocks 52 to 70",
        "├─ counted: members 1 2 4, of 1 2 3 4 expected, weight 740",
        "│  └─ absent: member 3 in commit, attempt 0",
        "├─ attempt 0: void in commit, too few members committed; goes on without 3",
        "│  └─ keys       0.165 s  blocks 52 to 54",
        "├─ attempt 1",
        "│  └─ roster 1    5.01 s  blocks 60 to 62  ended by votes",
        "├─ the model the round started from: accuracy 0.7777 (+- 0.2500), loss 0.5209 (+- 2.0000), "
        "auc 0.8267 (+- 0.4375)",
        "│  └─ mean of 4 hospitals, and how far those that may lie can have moved it",
        "└─ model 6b6b6b6b6b6b, sum 3c3c3c3c3c3c",
    ]


def test_a_failed_round_is_loud(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    daemon_answers(tmp_path / "other", {**ANSWERS, "round_show": FAILED})
    shown = fednode("--home", tmp_path / "other", "round", "show").out
    assert "FAILED" in shown.splitlines()[0]
    assert "reason: no agreement on the result; the model stays as it was" in shown
    listed = fednode("--home", tmp_path / "other", "round", "list").out
    assert "FAILED: no agreement on the result" in listed
    assert "running: keys" in listed


def test_votes_say_in_which_block(fednode: Fednode, home: Path) -> None:
    said = fednode("--home", home, "study", "pause").out
    assert "paused study 5a5a5a5a5a5a: 2 of 3 votes, in block 71; the study is paused" in said
    assert fednode("--home", home, "study", "stop").code == 2
    assert "voted to stop" in fednode("--home", home, "study", "stop", "--yes").out
    assert "the study runs already" in fednode("--home", home, "study", "start").out


def test_a_block_shows_what_became_of_its_transactions(fednode: Fednode, home: Path) -> None:
    out = fednode("--home", home, "chain", "show", "7").out
    assert "phase-closed" in out
    assert "6b6b6b6b6b6b " in out


def test_tables_of_nothing_say_so(fednode: Fednode, tmp_path: Path, daemon_answers: Serve) -> None:
    nothing = filled(read_models.ShownStudy, {})
    empty: dict[str, Json] = {"study_list": [], "round_list": [], "model_list": [], "study_show": nothing}
    daemon_answers(tmp_path / "empty", empty)
    for noun, says in {"study": "no studies", "round": "no round has opened yet", "model": "no model yet"}.items():
        assert says in fednode("--home", tmp_path / "empty", noun, "list").out


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("hash", "ab" * 32, "abababababab"), ("opened_ms", 1795268193984, "2026-11-21 13:36:33Z"),
        ("timeout_ms", 5000, "5000 ms"), ("ok", True, "yes"), ("reason", None, "-"), ("reason", "", "-"),
        ("members", [1, 2], "1 2"), ("members", [], "-"), ("limits", ["a b", "c d"], "a b; c d"),
        ("sealed", [[2, "ab" * 40]], "2 abababababab"), ("one", {"a_b": 1, "c": None}, "a b 1, c -"),
    ],
)
def test_cells(key: str, value: object, text: str) -> None:
    assert show.cell(key, value) == text


def journal_of(home: Path) -> Journal:
    (home / "log").mkdir(parents=True)
    return Journal(home / "log" / "journal.jsonl", MemberId(1), lambda: 1795268193984)


def test_logs_are_readable_and_rotate(fednode: Fednode, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert "the daemon writes it when it runs" in fednode("--home", home, "logs").err
    journal = journal_of(home)
    for height in range(50):
        journal.write("block", height=height)
    journal.close()
    with (home / "log" / "journal.jsonl").open("a") as file:
        file.write('{"kind": "tim')
    out = fednode("--home", home, "logs", "-n", "3", "--all").out.splitlines()
    assert [line.split()[1:] for line in out[:2]] == [["13:36:33", "block", f"height={n}"] for n in (48, 49)]
    assert out[2].startswith("damaged line: ")
    assert fednode("--home", home, "logs", "--kind", "round").out == ""
    raw = fednode("--home", home, "logs", "--kind", "block", "-n", "1", "--format", "json").out
    assert json.loads(raw)["height"] == 49


def test_logs_tell_whom_a_line_is_about_and_show_what_cannot_be_read(fednode: Fednode, tmp_path: Path) -> None:
    home = tmp_path / "home"
    journal = journal_of(home)
    journal.write("cut-off", member=4, reason="no such frame")
    journal.write("note", text="half \ud800")
    journal.close()
    shown = fednode("--home", home, "logs")
    assert shown.code == 0, shown.err
    first, second = shown.out.splitlines()
    assert first.endswith("cut-off  member=4 reason=no such frame")
    assert second.startswith("damaged line: ") and "half" in second
    assert json.loads(fednode("--home", home, "logs", "--kind", "cut-off", "--format", "json").out)["member"] == 4


def test_logs_leave_the_steps_of_the_machines_to_those_who_ask(fednode: Fednode, tmp_path: Path) -> None:
    home = tmp_path / "home"
    journal = journal_of(home)
    for _ in range(9):
        journal.write("frame", effects=("StartTimer",))
    journal.write("block", height=1)
    journal.write("round", text="round 3 (training) is done after 0.5 s, counted 4 of 4", height=1)
    journal.close()
    told = fednode("--home", home, "logs").out.splitlines()
    assert [line.split(maxsplit=2)[2] for line in told] == [
        "round    round 3 (training) is done after 0.5 s, counted 4 of 4"
    ]
    assert len(fednode("--home", home, "logs", "--all").out.splitlines()) == 11
    assert len(fednode("--home", home, "logs", "--kind", "frame").out.splitlines()) == 9


@pytest.mark.parametrize("command", [("status",), ("study", "list"), ("round", "list"), ("chain", "status")])
@pytest.mark.parametrize(
    "answer",
    [None, 7, "running", [None], [[]], {}, {**CHAIN, "height": "70"}, {**CHAIN, "new": 1}, [{**SUMMARY, "id": 7}]],
)
def test_an_answer_of_a_wrong_form_is_an_error_that_says_so(
    fednode: Fednode, tmp_path: Path, daemon_answers: Serve, command: tuple[str, ...], answer: Json
) -> None:
    daemon_answers(tmp_path / "home", dict.fromkeys(("status", "study_list", "round_list", "chain_status"), answer))
    result = fednode("--home", tmp_path / "home", *command)
    assert result.code == 8 and "the daemon answered with something unexpected" in result.err, result
    assert not result.out
