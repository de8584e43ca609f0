"""Who belongs to a running federation, without a study: limits of votes, an address that moves, a dead hospital."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fednode.demo.federation import free_ports
from fednode.errors import FednodeError
from tests.e2e.federation import Federation, Hospital, make_federation, make_home, running

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_export.py"


def test_limits_addresses_and_the_removal_of_a_dead_hospital(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    fifth = make_home(tmp_path / "fifth", "Fifth", free_ports(1)[0])
    fifth.home.genesis.write_bytes(federation[1].home.genesis.read_bytes())
    with running(federation):
        try:
            _never_below_four(federation)
            _join(federation, fifth)
            _move(federation, fifth)
            fifth.kill()
            height = _remove_dead(federation)
            _is_refused(federation, fifth, height)
        finally:
            fifth.kill()
        _audit(federation, tmp_path / "chain.fnx")


def _never_below_four(federation: Federation) -> None:
    refused = federation[1].cli("member", "revoke", "4", "--yes")
    assert refused.returncode == 11 and "never leaves fewer than four members" in refused.stderr


def _join(federation: Federation, fifth: Hospital) -> None:
    one = federation[1]
    assert one.cli("member", "invite", str(fifth.home.card), "--yes").returncode == 0
    early = one.cli("member", "approve", "Fifth")
    assert early.returncode == 11 and "has not yet shown that it follows the chain" in early.stderr
    fifth.start("--join")
    one.wait(lambda s: one.call("member_proposals")[0]["is_observing"], 60, "the candidate's report")
    with pytest.raises(FednodeError):
        fifth.call("submit_memo", text="a candidate has no say")
    for member in federation.hospitals[:3]:
        done = json.loads(member.cli("member", "approve", "Fifth", "--format", "json").stdout)
    assert done["is_carried"]
    fifth.poll(lambda s: s["member"]["is_member"], 30, "the fifth is a member")


def _move(federation: Federation, fifth: Hospital) -> None:
    """A member gets another port: it tells on the ledger, and whoever starts later finds it there."""
    three, port = federation[3], free_ports(1)[0]
    three.stop()
    path = three.home.config
    path.write_text(path.read_text().replace(f"/tcp/{three.port}", f"/tcp/{port}"))
    three.port = three.advertised = port
    three.start()
    address = f"/ip4/127.0.0.1/tcp/{port}"
    told = three.cli("member", "address", address, "--format", "json")
    assert told.returncode == 0, told.stderr
    height = json.loads(told.stdout)["height"]
    for member in (federation[1], fifth):
        member.wait_height(height)
        assert member.call("member_list")[2]["addresses"] == [address]
    federation[2].stop()
    federation[2].start()
    federation[2].poll(lambda s: s["members"][2]["is_connected"], 30, "it is found at its new address")


def _remove_dead(federation: Federation) -> int:
    """Four of five decide, all that live: the dead one counts until it is gone."""
    for member in federation.hospitals:
        member.poll(lambda s: s["connected"] >= 3, 30)
        done = json.loads(member.cli(
            "member", "revoke", "Fifth", "--reason", "closed", "--yes", "--format", "json"
        ).stdout)
    assert done["is_carried"]
    federation[1].wait_height(done["height"])
    assert len(federation[1].call("member_list")) == 4
    again = federation[1].cli("member", "revoke", "2", "--yes")
    assert again.returncode == 11 and "never leaves fewer than four members" in again.stderr
    federation[4].kill()  # one of four may be away again: the dead fifth does not count any more
    assert federation[1].call("submit_memo", text="three of four decide")["height"] > done["height"]
    federation[4].start()
    return int(done["height"])


def _is_refused(federation: Federation, fifth: Hospital, height: int) -> None:
    """From that height on: no connection, and nothing it signs is taken."""
    fifth.start()
    for _ in range(3):
        federation[1].call("submit_memo", text=f"without the fifth {_}")
        federation[1].pause(0.5)
        assert all(not member.status()["connected"] > 3 for member in federation.hospitals)
    status = fifth.status()
    assert status["chain"]["height"] <= height and status["connected"] == 0, status
    listed = federation[1].cli("member", "list").stdout
    assert "Fifth" not in listed
    fifth.kill()


def _audit(federation: Federation, path: Path) -> None:
    """The chain tells all of it to somebody who was not there."""
    federation.await_equal_chains()
    one = federation[1]
    assert one.cli("chain", "export", "-o", str(path)).returncode == 0
    checked = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--chain-id", federation.genesis.chain_id.hex(), str(path)],
        capture_output=True, text=True, check=False, cwd="/",
    )
    assert checked.returncode == 0, checked.stdout
    again = one.cli("chain", "import", "--verify-only", str(path), "--format", "json")
    assert again.returncode == 0 and json.loads(again.stdout)["ok"], again.stderr
    assert one.cli("chain", "compare", str(path), str(path)).returncode == 0
