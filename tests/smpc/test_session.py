"""The session in the small world: the exact sum, or a void attempt and a new one, never another result."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import MemberId
from fednode.sums.phase import Phase
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import Absence, World

LEDGERS = [ModelLedger, RealLedger]

PHASES = [Phase.KEYS, Phase.ACK, Phase.COMMIT, Phase.ROSTER, Phase.DIGEST, Phase.SUMACK, Phase.REVEAL, Phase.RESULT]


def outcome(world: World) -> str:
    assert world.ledger.outcome is not None, f"stuck in {world.ledger.phase}: {[n.notes for n in world.nodes.values()]}"
    return world.ledger.outcome[0]


def refusals(world: World) -> list[tuple[MemberId, str]]:
    return [entry for entry in world.ledger.refused if "phase closed" not in entry[1]]


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("count", [3, 4, 5, 7])
def test_everyone_present(count: int, ledger: type) -> None:
    world = World(count, seed=count, ledger=ledger).run()
    assert world.check().included == world.members
    assert outcome(world) == "ok" and not world.ledger.voids and not refusals(world)
    assert sum(bool(node.opened) for node in world.nodes.values()) >= 2 * count // 3 + 1


@pytest.mark.parametrize("length", [1, 4, 13, 250])
def test_short_vectors_have_empty_chunks(length: int) -> None:
    world = World(7, length=length, seed=length).run()
    assert world.check().included == world.members and outcome(world) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("down_ms", [0, 300, 2500])
def test_one_of_four_vanishes(phase: Phase, down_ms: int, ledger: type) -> None:
    """Also the owner of a chunk: its chunk is handed over, or the attempt is void and the next one succeeds."""
    world = World(4, seed=phase * 7 + down_ms, absences=(Absence(2, phase, 0, down_ms),), ledger=ledger).run()
    view = world.check()
    assert outcome(world) == "ok", world.ledger.outcome
    assert {1, 3, 4} <= set(view.included) and not refusals(world)
    assert len(world.ledger.voids) <= 1


@pytest.mark.slow
@given(st.integers(0, 2**16), st.sampled_from([4, 5]), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=60)
def test_a_network_that_loses_messages_costs_time_only(seed: int, count: int, loss: float) -> None:
    world = World(count, seed=seed, loss=loss).run()
    world.check()
    if loss < 0.05:
        assert outcome(world) == "ok"


def test_weights_are_summed_over_u() -> None:
    world = World(4, seed=9, absences=(Absence(4, Phase.COMMIT),)).run()
    view = world.check()
    assert view.included == (1, 2, 3)
    assert world.nodes[MemberId(1)].opened[0][1] == sum(1 + i % 3 for i in (1, 2, 3))


@pytest.mark.parametrize("ledger", LEDGERS)
def test_a_sum_that_everybody_lost_is_summed_again(ledger: type) -> None:
    """All four crash after the acknowledgements: nobody holds the sum any more, and every dealer masks once more."""
    world = World(4, seed=4894, ledger=ledger)
    for member, crashes in zip(world.members, ({29}, {42, 55}, {44}, {37}), strict=True):
        world.nodes[member].crash_at |= crashes
    world.run()
    world.check()
    assert outcome(world) == "ok" and not world.ledger.voids
