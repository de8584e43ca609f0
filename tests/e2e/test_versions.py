"""A version nobody here knows is voted in: every daemon stops before its first block and says what to install."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from fednode.errors import FednodeError
from tests.e2e.federation import make_federation, running
from tests.e2e.test_bad_input import start_fails

pytestmark = pytest.mark.slow


def test_daemons_stop_before_a_version_they_do_not_know(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    with running(federation):
        one, two, three, four = federation.hospitals
        early = one.cli("chain", "version", "propose", "2", "--at", "5", "--release", "9.9.9")
        assert early.returncode == 11 and "notice" in early.stderr
        first = one.cli("chain", "version", "propose", "2", "--at", "20", "--release", "9.9.9", "--format", "json")
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)["votes"][0]["voters"] == [1]
        assert two.cli("chain", "version", "approve", "2").returncode == 0
        assert "1 2 (3 needed)" in two.cli("chain", "version", "show").stdout
        shown = json.loads(four.cli("chain", "version", "approve", "2", "--format", "json").stdout)
        assert (shown["planned"]["version"], shown["planned"]["is_known"], shown["in_force"]) == (2, False, 1)
        assert three.cli("chain", "version", "approve", "2").returncode == 11
        status = three.poll(lambda s: s["chain"]["planned_version"] is not None, 30, "the plan")
        assert "install fednode 9.9.9 or later before then" in status["problems"][0]
        assert "9.9.9" in three.cli("status").stdout
        for member in federation.hospitals[1:]:
            member.wait_height(status["chain"]["height"])
        while (height := one.status()["chain"]["height"]) < 18:
            one.call("submit_memo", text=f"after block {height}")
        with contextlib.suppress(FednodeError):  # the daemon may end before it answers
            one.call("submit_memo", text="the last of version 1")
        for member in federation.hospitals:
            assert member.wait_end() == 14
            text = member.last_words()
            assert "from block 20 on" in text and "install fednode 9.9.9 or later" in text and "Traceback" not in text
            start_fails(member, 14, "install fednode 9.9.9 or later")
        shown = json.loads(one.cli("chain", "version", "show", "--format", "json").stdout)
        assert (shown["source"], shown["in_force"]) == ("store", 2)
        verified = json.loads(one.cli("chain", "verify", "--format", "json").stdout)
        assert verified["ok"] and verified["height"] == 19


def test_a_plan_is_taken_back(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    with running(federation):
        for member in federation.hospitals[:3]:
            assert member.call("version_vote", action="propose", version=2, height=16, release="9.9.9")
        for member in federation.hospitals[1:]:
            done = member.cli("chain", "version", "withdraw", "--yes", "--format", "json")
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["planned"] is None
        for number in range(12):
            federation[1].call("submit_memo", text=f"line {number}")
        assert federation[1].status()["chain"]["height"] > 17
        assert all(member.is_alive for member in federation.hospitals)
