"""A home is copied and both copies run: both machines and the others say so, neither votes, and the chain goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fednode.home.files import Home
from tests.e2e.federation import free_ports, make_federation, running

pytestmark = pytest.mark.slow


def test_a_copied_home_is_told_on_both_machines(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    with running(federation):
        original, others = federation[3], federation.others(3)
        others[0].call("submit_memo", text="before")
        federation.await_equal_chains()
        original.stop()
        root = tmp_path / "copy"
        shutil.copytree(original.home.root, root, ignore=shutil.ignore_patterns("*.sock"))
        (port,) = free_ports(1)
        copy = replace(original, home=Home(root), port=port, process=None)
        text = copy.home.config.read_text().replace(f"/tcp/{original.port}", f"/tcp/{port}")
        copy.home.config.write_text(text)
        try:
            original.start()
            copy.start()
            for machine in (original, copy):
                machine.poll(lambda s: any("in use on another machine" in text for text in s["problems"]), 40, "told")
                assert machine.status()["chain"]["is_signing"] is False
            for hospital in others:
                hospital.poll(lambda s: s["members"][2]["is_twice"], 40, "the others know")
                assert any("in use on two machines" in text for text in hospital.status()["problems"])
                assert hospital.status()["chain"]["has_quorum"] is True, "three are enough"
            assert others[1].call("submit_memo", text="it goes on")["height"] > 1
        finally:
            copy.kill()
        original.poll(lambda s: s["chain"]["is_signing"], 60, "alone again, it votes")
        assert all(entry["double_votes"] == 0 for entry in others[0].call("member_list"))
