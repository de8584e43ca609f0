"""Members, roles, keys: what is printed for people and programs, and what is refused before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fednode.desk import outcomes, read_models
from fednode.documents import Json
from fednode.home.keystore import read_public_keys
from tests.cli.conftest import Fednode, filled

Serve = Callable[[Path, Mapping[str, Json]], None]

PROPOSAL: Mapping[str, Any] = {
    "proposal": 3, "change": "add", "member": 5, "name": "Emma", "proposer": 1, "height": 9, "reason": "",
    "approvals": [1, 2], "needed": 3, "is_observing": True, "reported_height": 10, "approved_height": None,
    "fingerprint": "12345 67890",
    "sign_key": "ab" * 32, "addresses": [],
}


def test_request_writes_a_card(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    result = fednode(
        "--home", homes / "anna", "member", "request", "--output", path, "--passphrase-file", homes / "passphrase",
        "--format", "json",
    )
    assert result.code == 0, result.err
    shown = json.loads(result.out)
    assert shown["sign"] == read_public_keys(homes / "anna" / "keys" / "keystore.toml").sign.hex()
    assert shown["sign"] in path.read_text()


def test_invite_reads_the_card_and_asks(fednode: Fednode, homes: Path, daemon_answers: Serve, tmp_path: Path) -> None:
    daemon_answers(homes / "anna", {"member_invite": filled(outcomes.MemberInvited, {"height": 9, "proposal": 3})})
    card = homes / "berta" / "etc" / "identity-card.toml"
    unsure = fednode("--home", homes / "anna", "member", "invite", card)
    assert (unsure.code, "--yes" in unsure.err) == (2, True)
    sure = fednode("--home", homes / "anna", "member", "invite", card, "--yes", "--format", "json")
    assert (sure.code, json.loads(sure.out)["proposal"]) == (0, 3)
    (tmp_path / "changed.toml").write_text(card.read_text().replace("berta", "bertha"))
    changed = fednode("--home", homes / "anna", "member", "invite", tmp_path / "changed.toml", "--yes")
    assert (changed.code, "changed or copied" in changed.err) == (5, True)


def outlook(is_enough: bool) -> dict[str, Any]:
    says = "with Emma in, the federation has 6 members (now 5) and every block needs 5 signatures"
    return filled(read_models.OutlookView, {"is_enough": is_enough, "says": says, "quorum_then": 5})


def test_proposals_for_people_and_programs(fednode: Fednode, homes: Path, daemon_answers: Serve) -> None:
    done = filled(outcomes.MemberVoted, {"height": 12, "proposal": 3, "member": 5, "is_carried": True})
    daemon_answers(homes / "anna", {
        "member_proposals": [PROPOSAL, {**PROPOSAL, "approved_height": 12}], "member_approve": done,
        "member_revoke": done, "member_outlook": outlook(True),
    })
    table = fednode("--home", homes / "anna", "member", "proposals")
    assert "2 of 3" in table.out and "12345 67890" in table.out and "HAS NOT COME YET" in table.out
    assert json.loads(fednode("--home", homes / "anna", "member", "proposals", "--format", "json").out)[0] == PROPOSAL
    approved = fednode("--home", homes / "anna", "member", "approve", "3")
    assert "carried  yes" in approved.out and "5 signatures" in approved.err
    revoked = fednode("--home", homes / "anna", "member", "revoke", "5", "--yes", "--format", "json")
    assert json.loads(revoked.out) == done and not revoked.err


def test_a_vote_that_would_stop_the_chain_is_asked_about(fednode: Fednode, homes: Path, daemon_answers: Serve) -> None:
    done = filled(outcomes.MemberVoted, {"height": 12, "proposal": 3, "member": 5, "is_carried": True})
    daemon_answers(homes / "anna", {"member_approve": done, "member_revoke": done, "member_outlook": outlook(False)})
    for vote in (["approve", "3"], ["revoke", "2"]):
        unsure = fednode("--home", homes / "anna", "member", *vote)
        assert (unsure.code, "5 signatures" in unsure.err, "--yes" in unsure.err) == (2, True, True)
        sure = fednode("--home", homes / "anna", "member", *vote, "--yes")
        assert (sure.code, "5 signatures" in sure.err, "carried  yes" in sure.out) == (0, True, True)


def test_addresses_are_checked_before_they_are_announced(fednode: Fednode, homes: Path, daemon_answers: Serve) -> None:
    daemon_answers(homes / "anna", {"member_address": filled(outcomes.AddressesAnnounced, {"height": 4})})
    wrong = fednode("--home", homes / "anna", "member", "address", "192.0.2.1:port")
    assert wrong.code == 2, wrong.err
    right = fednode("--home", homes / "anna", "member", "address", "/ip4/192.0.2.1/tcp/7700", "--format", "json")
    assert (right.code, json.loads(right.out)["height"]) == (0, 4)


def test_roles(fednode: Fednode, homes: Path, daemon_answers: Serve) -> None:
    role = {"role": "auditor", "holder": "ab" * 32, "is_granted": False, "since_height": 4, "votes_to_change": [1]}
    done = filled(outcomes.RoleVoted, {"height": 4, **role})
    daemon_answers(homes / "anna", {"role_list": [role], "role_vote": done})
    assert "not granted" in fednode("--home", homes / "anna", "role", "list").out
    assert json.loads(fednode("--home", homes / "anna", "role", "list", "--format", "json").out) == [role]
    voted = fednode("--home", homes / "anna", "role", "grant", "auditor", "ab" * 32, "--format", "json")
    assert (voted.code, json.loads(voted.out)["height"]) == (0, 4)
    assert fednode("--home", homes / "anna", "role", "revoke", "auditor", "ab" * 32).code == 0
    assert fednode("--home", homes / "anna", "role", "grant", "surgeon", "ab" * 32).code == 2


def test_rotation_needs_a_member(fednode: Fednode, homes: Path, daemon_answers: Serve) -> None:
    keystore = homes / "anna" / "keys" / "keystore.toml"
    before = keystore.read_bytes()
    daemon_answers(homes / "anna", {"status": filled(read_models.StatusView, {"member": {"id": 5}})})
    result = fednode("--home", homes / "anna", "keys", "rotate", "--yes", "--passphrase-file", homes / "passphrase")
    assert (result.code, "only a member" in result.err) == (11, True)
    assert keystore.read_bytes() == before
