"""The session in the small world: the exact sum, or a void attempt and a new one, never another result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import MemberId
from fednode.smpc import messages as m
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


@st.composite
def _absences(draw: st.DrawFn) -> tuple[int, tuple[Absence, ...]]:
    count = draw(st.sampled_from([4, 5, 7, 8]))
    gone = draw(st.sets(st.integers(1, count), max_size=(count - 1) // 3))
    absences = []
    for member in sorted(gone):
        absences += [
            Absence(
                member, draw(st.sampled_from(PHASES)), attempt, draw(st.sampled_from([0, 100, 900, 2500])),
                draw(st.sampled_from([0, 0, 1, 2, 3, 5])),
            )
            for attempt in draw(st.sets(st.integers(0, 2), min_size=1))
        ]
    return count, tuple(absences)


@pytest.mark.slow
@given(_absences(), st.integers(0, 2**16), st.sampled_from(LEDGERS))
@settings(max_examples=20)
def test_any_f_absences_at_any_phase_give_the_exact_sum(
    case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type
) -> None:
    vanish(case, seed, ledger)


@pytest.mark.slow
@given(_absences(), st.integers(0, 2**16), st.sampled_from(LEDGERS))
@settings(max_examples=300)
def test_many_absences(case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type) -> None:
    vanish(case, seed, ledger)


def vanish(case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type) -> None:
    count, absences = case
    world = World(count, seed=seed, absences=absences, ledger=ledger).run()
    view = world.check()
    assert outcome(world) == "ok", world.ledger.outcome
    assert set(world.members) - {a.member for a in absences} <= set(view.included)
    assert not refusals(world)


@pytest.mark.slow
@given(st.integers(0, 2**16), st.sampled_from([4, 5]), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=60)
def test_a_network_that_loses_messages_costs_time_only(seed: int, count: int, loss: float) -> None:
    world = World(count, seed=seed, loss=loss).run()
    world.check()
    if loss < 0.05:
        assert outcome(world) == "ok"


@pytest.mark.parametrize(("member", "seed"), [
    (1, 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(3, 1), (1, 2), (3, 2)])
])
@pytest.mark.slow
def test_a_member_restarted_between_any_two_effects_sends_the_same_bytes(member: int, seed: int) -> None:
    total = World(4, seed=seed).run().nodes[MemberId(member)].effects_done
    assert total > 20
    for at in range(1, total + 1):
        world = World(4, seed=seed, restart_ms=20 + 40 * (at % 3))
        world.nodes[MemberId(member)].crash_at.add(at)
        world.run()
        world.check()
        assert outcome(world) == "ok", f"crash at effect {at}: {world.ledger.outcome}"
        assert not refusals(world), f"crash at effect {at}: {refusals(world)}"
        assert_consistent(world)


def assert_consistent(world: World) -> None:
    """Nothing a member sent twice differs, and every masked chunk left after its root was final."""
    seen: dict[tuple[MemberId, m.ChunkRef], bytes] = {}
    for sender, effect in world.trace.wire:
        if effect.ref.lane == m.Lane.MASKED:
            assert seen.setdefault((sender, effect.ref), bytes(effect.data)) == bytes(effect.data)
    posted: dict[tuple[MemberId, int, str, int], object] = {}
    for sender, attempt, message in world.trace.ledger:
        if isinstance(message, m.KeysMessage | m.CommitMessage | m.AnswerMessage | m.RevealMessage):
            key = (sender, attempt, type(message).__name__, len(getattr(message, "b_shares", ())))
            assert posted.setdefault(key, message) == message


def _restart_everywhere(seed: int, count: int, crashes: int, data: st.DataObject) -> World:
    world = World(count, seed=seed, ledger=data.draw(st.sampled_from(LEDGERS)))
    for node in world.nodes.values():
        node.crash_at |= data.draw(st.sets(st.integers(1, 60), max_size=crashes))
    world.run()
    world.check()
    assert_consistent(world)
    return world


@pytest.mark.slow
@given(st.integers(0, 2**16), st.sampled_from([4, 5, 7]), st.data())
@settings(max_examples=40)
def test_restarts_everywhere(seed: int, count: int, data: st.DataObject) -> None:
    """Every member may crash once; nobody is lost for good."""
    assert outcome(_restart_everywhere(seed, count, 1, data)) == "ok"


@pytest.mark.soak
@given(st.integers(0, 2**16), st.sampled_from([4, 5, 7]), st.data())
@settings(max_examples=150)
def test_many_restarts_everywhere(seed: int, count: int, data: st.DataObject) -> None:
    """Every member may crash up to three times in one sum."""
    assert outcome(_restart_everywhere(seed, count, 3, data)) == "ok"


@pytest.mark.slow
@given(st.integers(0, 2**16), st.data())
@settings(max_examples=150)
def test_loss_absence_and_restarts_together_are_exact_or_nothing(seed: int, data: st.DataObject) -> None:
    count = data.draw(st.sampled_from([4, 5, 7]))
    absences = tuple(
        Absence(data.draw(st.integers(1, count)), data.draw(st.sampled_from(PHASES)), down_ms=data.draw(
            st.sampled_from([200, 1500, 4000])
        )) for _ in range(data.draw(st.integers(0, 3)))
    )
    ledger = data.draw(st.sampled_from(LEDGERS))
    world = World(count, seed=seed, loss=data.draw(st.sampled_from([0.0, 0.1])), absences=absences, ledger=ledger)
    for node in world.nodes.values():
        node.crash_at |= data.draw(st.sets(st.integers(1, 80), max_size=2))
    world.run()
    world.check()
    assert_consistent(world)


def test_weights_are_summed_over_u() -> None:
    world = World(4, seed=9, absences=(Absence(4, Phase.COMMIT),)).run()
    view = world.check()
    assert view.included == (1, 2, 3)
    assert world.nodes[MemberId(1)].opened[0][1] == sum(1 + i % 3 for i in (1, 2, 3))


def test_sums_at_the_edge_of_the_ring_are_centred() -> None:
    edge = {
        MemberId(i): np.array([2**31 // 4 - 1, -(2**31 // 4), -1, 0] * 5, np.int32).view(np.uint32) for i in range(1, 5)
    }
    world = World(4, length=20, seed=3, vectors=edge).run()
    world.check()
    opened = world.nodes[MemberId(1)].opened[0][2]
    assert opened[:3].tolist() == [4 * (2**29 - 1), -(2**31), -4]


@pytest.mark.parametrize("ledger", LEDGERS)
def test_a_sum_that_everybody_lost_is_summed_again(ledger: type) -> None:
    """All four crash after the acknowledgements: nobody holds the sum any more, and every dealer masks once more."""
    world = World(4, seed=4894, ledger=ledger)
    for member, crashes in zip(world.members, ({29}, {42, 55}, {44}, {37}), strict=True):
        world.nodes[member].crash_at |= crashes
    world.run()
    world.check()
    assert outcome(world) == "ok" and not world.ledger.voids
