"""A member that dies between any two things it does, and comes back from its disk at once."""

from __future__ import annotations

import pytest

from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import StudyStatus
from fednode.sums import bodies
from tests.rounds.world import World, check_all

VICTIM = 2
EVERYBODY = (1, 2, 3, 4)


def run_with_crash(index: int, seed: int = 0) -> World:
    """A study in which the victim dies instead of doing its `index`-th effect."""
    world = World(rounds=1, seed=seed)
    world.members[VICTIM].crash_at.add(index)
    return world.run().settle()


def check_run(world: World) -> None:
    assert world.status == StudyStatus.FINISHED
    for report in world.reports:
        assert report.outcome == Outcome.OK, (report.number, report.reason)
        assert report.counted == EVERYBODY, (report.number, report.absent)
    check_all(world)
    assert len({world.model_of(member) for member in EVERYBODY}) == 1
    assert not any(member.disk.records for member in world.members.values())
    check_one_vector_per_key(world)


def check_one_vector_per_key(world: World) -> None:
    """Under one dealing of keys a member commits one masked vector, and it never opens both of its secrets."""
    for member in world.members.values():
        roots: dict[tuple[int, int], set[bytes]] = {}
        dealt: dict[tuple[int, int], set[bytes]] = {}
        for body in member.submitted:
            if isinstance(body, bodies.Commit):
                roots.setdefault((body.round, body.attempt), set()).add(body.root)
            if isinstance(body, bodies.Keys):
                dealt.setdefault((body.round, body.attempt), set()).add(body.a_points[0])
        for place, points in dealt.items():
            # Keys that had not reached the ledger may be dealt anew only if the record of the first was never durable.
            assert len(points) == 1, f"two sets of keys for {place}"
        assert all(len(found) == 1 for found in roots.values()), "two vectors under the same keys"


def effects_of_a_study() -> int:
    return World(rounds=1).run().settle().members[VICTIM].effects_done


@pytest.mark.parametrize("index", (20, 60, 100))
def test_crash_between_effects(index: int) -> None:
    check_run(run_with_crash(index))


@pytest.mark.slow
def test_crash_at_every_effect_of_a_study() -> None:
    total = effects_of_a_study()
    assert 100 < total < 300
    for index in range(1, total + 1):
        try:
            check_run(run_with_crash(index))
        except AssertionError as error:
            raise AssertionError(f"crash before effect {index} of {total}") from error


def test_two_crashes_of_two_members() -> None:
    world = World(rounds=2)
    world.members[1].crash_at.update({60, 75, 130})
    world.members[4].crash_at.update({20, 61, 140})
    world.run().settle()
    check_run(world)
