"""The freeze block and the coin: who may reveal what and when, and what the coin depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from fednode.ids import Hash
from fednode.ledger.refusals import Refusal
from fednode.ledger.rules import apply_block
from fednode.ledger.studies.bodies import Outcome, StudyPause
from fednode.ledger.sums.binding import NO_COIN
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.phases import expects, is_phase_message, pending_phase
from fednode.sums import bodies
from fednode.sums.attempt import SumContext
from fednode.sums.coin import MAX_LINKS, SKETCH_LABEL, draw_coin
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World, at, chain_of
from tests.ledger.world import TERMS
from tests.support.seeds import seed_of


def at_coin(size: int = 4, **scripts: object) -> World:
    world = World(size=size, **scripts)  # type: ignore[arg-type]
    world.ready_all()
    world.go_to(Phase.COIN)
    return world


# --- joining with a chain ----------------------------------------------------------------------------------------


def test_a_chain_left_for_another_is_never_taken_up_again() -> None:
    world = World()
    assert world.post(1, world.ready(1, 0)).ok
    assert world.post(1, world.ready(1, 1)).ok
    assert world.refused(1, replace(world.ready(1, 2), coin_head=chain_of(1, 0).head)) == Refusal.COIN_HEAD_SEEN
    assert [(head.member, head.head) for head in world.life.coins.heads] == [(1, chain_of(1, 1).head)]  # type: ignore[union-attr]


def test_a_copied_head_does_not_keep_its_owner_out() -> None:
    world = World()
    assert world.post(2, replace(world.ready(2), coin_head=chain_of(1).head)).ok
    assert world.post(1, world.ready(1)).ok


# --- the phase ---------------------------------------------------------------------------------------------------

def test_the_quorum_of_acks_freezes_and_does_not_unmask() -> None:
    world = at_coin()
    record = world.round
    assert not record.is_unmasked and world.attempt.freeze_height == world.at.height
    assert world.attempt.freeze_block is None and world.attempt.coin_index == 1
    assert record.phase.expected == (1, 2, 3, 4)


def test_a_link_before_the_freeze_is_refused() -> None:
    world = at(Phase.SUMACK)
    early = bodies.Coin(*world.place(), chain_of(1).link(1))
    assert world.refused(1, early) == Refusal.PHASE_CLOSED


def test_only_the_next_link_of_the_own_chain_counts_and_once() -> None:
    world = at_coin()
    place = world.place()
    for link in (chain_of(2).link(1), chain_of(1).link(2), chain_of(1).head, bytes(32)):
        assert world.refused(1, bodies.Coin(*place, link)) == Refusal.WRONG_LINK
    assert world.refused(1, bodies.Coin(place[0], place[1] + 1, 0, chain_of(1).link(1))) == Refusal.PHASE_CLOSED
    assert world.refused(1, bodies.Coin(place[0], place[1], 1, chain_of(1).link(1))) == Refusal.PHASE_CLOSED
    assert world.post(1, world.link(1)).ok
    assert world.refused(1, world.link(1)) == Refusal.ALREADY_POSTED


def test_the_coin_is_that_of_the_freeze_block_and_the_links() -> None:
    world = at_coin()
    freeze_block, place = Hash(seed_of("block", world.at.height)), world.place()
    world.go()
    assert world.phase.kind == Phase.SHARE and world.attempt.freeze_block == freeze_block
    links = {member: chain_of(member).link(1) for member in (1, 2, 3, 4)}
    context = SumContext(world.chain_id, *place)
    assert world.attempt.coin == draw_coin(context, SKETCH_LABEL, freeze_block, links)


def test_the_hash_of_the_freeze_block_is_noted_by_the_next_block_whatever_it_holds() -> None:
    world = at_coin()
    freeze = seed_of("block", world.at.height)
    world.block()
    assert world.attempt.freeze_block == freeze
    world.block((1, StudyPause(world.study)))
    assert world.attempt.freeze_block == freeze


def test_other_parent_other_coin() -> None:
    worlds = [at_coin(), at_coin()]
    for number, world in enumerate(worlds):
        at = BlockTime(world.at.height + 1, 0, Hash(bytes([number]) * 32))
        signed = [world.sign(member, world.link(member)) for member in world.members]
        world.state = apply_block(world.state, at, signed).state
    assert worlds[0].attempt.coin != worlds[1].attempt.coin


def test_who_does_not_reveal_is_absent_and_the_coin_goes_on() -> None:
    world = at_coin()
    world.go(4)
    assert world.phase.kind == Phase.COIN
    world.expire()
    assert world.phase.kind == Phase.SHARE and world.round.absent_members == {4}
    assert world.attempt.coin is not None and len(world.attempt.links) == 3
    assert world.phase.expected == (1, 2, 3)


def test_a_coin_of_f_links_is_none() -> None:
    world = at_coin()
    assert world.post(1, world.link(1)).ok
    world.expire()
    void = world.report(1).voids[0] if not world.is_round_open else world.round.voids[0]
    assert (void.phase, void.reason, void.dropped) == (Phase.COIN, NO_COIN, (2, 3, 4))
    assert world.report(1).outcome == Outcome.FAILED and not world.report(1).is_unmasked


def test_f_plus_one_links_are_a_coin() -> None:
    world = at_coin()
    for member in (1, 2):
        assert world.post(member, world.link(member)).ok
    world.expire()
    assert world.phase.kind == Phase.SHARE and len(world.attempt.links) == 2


# --- numbers of links --------------------------------------------------------------------------------------------

def test_every_attempt_of_every_round_asks_for_a_new_link() -> None:
    world = at_coin()
    world.go_to(Phase.SHARE)
    world.go_without(4)
    assert world.round.attempt.number == 1
    world.go_to(Phase.COIN, 4)
    assert world.attempt.coin_index == 2 and world.refused(1, bodies.Coin(*world.place(), chain_of(1).link(1))) == (
        Refusal.WRONG_LINK
    )
    assert world.finish_round(4).outcome == Outcome.OK
    coins = world.life.coins
    assert coins is not None and coins.opened == 2
    assert {head.member: head.index for head in coins.heads} == {1: 2, 2: 2, 3: 2, 4: 1}
    world.post(4, world.ready(4))
    world.go_to(Phase.COIN)
    assert world.attempt.coin_index == 3


def test_a_member_that_missed_links_is_followed_from_the_last_known() -> None:
    world = at_coin()
    world.go_without(4)
    assert world.finish_round(4).outcome == Outcome.OK
    assert world.post(4, world.ready(4)).ok
    while not (world.is_round_open and 4 in world.round.expected):
        assert world.finish_round(4).outcome == Outcome.OK
    world.go_to(Phase.COIN)
    assert world.attempt.coin_index > 2 and world.post(4, world.link(4)).ok


def test_a_chain_taken_up_in_a_round_counts_from_the_next() -> None:
    world = at_coin()
    world.terms_of_keys[1] = 1
    assert world.post(1, world.ready(1)).ok
    assert world.refused(1, world.link(1)) == Refusal.WRONG_LINK
    assert world.post(1, bodies.Coin(*world.place(), chain_of(1, 0).link(1))).ok
    assert world.finish_round().outcome == Outcome.OK
    world.go_to(Phase.COIN)
    assert world.post(1, world.link(1)).ok
    head = next(head for head in world.life.coins.heads if head.member == 1)  # type: ignore[union-attr]
    assert head.head == chain_of(1, 1).head


def test_a_chain_ends() -> None:
    from fednode.ledger.sums.checks import is_next_link

    assert not is_next_link(bytes(32), 0, bytes(32), MAX_LINKS + 1)


# --- what a node asks ----------------------------------------------------------------------------------------------

def test_the_open_phase_knows_its_messages() -> None:
    world = at_coin()
    pending = pending_phase(world.state, world.study)
    assert pending is not None and is_phase_message(pending, world.link(1))
    assert not is_phase_message(pending, bodies.ShareRoot(*world.place(), bytes(1024), bytes(32), bytes(32)))
    assert world.post(1, world.link(1)).ok
    assert not expects(world.round, 1) and expects(world.round, 2)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plain:
    """A body of a kind from outside the package that is about nothing here."""

    text: str


@dataclass(frozen=True)
class AboutStudy:
    """One that names a study, and no round."""

    study: bytes


def test_bodies_of_kinds_from_outside_are_no_messages_of_a_phase() -> None:
    world = at_coin()
    pending = pending_phase(world.state, world.study)
    assert pending is not None
    for body in (Plain("nothing"), AboutStudy(world.study)):
        assert not is_phase_message(pending, body)  # type: ignore[arg-type]
        assert not is_phase_message(replace(pending, record=None), body)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"weights": 3}, {"weight_bound": 100}])
def test_terms_that_make_no_sense(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(TERMS, **change)
