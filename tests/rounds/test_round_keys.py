"""What was sealed in a round opens for nobody once it has closed, whatever is stolen then."""

from __future__ import annotations

from fednode.crypto import Secret, unseal
from fednode.errors import Rejected
from fednode.ledger.studies.records import StudyStatus
from fednode.smpc.messages import RecordPart
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.rounds.world import World


def boxes_of(world: World, number: int) -> list[tuple[int, bytes]]:
    """All boxes of shares that the ledger has of a round, with their holders: anybody can keep them for ever."""
    said = [body for member in world.members.values() for body in member.submitted]
    return [box for body in said if isinstance(body, bodies.Keys) and body.round == number for box in body.sealed]


def opened_by_thieves(world: World, number: int) -> int:
    """How many of a round's boxes open with everything all members keep now: their long-term keys and their disks."""
    secrets = [member.coin_secret for member in world.members.values()]
    secrets += [
        Secret(data) for member in world.members.values() for (_, part), data in member.disk.records.items()
        if part == RecordPart.KEY.value
    ]
    return sum(any(_opens(secret, box) for secret in secrets) for _, box in boxes_of(world, number))


def _opens(secret: Secret[bytes], box: bytes) -> bool:
    try:
        return bool(unseal(secret, box))
    except Rejected:
        return False


def test_with_everything_stolen_after_the_end_no_box_of_any_round_opens() -> None:
    world = World(rounds=2).run().settle()
    rounds = range(world.life.next_round)
    assert world.status == StudyStatus.FINISHED and all(boxes_of(world, number) for number in rounds)
    assert [opened_by_thieves(world, number) for number in rounds] == [0] * len(rounds)
    assert all(not member.disk.records for member in world.members.values()), "the key of a round that never comes too"


def test_while_a_round_runs_its_boxes_and_only_they_open() -> None:
    def is_second_running(world: World) -> bool:
        return world.round is not None and world.round.number == 2 and world.round.phase.kind == Phase.COMMIT

    world = World(rounds=2).run(is_second_running)
    assert opened_by_thieves(world, 2) == len(boxes_of(world, 2)) > 0, "or the test above could not fail"
    assert opened_by_thieves(world, 1) == 0


def test_every_round_has_keys_of_its_own() -> None:
    world = World(rounds=2).run()
    keys = [
        (body.round, body.next_key) for member in world.members.values() for body in member.submitted
        if isinstance(body, bodies.Keys)
    ]
    by_round = [{key for round_, key in keys if round_ == number} for number in range(world.life.next_round)]
    assert all(len(found) == len(world.members) for found in by_round)
    assert len(set.union(*by_round)) == sum(map(len, by_round))


def test_who_was_away_when_the_round_closed_deletes_its_key_before_anything_else() -> None:
    def is_away(world: World) -> bool:
        return world.round is not None and world.round.number == 1 and world.round.phase.kind == Phase.COMMIT

    world = World(rounds=2).run(is_away)
    world.stop(4)
    world.run(lambda world: world.life.next_round > 1)
    member = world.members[4]
    key = member.disk.records[1, RecordPart.KEY.value]
    member.effects_done = 0
    member.crash_at = {2}  # it does one thing in the new life
    world.start(4)
    world.run(lambda world: not member.is_up)
    assert key not in member.disk.records.values()


def test_who_lost_its_disk_is_ready_again_with_another_key() -> None:
    world = World(rounds=3).run(lambda world: world.life.next_round == 2)
    world.stop(4)
    world.members[4].disk.records.clear()
    world.start(4)
    world.run().settle()
    assert world.status == StudyStatus.FINISHED
    assert world.reports[-1].counted == (1, 2, 3, 4)
