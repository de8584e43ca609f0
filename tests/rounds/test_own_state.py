"""From which state of its own a hospital trains: the newest of a round that counted with it in the sum."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fednode.errors import StorageError
from fednode.ids import MemberId
from fednode.ledger.studies.bodies import Outcome
from fednode.rounds.place import LoadOwn, NoOwn, OwnLoaded
from tests.node.world import OwnStatesInMemory

OK, FAILED = int(Outcome.OK), int(Outcome.FAILED)


@pytest.mark.parametrize(
    ("reports", "kept", "begins", "left"),
    [
        ({}, {}, b"", set()),
        ({1: (OK, (1, 2, 3))}, {1: b"one"}, b"one", {1}),
        ({1: (OK, (1, 2, 3)), 2: (FAILED, ())}, {1: b"one", 2: b"two"}, b"one", {1}),
        ({1: (OK, (1, 2, 3)), 2: (OK, (1, 3, 4))}, {1: b"one", 2: b"two"}, b"one", {1}),
        ({1: (OK, (1, 2, 3)), 2: (OK, (2, 3, 4))}, {1: b"one", 2: b"two"}, b"two", {2}),
        ({1: (OK, (1, 3, 4))}, {1: b"one"}, b"", set()),
        ({1: (OK, (1, 2, 3))}, {1: b"one", 5: b"five"}, b"one", {1, 5}),
        ({}, {1: b"of a round the ledger does not know"}, b"", set()),
    ],
)
def test_a_state_counts_if_its_round_did(
    reports: dict[int, tuple[int, tuple[int, ...]]], kept: dict[int, bytes], begins: bytes, left: set[int]
) -> None:
    states = OwnStatesInMemory()
    states.states = dict(kept)

    def find(number: int) -> SimpleNamespace | None:
        found = reports.get(number)
        return None if found is None else SimpleNamespace(outcome=found[0], counted=found[1])

    found = LoadOwn(states, 5, MemberId(2), find).run()  # type: ignore[arg-type]
    assert isinstance(found, OwnLoaded) and found.state == begins
    assert set(states.states) == left


def test_a_state_that_cannot_be_read_is_said() -> None:
    class Damaged(OwnStatesInMemory):
        def load(self, round_number: int) -> bytes:
            raise StorageError("the state is damaged")

    states = Damaged()
    states.states = {1: b""}
    report = SimpleNamespace(outcome=OK, counted=(2,))
    found = LoadOwn(states, 2, MemberId(2), lambda number: report).run()  # type: ignore[arg-type, return-value]
    assert isinstance(found, NoOwn) and found.reason == "the state is damaged"
