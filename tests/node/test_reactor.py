"""The reactor: effects in order, nonsense counted, commands answered when their body is final, by a chain of one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing

from fednode.core import effects as do
from fednode.core import traffic
from fednode.effects import Asked, DropPeer
from fednode.errors import Unavailable
from fednode.ids import Hash, MemberId, PeerId, StudyId
from fednode.learn import jobs as work
from fednode.ledger.bodies import Memo
from fednode.node.reactor import MAX_REJECTED
from fednode.p2p import network as net
from fednode.rounds.events import LAST_ROUND, ForgetRound, OfStudy, StartWork
from tests.support.reactor import Stage, settled


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AbstractAsyncContextManager[Stage]:
    return Stage(tmp_path, getattr(request, "param", 1)).playing()


async def test_submitted_body_is_answered_when_a_block_carries_it(stage: Stage) -> None:
    for number in (1, 2):
        transaction, height, receipt = await stage.reactor.submit(Memo(f"line {number}"))
        assert (height, receipt.ok, receipt.txid) == (number, True, transaction.txid)
    assert stage.store.tip.height == 2
    kinds = [line["kind"] for line in stage.lines()]
    assert kinds.count("block") == 2


async def test_answer_comes_for_the_body_whatever_became_of_its_signature(stage: Stage) -> None:
    """Another copy of the nonce was used up meanwhile: the body is signed anew, and the command still ends."""
    found: list[object] = []

    async def ask() -> None:
        found.append(await stage.reactor.submit(Memo("line")))

    outbox, node = stage.core.traffic.outbox, stage.core
    sign = outbox.sign

    def sign_and_lose(*args: object) -> object:
        transaction = sign(*args)  # type: ignore[arg-type]
        assert transaction is not None
        outbox.forget(transaction)
        return sign(*args)  # type: ignore[arg-type]

    outbox.sign = sign_and_lose  # type: ignore[assignment,method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
    assert len(found) == 1 and node.chain.height == 1


@pytest.mark.parametrize("stage", [4], indirect=True)
async def test_peers_nonsense_is_counted_and_too_much_of_it_cuts_it_off(stage: Stage) -> None:
    peer = stage.peer(2)
    stage.network.tell(net.PeerUp(peer, "/ip4/10.0.0.2/tcp/1"))
    for _ in range(MAX_REJECTED):
        stage.network.tell(net.Received(peer, b"\xff junk"))
    await settled()
    assert stage.network.dropped == [] and stage.reactor.dropped[MemberId(2)] == MAX_REJECTED
    stage.network.tell(net.Announced(peer, b"junk"))
    await settled()
    assert [peer for peer, _ in stage.network.dropped] == [peer]
    assert "member 2 was cut off for a while" in stage.reactor.problems.texts()[-1]
    stage.network.tell(net.Received(PeerId("somebody"), b"junk"))
    stage.network.tell(net.BlobReceived(peer, b"junk", memoryview(b"")))
    await settled()


@pytest.mark.parametrize("stage", [4], indirect=True)
async def test_refused_peer_is_named_until_it_is_up(stage: Stage) -> None:
    peer = stage.peer(3)
    stage.network.tell(net.Refused(peer, "it speaks version 9, this node version 1"))
    await settled()
    assert stage.reactor.refused == {MemberId(3): "it speaks version 9, this node version 1"}
    stage.network.tell(net.PeerUp(peer, "address"))
    await settled()
    assert stage.reactor.refused == {} and stage.reactor.addresses == {MemberId(3): "address"}
    stage.network.tell(net.PeerDown(peer, "gone"))
    await settled()
    assert stage.reactor.addresses == {} and stage.core.up == set()


@pytest.mark.parametrize("stage", [4], indirect=True)
async def test_drop_of_a_member_that_is_none_any_more_is_no_mistake(stage: Stage) -> None:
    stage.reactor._dispatch("test", lambda: [DropPeer(MemberId(9), "a block before removed it")])
    stage.reactor._dispatch("test", lambda: [do.SendFrame(MemberId(9), b"x")])
    assert stage.network.dropped == [] and stage.network.sent == []


@pytest.mark.parametrize("stage", [4], indirect=True)
async def test_model_that_is_asked_for_again_and_again_is_sent_once_in_a_while(stage: Stage) -> None:
    name = Hash(b"m" * 32)
    draft = stage.models.new_draft()
    draft.append(b"a model, as far as serving goes")
    draft.finish(b"")
    stage.models.adopt(name, draft)
    peer = stage.peer(2)
    stage.network.tell(net.PeerUp(peer, "address"))
    for _ in range(50):
        stage.network.tell(net.Received(peer, traffic.WANT.frame(traffic.WantModel(name))))
        stage.network.tell(net.Received(peer, traffic.WANT.frame(traffic.WantModel(b"n" * 32))))
    await settled()
    assert stage.network.blobs == [(peer, traffic.encode_header(traffic.ModelHeader(name)), 31)]


async def test_effects_that_arise_while_effects_are_performed_wait_their_turn(stage: Stage) -> None:
    order: list[str] = []
    reactor = stage.reactor
    perform = reactor._perform

    def watch(effect: do.Effect) -> None:
        order.append(effect.kind if isinstance(effect, do.Log) else type(effect).__name__)
        if effect == do.log("first"):
            reactor._dispatch("inner", lambda: [do.log("inner")])
        perform(effect)

    reactor._perform = watch  # type: ignore[method-assign]
    reactor._dispatch("outer", lambda: [do.log("first"), do.log("second")])
    assert order == ["first", "second", "inner"]


async def test_what_a_hospital_kept_of_its_own_goes_with_the_study(stage: Stage) -> None:
    study = StudyId(b"s" * 32)
    store = stage.own_states(study)
    store.keep(2, b"state")
    stage.reactor._dispatch("test", lambda: [Asked(OfStudy(study), ForgetRound(2))])
    assert store.rounds() == (2,)
    stage.reactor._dispatch("test", lambda: [Asked(OfStudy(study), ForgetRound(LAST_ROUND))])
    assert store.rounds() == ()


async def test_worker_that_cannot_work_is_a_failed_job_not_the_end(stage: Stage) -> None:
    told: list[work.Answer] = []
    stage.core.tell = lambda by, done, now: told.append(done.answer) or []  # type: ignore[method-assign]
    job = work.CheckData.__new__(work.CheckData)
    stage.reactor._dispatch("test", lambda: [Asked(OfStudy(StudyId(bytes(32))), StartWork(1, job))])
    await settled()
    [answer] = told
    assert isinstance(answer, work.Failed) and "ended by signal 9" in answer.text


async def test_full_disk_ends_the_daemon_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with Stage(tmp_path, journal=Path("/dev/full")).playing():
            raise AssertionError("it should have ended")
    found: list[BaseException] = [caught.value]
    while isinstance(found[0], BaseExceptionGroup):
        found = list(found[0].exceptions)
    assert isinstance(found[0], Unavailable) and "the disk is full" in str(found[0])
