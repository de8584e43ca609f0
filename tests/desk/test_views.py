"""What a person reads of a study: who is kept out, and when no vote can make it go on."""

from __future__ import annotations

from dataclasses import replace

from fednode.desk.views import study_view, why_stuck
from fednode.ids import MemberId, StudyId
from tests.ledger.test_rules_recheck import named, readmit


def test_a_study_names_who_is_kept_out_and_who_votes_to_readmit() -> None:
    world = named()
    readmit(world, 3)
    view = study_view(world.state, StudyId(world.study), "heart")
    assert (view.faulty, view.readmit_votes, view.stuck) == ((2,), (3,), None)
    assert view.waiting_for == (1, 3, 4)


def test_a_set_with_a_member_that_was_voted_out_is_stuck() -> None:
    life = named().life
    pinned = replace(life, pin=(MemberId(1), MemberId(3), MemberId(4)))
    assert why_stuck(life, (1, 2, 3, 4)) is None and why_stuck(pinned, (1, 2, 3, 4)) is None
    text = why_stuck(pinned, (1, 2, 4, 5))
    assert text is not None and "1, 3, 4, of which voted out: 3" in text and "fednode study stop" in text
    whole = replace(named().life, pin=tuple(map(MemberId, (1, 2, 3))))
    text = why_stuck(whole, (1, 2, 3, 4))
    assert text is not None and "kept out as faulty (2)" in text and "fednode study readmit" in text
    assert why_stuck(replace(whole, kept_out=None), (1, 2, 3, 4)) is None
    small = why_stuck(replace(life, pin=(MemberId(1), MemberId(4))), (1, 2, 3, 4))
    assert small is not None and "fewer than the 3 a sum needs" in small
