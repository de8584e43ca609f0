"""The demo without its daemons: what options mean, the story of the hospital that fails, what is shown."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from fednode.cli.main import run
from fednode.cli.reading import read_study
from fednode.cli.screen import Screen
from fednode.demo.command import DATASETS, make_plan, meaning_of
from fednode.demo.federation import (
    Hospital,
    LocalFederation,
    ending_on_signals,
    free_ports,
    run_demo_data,
    shipped_study,
)
from fednode.demo.run import Stage, Story, sum_seconds
from fednode.errors import DataError, Refused, Unavailable, UsageError
from fednode.home.files import Home

NOTHING = {
    "members": None, "rounds": None, "dataset": None, "tables": (), "schema": None, "seed": 1, "kill": None,
}
TABLES = tuple(Path(f"{name}.csv") for name in ("anna", "berta", "clara"))


def plan(**changed):
    return make_plan(**{**NOTHING, **changed})


# --- options --------------------------------------------------------------------------------------------------

def test_by_default_four_hospitals_train_on_bundled_data_and_one_is_killed():
    made = plan()
    assert (made.members, made.dataset, made.tables, made.rounds) == (4, "breast-cancer", (), None)
    assert made.is_killing


def test_each_table_is_a_hospital():
    made = plan(tables=TABLES, schema=Path("study.toml"))
    assert made.members == 3
    assert not made.is_killing  # with three nobody may fail
    assert plan(tables=TABLES, schema=Path("study.toml"), members=3).members == 3


@pytest.mark.parametrize(("options", "words"), [
    ({"members": 3, "kill": True}, "with 3 members nobody may fail"),
    ({"members": 2}, "2 hospitals cannot train"),
    ({"tables": TABLES}, "--schema"),
    ({"schema": Path("study.toml")}, "--data"),
    ({"tables": TABLES, "schema": Path("s"), "dataset": "digits"}, "exclude each other"),
    ({"tables": TABLES, "schema": Path("s"), "members": 5}, "does not fit 3 times --data"),
])
def test_options_that_contradict_each_other_are_refused_with_the_reason(options, words):
    with pytest.raises(UsageError, match=words):
        plan(**options)


def test_a_refusal_is_one_sentence_with_its_exit_code(capsys):
    assert run(["demo", "--members", "3", "--kill"]) == UsageError.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert "nobody may fail" in err
    assert "--no-kill" in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert run(["demo", "--home", str(tmp_path)]) == UsageError.exit_code
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_a_table_that_is_not_there_is_named_and_nothing_is_left_behind(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tables = [word for name in ("anna", "berta", "clara") for word in ("--data", f"{name}.csv")]
    assert run(["demo", "--schema", str(shipped_study("digits")), *tables]) == DataError.exit_code
    assert "anna.csv cannot be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- what it is made of ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("dataset", DATASETS)
def test_the_studies_of_the_demo_come_with_fednode(dataset):
    assert read_study(shipped_study(dataset)).rounds == 10


def test_a_study_that_did_not_come_along_is_named():
    with pytest.raises(Unavailable, match="unheard_of.toml did not come with this installation"):
        shipped_study("unheard-of")


def test_ports_are_free_different_and_not_given_to_outgoing_connections():
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(16)
    assert len(set(ports)) == 16
    assert max(ports) < lowest
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


@pytest.mark.slow
def test_an_error_of_the_process_that_splits_data_keeps_its_class(tmp_path):
    table = tmp_path / "empty.csv"
    table.write_text("")
    study = shipped_study("digits")
    with pytest.raises(DataError):
        run_demo_data("split-files", "--study", study, "--out", tmp_path / "data", table)


def test_sigterm_unwinds_as_ctrl_c_does():
    with pytest.raises(KeyboardInterrupt), ending_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_daemon_that_cannot_start_says_why_and_leaves_no_process(tmp_path):
    hospital = Hospital(1, Home(tmp_path), tmp_path / "data.csv")
    hospital.home.create()
    with LocalFederation(tmp_path / "genesis.toml", [hospital]) as federation:
        federation.start([hospital])
        process = hospital.process
        with pytest.raises(Unavailable, match=r"the daemon of hospital 1 ended with code 3: .*hospital.toml"):
            federation.wait_ready([hospital])
    assert process.returncode == 3
    assert hospital.ready_fd is None


def test_a_daemon_that_is_killed_while_it_is_asked_is_named_with_the_signal(tmp_path):
    home = Home(tmp_path)
    home.create()
    with socket.socket(socket.AF_UNIX) as listening, subprocess.Popen(["sleep", "60"]) as process:
        listening.bind(str(home.socket))
        listening.listen()
        hospital = Hospital(2, home, tmp_path / "data.csv", process)
        home.output.touch()

        def kill_and_hang_up():
            connection, _ = listening.accept()
            connection.recv(1)
            process.kill()
            connection.close()

        daemon = threading.Thread(target=kill_and_hang_up)
        daemon.start()
        with pytest.raises(Unavailable, match="hospital 2 ended by signal 9: it said nothing"):
            hospital.ask("status")
        daemon.join()


# --- the story ------------------------------------------------------------------------------------------------

class FakeDaemon:
    """A hospital of a ledger kept by hand."""

    def __init__(self, number, world):
        self.number, self.world, self.name = number, world, f"hospital {number}"
        self.is_up = True

    def ask_records(self, call):
        if not self.is_up:
            raise Unavailable("no daemon")
        return {"study_list": self.world.study_list, "round_list": lambda: list(self.world.reports)}[call]()

    def ask_record(self, call):
        assert call == "chain_status"
        return {"height": self.world.heights.get(self.number, 77), "hash": "aa"}

    def ask(self, call, **args):
        self.world.asked.append((self.number, call, args.get("action")))
        if call == "study_pause":
            self.world.is_pausing = True
        elif not self.world.is_paused:
            raise Refused("it runs already")
        elif sum(name == "study_vote" for _, name, _ in self.world.asked) == 3:
            self.world.is_paused = False


class World:
    """A federation whose study moves on by one round each time somebody rests. It stands in for `LocalFederation`."""

    def __init__(self, rounds, returns_after=1):
        self.rounds, self.returns_after = rounds, returns_after
        self.hospitals = [FakeDaemon(number, self) for number in (1, 2, 3, 4)]
        self.reports, self.asked, self.heights = [], [], {}
        self.number, self.is_paused, self.is_pausing, self.returning = 0, False, False, None
        self.log = []

    def check_running(self):
        pass

    def kill(self, hospital):
        hospital.is_up = False
        self.log.append(("kill", self.number))

    def start(self, hospitals):
        self.returning = self.returns_after
        self.log.append(("start", None if self.is_paused else self.number))

    def rest(self):
        victim = self.hospitals[3]
        if self.returning is not None:
            self.returning -= 1
            victim.is_up = victim.is_up or self.returning <= 0
        if not self.is_paused and self.number <= self.rounds + 1:
            self.close_round([h.number for h in self.hospitals if h.is_up])

    def close_round(self, counted):
        kind = "statistics" if self.number == 0 else "closing" if self.number > self.rounds else "training"
        self.reports.append({
            "number": self.number, "kind": kind, "outcome": "ok", "counted": counted, "expected": [1, 2, 3, 4],
            "absent": [], "seconds": 0.5, "metrics": None, "model_hash": "ab" * 32, "reason": "",
            "phases": [{"phase": "commit", "closed_ms": 1000}, {"phase": "reveal", "closed_ms": 1250}],
        })
        self.number += 1
        self.is_paused, self.is_pausing = self.is_pausing, False

    def study_list(self):
        is_over = self.number > self.rounds + 1
        is_open = not is_over and not self.is_paused
        phase = {"number": self.number, "name": "keys", "posted": [], "expected": [1, 2, 3, 4]}
        return [{
            "status": "finished" if is_over else "paused" if self.is_paused else "running", "reason": "asked to",
            "next_round": self.number, "quorum": 3, "waiting_for": [4], "model_hash": "ab" * 32, "has_model": True,
            "round": {"number": self.number, "kind": "training", "phase": phase} if is_open else None,
            "ready": [h.number for h in self.hospitals if h.is_up],
        }]


def tell(world, victim=True):
    screen = Screen(is_error=True)
    screen._console.file = io.StringIO()
    story = Story(world, world.rounds, world.hospitals[3] if victim else None, screen, world.rest)
    story.follow()
    return story, screen._console.file.getvalue()


def test_a_third_of_the_way_a_daemon_is_killed_and_two_rounds_later_it_returns():
    world = World(rounds=10)
    story, text = tell(world)
    assert world.log == [("kill", 4), ("start", 6)]
    assert story.has_rejoined
    assert not world.asked  # it was back long before the end
    counted = {report["number"]: 4 in report["counted"] for report in world.reports}
    assert [number for number, is_in in counted.items() if not is_in] == [4, 5]
    assert "hospital 4's daemon is killed in round 4" in text
    assert "hospital 4 has the whole chain" in text


def test_the_last_round_waits_for_a_member_that_is_slow_to_return():
    world = World(rounds=10, returns_after=6)
    story, text = tell(world)
    assert world.asked[0] == (1, "study_pause", None)
    assert [ask for ask in world.asked if ask[1] == "study_vote"] == [(n, "study_vote", "resume") for n in (1, 2, 3)]
    assert 4 in world.reports[10]["counted"]
    assert story.has_rejoined
    assert "the study pauses after this round" in text
    assert "the study goes on" in text


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_however_few_rounds_the_killed_member_is_counted_again(rounds):
    world = World(rounds=rounds, returns_after=3)
    story, _ = tell(world)
    assert story.has_rejoined
    assert story.kill_round == -(-rounds // 3)
    assert 4 not in world.reports[story.kill_round]["counted"]


def test_without_a_victim_nobody_is_killed_and_nobody_rejoins():
    world = World(rounds=3)
    story, _ = tell(world, victim=False)
    assert world.log == []
    assert not story.has_rejoined
    assert story.round_seconds == 0.5
    assert story.secure_sum_seconds == 0.25


def test_a_study_that_pauses_by_itself_ends_the_demo_with_its_reason():
    world = World(rounds=3)
    world.is_paused = True
    with pytest.raises(Unavailable, match="the study is paused: asked to"):
        tell(world)


def test_at_the_end_chain_and_model_are_compared_in_every_hospital(monkeypatch):
    world = World(rounds=1)
    story, _ = tell(world, victim=False)
    ending = story.settle()
    assert (ending.height, ending.hashes_equal) == (77, True)
    monkeypatch.setattr("fednode.demo.run.REST_S", 0.0)
    world.heights[2] = 76
    assert not story.settle().hashes_equal


def test_the_sum_is_timed_from_the_last_commitment_to_the_last_opening():
    phases = [("commit", 1000), ("roster", 1100), ("commit", 2000), ("reveal", 2500), ("reveal2", 2700)]
    assert sum_seconds({"phases": [{"phase": name, "closed_ms": at} for name, at in phases]}) == 0.7


# --- what is shown --------------------------------------------------------------------------------------------

NAMES = {1: "Anna", 4: "Dora"}


def report(number, **changed):
    return {
        "number": number, "kind": "training", "outcome": "ok", "expected": [1, 2, 3, 4],
        "counted": [1, 2, 3], "seconds": 1.25, "reason": "",
        "absent": [{"member": 4, "phase": "keys", "attempt": 0}], "metrics": {"accuracy": 0.5 + number / 100},
        "model_hash": "ab" * 32, **changed,
    }


def test_without_a_terminal_each_closed_round_is_one_line(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    screen = Screen(is_error=True)
    screen._console.file = out = io.StringIO()
    with screen.rounds():
        screen.update({"round": None}, [report(1)], {}, NAMES)
        screen.update({"round": None}, [report(1), report(2, outcome="failed", reason="too few")], {}, NAMES)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "round  1 training     1.25 s  counted 3 of 4  left out: Dora (sent no keys)" in lines[0]
    assert "accuracy 0.5100" in lines[0]
    assert "FAILED: too few; the model stays as it was" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_a_table_shows_the_accuracy_of_the_model_each_round_made(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = Screen(is_error=True)
    from rich.console import Console

    out = io.StringIO()
    screen._console = Console(file=out, force_terminal=True, width=120)
    assert screen.is_live
    study = {"status": "running", "round": {
        "number": 3, "kind": "training", "phase": {"name": "roster", "posted": [1], "expected": [1, 2, 3]}}}
    with screen.rounds():
        screen.update(study, [report(1), report(2)], {1: Stage.UP.value, 4: Stage.DOWN.value}, NAMES)
    shown = out.getvalue()
    assert "0.5200" in shown  # round 1's model, measured by round 2
    assert "0.5100" not in shown
    assert "round 3, training: masked pieces cross; each hospital says what arrived, 1 of 3 done" in shown
    assert "running: Anna; KILLED: Dora" in shown


def test_the_end_says_what_the_figures_mean():
    result = {"accuracy": 0.97, "pooled": 0.971, "local_only": [0.9, 0.5], "test_rows": 142, "members": 4,
              "killed_and_rejoined": True}
    told = meaning_of(result)
    assert told[0].startswith("the model of all is right in 97.0 % of 142 cases") and "50.0 % to 90.0 %" in told[0]
    assert any("97.1 %: no more" in text for text in told)
    assert any("hospital 4 lost its power" in text for text in told)
    worse = meaning_of({**result, "accuracy": 0.85, "killed_and_rejoined": None})
    assert any("the best hospital alone does better" in text for text in worse)
    assert any("12.1 % more, the price" in text for text in worse)
    assert not any("lost its power" in text for text in worse)
