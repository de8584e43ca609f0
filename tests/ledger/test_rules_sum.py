"""Roster, digests and acknowledgements: who is in the sum, and the block that unmasks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.ledger.refusals import Refusal
from fednode.ledger.studies.bodies import Outcome
from fednode.sums import bodies
from fednode.sums.attempt import compute_list_digest
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at
from tests.ledger.world import TERMS
from tests.support.seeds import seed_of


def at_phase(phase: Phase, size: int = 4, **parts: object) -> World:
    return at(phase, size, terms=replace(TERMS, rounds=9), **parts)


def owners(world: World) -> list[int]:
    return [chunk.owner for chunk in world.round.attempt.chunks]


# --- roster ------------------------------------------------------------------------------------------------------

def test_with_nothing_missing_the_roster_is_one_step() -> None:
    world = at_phase(Phase.ROSTER)
    world.go()
    assert world.phase.kind == Phase.DIGEST and world.round.attempt.included == (1, 2, 3, 4)


def test_one_report_leaves_nobody_out_R() -> None:
    """A single owner could otherwise pick a victim and learn its update from the sum of the others."""
    world = at_phase(Phase.ROSTER)
    assert world.post(1, bodies.Roster(*world.place(), 0, ((0, 3),))).ok
    world.go()
    assert (world.phase.kind, world.phase.step) == (Phase.ROSTER, 1)
    assert owners(world) == [2, 2, 3, 4], "the chunk went to the next of Q"
    assert world.phase.expected == (2,)
    world.go()
    assert world.phase.kind == Phase.DIGEST
    assert world.round.attempt.included == (1, 2, 3, 4) and world.round.absent == ()


def test_f_plus_one_reports_leave_a_dealer_out_without_blame() -> None:
    world = at_phase(Phase.ROSTER, kept_chunks={(4, 1), (4, 2)})
    world.go()
    assert world.phase.step == 1 and world.round.attempt.left_out == ()
    # Chunk 1 was missed by 2 and goes to 3, which has it; chunk 0 is missed by both of its owners.
    world.go()
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3)
    assert [(a.member, a.phase) for a in report.absent] == [(4, Phase.ROSTER)] and report.faulty == ()


def test_reports_of_one_chunk_do_not_add_to_those_of_another_R() -> None:
    """Two owners of two chunks, each missing the same dealer, are not f + 1 members missing one chunk."""
    world = at_phase(Phase.ROSTER)
    for member in (1, 2):
        assert world.post(member, bodies.Roster(*world.place(), 0, ((member - 1, 4),))).ok
    world.go()
    assert world.round.attempt.left_out == () and world.phase.step == 1
    world.go()
    assert world.round.attempt.included == (1, 2, 3, 4)


def test_one_member_reporting_twice_counts_once_R() -> None:
    """A liar that owns a chunk twice, or reports in two steps, is still one reporter."""
    world = at_phase(Phase.ROSTER, size=7)
    assert world.post(1, bodies.Roster(*world.place(), 0, ((0, 5),))).ok
    assert world.refused(1, bodies.Roster(*world.place(), 0, ((0, 5), (0, 6)))) == Refusal.ALREADY_POSTED
    world.go()
    assert world.phase.step == 1
    assert world.refused(1, bodies.Roster(*world.place(), 1, ((0, 5),))) == Refusal.NOT_IN_PHASE
    world.go()
    assert world.round.attempt.left_out == ()


def test_a_sum_of_fewer_than_n_minus_f_opens_nothing_R() -> None:
    world = at_phase(Phase.ROSTER)
    reports = {0: {1: (0, 3), 2: (1, 4)}, 1: {2: (0, 3), 3: (1, 4)}}
    for step, by_member in reports.items():
        for member, missing in by_member.items():
            assert world.post(member, bodies.Roster(*world.place(), step, (missing,))).ok
        if step == 0:
            world.go()
    report = world.report(1)
    assert report.outcome == Outcome.FAILED and not report.is_unmasked and report.counted == ()
    assert "update arrived" in report.reason and {a.member for a in report.absent} == {3, 4}
    three = at_phase(Phase.ROSTER, size=3, kept_chunks={(3, 1)})
    assert three.finish_round().outcome == Outcome.FAILED


def test_up_to_f_dealers_can_be_left_out() -> None:
    world = at_phase(Phase.ROSTER, size=7, kept_chunks={(d, o) for d in (5, 6) for o in range(1, 5)})
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3, 4, 7)


def test_a_silent_owner_is_absent_and_its_chunk_goes_on() -> None:
    world = at_phase(Phase.ROSTER)
    world.go_without(2)
    assert (world.phase.kind, world.phase.step, world.phase.expected) == (Phase.ROSTER, 1, (3,))
    assert [(a.member, a.phase) for a in world.round.absent] == [(2, Phase.ROSTER)]
    world.go_to(Phase.PROOF)
    report = world.finish_round(2)
    assert report.counted == (1, 2, 3, 4), "its update had arrived everywhere"
    assert report.outcome == Outcome.OK
    assert Phase.REVEAL2 in [span.phase for span in report.phases]


def test_an_owner_that_misses_more_than_f_dealers_is_not_believed() -> None:
    world = at_phase(Phase.ROSTER)
    assert world.post(1, bodies.Roster(*world.place(), 0, ((0, 2), (0, 3), (0, 4)))).ok
    world.go()
    assert world.phase.expected == (2,) and world.round.absent == ()
    world.go()
    assert world.round.attempt.included == (1, 2, 3, 4)
    seven = at_phase(Phase.ROSTER, size=7)
    assert seven.post(1, bodies.Roster(*seven.place(), 0, tuple((0, d) for d in range(2, 7)))).ok
    seven.go()
    assert seven.round.attempt.chunks[0].owners == (1, 2), "a liar could else choose its accomplice as successor"


@pytest.mark.parametrize("size", [4, 7, 10])
def test_an_accused_dealer_is_not_made_owner_while_another_can_be(size: int) -> None:
    world = at_phase(Phase.ROSTER, size=size)
    assert world.post(1, bodies.Roster(*world.place(), 0, ((0, 2),))).ok
    world.go()
    assert world.round.attempt.chunks[0].owners == (1, 3)


def test_one_liar_among_four_cannot_void_attempts_for_ever() -> None:
    """It keeps its chunk from one owner, and accuses somebody else when it owns one: it is left out or in, no void."""
    for liar in (1, 2, 3, 4):
        for victim in (1, 2, 3, 4):
            if victim == liar:
                continue
            world = at_phase(Phase.ROSTER, kept_chunks={(liar, victim), (victim, liar)})
            report = world.finish_round()
            assert report.outcome == Outcome.OK and report.voids == ()


def test_reports_are_about_own_unsettled_chunks_and_dealers_still_in() -> None:
    world = at_phase(Phase.ROSTER)
    assert world.refused(1, bodies.Roster(*world.place(), 0, ((1, 3),))) == Refusal.WRONG_CHUNKS
    assert world.refused(1, bodies.Roster(*world.place(), 0, ((0, 1),))) == Refusal.UNKNOWN_DEALER
    assert world.refused(1, bodies.Roster(*world.place(), 0, ((0, 5),))) == Refusal.UNKNOWN_DEALER
    assert world.refused(1, bodies.Roster(*world.place(), 1)) == Refusal.PHASE_CLOSED


def test_an_unsettled_chunk_voids_after_f_plus_one_steps_and_drops_both_sides() -> None:
    """Two liars among seven: owners 1 and 2 accuse in turn, dealer 1 withholds from the third owner."""
    world = at_phase(Phase.ROSTER, size=7)
    assert world.post(1, bodies.Roster(*world.place(), 0, ((0, 6),))).ok
    world.go()
    assert world.round.attempt.chunks[0].owners == (1, 2)
    assert world.post(2, bodies.Roster(*world.place(), 1, ((0, 7),))).ok
    assert world.round.attempt.chunks[0].owners == (1, 2, 3)
    assert world.post(3, bodies.Roster(*world.place(), 2, ((0, 1),))).ok
    record = world.round
    assert record.attempt.number == 1 and record.attempt.holders == (2, 4, 5, 6, 7)
    assert record.barred == (1, 3) and record.absent == () and record.faulty == ()
    assert record.voids[0].dropped == (1, 3)
    assert world.life.ready_members == (1, 2, 3, 4, 5, 6, 7), "nobody has to join again"
    assert world.finish_round().counted == (2, 4, 5, 6, 7)


# --- digests -----------------------------------------------------------------------------------------------------

def test_an_owner_posts_the_digests_of_exactly_its_chunks() -> None:
    world = at_phase(Phase.ROSTER)
    world.go_without(2)
    world.go_to(Phase.DIGEST, 2)
    assert owners(world) == [1, 3, 3, 4]
    good = world.digest(3)
    assert [number for number, _ in good.digests] == [1, 2]
    assert world.refused(3, replace(good, digests=good.digests[:1])) == Refusal.WRONG_CHUNKS
    assert world.refused(3, replace(good, digests=(*good.digests, (3, seed_of())))) == Refusal.WRONG_CHUNKS
    assert world.refused(2, bodies.Digest(*world.place(), ((1, seed_of()),))) == Refusal.NOT_IN_PHASE
    assert world.post(3, good).ok


def test_an_owner_without_digest_voids_the_attempt_and_is_out_of_the_next() -> None:
    world = at_phase(Phase.DIGEST)
    world.go_without(2)
    assert world.phase.kind == Phase.KEYS and world.round.attempt.number == 1
    assert world.round.attempt.holders == (1, 3, 4)
    assert world.refused(2, bodies.Acknowledge(*world.place())) == Refusal.PHASE_CLOSED
    report = world.finish_round()
    assert report.attempts == 2 and report.counted == (1, 3, 4) and report.barred == (2,)
    assert report.voids[0].dropped == (2,) and "sum of its chunk" in report.voids[0].reason


def test_the_last_of_f_plus_one_attempts_ends_the_round_R() -> None:
    world = at_phase(Phase.DIGEST, size=7)
    for number in (1, 2):
        world.go_without(number)
        world.go_to(Phase.DIGEST)
    world.go_without(3)
    report = world.report(1)
    assert report.outcome == Outcome.FAILED and report.attempts == 3
    assert [void.dropped for void in report.voids] == [(1,), (2,), (3,)]
    assert "no attempt is left" in report.reason and not report.is_unmasked


# --- acknowledgements and the one Unmask -------------------------------------------------------------------------

def test_the_acknowledgement_names_the_whole_list() -> None:
    world = at_phase(Phase.SUMACK)
    digests = [chunk.digest for chunk in world.round.attempt.chunks]
    assert world.round.attempt.list_digest == compute_list_digest(*world.place(), digests)
    for wrong in (
        compute_list_digest(world.study, 1, 1, digests), compute_list_digest(world.study, 2, 0, digests),
        compute_list_digest(world.study, 1, 0, digests[::-1]), digests[0],
    ):
        assert world.refused(1, bodies.SumAck(*world.place(), wrong)) == Refusal.LIST_DIGEST_DIFFERS


def test_the_q_th_acknowledgement_freezes_and_not_one_before_R() -> None:
    world = at_phase(Phase.SUMACK, size=7)
    for count, member in enumerate((7, 1, 6, 2, 5), 1):
        assert not world.round.attempt.is_frozen
        assert world.post(member, world.sum_ack(member)).ok
        assert world.round.attempt.is_frozen == (count == 5)
    assert world.phase.kind == Phase.COIN


def test_an_acknowledgement_counts_once_per_member_R() -> None:
    world = at_phase(Phase.SUMACK)
    assert world.post(1, world.sum_ack(1)).ok
    assert world.refused(1, bodies.SumAck(*world.place(), world.round.attempt.list_digest)) == Refusal.ALREADY_POSTED
    assert world.refused(1, bodies.SumAck(*world.place(), None, (1,))) == Refusal.ALREADY_POSTED


def test_a_reporter_may_still_acknowledge() -> None:
    world = at_phase(Phase.SUMACK)
    assert world.refused(1, bodies.SumAck(*world.place(), None, (0,))) == Refusal.WRONG_CHUNKS, "its own"
    assert world.refused(1, bodies.SumAck(*world.place(), None, (4,))) == Refusal.WRONG_CHUNKS
    assert world.post(1, bodies.SumAck(*world.place(), None, (1,))).ok
    assert world.refused(1, bodies.SumAck(*world.place(), None, (2,))) == Refusal.ALREADY_POSTED
    assert world.post(1, world.sum_ack(1)).ok
    assert world.round.attempt.sum_missing == () and world.round.attempt.acked == (1,)


def test_an_owner_named_by_f_plus_one_when_time_is_over_is_barred_without_blame() -> None:
    world = at_phase(Phase.SUMACK, kept_sums={(2, 1), (2, 3), (2, 4)})
    world.go(2)
    assert world.phase.kind == Phase.SUMACK
    world.expire()
    assert world.round.attempt.number == 1 and world.round.barred == (2,)
    assert world.round.attempt.holders == (1, 3, 4)
    assert [a.member for a in world.round.absent] == [2], "it was also silent"
    assert world.finish_round().counted == (1, 3, 4)


def test_f_reporters_bar_nobody_and_the_phase_opens_once_more() -> None:
    world = at_phase(Phase.SUMACK)
    number = world.phase.number
    assert world.post(1, bodies.SumAck(*world.place(), None, (1,))).ok
    assert world.post(3, world.sum_ack(3)).ok
    world.expire()
    assert (world.phase.kind, world.phase.number, world.phase.is_reopened) == (Phase.SUMACK, number + 1, True)
    assert world.round.attempt.acked == (3,) and world.round.barred == ()
    assert {a.member for a in world.round.absent} == {2, 4}, "silent, and not waited for again"
    assert world.post(1, world.sum_ack(1)).ok
    assert world.post(4, world.sum_ack(4)).ok, "what an absent member still sends counts"
    assert world.phase.kind == Phase.COIN


def test_a_second_expiry_voids_and_goes_on_without_those_that_could_not_get_the_sum() -> None:
    world = at_phase(Phase.SUMACK, size=7)
    for member in (1, 2):
        assert world.post(member, bodies.SumAck(*world.place(), None, (member + 1,))).ok
    for member in (3, 4):
        assert world.post(member, world.sum_ack(member)).ok
    world.expire()
    world.expire()
    report = world.report(1)
    assert report.outcome == Outcome.FAILED and not report.is_unmasked and report.faulty == ()
    assert report.voids[0].dropped == (1, 2, 5, 6, 7)
    assert "too few members could get the whole sum" in report.reason
