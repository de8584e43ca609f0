"""Catch-up: who is asked, what is believed, who is cut off."""

from __future__ import annotations

import dataclasses

import pytest

from fednode.chain import sync
from fednode.chain.block import Tip, advance
from fednode.chain.consensus.messages import Decision, Status
from fednode.chain.sync import (
    Adopt,
    BlockRangeRequest,
    BlockRangeResponse,
    CatchUp,
    PeerAhead,
    PeerConnected,
    PeerLost,
    ServeRange,
    SyncEffect,
    SyncReceived,
    SyncStarted,
    SyncTimer,
    TipMoved,
)
from fednode.codec import encode
from fednode.effects import DropPeer, Send, StartTimer, TimerFired
from fednode.errors import Rejected
from fednode.ids import PROTOCOL_VERSION, Height, MemberId
from tests.chain.test_block import CHECK, MEMBERS, TIP, certify, make_block
from tests.sim.keys import CHAIN_ID

A, B = MemberId(2), MemberId(3)


def make_chain(length: int) -> tuple[list[Decision], list[Tip]]:
    """Some certified blocks and the tip after each."""
    blocks: list[Decision] = []
    tips = [TIP]
    for number in range(length):
        block = make_block(tips[-1], b"tx %d" % number, certificate=blocks[-1].certificate if blocks else None)
        blocks.append(Decision(block, certify(block)))
        tips.append(advance(tips[-1], block, MEMBERS))
    return blocks, tips


CHAIN, TIPS = make_chain(5)


def status(height: int, chain_id: bytes = CHAIN_ID, version: int = PROTOCOL_VERSION) -> Status:
    return Status(version, chain_id, Height(height), bytes(32))


def sends(effects: list[SyncEffect]) -> list[tuple[int, sync.SyncMessage]]:
    return [(effect.peer, effect.message) for effect in effects if isinstance(effect, Send)]


def answer(machine: CatchUp, peer: MemberId, blocks: list[Decision]) -> list[SyncEffect]:
    return machine.handle(SyncReceived(peer, BlockRangeResponse(tuple(blocks))))


def start(claims: dict[MemberId, int], tip: Tip = TIP) -> tuple[CatchUp, list[SyncEffect]]:
    machine = CatchUp(tip, CHECK)
    effects: list[SyncEffect] = []
    for peer, height in claims.items():
        machine.handle(PeerConnected(peer))
        effects += machine.handle(SyncReceived(peer, status(height)))
    return machine, effects


def test_status_goes_out_on_connect_and_every_ten_seconds() -> None:
    machine = CatchUp(TIP, CHECK)
    assert machine.handle(SyncStarted()) == [StartTimer(SyncTimer.STATUS, 10_000)]
    own = Status(PROTOCOL_VERSION, CHAIN_ID, Height(0), bytes(32))
    assert machine.handle(PeerConnected(A)) == [Send(A, own)]
    assert machine.handle(TimerFired(SyncTimer.STATUS)) == [
        Send(A, own), StartTimer(SyncTimer.STATUS, 10_000)
    ]


def test_blocks_are_adopted_one_by_one_as_the_tip_moves() -> None:
    machine, effects = start({A: 5})
    assert sends(effects) == [(A, BlockRangeRequest(Height(1), Height(5)))]
    effects = answer(machine, A, CHAIN)
    for number in range(5):
        assert [e for e in effects if isinstance(e, Adopt)] == [Adopt(CHAIN[number].block, CHAIN[number].certificate)]
        assert machine.target == 5
        effects = machine.handle(TipMoved(TIPS[number + 1]))
    assert effects == []
    assert machine.target is None


def test_a_range_is_at_most_64_blocks() -> None:
    _, effects = start({A: 1_000_000})
    assert sends(effects) == [(A, BlockRangeRequest(Height(1), Height(64)))]
    with pytest.raises(ValueError, match="range"):
        BlockRangeRequest(Height(1), Height(65))


def test_a_short_answer_is_used_and_the_rest_asked_for() -> None:
    machine, _ = start({A: 5})
    answer(machine, A, CHAIN[:1])
    assert sends(machine.handle(TipMoved(TIPS[1]))) == [(A, BlockRangeRequest(Height(2), Height(5)))]


@pytest.mark.parametrize("bad", ["certificate", "link", "body", "order", "signature"])
def test_one_bad_block_bans_the_peer_and_asks_another(bad: str) -> None:
    machine, _ = start({A: 5, B: 5})
    first, second = CHAIN[:2]
    wrong = {
        "certificate": [Decision(first.block, dataclasses.replace(first.certificate, bitmap=b"\x03",
                                                                  signatures=first.certificate.signatures[:2]))],
        "link": [Decision(dataclasses.replace(second.block, header=dataclasses.replace(
            second.block.header, height=Height(1))), first.certificate)],
        "body": [Decision(dataclasses.replace(first.block, transactions=(b"x",)), first.certificate)],
        "order": [first, first],
        "signature": [Decision(first.block, dataclasses.replace(first.certificate, signatures=(bytes(64),) * 3))],
    }[bad]
    effects = answer(machine, A, wrong)
    assert [effect.peer for effect in effects if isinstance(effect, DropPeer)] == [A]
    assert not any(isinstance(effect, Adopt) for effect in effects)
    assert sends(effects) == [(B, BlockRangeRequest(Height(1), Height(5)))]


