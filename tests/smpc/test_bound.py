"""The session in the small world: the exact sum, bound to proven vectors, or a void attempt and a new one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.jobs import is_bound
from fednode.smpc.sketch import PART_ELEMENTS, IntegerSketch, sketch_integers
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.shown import shown
from tests.smpc.sim.world import Absence, World
from tests.smpc.test_session import LEDGERS, outcome, refusals

WEIGHTS = ["hidden", "equal", "public"]
CHECKS = [Phase.COIN, Phase.SHARE, Phase.PROOF, Phase.REVEAL]
PHASES = [
    Phase.KEYS, Phase.ACK, Phase.COMMIT, Phase.ROSTER, Phase.DIGEST, Phase.SUMACK, *CHECKS, Phase.RESULT,
]


def run(count: int, **more: object) -> World:
    return World(count, **{"weights": "hidden", **more}).run()  # type: ignore[arg-type]


def assert_consistent(world: World) -> None:
    """Nothing a member sent twice differs: chunks, boxes, links, roots, answers, openings."""
    seen: dict[object, bytes] = {}
    for sender, effect in world.trace.wire:
        if effect.ref.lane != m.Lane.SUM:
            key = (sender, effect.ref, effect.to if effect.ref.lane == m.Lane.SHARES else 0)
            assert seen.setdefault(key, bytes(effect.data)) == bytes(effect.data)
    posted: dict[object, object] = {}
    for sender, attempt, message in world.trace.ledger:
        if not isinstance(message, bodies.Roster | bodies.SumAck | bodies.Digest):
            kind = (type(message).__name__, getattr(message, "part", 0), len(getattr(message, "b_shares", ())))
            assert posted.setdefault((sender, attempt, kind), message) == message


def assert_bound(world: World) -> None:
    """The opened sketch is that of the opened sum, and the opened weight that of U."""
    view = world.trace.views[-1]
    is_public = world.weights == "public"
    for node in world.nodes.values():
        for _, weight, values in node.opened:
            expected = sum(world.weight_of(i) for i in view.included) if is_public else shown(world, view)[1]
            assert view.coin is not None
            assert (sketch_integers(view.coin, values).tolist(), weight) == (shown(world, view)[0], expected)


def is_blamed(world: World) -> bool:
    """Whether the ledger calls anybody faulty."""
    if isinstance(world.ledger, ModelLedger):
        return bool(world.ledger.faulty)
    assert isinstance(world.ledger, RealLedger)
    return bool(world.ledger.faulty)


@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_everyone_present(weights: str, ledger: type) -> None:
    world = run(4, seed=1, weights=weights, ledger=ledger)
    view = world.check()
    assert outcome(world) == "ok" and not world.ledger.voids and not refusals(world)
    assert view.included == world.members and sum(bool(node.opened) for node in world.nodes.values()) >= 3
    assert_bound(world)
    posted = [weight for _, _, weight in view.committed]
    assert posted == ([2, 3, 1, 2] if weights == "public" else [0] * 4)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("count", [3, 5, 7, 10])
def test_other_numbers_of_members(count: int, ledger: type) -> None:
    world = run(count, seed=count, ledger=ledger)
    assert world.check().included == world.members and outcome(world) == "ok" and not refusals(world)
    assert_bound(world)


@pytest.mark.slow
def test_both_ledgers_open_the_same_sums() -> None:
    sums = [run(4, seed=8, ledger=ledger).nodes[MemberId(1)].opened[0][:2] for ledger in LEDGERS]
    assert sums[0] == sums[1]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4, 250, 9000])
def test_lengths(length: int) -> None:
    world = run(4, length=length, seed=length)
    assert world.check().included == world.members and outcome(world) == "ok"
    assert_bound(world)


@pytest.mark.slow
def test_more_than_thirty_dealers_are_answered_in_parts() -> None:
    world = run(32, length=5, seed=2)
    view = world.check()
    assert outcome(world) == "ok" and len(view.included) == 32
    assert {parts for _, _, parts in view.answered} == {(0, 1)} and not refusals(world)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS)
@pytest.mark.parametrize("phase", CHECKS)
@pytest.mark.parametrize("down_ms", [0, 300, 2500])
def test_one_of_four_vanishes(phase: Phase, down_ms: int, ledger: type) -> None:
    world = run(4, seed=phase * 7 + down_ms, absences=(Absence(2, phase, 0, down_ms),), ledger=ledger)
    view = world.check()
    assert outcome(world) == "ok", world.ledger.outcome
    assert {1, 3, 4} <= set(view.included) and not refusals(world) and not is_blamed(world)
    if phase is Phase.PROOF and down_ms != 300:  # void if it had not handed its boxes out
        assert len(world.ledger.voids) <= 1
    else:
        assert len(world.ledger.voids) == (phase in (Phase.COIN, Phase.SHARE) and down_ms != 300)
    assert_bound(world)


@st.composite
def _absences(draw: st.DrawFn) -> tuple[int, tuple[Absence, ...]]:
    count = draw(st.sampled_from([4, 4, 5, 7]))
    gone = draw(st.sets(st.integers(1, count), min_size=1, max_size=(count - 1) // 3))
    absences = []
    for member in sorted(gone):
        absences += [
            Absence(
                member, draw(st.sampled_from([*PHASES, *CHECKS])), attempt,
                draw(st.sampled_from([0, 100, 900, 2500])), draw(st.sampled_from([0, 0, 1, 2, 3, 5, 8])),
            )
            for attempt in draw(st.sets(st.integers(0, 2), min_size=1))
        ]
    return count, tuple(absences)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS)
@given(case=_absences(), seed=st.integers(0, 2**16))
@settings(max_examples=80)
def test_any_f_absences_at_any_phase_give_the_exact_sum(
    case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type
) -> None:
    vanish(case, seed, ledger)


@pytest.mark.soak
@given(_absences(), st.integers(0, 2**16), st.sampled_from(LEDGERS))
@settings(max_examples=300)
def test_many_absences(case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type) -> None:
    vanish(case, seed, ledger)


def vanish(case: tuple[int, tuple[Absence, ...]], seed: int, ledger: type) -> None:
    count, absences = case
    world = run(count, seed=seed, absences=absences, ledger=ledger)
    view = world.check()
    assert outcome(world) == "ok", world.ledger.outcome
    assert set(world.members) - {a.member for a in absences} <= set(view.included)
    assert not refusals(world) and not is_blamed(world)
    assert_consistent(world)
    assert_bound(world)


@pytest.mark.slow
@pytest.mark.parametrize(("member", "seed"), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_a_member_restarted_between_any_two_effects_sends_the_same_bytes(member: int, seed: int) -> None:
    total = run(4, seed=seed).nodes[MemberId(member)].effects_done
    assert total > 40
    for at in range(1 + seed % 2, total + 1, 2):
        world = World(4, seed=seed, restart_ms=20 + 40 * (at % 3), weights="hidden")
        world.nodes[MemberId(member)].crash_at.add(at)
        world.run()
        world.check()
        assert outcome(world) == "ok", f"crash at effect {at}: {world.ledger.outcome}"
        assert not refusals(world), f"crash at effect {at}: {refusals(world)}"
        assert_consistent(world)


@pytest.mark.parametrize("ledger", [
    ModelLedger, pytest.param(RealLedger, marks=pytest.mark.slow)
])
@pytest.mark.parametrize("phase", [
    Phase.PROOF, *(pytest.param(phase, marks=pytest.mark.slow) for phase in PHASES if phase is not Phase.PROOF)
])
def test_everybody_restarts_in_the_middle_of_a_phase(phase: Phase, ledger: type) -> None:
    """All at once, after a few effects of the phase each; all come back."""
    absences = tuple(Absence(member, phase, 0, 200, member % 3) for member in range(1, 5))
    world = run(4, seed=phase * 3 + 1, absences=absences, ledger=ledger)
    world.check()
    assert outcome(world) == "ok" and not refusals(world), (world.ledger.outcome, refusals(world))
    assert not is_blamed(world)
    assert_consistent(world)
    assert_bound(world)


def restart_everywhere(seed: int, count: int, crashes: int, data: st.DataObject) -> World:
    """Every member crashes after up to `crashes` of its effects and comes back: nobody is lost for good."""
    world = World(count, seed=seed, weights="hidden", ledger=data.draw(st.sampled_from(LEDGERS)))
    for node in world.nodes.values():
        node.crash_at |= data.draw(st.sets(st.integers(1, 90), max_size=crashes))
    world.run()
    world.check()
    assert_consistent(world)
    assert not is_blamed(world)
    return world


@pytest.mark.slow
@given(st.integers(0, 2**16), st.sampled_from([4, 5, 7]), st.data())
@settings(max_examples=40)
def test_restarts_everywhere(seed: int, count: int, data: st.DataObject) -> None:
    assert outcome(restart_everywhere(seed, count, 1, data)) == "ok"


@pytest.mark.slow
@given(st.integers(0, 2**16), st.sampled_from([4, 5, 7]), st.data())
@settings(max_examples=150)
def test_many_restarts_everywhere(seed: int, count: int, data: st.DataObject) -> None:
    assert outcome(restart_everywhere(seed, count, 3, data)) == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("ledger", LEDGERS)
@given(seed=st.integers(0, 2**16), data=st.data())
@settings(max_examples=75)
def test_loss_absence_and_restarts_together_are_exact_or_nothing(
    seed: int, data: st.DataObject, ledger: type
) -> None:
    count = data.draw(st.sampled_from([4, 5, 7]))
    absences = tuple(
        Absence(data.draw(st.integers(1, count)), data.draw(st.sampled_from(PHASES)), down_ms=data.draw(
            st.sampled_from([200, 1500, 4000])
        )) for _ in range(data.draw(st.integers(0, 3)))
    )
    world = World(count, seed=seed, loss=data.draw(st.sampled_from([0.0, 0.1])), absences=absences,
                  weights="hidden", ledger=ledger)
    for node in world.nodes.values():
        node.crash_at |= data.draw(st.sets(st.integers(1, 100), max_size=2))
    world.run()
    world.check()
    assert_consistent(world)
    assert not is_blamed(world)
    assert_bound(world)


def test_a_weight_is_opened_over_u_only_and_nobody_elses() -> None:
    world = run(4, seed=9, absences=(Absence(4, Phase.COMMIT),))
    view = world.check()
    assert view.included == (1, 2, 3) and shown(world, view)[1] == 2 + 3 + 1


def test_a_sum_with_a_number_that_has_no_sketch_is_not_bound() -> None:
    """-2^31 comes only from wrong masks or owners; it must end in a verdict, not in a crash."""
    for length in (2, PART_ELEMENTS + 2):
        values = np.full(length, 5, np.int32)
        values[1] = -(2**31)
        sketch = IntegerSketch(bytes(32), length)
        for start in range(0, length, PART_ELEMENTS):
            sketch.add(values[start : start + PART_ELEMENTS])
        assert sketch.finish() is None
        assert not is_bound(sketch, tuple(range(256)))
