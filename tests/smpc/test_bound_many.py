"""The sum of more than 31 members: more rows, wider entries, a third repetition; everything else as ever."""

from __future__ import annotations

import pytest

from fednode.ids import MemberId
from fednode.sums import bodies
from fednode.sums.bounds import strength_of
from tests.smpc.sim import dealers
from tests.smpc.sim.model_ledger import ModelLedger
from tests.smpc.sim.real_ledger import RealLedger
from tests.smpc.sim.world import World
from tests.smpc.test_disputes import keep_back
from tests.smpc.test_disputes import play as disputed
from tests.smpc.test_recheck import wrong_sketch

pytestmark = pytest.mark.slow
LIAR = MemberId(5)


def outcome(world: World) -> str:
    return world.ledger.outcome[0]


@pytest.mark.parametrize(("count", "ledger"), [(32, ModelLedger), (40, RealLedger)])
def test_honest_members_sum_and_all_answers_have_their_sizes(count: int, ledger: type) -> None:
    world = World(count, ledger=ledger, weights="hidden").run()
    view = world.check()
    assert outcome(world) == "ok" and len(view.included) == count and not world.ledger.voids  # type: ignore[attr-defined]
    strength = strength_of(count)
    said = [message for _, _, message in world.trace.ledger if isinstance(message, bodies.Proof)]
    assert {message.part for message in said} == {0, 1}
    assert {len(message.data) for message in said} == {1608 * 20, 1608 * (count - 20)}
    assert (strength.rows, strength.repetitions) == (8, 3)


def test_a_vector_that_is_too_long_is_found_among_many() -> None:
    world = World(32, seed=1, ledger=RealLedger, weights="hidden")
    world.nodes[LIAR].work = dealers.deal(bits=dealers.longer(40))
    view = world.run().check()
    assert outcome(world) == "ok" and view.included == tuple(i for i in world.members if i != LIAR)
    assert tuple(world.ledger.faulty) == (LIAR,)  # type: ignore[attr-defined]


@pytest.mark.soak
def test_a_wrong_sketch_is_found_among_many() -> None:
    """RECHECK sketches every vector again, in parts, with all rows."""
    world = World(32, seed=1, ledger=RealLedger, weights="hidden")
    world.nodes[LIAR].lie = wrong_sketch
    view = world.run().check()
    assert outcome(world) == "ok" and LIAR not in view.included
    assert tuple(world.ledger.faulty) == (LIAR,)  # type: ignore[attr-defined]


def test_what_one_holder_of_many_lacks_is_dealt_again() -> None:
    """Boxes and answers of a dispute have a part for each of the three repetitions."""
    world = disputed(RealLedger, count=32, liars=(2,), tamper=keep_back(3))
    view = world.check()
    assert outcome(world) == "ok" and view.included == world.members and not world.ledger.voids  # type: ignore[attr-defined]
    said = [message for _, _, message in world.trace.ledger]
    assert [len(message.box) for message in said if isinstance(message, bodies.Redeal)] == [8 * (260 + 3)]
    assert {len(message.data) for message in said if isinstance(message, bodies.Confirm)} == {8 * 3}
