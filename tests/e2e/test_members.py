"""A fifth hospital joins a running federation, trains with it, and is voted out again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fednode.demo.federation import free_ports
from fednode.errors import FednodeError
from tests.e2e.federation import (
    Hospital,
    make_federation,
    make_home,
    points_csv,
    running,
    study_of,
    study_toml,
)

pytestmark = pytest.mark.slow


def test_a_fifth_hospital_joins_trains_and_leaves(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=1000, start_after_s=2))
    table = tmp_path / "fifth.csv"
    table.write_text(points_csv(5))
    fifth = make_home(tmp_path / "fifth", "Fifth", free_ports(1)[0], data=table)
    (fifth.home.genesis).write_bytes(federation[1].home.genesis.read_bytes())
    with running(federation):
        federation[1].wait_height(5)
        refused = fifth.cli("start")
        assert (refused.returncode, "--join" in refused.stderr) == (5, True)
        try:
            _join(federation.hospitals, fifth)
            _leave(federation.hospitals, fifth)
        finally:
            fifth.kill()


def _join(members: list[Hospital], fifth: Hospital) -> None:
    done = members[0].call("member_invite", card=fifth.home.card.read_text())
    assert (done["member"], done["name"]) == (5, "Fifth")
    fifth.start("--join")
    members[1].wait(
        lambda s: members[1].call("member_proposals")[0]["is_observing"], 60, "the candidate's report"
    )
    assert not fifth.status()["member"]["is_member"]
    votes = [member.call("member_approve", proposal="Fifth") for member in members[:3]]
    assert [vote["is_carried"] for vote in votes] == [False, False, True]
    fifth.poll(lambda s: s["member"]["is_member"], 30, "the fifth is a member")
    begin = study_of(members[0].status())["next_round"]
    members[0].wait(
        lambda s: any(r["number"] >= begin and 5 in r["counted"] for r in members[0].reports()), 90, "it trains"
    )
    listed = members[2].call("member_list")
    assert [entry["id"] for entry in listed] == [1, 2, 3, 4, 5]
    height = members[0].status()["chain"]["height"]
    fifth.wait_height(height)
    shown = [hospital.call("chain_show", at=str(height))[0]["hash"] for hospital in (fifth, members[0])]
    assert shown[0] == shown[1]


def _leave(members: list[Hospital], fifth: Hospital) -> None:
    for member in members:
        done = member.call("member_revoke", member="Fifth", reason="left")
    assert done["is_carried"]
    height = done["height"]
    members[1].poll(lambda s: len(s["members"]) == 4 and s["connected"] == 3, 30, "the fifth is cut off")
    members[1].wait_height(height + 3)
    begin = study_of(members[0].status())["next_round"]
    members[0].wait(
        lambda s: any(r["number"] > begin and r["outcome"] == "ok" for r in members[0].reports()), 60, "they go on"
    )
    assert 5 not in members[0].reports()[-1]["expected"]
    again = fifth.status()
    assert not again["member"]["is_member"] or again["connected"] == 0


def test_a_member_replaces_its_keys_and_goes_on(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, study_toml(rounds=1000, start_after_s=2))
    with running(federation):
        federation[1].wait_height(5)
        before = federation[2].call("member_list")[1]
        done = federation[2].cli("keys", "rotate", "--yes", "--format", "json")
        assert done.returncode == 0, done.stderr
        federation[2].wait_end()
        after = federation[1].call("member_list")[1]
        assert after["sign_key"] == json.loads(done.stdout)["sign_key"] != before["sign_key"]
        assert after["peer_id"] != before["peer_id"]
        federation[2].start()
        begin = study_of(federation[1].status())["next_round"]
        federation[1].wait(
            lambda s: any(r["number"] >= begin and 2 in r["counted"] for r in federation[1].reports()), 90, "it trains"
        )
        height = federation[1].status()["chain"]["height"]
        federation[3].wait(lambda s: s["chain"]["height"] > height + 8, 60)
        blocks = federation[3].call("chain_show", at=f"{height}..{height + 8}")
        assert any(2 in block["signers"] for block in blocks), "it votes with the new key"
        assert federation[2].status()["chain"]["is_signing"]


def test_joining_an_idle_chain(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    fifth = make_home(tmp_path / "fifth", "Fifth", free_ports(1)[0])
    fifth.home.genesis.write_bytes(federation[1].home.genesis.read_bytes())
    with running(federation):
        try:
            fifth.start("--join")
            federation[1].call("submit_memo", text="before")
            federation[1].call("member_invite", card=fifth.home.card.read_text())
            federation[2].wait(
                lambda s: federation[2].call("member_proposals")[0]["is_observing"], 60, "the candidate's report"
            )
            for member in (1, 2, 4):
                done = federation[member].call("member_approve", proposal="1")
            assert done["is_carried"]
            fifth.poll(lambda s: s["member"]["is_member"], 30, "the fifth is a member")
            assert fifth.call("submit_memo", text="from the fifth")["height"] > done["height"]
            verified = federation[3].cli("chain", "verify", "--level", "2", "--format", "json")
            assert verified.returncode == 0, verified.stderr
            fifth.stop()
            federation[1].call("submit_memo", text="while it was away")
            fifth.start()
            fifth.poll(lambda s: s["chain"]["height"] >= done["height"] + 2, 30, "it catches up as a member")
        finally:
            fifth.kill()


def test_votes_for_candidates_that_are_gone_stop_nothing(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, None)
    ports = free_ports(2)
    gone = [make_home(tmp_path / name, name, ports[at]) for at, name in enumerate(("fifth", "sixth"))]
    with running(federation):
        for candidate in gone:
            candidate.home.genesis.write_bytes(federation[1].home.genesis.read_bytes())
            federation[1].call("member_invite", card=candidate.home.card.read_text())
            candidate.start("--join")
        federation[2].wait(
            lambda s: all(open_["is_observing"] for open_ in federation[2].call("member_proposals")), 60, "both report"
        )
        for candidate in gone:
            candidate.stop()
        federation[1].poll(lambda s: s["connected"] == 3 and len(s["chain"]["signing"]) == 4, 60, "the candidates left")
        for member in (1, 2, 3):
            done = federation[member].call("member_approve", proposal="fifth")
        assert done["is_carried"] and not done["is_member"]
        refused = federation[1].cli("member", "approve", "sixth")
        assert refused.returncode == 2 and "needs 5 signatures" in refused.stderr, refused.stderr
        with pytest.raises(FednodeError, match="4 would sign"):
            federation[1].call("member_approve", proposal="sixth")
        for member in (1, 2, 3):
            assert federation[member].cli("member", "approve", "sixth", "--yes").returncode == 0
        assert federation[4].call("submit_memo", text="the chain goes on")["height"] > done["height"]
        try:
            gone[1].start()
            gone[1].poll(lambda s: s["member"]["is_member"], 60, "it says by itself that it is there")
            assert [entry["id"] for entry in federation[1].call("member_list")] == [1, 2, 3, 4, 6]
        finally:
            gone[1].kill()
