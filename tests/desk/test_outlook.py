"""What people are told before they vote about members."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fednode.desk.outlook import Outlook, compute_outlook
from fednode.ids import MemberId, fault_bound, quorum
from fednode.ledger.members.bodies import MemberPropose
from fednode.ledger.members.reading import get_candidates, get_members
from fednode.ledger.members.records import Change
from tests.ledger.sum_world import World
from tests.ledger.test_rules_members import approve, observed
from tests.support.cards import make_card


def foresee(world: World, change: Change, member: int, signing: set[int], connected: set[int]) -> Outlook:
    return compute_outlook(
        world.state, change, MemberId(member), frozenset(map(MemberId, signing)), frozenset(map(MemberId, connected))
    )


def test_two_candidates_that_are_gone() -> None:
    world = World(4)
    fifth, sixth = observed(world, "fifth"), observed(world, "sixth")
    first = foresee(world, Change.ADD, fifth[0], {1, 2, 3, 4}, {2, 3, 4})
    assert (first.after, len(first.signing), first.absent, first.is_enough) == (5, 4, ("fifth",), True)
    approve(world, fifth[1], 1, 2, 3)
    second = foresee(world, Change.ADD, sixth[0], {1, 2, 3, 4}, {2, 3, 4})
    assert (second.after, second.absent, second.is_enough) == (6, ("fifth", "sixth"), False)
    told = second.sentence()
    assert all(part in told for part in (
        "6 members (now 4)", "1 of them may fail", "needs 5 signatures", "4 would sign", "not signing: fifth, sixth",
        "no block could be made",
    ))
    assert foresee(world, Change.ADD, sixth[0], {1, 2, 3, 4}, {2, 3, 4, 6}).is_enough
    assert not foresee(world, Change.ADD, sixth[0], {1, 2, 3}, {2, 3, 6}).is_enough


def test_a_removal_counts_the_others_alone() -> None:
    world = World(7)
    out = foresee(world, Change.REMOVE, 5, {1, 2, 3, 4, 5}, {2, 3, 4, 5})
    assert (out.before, out.after, len(out.signing), out.is_enough) == (7, 6, 4, False)
    assert foresee(world, Change.REMOVE, 6, {1, 2, 3, 4, 5}, {2, 3, 4, 5}).is_enough
    view = foresee(world, Change.REMOVE, 6, {1, 2, 3, 4, 5}, set()).view()
    assert (view.change, view.quorum_now, view.quorum_then, view.tolerated_then) == ("remove", 5, 5, 1)


@given(st.integers(4, 9), st.data())
def test_what_is_foretold_is_what_comes(size: int, data: st.DataObject) -> None:
    world = World(size)
    card = make_card("another")
    world.post(1, MemberPropose(card))
    (candidate,) = get_candidates(world.state)
    signing = data.draw(st.sets(st.integers(1, size)))
    found = foresee(world, Change.ADD, candidate.member, signing, signing | {candidate.member})
    names = {record.name for record in (*get_members(world.state), candidate.record)}
    assert {*found.signing, *found.absent} == names and len(names) == found.after == size + 1
    assert found.is_enough == (len(signing) + 1 >= quorum(size + 1) == size + 1 - fault_bound(size + 1))
