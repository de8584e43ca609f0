"""A daemon whose machine breaks on what a member sends: it begins anew without that member, and is cut off by no liar.

The faults are put into the daemons here, because no real one is known: what is tried is the way back.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from fednode.desk.control_client import call_daemon
from fednode.errors import FednodeError
from tests.e2e.federation import Hospital, make_federation, running

pytestmark = pytest.mark.slow

BREAKS_ON_A_TRANSACTION = """
import sys
from fednode.core.traffic import Traffic

receive = Traffic.receive

def broken(traffic, items):
    if any(b"what breaks it" in item for item in items):
        raise OverflowError("canary")
    return receive(traffic, items)

Traffic.receive = broken
from fednode.cli.main import main
main(sys.argv[1:])
"""
BREAKS_FOUR_TIMES = """
import sys
from fednode.core.core import Core

take, left = Core.frame, [1] * 4

def broken(core, sender, data, now_ms):
    if b"what breaks it" in bytes(data) and left:
        left.pop()
        raise OverflowError("canary")
    return take(core, sender, data, now_ms)

Core.frame = broken
from fednode.cli.main import main
main(sys.argv[1:])
"""
"""Whoever sends it: honest members pass it on in a proposal, in a decision, and among the blocks a member misses."""


def attack(liar: Hospital) -> None:
    with contextlib.suppress(FednodeError):  # where everybody has shut it out, no block carries its line
        call_daemon(liar.home, "submit_memo", {"text": "what breaks it"}, timeout_s=5)


def test_whoever_breaks_a_machine_is_kept_away_and_the_others_go_on(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    for hospital in federation:
        hospital.program = ("-c", BREAKS_ON_A_TRANSACTION)
    with running(federation):
        for hospital in federation:
            hospital.poll(lambda s: s["connected"] == 3, 30, "three others connected")
        pids = [hospital.pid for hospital in federation]
        attack(federation[4])
        for hospital in federation.others(4):
            found = hospital.poll(lambda s: s["connected"] == 2, 30, "all but the liar connected")
            assert [m["id"] for m in found["members"] if not m["is_connected"]] == [4]
            assert any("member 4" in text and "OverflowError" in text for text in found["problems"])
            assert "canary" not in hospital.last_words() + str(found["problems"])
            shown = hospital.cli("status")
            assert (shown.returncode, "member 4" in shown.stdout) == (0, True), shown.stderr
        federation[1].call("submit_memo", text="the others go on")
        assert [hospital.pid for hospital in federation if hospital.is_alive] == pids


def test_honest_members_that_pass_it_on_do_not_stay_shut_out(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    federation[3].program = ("-c", BREAKS_FOUR_TIMES)
    with running(federation):
        for hospital in federation:
            hospital.poll(lambda s: s["connected"] == 3, 30, "three others connected")
        attack(federation[4])
        for number in range(3):
            federation[1].call("submit_memo", text=f"blocks after it {number}")
        top = federation[1].status()["chain"]["height"]
        federation[3].wait_height(top, 90)
        found = federation[3].poll(lambda s: s["connected"] >= 2, 30, "at most one kept away")
        assert any("OverflowError" in text for text in found["problems"])
        federation.await_equal_chains()
