"""RECHECK, and what being named means: who is named, who is dropped, who stays out and how people end that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fednode.chain.state import Draft
from fednode.codec import encode
from fednode.crypto import sha256
from fednode.ids import MemberId, fault_bound
from fednode.ledger.members.reading import MEMBERS_KEY, get_members
from fednode.ledger.members.records import MemberList
from fednode.ledger.refusals import Refusal, describe_refusal
from fednode.ledger.studies.bodies import Expire, Outcome, Result, StudyAction, StudyPause, StudyVote
from fednode.ledger.studies.records import StudyStatus, get_study, round_key, study_key
from fednode.ledger.studies.round_life import ACCUSED_TWICE, close_round, find_accused, members_to_wait_for, open_round
from fednode.ledger.studies.rules import settle_study
from fednode.ledger.sums.course import BlockTime, RoundEnd
from fednode.ledger.sums.recheck import KEPT_BACK, SPOILED, WRONG_SUM
from fednode.ledger.sums.records import Absence, KeptOut, OpenPhase, get_share_root
from fednode.sums import bodies
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at
from tests.ledger.test_rules_proofs import fail_with, stored
from tests.ledger.world import TERMS
from tests.support.seeds import seed_of

LONG = replace(TERMS, rounds=9)


def look(size: int = 4, **scripts: object) -> World:
    world = at(Phase.RECHECK, size=size, **scripts)
    assert not world.round.voids and not world.round.is_unmasked
    return world


def ended(world: World) -> World:
    """Let everybody say what it finds; the attempt is void."""
    world.go()
    assert world.round.voids and not world.round.is_unmasked and stored(world) == 0
    return world


# --- what may be said ----------------------------------------------------------------------------------------------

def test_findings_are_about_this_sum_and_other_than_what_is_posted() -> None:
    world = look(spoilers={2})
    body, attempt = world.recheck(1), world.round.attempt
    posted = attempt.chunks[0].digest
    root = get_share_root(world.state, *world.place(), world.members[2])
    assert posted is not None and root is not None
    for wrong in (
        replace(body, chunks=((4, seed_of("x")),)), replace(body, chunks=((0, posted),)),
        replace(body, sketches=((9, seed_of("x")),)), replace(body, sketches=((3, sha256(root.sketch)),)),
        replace(body, withheld=(1,)), replace(body, withheld=(7,)),
    ):
        assert world.refused(1, wrong) == Refusal.WRONG_ACCUSATION
    assert world.refused(1, replace(body, attempt=1)) == Refusal.PHASE_CLOSED
    assert world.post(1, body).ok
    assert world.refused(1, body) == Refusal.ALREADY_POSTED


def test_findings_are_heard_in_their_phase_only_and_from_who_is_present() -> None:
    world = at(Phase.PROOF, absent=(4,), spoilers={2})
    assert world.refused(1, world.recheck(1)) == Refusal.PHASE_CLOSED
    world.go_to(Phase.RECHECK, 4)
    assert world.refused(4, world.recheck(4)) == Refusal.NOT_IN_PHASE


def test_there_is_time_for_a_vector_of_every_member() -> None:
    world = look(spoilers={2})
    assert world.phase.timeout_ms == 4 * TERMS.phase_timeout_ms
    patient = look(spoilers={2}, terms=replace(TERMS, phase_timeout_ms=2**32 - 1))
    assert patient.phase.timeout_ms == 2**32 - 1


# --- who is named, who is dropped ------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", ["spoilers", "sketchers"])
def test_who_spoiled_the_sum_is_named_and_the_next_attempt_succeeds(which: str) -> None:
    world = ended(look(**{which: {2}}))
    void = world.round.voids[0]
    assert (void.phase, void.reason, void.dropped) == (Phase.RECHECK, SPOILED, (2,))
    assert world.round.faulty == (2,) and world.round.attempt.holders == (1, 3, 4)
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 3, 4) and report.faulty == (2,)


def test_the_last_owner_of_a_chunk_answers_for_its_sum() -> None:
    """Chunk 0 goes from member 1, which misses member 3's part, to member 2: that one posts the digest."""
    world = at(Phase.RECHECK, size=5, spoilers={2}, kept_chunks={(3, 1)})
    owners = world.round.attempt.chunks[0].owners
    assert owners == (1, 2), owners
    ended(world)
    assert world.round.faulty == (2,)


