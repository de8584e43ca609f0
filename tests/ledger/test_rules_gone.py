"""Members that q others cannot reach are not waited for; everybody else has the whole time of a phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.ids import MemberId
from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Gone, Outcome
from fednode.ledger.sums.leash import MAX_LEASHES
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World
from tests.ledger.world import TERMS


def gone(world: World, *members: int) -> Gone:
    """A vote on the open phase."""
    number, attempt = (world.round.number, world.attempt.number) if world.is_round_open else (world.life.next_round, 0)
    return Gone(world.study, number, attempt, world.phase.number, tuple(map(MemberId, members)))


def say(world: World, voters: tuple[int, ...], *members: int) -> None:
    """Let `voters` say that `members` are gone, all in one block."""
    receipts = world.block(*((voter, gone(world, *members)) for voter in voters))
    assert all(receipt.ok for receipt in receipts)


def opened(count: int = 4) -> World:
    world = World(count)
    world.ready_all()
    return world


def test_who_q_members_cannot_reach_is_absent_as_soon_as_the_others_have_posted() -> None:
    world = opened()
    world.go(4)
    assert world.phase.kind == Phase.KEYS
    say(world, (1, 2), 4)
    assert world.phase.kind == Phase.KEYS, "two are no q"
    say(world, (3,), 4)
    assert world.phase.kind == Phase.ACK and world.phase.expected == (1, 2, 3)
    assert [absence.member for absence in world.round.absent] == [4]
    assert world.life.leashes == ((4, 1),)
    report = world.finish_round(4)
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3)
    assert report.phases[0].is_expired, "votes have ended it"


def test_a_slow_member_is_waited_for_beside_one_that_is_gone() -> None:
    world = opened()
    world.go(3, 4)
    say(world, (1, 2, 3), 4)
    assert (world.phase.kind, world.phase.posted) == (Phase.KEYS, (1, 2))
    world.go(4)
    assert world.phase.expected == (1, 2, 3) and [absence.member for absence in world.round.absent] == [4]


def test_votes_that_are_taken_back_do_not_count() -> None:
    world = opened()
    world.go(4)
    say(world, (1, 2), 4)
    say(world, (1,))
    say(world, (3,), 4)
    assert world.phase.kind == Phase.KEYS and dict(world.phase.gone_votes) == {2: (4,), 3: (4,)}
    world.go()
    assert world.phase.kind == Phase.ACK and not world.round.absent and not world.life.leashes


def test_who_has_posted_is_not_gone() -> None:
    world = opened()
    world.go(3)
    say(world, (1, 2, 3), 4)
    world.go()
    assert world.phase.kind == Phase.ACK and not world.round.absent


def test_votes_on_who_posts_meanwhile_leave_no_trace() -> None:
    """Its message comes in the block of the last vote: it is absent nowhere and no short deadline is counted."""
    world = opened()
    world.go(3, 4)
    say(world, (1, 2), 4)
    world.block((4, world.owed(4)), (3, gone(world, 4)))
    assert (world.phase.kind, world.phase.posted) == (Phase.KEYS, (1, 2, 4))
    assert world.phase.expected == (1, 2, 3, 4) and not world.round.absent and not world.life.leashes
    world.go()
    assert world.phase.kind == Phase.ACK and not world.round.absent and not world.life.leashes


@pytest.mark.parametrize(("votes", "reason"), [
    (lambda world: Gone(world.study, 0, 0, world.phase.number + 1, (MemberId(4),)), Refusal.PHASE_CLOSED),
    (lambda world: Gone(world.study, 0, 1, world.phase.number, (MemberId(4),)), Refusal.PHASE_CLOSED),
    (lambda world: gone(world, 9), Refusal.NOT_AWAITED),
    (gone, Refusal.ALREADY_VOTED),
], ids=["another phase", "another attempt", "nobody here", "nothing new"])
def test_votes_of_no_use_are_refused(votes: object, reason: Refusal) -> None:
    world = opened()
    assert world.refused(1, votes(world)) == reason  # type: ignore[operator]


def test_the_same_vote_counts_once() -> None:
    world = opened()
    say(world, (1,), 4)
    assert world.refused(1, gone(world, 4)) == Refusal.ALREADY_VOTED


@pytest.mark.parametrize("members", [(4, 3), (3, 3)])
def test_members_stand_in_order(members: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        gone(opened(), *members)


def test_the_third_time_a_member_has_its_full_time() -> None:
    world = World(4, terms=replace(TERMS, rounds=9))
    world.ready_all()
    for count in range(1, MAX_LEASHES + 1):
        world.go(4)
        say(world, (1, 2, 3), 4)
        assert world.life.leashes == ((4, count),)
        world.terms_of_keys[4] = count
        assert world.post(4, world.ready(4)).ok, "it is back, and expected again in the next round"
        world.finish_round(4)
        assert world.round.expected == (1, 2, 3, 4)
    world.go(4)
    say(world, (1, 2, 3), 4)
    assert (world.phase.kind, 4 in world.phase.expected) == (Phase.KEYS, True)
    world.expire()
    assert world.phase.kind == Phase.ACK and world.life.leashes == ((4, MAX_LEASHES),)


def test_a_round_that_waits_for_members_to_join_does_not_wait_for_one_that_is_gone() -> None:
    world = World(4)
    world.ready_all()
    world.finish_round(3, 4)
    world.ready_all(3)
    assert world.phase.kind == Phase.JOIN
    say(world, (1, 2), 4)
    assert not world.is_round_open
    say(world, (3,), 4)
    assert world.is_round_open and world.round.expected == (1, 2, 3) and world.life.leashes == ((4, 1),)


@pytest.mark.parametrize("phase", [
    Phase.KEYS, Phase.ACK, Phase.COMMIT, Phase.DIGEST, Phase.COIN, Phase.SHARE, Phase.PROOF, Phase.REVEAL, Phase.RESULT
], ids=lambda phase: phase.name)
def test_a_member_that_dies_in_any_phase_costs_no_deadline(phase: Phase) -> None:
    """Every phase goes on by the votes on who is gone: none has to expire."""
    world = opened(7)
    world.go_to(phase)
    number = world.round.number
    for _ in range(60):
        if not world.is_round_open or world.round.number != number:
            break
        before = world.phase.number
        world.go(7)
        if world.is_round_open and world.round.number == number and world.phase.number == before:
            say(world, (1, 2, 3, 4, 5), 7)
            assert not world.is_round_open or world.phase.number > before
    report = world.report(number)
    assert report.outcome == Outcome.OK and {absence.member for absence in report.absent} <= {7}
