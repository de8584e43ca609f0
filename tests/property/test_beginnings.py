"""Whatever is said in whatever order, a study begins with every hospital it is for, or by q votes that name the others.

The model here counts by itself, from what was accepted; it shares no code with the rules.
"""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import MemberApprove, MemberRemove
from fednode.ledger.members.reading import get_members, get_membership
from fednode.ledger.studies.bodies import Expire, StudyAction, StudyBegin, StudyPause, StudyVote
from tests.ledger.sum_world import World

KINDS = ("ready", "ready", "ready", "without", "without", "without", "pause", "resume", "expire", "remove", "approve")
STEPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(KINDS), st.integers(1, 6)), min_size=5, max_size=60)


def body_of(world: World, sender: int, kind: str, about: int) -> Body:
    match kind:
        case "ready":
            return world.ready(sender)
        case "without":
            return StudyBegin(world.study, MemberId(about))
        case "pause":
            return StudyPause(world.study)
        case "resume":
            return StudyVote(world.study, StudyAction.RESUME)
        case "expire":
            return Expire(world.study, 1, 0, about)
        case "remove":
            return MemberRemove(MemberId(about))
        case _:
            open_ = get_membership(world.state).proposals
            return MemberApprove(open_[about % len(open_)].number if open_ else 1)


@settings(max_examples=50, deadline=None)
@example([(m, "ready", 1) for m in (1, 2, 3, 4)] + [(m, "without", 5) for m in (1, 2, 3, 4)] + [
    (m, "without", 6) for m in (1, 2, 3, 4)
])
@example([(m, "ready", 1) for m in (1, 2, 3, 4, 5)] + [(1, "pause", 1)] + [(m, "resume", 1) for m in (1, 2, 3, 4)])
@example([(m, "ready", 1) for m in (1, 2, 3, 4)] + [(m, "without", 5) for m in (1, 2, 3, 6)] + [
    (1, "remove", 6), (2, "approve", 1), (3, "approve", 1), (4, "approve", 1), (5, "approve", 1),
])
@given(STEPS)
def test_a_study_begins_with_all_or_by_votes_that_name_the_others(steps: list[tuple[int, str, int]]) -> None:
    world = World(6)
    votes: set[tuple[int, int]] = set()
    ready: set[int] = set()
    for sender, kind, about in steps:
        members = {int(record.member) for record in get_members(world.state)}
        if sender not in members:
            continue
        done = world.post(sender, body_of(world, sender, kind, about))
        if done.ok and kind == "without":
            votes.add((about, sender))
        if done.ok and kind == "ready":
            ready.add(sender)
        now = {int(record.member) for record in get_members(world.state)}
        needed, ready = 2 * len(now) // 3 + 1, ready & now
        missing = now - ready
        is_due = len(ready) >= max(3, needed) and all(
            sum((member, voter) in votes for voter in now) >= needed for member in missing
        )
        if world.is_round_open:
            assert is_due, (sender, kind, about, sorted(missing), sorted(votes))
            assert set(world.round.expected) == ready
            return
        assert not is_due or world.life.status != 3, "it waits although nobody is missing"
