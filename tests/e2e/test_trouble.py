"""Daemons that die, stand still, are cut off; one, two, all of them. The others go on, and nothing is ever lost.

One federation with an endless study lives through all of it, so the chain at the end has seen everything.
"""

from __future__ import annotations

import os
import random
import select
import signal
import threading
import time

import pytest

from tests.e2e.conftest import Endless, await_all_counted
from tests.e2e.federation import Federation, Hospital, phase_of, study_of

pytestmark = pytest.mark.slow

ROUND_DEADLINE_S = 4 + 2 * 12 * 1 + 6
"""Training, then every phase of both attempts run out, and some seconds of a busy machine."""


def await_round_after(hospital: Hospital, number: int, timeout_s: float = ROUND_DEADLINE_S) -> dict[str, object]:
    """Wait until round `number` has closed; return its report."""
    hospital.wait(lambda s: study_of(s)["next_round"] > number or _is_past(study_of(s), number), timeout_s,
                  f"the end of round {number}")
    return dict(hospital.report(number))


def _is_past(study: object, number: int) -> bool:
    assert isinstance(study, dict)
    return study["round"] is not None and study["round"]["number"] > number


def await_counted_again(federation: Federation, member: int) -> None:
    """Wait until the returned member has the others' chain and model and its update counts again."""
    returned, other = federation[member], federation.others(member)[0]
    begin = study_of(other.status())["next_round"]
    closed = other.wait_counted([member], begin, 60)
    height = other.status()["chain"]["height"]
    returned.wait_height(height)
    assert returned.call("chain_show", at=str(height))[0]["hash"] == other.call("chain_show", at=str(height))[0]["hash"]
    assert returned.report(closed["number"]) == closed


@pytest.mark.parametrize("phase", ["keys", "commit", "roster", "sumack", "reveal", "result"])
def test_killed_in_a_round(endless: Endless, phase: str) -> None:
    federation = endless.federation
    victim = 1 + ["keys", "commit", "roster", "sumack", "reveal", "result"].index(phase) % 4
    watcher = federation.others(victim)[0]
    seen = watcher.wait(lambda s: phase_of(s) == phase, 30, f"phase {phase}")
    federation[victim].kill()
    number = study_of(seen)["round"]["number"]
    report = await_round_after(watcher, number)
    assert report["outcome"] == "ok", report
    await_round_after(watcher, number + 1)
    federation[victim].start()
    await_counted_again(federation, victim)


def test_standing_still_for_longer_than_a_phase(endless: Endless) -> None:
    federation = endless.federation
    victim, watcher = federation[3], federation[1]
    seen = watcher.wait(lambda s: phase_of(s) in ("commit", "roster"), 30)
    victim.suspend()
    number = study_of(seen)["round"]["number"]
    assert await_round_after(watcher, number)["outcome"] == "ok"
    after = await_round_after(watcher, number + 2)
    assert 3 not in after["counted"]  # type: ignore[operator]
    pid = victim.pid
    victim.resume()
    await_counted_again(federation, 3)
    assert victim.pid == pid and victim.is_alive


def test_cut_off_and_healed(endless: Endless) -> None:
    federation = endless.federation
    victim, watcher = federation[2], federation[4]
    seen = watcher.wait(lambda s: study_of(s)["round"] is not None, 30)
    endless.wires.cut(2)
    number = study_of(seen)["round"]["number"]
    assert await_round_after(watcher, number)["outcome"] == "ok"
    assert await_round_after(watcher, number + 1)["outcome"] == "ok"
    alone = victim.poll(lambda s: s["connected"] == 0, 30, "the cut noticed")
    assert alone["chain"]["has_quorum"] is False
    stuck = alone["chain"]["height"]
    await_round_after(watcher, number + 2)
    assert victim.status()["chain"]["height"] == stuck
    endless.wires.heal()
    await_counted_again(federation, 2)


