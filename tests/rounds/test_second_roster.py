"""A hospital whose data set may not enter the study's statistics yet is not ready, says why, and joins when it may."""

from __future__ import annotations

from dataclasses import replace

from fednode.ids import StudyId
from fednode.ledger.studies.records import StudyStatus
from fednode.rounds import events as ev
from tests.rounds.world import World


def test_a_refused_data_set_sits_the_statistics_out_until_people_allow_it() -> None:
    world = World(rounds=1)
    said: list[str] = ["two sums show one hospital"]
    noted: list[int] = []

    class Guard:
        """The list of one member."""

        def __init__(self, number: int) -> None:
            self.number = number

        def refusal(self, study: StudyId, name: str, data: str) -> str | None:
            assert (study, name, data) == (world.study, world.spec.name, "table.csv")
            return said[0] if said and self.number == 4 else None

        def enter(self, study: StudyId, name: str, data: str) -> None:
            assert (study, name, data) == (world.study, world.spec.name, "table.csv")
            noted.append(self.number)

        def allow(self, study: StudyId) -> None:
            raise AssertionError("machines do not allow anything")

    def guard(number: int) -> None:
        machine = world.members[number].machine
        place = machine._place
        machine._place = replace(place, ports=replace(place.ports, statistics=Guard(number)))

    world.run(lambda world: world.now_ms > 0)
    for number in world.members:
        guard(number)
    world.run(lambda world: len(world.life.ready) == 3)
    machine = world.members[4].machine
    assert machine is not None and machine.refusal == said[0] and 4 not in noted
    assert 4 not in {entry.member for entry in world.life.ready}
    said.clear()
    world.perform(world.members[4], machine.handle(ev.DataChanged(machine.data)))
    world.run()
    assert world.status == StudyStatus.FINISHED and machine.refusal is None
    assert set(noted) == {1, 2, 3, 4} and world.reports[0].counted == (1, 2, 3, 4)
