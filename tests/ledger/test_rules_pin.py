"""The set that must be summed again after a failed round: whole, less who is kept out as faulty when a round opens."""

from __future__ import annotations

from dataclasses import replace

from fednode.chain.state import Draft
from fednode.ids import MemberId
from fednode.ledger.members.reading import MEMBERS_KEY, get_members
from fednode.ledger.members.records import MemberList
from fednode.ledger.members.rules import without_member
from fednode.ledger.studies.bodies import Outcome, StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus, get_study
from fednode.ledger.studies.round_life import close_round
from fednode.ledger.sums.course import BlockTime, RoundEnd
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at
from tests.ledger.test_rules_proofs import fail_with
from tests.ledger.world import TERMS


def resume(world: World, *members: int) -> None:
    for member in members:
        assert world.post(member, StudyVote(world.study, StudyAction.RESUME)).ok


def with_a_liar_in_the_pin() -> World:
    """A round has failed after its unmasking, and in the next one member 5 is found faulty."""
    world = at(Phase.RESULT, size=5, terms=replace(TERMS, rounds=9, pause_after_failures=9))
    fail_with(world, "for once")
    world.liars.add(5)
    world.go_to(Phase.PROOF)
    world.go()
    return world


def test_a_pinned_set_goes_on_without_a_member_found_faulty() -> None:
    world = at(Phase.RESULT, size=5, terms=replace(TERMS, rounds=9))
    fail_with(world, "for once")
    assert world.life.pin == (1, 2, 3, 4, 5)
    world.liars.add(5)
    world.go_to(Phase.PROOF)
    world.go()
    assert world.round.faulty == (5,) and world.round.pinned == (1, 2, 3, 4)
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3, 4)


def test_a_pin_stays_whole_and_a_vote_to_readmit_brings_its_members_back() -> None:
    world = with_a_liar_in_the_pin()
    fail_with(world, "once more")  # unmasked without member 5
    assert world.report(2).faulty == (5,) and world.report(2).counted == (1, 2, 3, 4)
    assert world.life.pin == (1, 2, 3, 4, 5) and world.round.expected == world.round.pinned == (1, 2, 3, 4)
    world.liars.clear()
    for member in (1, 2, 3, 4):
        assert world.post(member, StudyVote(world.study, StudyAction.READMIT)).ok
    assert world.round.pinned == (1, 2, 3, 4), "from the next round on"
    fail_with(world, "and again")
    assert world.round.expected == world.round.pinned == (1, 2, 3, 4, 5)
    assert world.finish_round().counted == (1, 2, 3, 4, 5) and world.life.pin is None


def test_a_pin_that_is_too_small_without_a_liar_can_be_met_again() -> None:
    """Four of five members: exactly as many as a sum needs."""
    world = at(Phase.RESULT, size=5, absent=(5,), terms=replace(TERMS, rounds=9))
    fail_with(world, "for once")
    world.ready_all(5)
    world.liars.add(4)
    assert world.life.pin == world.round.expected == (1, 2, 3, 4), "member 5 sits it out"
    assert world.finish_round().faulty == (4,)
    assert world.life.status == StudyStatus.PAUSED and world.life.pin == (1, 2, 3, 4)
    why = "only 3 members are left of the set that must be summed again, 4 are needed; kept out as faulty"
    assert world.life.reason.startswith(why) and world.life.reason.endswith("readmit: 4")
    resume(world, 1, 2, 3, 5)
    assert world.life.status == StudyStatus.PAUSED and world.life.reason.startswith(why), "going on does not help"
    for member in (1, 2, 3, 5):
        assert world.post(member, StudyVote(world.study, StudyAction.READMIT)).ok
    world.liars.clear()
    resume(world, 1, 2, 3, 5)
    assert world.round.expected == world.round.pinned == (1, 2, 3, 4)
    assert world.finish_round().counted == (1, 2, 3, 4) and world.round.expected == (1, 2, 3, 4, 5)


def test_who_was_kept_out_before_the_failed_round_is_not_of_the_set() -> None:
    """Its vector was not in the sum: the set to be met is the one that was."""
    world = at(Phase.PROOF, size=5, terms=replace(TERMS, rounds=9), liars={5})
    world.go()
    fail_with(world, "for once")
    assert world.life.pin == (1, 2, 3, 4) and world.life.faulty_members == (5,)
    for member in (1, 2, 3, 4):
        assert world.post(member, StudyVote(world.study, StudyAction.READMIT)).ok
    fail_with(world, "once more")
    assert world.life.faulty_members == () and world.round.expected == world.round.pinned == (1, 2, 3, 4)


def test_a_kept_out_member_that_is_voted_out_leaves_the_pin_with_the_rest() -> None:
    world = with_a_liar_in_the_pin()
    fail_with(world, "once more")
    gone = without_member(world.life, MemberId(5))
    assert (gone.pin, gone.kept_out) == ((1, 2, 3, 4), None)
    assert without_member(world.life, MemberId(4)).pin == (1, 2, 3, 4, 5), "of any other the set waits for people"


def test_one_that_is_named_and_voted_out_in_one_round_leaves_the_pin_when_it_ends() -> None:
    world = with_a_liar_in_the_pin()
    draft = Draft(world.state)
    draft.write(MEMBERS_KEY, MemberList(tuple(m for m in get_members(world.state) if m.member != 5)))
    close_round(draft, BlockTime(9, 9), without_member(world.life, MemberId(5)), RoundEnd(world.round, "too few"))
    closed = get_study(draft, world.study)
    assert closed is not None and (closed.pin, closed.kept_out) == ((1, 2, 3, 4), None)
