"""The round clock: one timer per phase, a vote when it has run out, said until the ledger has it."""

from __future__ import annotations

from dataclasses import replace

from fednode.effects import StartTimer
from fednode.ids import MemberId, StudyId
from fednode.ledger.studies.bodies import Expire, Gone, ProofTerms, StudyTerms, Weights
from fednode.ledger.studies.records import StudyRecord, StudyStatus
from fednode.ledger.sums.records import OpenPhase
from fednode.rounds.events import PhaseTimer, Submit
from fednode.rounds.ledger_view import Snapshot
from fednode.rounds.votes import LEASH_MS, RoundClock
from fednode.sums.phase import Phase

STUDY = StudyId(b"s" * 32)
ME = MemberId(2)
TERMS = StudyTerms(3, True, Weights.EQUAL, 1, 5000, 4000, 1000, ProofTerms(1000, 3, 3, 3))


def waiting(number: int, votes: tuple[MemberId, ...] = ()) -> Snapshot:
    """A study before its first round, with JOIN open as the phase of this number."""
    join = OpenPhase(number, Phase.JOIN, 0, 7, 7000, 5000, (MemberId(1), ME), (), votes)
    return Snapshot(StudyRecord(STUDY, TERMS, 1, 1, StudyStatus.WAITING, join=join), None, {})


class Pool:
    """Whether the node's pool holds a message of the phase."""

    def __init__(self) -> None:
        self.holds = False

    def __call__(self, study: StudyId) -> bool:
        return self.holds


def test_starts_one_timer_and_votes_when_it_has_run_out() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    assert clock.on_ledger(waiting(1)) == [StartTimer(PhaseTimer(1), 5000)]
    assert clock.on_ledger(waiting(1)) == []
    assert clock.on_timer(PhaseTimer(1)) == [Submit(Expire(STUDY, 0, 0, 1))]


def test_says_it_again_until_the_ledger_has_the_vote() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_ledger(waiting(1))
    clock.on_timer(PhaseTimer(1))
    assert clock.on_ledger(waiting(1)) == [Submit(Expire(STUDY, 0, 0, 1))]
    assert clock.on_ledger(waiting(1, (ME,))) == []


def test_timers_of_past_phases_mean_nothing() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_ledger(waiting(1))
    assert clock.on_ledger(waiting(2)) == [StartTimer(PhaseTimer(2), 5000)]
    assert clock.on_timer(PhaseTimer(1)) == []
    assert clock.on_ledger(waiting(2)) == [], "a timer of the phase before does not make this one due"


def test_waits_while_a_message_of_the_phase_is_in_the_pool() -> None:
    pool = Pool()
    clock = RoundClock(STUDY, ME, pool)
    clock.on_ledger(waiting(1))
    pool.holds = True
    assert clock.on_timer(PhaseTimer(1)) == [StartTimer(PhaseTimer(1), 250)]
    assert clock.on_ledger(waiting(1)) == [StartTimer(PhaseTimer(1), 250)]
    pool.holds = False
    assert clock.on_timer(PhaseTimer(1)) == [Submit(Expire(STUDY, 0, 0, 1))]


def test_no_phase_no_timer() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    quiet = Snapshot(replace(waiting(1).record, join=None), None, {})
    assert clock.on_ledger(quiet) == []
    assert clock.on_timer(PhaseTimer(1)) == []


# --- members that are gone -----------------------------------------------------------------------------------------

DEAD = MemberId(1)


def voted(number: int, *members: MemberId) -> Snapshot:
    """As `waiting`, with this member's vote that these are gone on the ledger."""
    snapshot = waiting(number)
    assert snapshot.record.join is not None
    join = replace(snapshot.record.join, gone_votes=((ME, members),))
    return replace(snapshot, record=replace(snapshot.record, join=join))


def test_a_member_that_is_gone_has_a_short_clock_of_its_own_until_the_ledger_has_the_vote() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_ledger(waiting(1))
    assert clock.on_gone(frozenset({DEAD, MemberId(7)})) == [StartTimer(PhaseTimer(1, DEAD), LEASH_MS)]
    assert clock.on_ledger(waiting(1)) == []
    vote = Submit(Gone(STUDY, 0, 0, 1, (DEAD,)))
    assert clock.on_timer(PhaseTimer(1, DEAD)) == [vote]
    assert clock.on_ledger(waiting(1)) == [vote]
    assert clock.on_ledger(voted(1, DEAD)) == []


def test_who_is_back_before_its_short_clock_has_run_out_is_not_voted_on() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_ledger(waiting(1))
    clock.on_gone(frozenset({DEAD}))
    assert clock.on_gone(frozenset()) == []
    assert clock.on_timer(PhaseTimer(1, DEAD)) == []


def test_a_vote_on_who_is_back_is_taken_back() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_ledger(waiting(1))
    clock.on_gone(frozenset({DEAD}))
    clock.on_timer(PhaseTimer(1, DEAD))
    clock.on_ledger(voted(1, DEAD))
    assert clock.on_gone(frozenset()) == [Submit(Gone(STUDY, 0, 0, 1, ()))]


def test_each_phase_starts_the_short_clock_of_who_is_still_gone() -> None:
    clock = RoundClock(STUDY, ME, Pool())
    clock.on_gone(frozenset({DEAD}))
    for number in (1, 2):
        started = clock.on_ledger(waiting(number))
        assert started == [StartTimer(PhaseTimer(number), 5000), StartTimer(PhaseTimer(number, DEAD), LEASH_MS)]


def test_nobody_is_voted_on_while_a_message_of_the_phase_is_in_the_pool() -> None:
    pool = Pool()
    clock = RoundClock(STUDY, ME, pool)
    clock.on_ledger(waiting(1))
    clock.on_gone(frozenset({DEAD}))
    pool.holds = True
    assert clock.on_timer(PhaseTimer(1, DEAD)) == [StartTimer(PhaseTimer(1, DEAD), 250)]
    pool.holds = False
    assert clock.on_timer(PhaseTimer(1, DEAD)) == [Submit(Gone(STUDY, 0, 0, 1, (DEAD,)))]
