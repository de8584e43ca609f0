"""What waits for a person: a vote until it is cast, by members only, and a backup until these keys are in one."""

from __future__ import annotations

from pathlib import Path

from fednode.chain.state import State
from fednode.crypto import Ed25519Signer, Secret
from fednode.desk.todo import BACKED_UP, backup_wanted, todo_of
from fednode.ids import MemberId
from fednode.ledger.members.bodies import MemberApprove, MemberPropose, MemberReport
from fednode.ledger.studies.bodies import StudyPause
from tests.audit.chain import play
from tests.support.cards import make_card
from tests.support.seeds import seed_of


def told(state: State, member: int) -> list[str]:
    return list(todo_of(state, MemberId(member), lambda study: "heart disease"))


def test_a_vote_is_wanted_until_it_is_cast() -> None:
    world, card = play(1), make_card("fifth")
    assert told(world.state, 1) == []
    assert world.post(1, MemberPropose(card)).ok
    assert told(world.state, 2) == [], "it has not shown that it follows: nobody may vote yet"
    world.sign_as(5, Ed25519Signer(Secret(seed_of("fifth", "sign"))))
    assert world.post(5, MemberReport(card.sign_key, len(world.blocks), world.state.root)).ok
    (wanted,) = told(world.state, 2)
    assert "fifth wants to join" in wanted and wanted.endswith("fednode member approve 1")
    assert world.post(2, MemberApprove(1)).ok
    assert told(world.state, 2) == []
    assert told(world.state, 3) == [wanted]
    assert told(world.state, 5) == [], "a candidate has no vote"


def test_a_paused_study_asks_for_a_vote_to_go_on() -> None:
    world = play(1)
    assert world.post(1, StudyPause(world.study, "")).ok
    world.finish_round()
    assert told(world.state, 2) == [
        "study 'heart disease' is paused; your vote to go on: fednode study resume 'heart disease'"
    ]


def test_keys_are_to_be_backed_up_once_and_again_when_replaced(tmp_path: Path) -> None:
    key, other = bytes(32), bytes([1]) * 32
    assert backup_wanted(tmp_path, key)
    (tmp_path / BACKED_UP).write_text(key.hex())
    assert backup_wanted(tmp_path, key) == []
    assert backup_wanted(tmp_path, other)