def test_f_alike_name_and_drop_nobody() -> None:
    """The sum is called wrong by f liars and an honest member that was given another Y; the liars name member 1."""
    world = look(size=7, sum_check=dict.fromkeys((5, 6, 7), bodies.SumCheck.WRONG))
    place = world.place()
    lie = bodies.Recheck(*place, ((0, seed_of("lie")),), ((1, seed_of("lie")),), (1,))
    assert world.post(6, lie).ok and world.post(7, lie).ok
    ended(world)
    assert world.round.voids[0].reason == WRONG_SUM and not world.round.faulty and not world.round.barred
    assert world.round.attempt.holders == (1, 2, 3, 4, 5, 6, 7)


def test_f_plus_one_that_find_different_things_name_nobody() -> None:
    """An honest member finds one digest; what f liars say beside it does not add to its word."""
    world = look(size=7, sum_check=dict.fromkeys((5, 6, 7), bodies.SumCheck.WRONG))
    for member in (1, 6, 7):
        said = bodies.Recheck(*world.place(), ((1, seed_of("found", member)),), ((3, seed_of("sketch", member)),))
        assert world.post(member, said).ok
    ended(world)
    assert not world.round.faulty and world.round.barred == (2, 3), "accused by three, in whatever words"


def test_different_words_of_f_plus_one_drop_without_blame() -> None:
    """Two honest members find the wrong sum, two others are kept from it by the same member."""
    world = ended(look(size=7, spoilers={2, 3}, kept_back={(3, 1), (3, 4), (3, 5)}))
    void = world.round.voids[0]
    assert world.round.faulty == (2,) and void.dropped == (2, 3), "2 is named by all, 3 by too few"
    other = ended(look(size=7, spoilers={3}, kept_back={(3, member) for member in (1, 2, 4, 5, 6, 7)}))
    assert other.round.faulty == () and other.round.voids[0].reason == KEPT_BACK
    assert other.round.voids[0].dropped == (3,)


def test_who_accuses_more_than_f_is_cut_off_and_keeps_nobody_out() -> None:
    world = look(size=7, sum_check=dict.fromkeys((1, 2, 3), bodies.SumCheck.WRONG))
    for member in (5, 6, 7):
        assert world.post(member, bodies.Recheck(*world.place(), withheld=(1, 2, 3))).ok
    ended(world)
    assert world.round.barred == () and world.round.voids[0].dropped == ()


def test_the_silent_hold_up_nobody_and_are_not_absent_when_enough_have_spoken() -> None:
    world = look(spoilers={2})
    world.go(2)
    assert world.round.faulty == (2,) and world.round.attempt.number == 1, "three of four are enough"
    world = look(spoilers={2})
    world.go(4)
    assert world.round.faulty == (2,) and not world.round.absent and world.round.attempt.holders == (1, 3, 4)


def test_enough_must_have_spoken() -> None:
    """Two of seven honest ones could be outdone by liars that come first: nothing ends before N - f have spoken."""
    world = look(size=7, spoilers={2})
    for member in (1, 3, 4, 5):
        assert world.post(member, world.recheck(member)).ok
        assert world.phase.kind == Phase.RECHECK
    assert world.post(6, world.recheck(6)).ok
    assert world.round.faulty == (2,) and world.phase.kind == Phase.KEYS


def test_who_is_silent_until_the_time_is_over_is_absent() -> None:
    world = look(size=7, spoilers={2})
    world.go_without(4, 5, 6)
    report = world.report(1)
    assert report.faulty == (2,) and [absence.member for absence in report.absent] == [4, 5, 6]


@pytest.mark.parametrize("size", [4, 7, 10])
def test_f_liars_cannot_void_every_attempt(size: int) -> None:
    """One after the other spoils the sum, each kept from a few: every attempt loses a liar, the last one succeeds."""
    most = fault_bound(size)
    liars = set(range(2, 2 + most))
    kept = {(liar, (liar + step) % size + 1) for liar in liars for step in range(most)}
    world = look(size=size, spoilers=liars, kept_back=kept)
    report = world.finish_round()
    assert report.outcome == Outcome.OK and set(report.counted).isdisjoint(liars)
    assert set(report.faulty) <= liars


def test_a_pin_goes_on_without_who_spoiled_its_sum() -> None:
    world = at(Phase.RESULT, size=5, terms=LONG)
    fail_with(world, "for once")
    world.spoilers.add(5)
    world.go_to(Phase.RECHECK)
    world.go()
    assert world.round.pinned == (1, 2, 3, 4)
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.counted == (1, 2, 3, 4)


# --- the rounds after ------------------------------------------------------------------------------------------------

def named(size: int = 4) -> World:
    """Round 1 named member 2; round 2 is open."""
    world = look(size=size, spoilers={2}, terms=LONG)
    assert world.finish_round().faulty == (2,) and world.round.number == 2
    return world