def test_worker_killed_and_worker_standing_still(endless: Endless) -> None:
    """The daemon goes on, the hospital is counted again, and no worker outlives its daemon."""
    federation = endless.federation
    victim = federation[4]
    daemon, first = victim.pid, victim.status()["worker_pid"]
    os.kill(first, signal.SIGKILL)
    await_counted_again(federation, 4)
    second = victim.status()["worker_pid"]
    assert victim.pid == daemon and victim.is_alive and second != first
    os.kill(second, signal.SIGSTOP)
    begin = study_of(federation[1].status())["next_round"]
    federation[1].wait(lambda s: study_of(s)["next_round"] > begin + 3, ROUND_DEADLINE_S, "rounds without it")
    os.kill(second, signal.SIGCONT)
    await_counted_again(federation, 4)
    third = os.pidfd_open(victim.status()["worker_pid"])
    victim.kill()
    ended, _, _ = select.select([third], [], [], 10)
    os.close(third)
    assert ended, "the worker outlives its daemon"


def test_two_of_four_gone(endless: Endless) -> None:
    federation = endless.federation
    federation[1].wait(lambda s: phase_of(s) == "commit", 30)
    federation[3].kill()
    federation[4].suspend()
    left = [federation[1], federation[2]]
    for hospital in left:
        status = hospital.poll(lambda s: s["chain"]["reachable"] == 2, 30, "both losses noticed")
        assert status["chain"]["has_quorum"] is False
    shown = left[0].cli("status")
    assert shown.returncode == 0
    assert "NO QUORUM: no block until 3 members sign" in shown.stdout
    heights = [hospital.status()["chain"]["height"] for hospital in left]
    deadline = time.monotonic() + 8  # longer than training and any phase
    while time.monotonic() < deadline:
        left[0].pause(0.5)
    assert [hospital.status()["chain"]["height"] for hospital in left] == heights
    begin = study_of(left[0].status())["next_round"]
    federation[4].resume()
    left[0].wait(lambda s: study_of(s)["next_round"] > begin + 1, ROUND_DEADLINE_S, "rounds with three")
    assert left[0].status()["chain"]["has_quorum"] is True
    federation[3].start()
    await_counted_again(federation, 3)


def test_request_without_quorum_says_so_and_is_done_later(endless: Endless) -> None:
    federation = endless.federation
    federation[3].kill()
    federation[2].kill()
    federation[1].poll(lambda s: s["chain"]["reachable"] == 2, 30)
    answers: list[object] = []

    def ask() -> None:
        answers.append(federation[1].cli("study", "pause", "--reason", "audit"))

    caller = threading.Thread(target=ask)
    caller.start()
    caller.join(60)
    [answer] = answers
    assert answer.returncode == 8, answer  # type: ignore[attr-defined]
    assert "Traceback" not in answer.stderr  # type: ignore[attr-defined]
    assert "stays on its way" in answer.stderr  # type: ignore[attr-defined]
    federation[2].start()
    federation[1].wait(lambda s: study_of(s)["status"] == "paused", ROUND_DEADLINE_S, "the pause")
    federation[3].start()
    for hospital in (federation[1], federation[2], federation[3]):
        hospital.wait(lambda s: study_of(s)["status"] == "paused", ROUND_DEADLINE_S, "the pause")  # it has caught up
        done = hospital.cli("study", "resume")
        assert done.returncode == 0, done.stderr
    await_counted_again(federation, 3)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_killed_at_once(endless: Endless, seed: int) -> None:
    federation = endless.federation
    drawn = random.Random(seed)
    wanted = drawn.choice(["keys", "ack", "commit", "roster", "digest", "sumack", "reveal", "result"])
    watcher = federation[1]
    begin = watcher.wait(lambda s: phase_of(s) == wanted, 30, wanted)
    federation.kill()
    federation.start()
    number = study_of(begin)["round"]["number"]
    watcher.wait(lambda s: study_of(s)["next_round"] > number + 1, 60, "the study goes on")
    await_all_counted(federation)
    federation.await_equal_chains()


def test_the_chain_has_seen_all_this_and_verifies(endless: Endless) -> None:
    federation = endless.federation
    for hospital in federation.others(1):
        assert hospital.stop() == 0
    federation[1].kill()
    found = federation[1].cli("chain", "verify", "--level", "4")
    assert found.returncode == 0, found.stderr
    unmasked_twice = [r for r in _stored_reports(federation) if r["attempts"] > 2]
    assert not unmasked_twice, "with one loss at a time two attempts are enough"


def _stored_reports(federation: Federation) -> list[dict[str, object]]:
    federation.start()
    return [dict(report) for report in federation[1].reports()]
