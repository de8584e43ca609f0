"""What is thrown away before a signature is checked, and what never may be."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fednode.chain.consensus.events import OutOfReach, Received
from fednode.chain.consensus.messages import BlockResponse, Decision, Proposal, Status, ViewCertificate
from fednode.chain.consensus.replica import Worth, admit, sift
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE, Vote, domain_of, sign_bytes
from fednode.core import effects as do
from fednode.core import traffic
from fednode.effects import DropPeer
from fednode.errors import Rejected
from fednode.ids import Height, MemberId, View
from tests.core.test_core import leader, memo
from tests.node.world import World

JUNK = bytes(64)


def make_world() -> World:
    """Four nodes with ten blocks."""
    world = World().start().rest()
    for number in range(10):
        transaction = world.submit(1 + number % 4, memo(number))
        world.run(lambda tx=transaction: all(tx.txid in node.receipts for node in world.nodes.values()))
    return world.rest()


@pytest.fixture(scope="module")
def world() -> World:
    """One for all tests that change nothing which others look at."""
    return make_world()


def vote(height: int, sender: int = 4) -> Vote:
    """A vote whose signature does not hold."""
    return Vote(PREVOTE, Height(height), View(0), NO_VIEW, b"v" * 32, MemberId(sender), JUNK)


@pytest.mark.parametrize("offset", [-9, -2, -1, 3, 4, 1000])
def test_votes_out_of_reach_cost_no_signature_check(world: World, offset: int) -> None:
    core = world[1].live()
    height = core.replica.tip.height + offset
    for message in (vote(height), ViewCertificate((vote(height), vote(height, 3)))):
        event = admit(message, MemberId(4), core.replica, core.identity.chain_id, 0)
        assert event == OutOfReach(MemberId(4), Height(height), 0)


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_votes_that_count_are_checked(world: World, offset: int) -> None:
    core = world[1].live()
    with pytest.raises(Rejected, match="signature"):
        admit(vote(core.replica.tip.height + offset), MemberId(4), core.replica, core.identity.chain_id, 0)


def test_a_signature_of_this_member_is_always_checked() -> None:
    """It may be the only sign that its key is in use twice."""
    world = make_world()
    core = world[1].live()
    height = core.replica.tip.height + 500
    signed = core.identity.signer.sign
    assert sift(vote(height, sender=1), core.replica) is Worth.CHECK
    assert sift(ViewCertificate((vote(height, 4), vote(height, 1))), core.replica) is Worth.CHECK
    message = sign_bytes(core.identity.chain_id, PREVOTE, height, 0, NO_VIEW, b"v" * 32)
    genuine = replace(vote(height, sender=1), signature=signed(domain_of(PREVOTE), message))
    core.frame(MemberId(4), traffic.CONSENSUS.frame(genuine), world.now_ms)
    assert core.replica.refusal is not None and "in use twice" in core.replica.refusal


def test_blocks_that_nobody_asked_for_are_not_looked_into(world: World) -> None:
    core, block = world[1].live(), next(iter(world[1].disk.store.blocks(3, 3)))[0]
    assert sift(BlockResponse(block), core.replica) is Worth.NOTHING


def test_decisions_of_the_past_say_nothing_and_of_the_future_only_where_their_sender_is(world: World) -> None:
    core, (block, certificate) = world[1].live(), next(iter(world[1].disk.store.blocks(3, 3)))
    assert admit(Decision(block, certificate), MemberId(2), core.replica, core.identity.chain_id, 0) is None
    height = Height(core.replica.tip.height + 7)
    far = Decision(replace(block, header=replace(block.header, height=height)), replace(certificate, height=height))
    event = admit(far, MemberId(2), core.replica, core.identity.chain_id, 0)
    assert event == OutOfReach(MemberId(2), height, 0)


def test_proposals_out_of_turn_are_no_honest_members(world: World) -> None:
    core, block = world[1].live(), next(iter(world[1].disk.store.blocks(3, 3)))[0]
    height = Height(core.replica.tip.height + 1)
    proposer = leader(world)
    other = next(member for member in (1, 2, 3, 4) if member != proposer)
    body = replace(block, header=replace(block.header, height=height))

    def proposal(sender: int, at: int) -> Proposal:
        made = Vote(1, Height(at), View(0), NO_VIEW, b"v" * 32, MemberId(sender), JUNK)
        return Proposal(made, replace(body, header=replace(body.header, height=at)))

    with pytest.raises(Rejected, match="out of turn"):
        sift(proposal(other, height), core.replica)
    assert sift(proposal(proposer, height), core.replica) is Worth.CHECK
    assert sift(proposal(other, height - 1), core.replica) is Worth.NOTHING
    assert sift(proposal(other, height + 1), core.replica) is Worth.CHECK
    assert sift(proposal(other, height + 2), core.replica) is Worth.OUT_OF_REACH


def test_whoever_votes_for_the_past_learns_where_the_chain_ends_but_not_too_often(world: World) -> None:
    core = world[1].live()
    frame = traffic.CONSENSUS.frame(vote(core.replica.tip.height - 5))
    answers = [core.frame(MemberId(4), frame, world.now_ms + index) for index in range(100)]
    sent = [effect for effects in answers for effect in effects if isinstance(effect, do.SendFrame)]
    assert len(sent) == 1
    assert isinstance(traffic.decode_frame(sent[0].data).message, Status)


def test_claims_of_a_far_future_do_not_pile_up(world: World) -> None:
    core, drawn = world[1].live(), random.Random(5)
    base = core.replica.tip.height
    effects = []
    for _ in range(2_000):
        frame = traffic.CONSENSUS.frame(vote(base + drawn.randrange(1_000, 10**9)))
        effects += core.frame(MemberId(4), frame, world.now_ms)
    assert len(effects) < 50
    assert not [effect for effect in effects if isinstance(effect, DropPeer)]


def test_a_proposal_that_is_here_is_not_checked_again() -> None:
    world = make_world()
    core = world[leader(world)].live()
    transaction, effects = core.submit(memo(99), world.now_ms)
    proposals = [
        message for effect in effects if isinstance(effect, do.SendToAll)
        and isinstance(message := traffic.decode_frame(effect.data).message, Proposal)
    ]
    assert proposals and transaction is not None
    assert sift(proposals[0], core.replica) is Worth.NOTHING
    other = world[1 if leader(world) != 1 else 2].live()
    event = admit(proposals[0], MemberId(leader(world)), other.replica, core.identity.chain_id, world.now_ms)
    assert isinstance(event, Received)


# --- what is here already is compared, not checked again --------------------------------------------------------

def genuine(world: World, height: int, sender: int, kind: int = PREVOTE, view: int = 0) -> Vote:
    """A vote for no block that its sender signed."""
    identity = world[sender].live().identity
    message = sign_bytes(identity.chain_id, kind, height, view, NO_VIEW, NIL)
    signature = identity.signer.sign(domain_of(kind), message)
    return Vote(kind, Height(height), View(view), NO_VIEW, NIL, MemberId(sender), signature)


@pytest.mark.parametrize("offset", [0, 1, 2], ids=["last block", "under decision", "next"])
def test_votes_sent_again_cost_no_signature_and_bring_no_blame(offset: int) -> None:
    world = make_world()
    core = world[1].live()
    height = core.replica.tip.height + offset
    votes = tuple(genuine(world, height, sender, kind) for sender in (3, 4) for kind in (PREVOTE, PRECOMMIT))
    core.chain.check.take()
    for message in (*votes, ViewCertificate(votes)):
        core.frame(MemberId(4), traffic.CONSENSUS.frame(message), world.now_ms)
    assert core.chain.check.take() == len(votes)
    for message in (*votes, ViewCertificate(votes)):
        core.frame(MemberId(3), traffic.CONSENSUS.frame(message), world.now_ms)
    assert core.chain.check.take() == 0


def test_a_known_vote_with_another_signature_is_checked() -> None:
    world = make_world()
    core = world[1].live()
    vote = genuine(world, core.replica.tip.height + 1, 4)
    core.frame(MemberId(4), traffic.CONSENSUS.frame(vote), world.now_ms)
    forged = replace(vote, signature=JUNK)
    assert not core.replica.has_vote(forged)
    with pytest.raises(Rejected, match="signature"):
        core.frame(MemberId(4), traffic.CONSENSUS.frame(forged), world.now_ms)


def test_votes_of_a_decided_height_sent_again_still_tell_that_their_sender_lags() -> None:
    world = make_world()
    core = world[1].live()
    vote = genuine(world, core.replica.tip.height, 4, view=9)
    core.frame(MemberId(4), traffic.CONSENSUS.frame(vote), world.now_ms)
    effects = core.frame(MemberId(4), traffic.CONSENSUS.frame(vote), world.now_ms + 1_000)
    sent = [effect for effect in effects if isinstance(effect, do.SendFrame)]
    assert [type(traffic.decode_frame(effect.data).message) for effect in sent] == [Decision]