def readmit(world: World, *members: int) -> None:
    for member in members:
        assert world.post(member, StudyVote(world.study, StudyAction.READMIT)).ok


def test_a_member_named_faulty_is_not_in_the_next_rounds_and_nobody_waits_for_it() -> None:
    world = named()
    assert world.round.expected == world.phase.expected == (1, 3, 4) and world.life.faulty_members == (2,)
    for number in (2, 3):
        report = world.finish_round(2)
        assert report.number == number and report.counted == (1, 3, 4) and not report.absent
        assert not any(span.is_expired for span in report.phases)


def test_its_messages_are_refused_and_it_is_told_why() -> None:
    world = named()
    for body in (
        world.keys(2), world.commit(2), world.acknowledge(2), world.ready(2), world.ready(2, 1),
        bodies.Recheck(*world.place()), Result(*world.place(), Outcome.FAILED, "no", bytes(32), bytes(32), 0),
    ):
        assert world.refused(2, body) == Refusal.NAMED_FAULTY
    assert "fednode study readmit" in describe_refusal(Refusal.NAMED_FAULTY)
    pending = world.phase.number
    assert world.post(2, Expire(*world.place(), pending)).ok, "a member of the ledger still votes on time"


def test_it_is_refused_in_the_round_that_named_it() -> None:
    world = ended(look(spoilers={2}))
    assert world.refused(2, world.keys(2)) == Refusal.NAMED_FAULTY


def test_pause_and_resume_do_not_let_it_back_in() -> None:
    """Any one member may pause, a liar too: to go on must not mean to forget."""
    world = named()
    assert world.post(2, StudyPause(world.study, "please resume")).ok
    world.finish_round()
    assert world.life.status == StudyStatus.PAUSED
    for member in (1, 3, 4):
        assert world.post(member, StudyVote(world.study, StudyAction.RESUME)).ok
    assert world.round.expected == (1, 3, 4) and world.life.faulty_members == (2,)


def test_people_let_it_back_in_by_vote() -> None:
    world = named()
    world.spoilers.clear()
    readmit(world, 1, 3)
    vote = StudyVote(world.study, StudyAction.READMIT)
    assert world.refused(1, vote) == Refusal.ALREADY_VOTED
    assert world.life.faulty_members == (2,)
    readmit(world, 2)
    assert world.life.kept_out is None and world.round.expected == (1, 3, 4), "from the next round on"
    assert world.refused(4, vote) == Refusal.NOTHING_CHANGES
    world.finish_round()
    assert world.round.expected == (1, 2, 3, 4)
    assert world.finish_round().counted == (1, 2, 3, 4)


def test_votes_do_not_cover_who_is_named_later() -> None:
    world = named(7)
    readmit(world, 1, 3, 4)
    world.spoilers.add(5)
    assert world.finish_round().faulty == (5,)
    assert (world.life.kept_out.members, world.life.kept_out.readmit_votes) == ((2, 5), ())
    assert world.finish_round().counted == (1, 3, 4, 6, 7)


def test_with_one_more_away_the_study_waits_and_says_for_whom() -> None:
    world = named()
    world.go(4)
    world.expire()  # 4 misses KEYS: two of three that are left
    assert world.report(2).outcome == Outcome.FAILED
    assert world.life.status == StudyStatus.WAITING
    assert world.life.reason.endswith("missing: 4; kept out as faulty: 2")
    assert world.post(4, world.ready(4)).ok
    assert world.is_round_open and world.round.expected == (1, 3, 4)


def test_who_is_voted_out_of_the_federation_is_not_kept_on_the_list() -> None:
    from fednode.ledger.members.rules import without_member

    world = named(7)
    assert without_member(world.life, world.members[1]).kept_out is None
    readmit(world, 3)
    kept_out = without_member(world.life, world.members[2]).kept_out
    assert kept_out is not None and (kept_out.members, kept_out.readmit_votes) == ((2,), ())


def names(members: range) -> str:
    return ", ".join(map(str, members)) + ", ..."


