"""Who takes part in a study, as people read it: before the first round, in a round, and in the reports."""

from __future__ import annotations

from dataclasses import replace

from fednode.core.taking_part import MissedRounds, count_text, own_part, who_to_ask
from fednode.desk.read_models import StudyView
from fednode.desk.views import report_view, study_view
from fednode.ids import MemberId, StudyId
from fednode.ledger.members.reading import get_members
from tests.ledger.sum_world import World, started
from tests.ledger.world import TERMS

NAMES = {1: "A", 4: "St. Dora"}
DAY_MS = 86_400_000


def view(world: World) -> StudyView:
    return study_view(world.state, StudyId(world.study), "heart")


def name_of(world: World, member: int) -> str:
    return next(record.name for record in get_members(world.state) if record.member == member)


def asked(world: World, after_ms: int) -> str | None:
    return who_to_ask(world.state, StudyId(world.study), "heart", world.genesis.time_ms + after_ms)


def own(world: World, member: int, why: str | None = None) -> str | None:
    return own_part(world.state, StudyId(world.study), MemberId(member), MissedRounds(MemberId(member)), why)


def missed_by(world: World, member: int) -> list[int]:
    return MissedRounds(MemberId(member)).of(world.state, StudyId(world.study))


def test_counts_name_who_is_missing() -> None:
    assert count_text(4, (), NAMES) == "4 of 4"
    assert count_text(3, (4,), NAMES) == "3 of 4, not ready: St. Dora"
    assert count_text(3, (4, 5), NAMES) == "3 of 5, not ready: St. Dora, member 5"


def test_a_waiting_study_tells_the_others_and_the_one_it_waits_for() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    name = name_of(world, 4)
    shown = view(world)
    assert (shown.taking_part, shown.not_ready, shown.waiting_for) == (f"3 of 4, not ready: {name}", (4,), (4,))
    assert own(world, 1) is None
    assert own(world, 4) == "the study waits for this hospital: it is not ready"
    assert own(world, 4, "no table") == "the study waits for this hospital: it is not ready (no table)"


def test_people_are_asked_after_the_time_of_the_study() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    assert asked(world, TERMS.start_after_ms - 1) is None
    text, name = asked(world, TERMS.start_after_ms), name_of(world, 4)
    assert text is not None
    assert f"has waited 1 min for {name}." in text and f"study start 'heart' --without '{name}'" in text
    assert "3 members must say so, none did" in text
    world.begin_without(4, voters=(1, 2))
    later = asked(world, 3 * DAY_MS)
    assert later is not None and "waited 3 days" in later and "3 members must say so, 2 did" in later
    world.begin_without(4, voters=(3,))
    assert world.is_round_open and asked(world, 3 * DAY_MS) is None


def test_two_that_are_missing_are_both_named_until_they_are_left_out() -> None:
    world = World(7)
    world.ready_all(1, 2, 3, 4, 5)
    text = asked(world, 30 * 3_600_000)
    assert text is not None and "waited 30 h" in text
    assert f"for {name_of(world, 6)} and {name_of(world, 7)}." in text and text.count("--without") == 2
    world.begin_without(6)
    left = asked(world, DAY_MS)
    assert left is not None and name_of(world, 6) not in left and view(world).waiting_for == (7,)
    assert view(world).not_ready == (6, 7)


def test_reports_and_the_hospital_itself_tell_what_it_missed() -> None:
    world = World()
    world.ready_all(1, 2, 3)
    world.begin_without(4)
    name = name_of(world, 4)
    assert view(world).taking_part == f"3 of 4, not ready: {name}"
    followed = MissedRounds(MemberId(4))
    assert followed.of(world.state, StudyId(world.study)) == missed_by(world, 4) == []
    report = world.finish_round()
    assert report_view(report, {4: name}).taking_part == f"3 of 4, not ready: {name}"
    assert report_view(report).not_ready == (4,)
    assert own(world, 4) == "this hospital took no part in round 1: its rows are not in it"
    assert own(world, 1) is None
    world.finish_round()
    assert own(world, 4) == "this hospital took no part in round 1, 2: its rows are not in them"
    assert view(world).status == "running"
    assert followed.of(world.state, StudyId(world.study)) == missed_by(world, 4) == [1, 2]


def test_who_is_back_is_not_told_any_more_and_still_finds_what_it_missed() -> None:
    world = started(terms=replace(TERMS, rounds=5))
    world.finish_round(4)
    assert own(world, 4) == "this hospital took no part in round 1: its rows are not in it"
    world.finish_round()
    world.terms_of_keys[4] = 7
    assert world.post(4, world.ready(4)).ok
    while 4 not in world.round.expected:
        world.finish_round()
    world.finish_round()
    assert own(world, 4) is None and missed_by(world, 4)[0] == 1


def test_a_finished_study_says_nothing_of_a_next_round() -> None:
    world = started()
    while world.is_round_open:
        world.finish_round()
    assert view(world).taking_part is None and own(world, 1) is None