def test_an_unproven_claim_holds_nobody_up() -> None:
    machine, _ = start({A: 9, B: 5})
    effects = machine.handle(TimerFired(SyncTimer.RESPONSE))
    assert sends(effects) == [(B, BlockRangeRequest(Height(1), Height(5)))]
    effects = answer(machine, B, [])
    assert sends(effects) == []
    assert machine.target is None


def test_who_boasts_and_never_delivers_is_asked_last() -> None:
    machine, _ = start({A: 9, B: 5})
    machine.handle(TimerFired(SyncTimer.RESPONSE))  # A owes an answer now
    machine.handle(SyncReceived(A, status(10**6)))
    assert machine.target == 5, "a claim that was not proven when asked says nothing any more"
    effects = answer(machine, B, CHAIN[:2])
    for tip in TIPS[1:3]:
        effects = machine.handle(TipMoved(tip))
    assert sends(effects) == [(B, BlockRangeRequest(Height(3), Height(5)))]
    effects = machine.handle(PeerLost(B))
    assert sends(effects) == [(A, BlockRangeRequest(Height(3), Height(66)))], "better than nobody"


def test_a_late_answer_to_an_earlier_question_is_nobodys_fault() -> None:
    machine, _ = start({A: 5}, TIPS[2])
    assert answer(machine, A, CHAIN[:2]) == []
    assert [e for e in answer(machine, A, CHAIN[2:]) if isinstance(e, Adopt)] == [
        Adopt(CHAIN[2].block, CHAIN[2].certificate)
    ]


def test_unasked_blocks_are_ignored() -> None:
    machine, _ = start({A: 5})
    assert answer(machine, B, CHAIN) == []


def test_a_vote_ahead_is_given_time_first() -> None:
    machine, _ = start({A: 0})
    assert machine.handle(PeerAhead(A, Height(2))) == [StartTimer(SyncTimer.GRACE, 300)]
    machine.handle(TipMoved(TIPS[1]))
    assert machine.handle(TimerFired(SyncTimer.GRACE)) == []
    assert machine.handle(PeerAhead(A, Height(3))) == [StartTimer(SyncTimer.GRACE, 300)]
    effects = machine.handle(TimerFired(SyncTimer.GRACE))
    assert sends(effects) == [(A, BlockRangeRequest(Height(2), Height(2)))]


def test_votes_that_keep_coming_do_not_put_off_the_end_of_that_time() -> None:
    """A study that trains makes a block every 50 ms: whoever lags must not wait until the others pause."""
    machine, _ = start({A: 0})
    started = [machine.handle(PeerAhead(peer, Height(height))) for height in range(2, 9) for peer in (A, B)]
    assert started == [[StartTimer(SyncTimer.GRACE, 300)], *[[]] * 13]
    assert sends(machine.handle(TimerFired(SyncTimer.GRACE))) == [(A, BlockRangeRequest(Height(1), Height(7)))]
    assert machine.lag == 7


def test_losing_the_peer_asks_another() -> None:
    machine, _ = start({A: 5, B: 5})
    assert sends(machine.handle(PeerLost(A))) == [(B, BlockRangeRequest(Height(1), Height(5)))]


def test_requests_are_served_up_to_the_tip() -> None:
    machine, _ = start({}, TIPS[3])
    ask = BlockRangeRequest(Height(2), Height(9))
    assert machine.handle(SyncReceived(A, ask)) == [ServeRange(A, Height(2), Height(3))]
    ask = BlockRangeRequest(Height(4), Height(9))
    assert machine.handle(SyncReceived(A, ask)) == [Send(A, BlockRangeResponse(()))]


def test_strangers_are_cut_off() -> None:
    for foreign in (status(3, chain_id=b"x" * 32), status(3, version=PROTOCOL_VERSION + 1)):
        machine, _ = start({A: 0})
        assert isinstance(machine.handle(SyncReceived(A, foreign))[0], DropPeer)


def test_messages_survive_the_wire() -> None:
    response = sync.make_response((item.block, item.certificate) for item in CHAIN)
    for message in (status(4), BlockRangeRequest(Height(3), Height(7)), response):
        assert sync.decode_sync(sync.encode_sync(message)) == message
    with pytest.raises(Rejected):
        sync.decode_sync(encode(response))
