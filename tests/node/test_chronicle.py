"""The journal tells what a chain did: every round, who came and went, and every vote, once each and in order."""

from __future__ import annotations

import pytest

from fednode.chain.state import State
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.transactions import decode_transaction
from fednode.node.chronicle import Chronicle, Told
from tests.audit.chain import RoundWorld, play_changes


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return tell(play_changes())


def tell(world: RoundWorld) -> list[Told]:
    leaves = {key: value for _, key, value in world.genesis.first_state().leaves()}
    chronicle, found = Chronicle(world.genesis.first_state()), list[Told]()
    for decided in world.blocks:
        for key, value in decided.changes:
            if value is None:
                leaves.pop(key, None)
            else:
                leaves[key] = value
        state = State.load(RECORD_TABLE, leaves.items())
        transactions = [decode_transaction(data) for data in decided.block.transactions]
        found += chronicle.tell(state, decided.changes, transactions, decided.receipts)
    return found


def test_every_round_is_told_once(told: list[Told]) -> None:
    rounds = [(about["round"], text) for kind, text, about in told if kind == "round"]
    assert [number for number, _ in rounds] == list(range(1, len(rounds) + 1)) and len(rounds) >= 2
    assert rounds[0][1].startswith("round 1 (training) is done after ")
    assert [text.partition(", ")[2] for _, text in rounds] == [
        "counted 4 of 4", "counted 3 of 3, left out: hospital-0", "counted 4 of 4"
    ]


def test_members_are_told_by_name(told: list[Told]) -> None:
    texts = [text for kind, text, _ in told if kind == "member"]
    assert texts == ["fifth is a member now; the federation has 5",
                     "hospital-0 is no member any more; the federation has 4"]


def test_votes_say_who_and_what(told: list[Told]) -> None:
    texts = [text for kind, text, _ in told if kind == "vote"]
    assert "hospital-1 proposes fifth as a member" in texts
    assert texts.count("hospital-3 votes to admit fifth") == 1
    assert "hospital-1 votes to remove hospital-0: closed for good" in texts
    assert "fifth votes to remove hospital-0" in texts
    assert "hospital-2 is reached at /ip4/10.0.0.3/tcp/7700 from now on" in texts
    assert "hospital-3 replaces its keys" in texts