def test_reasons_that_name_members_fit_their_record_however_many_there_are() -> None:
    """What does not fit would stop every node at the same block, for ever."""
    world = at(Phase.KEYS)
    many = tuple(MemberId(60_000 + at) for at in range(256))
    gone = tuple(Absence(member, Phase.COMMIT, 0) for member in many)
    study = replace(world.life, pin=many, kept_out=KeptOut(many[176:]))
    failed = RoundEnd(replace(world.round, pinned=many, absent=gone), "too few")
    draft = Draft(world.state)
    person = get_members(draft)[0]
    draft.write(MEMBERS_KEY, MemberList(tuple(replace(person, member=member) for member in many)))
    close_round(draft, BlockTime(9, 9), study, failed)
    closed = get_study(draft, study.study)
    assert closed is not None and closed.status == StudyStatus.PAUSED and closed.reason.endswith("60011, ...")
    for waiting in (replace(study, pin=None, ready=()), study):
        open_round(draft, BlockTime(9, 9), waiting)
        opened = get_study(draft, study.study)
        assert opened is not None and opened.reason.endswith("kept out as faulty: " + names(range(60_176, 60_188)))
        assert encode(opened)
    nobody_left = replace(study, kept_out=KeptOut(many))
    close_round(draft, BlockTime(9, 9), nobody_left, failed)
    stuck = get_study(draft, study.study)
    assert open_round(draft, BlockTime(9, 9), nobody_left)
    still = get_study(draft, study.study)
    assert stuck is not None and still is not None and encode(stuck) and encode(still)
    assert stuck.reason.endswith("readmit: " + names(range(60_000, 60_012))) and "171 are needed" in still.reason
    join = OpenPhase(1, Phase.JOIN, 0, 9, 9, 9, many, expire_votes=many)
    draft.write(round_key(study.study), None)
    draft.write(study_key(study.study), replace(study, status=StudyStatus.WAITING, join=join))
    settle_study(draft, BlockTime(9, 9), study.study)
    paused = get_study(draft, study.study)
    assert paused is not None and paused.status == StudyStatus.PAUSED
    for record in (closed, paused):
        assert encode(record)


# --- accused and not named -----------------------------------------------------------------------------------------

def hidden(size: int = 4, **scripts: object) -> World:
    """Member 2 spoils every sum and gives its chunks to nobody."""
    kept_back = {(2, member) for member in range(1, size + 1)}
    terms = replace(LONG, pause_after_failures=9)
    return look(size=size, spoilers={2}, kept_back=kept_back, terms=terms, **scripts)


def test_who_is_accused_in_two_rounds_in_a_row_is_left_to_people() -> None:
    world = hidden()
    report = world.finish_round()
    assert report.outcome == Outcome.OK and report.barred == (2,) and not report.faulty
    assert world.life.status == StudyStatus.RUNNING and find_accused(report) == {2}
    assert world.round.expected == (1, 2, 3, 4), "accused is not named"
    assert world.finish_round().outcome == Outcome.OK
    assert world.life.status == StudyStatus.PAUSED
    assert world.life.reason == f"{ACCUSED_TWICE}: 2; people must decide"
    assert world.life.faulty_members == () and world.life.rounds_done == 2
    for member in (1, 3, 4):
        assert world.post(member, StudyVote(world.study, StudyAction.RESUME)).ok
    assert world.round.expected == (1, 2, 3, 4)
    world.finish_round()
    assert world.life.status == StudyStatus.PAUSED, "nothing has changed"


def test_a_round_between_without_it_starts_the_count_again() -> None:
    world = hidden()
    world.finish_round()
    spoilers, world.spoilers = world.spoilers, set()
    assert world.finish_round().attempts == 1
    world.spoilers = spoilers
    assert find_accused(world.finish_round()) == {2} and world.life.status == StudyStatus.RUNNING


def test_the_silent_and_the_named_are_not_counted() -> None:
    """Seven: 2 is named, 5 swears that 1 kept something back, 4, 6 and 7 say nothing."""
    world = look(size=7, spoilers={2}, terms=LONG)
    assert world.post(5, replace(world.recheck(5), withheld=(1,))).ok
    world.go_without(4, 6, 7)
    report = world.report(1)
    assert report.faulty == (2,) and report.voids[0].dropped == (2, 4, 6, 7) and find_accused(report) == set()


def test_two_accused_in_turn_do_not_make_two_rounds_of_one() -> None:
    world = hidden(7)
    world.finish_round()
    world.spoilers, world.kept_back = {5}, {(5, member) for member in range(1, 8)}
    assert find_accused(world.finish_round()) == {5} and world.life.status == StudyStatus.RUNNING


def test_a_study_that_ends_or_was_paused_keeps_its_own_reason() -> None:
    world = hidden()
    world.finish_round()
    assert world.post(3, StudyPause(world.study, "audit")).ok
    world.finish_round()
    assert world.life.status == StudyStatus.PAUSED and "audit" in world.life.reason


def test_reasons_of_chains_in_which_nobody_was_named_keep_their_bytes() -> None:
    study = replace(at(Phase.KEYS).life, ready=())
    members = tuple(map(MemberId, range(100, 200)))
    assert members_to_wait_for(study, members) == ", ".join(map(str, range(100, 140))) + ", ..."
    assert members_to_wait_for(study, ()) == "nobody"
