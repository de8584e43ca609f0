"""The reactor: effects in order, nonsense counted, commands answered when their body is final, by a chain of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing

from fednode.chain.consensus.signing import VoteSigner, initial_record
from fednode.chain.leveldb import open_store
from fednode.core import effects as do
from fednode.core import wire
from fednode.core.assemble import ChainEnd, assemble
from fednode.core.attendance import Identity
from fednode.crypto import Ed25519Signer, Secret
from fednode.documents import read_json
from fednode.effects import Asked, DropPeer
from fednode.errors import TrainingError, Unavailable
from fednode.home.blobs import ModelStore
from fednode.home.journal import Journal
from fednode.home.keystore import SystemEntropy
from fednode.home.round_store import RoundStore
from fednode.home.sign_state import SignStateFile
from fednode.ids import Hash, MemberId, PeerId, StudyId
from fednode.learn import jobs as work
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import make_genesis
from fednode.node.parts import Parts
from fednode.node.reactor import MAX_REJECTED, Reactor
from fednode.node.tables import WatchingTrainer
from fednode.p2p import network as net
from fednode.p2p.addresses import peer_id_of
from fednode.rounds.events import OfStudy, StartWork
from fednode.rounds.place import Ports
from fednode.sums.coin import restore_chain
from tests.support.cards import make_cards
from tests.support.seeds import seed_of


class FakeNetwork:
    """A network of which the test is the other side."""

    def __init__(self) -> None:
        self.sent: list[tuple[PeerId, bytes]] = []
        self.blobs: list[tuple[PeerId, bytes, int]] = []
        self.dropped: list[tuple[PeerId, str]] = []
        self._send, self._receive = trio.open_memory_channel[net.NetworkEvent](1000)

    def tell(self, event: net.NetworkEvent) -> None:
        self._send.send_nowait(event)

    async def receive(self) -> net.NetworkEvent:
        return await self._receive.receive()

    def send(self, peer: PeerId, data: bytes) -> bool:
        self.sent.append((peer, data))
        return True

    def send_everywhere(self, peer: PeerId, data: bytes) -> bool:
        return self.send(peer, data)

    def send_blob(self, peer: PeerId, header: bytes, data: bytes | memoryview) -> bool:
        self.blobs.append((peer, header, len(data)))
        return True

    def announce(self, data: bytes) -> bool:
        return True

    def drop(self, peer: PeerId, reason: str) -> None:
        self.dropped.append((peer, reason))

    def counters(self) -> Mapping[str, int]:
        return {}

    def set_members(self, members: Mapping[PeerId, tuple[str, ...]]) -> None:
        pass


class FakeTrainer:
    """A worker that fails."""

    pid = None

    async def start(self) -> None:
        raise TrainingError("the training process could not be started: no memory; free some memory")

    async def run(self, study: StudyId, job: work.Job, timeout_s: float) -> work.Answer:
        raise TrainingError("the training process ended by signal 9; see the log")


class Stage:
    """One reactor of a chain of `count` members, of which it is the first."""

    def __init__(self, root: Path, count: int = 1, journal: Path | None = None) -> None:
        genesis = make_genesis("test", make_cards(count), [], 1000)
        self.genesis, self.chain_id = genesis, genesis.chain_id
        signer = Ed25519Signer(Secret(seed_of(genesis.members[0].name, "sign")))
        record = initial_record(self.chain_id, signer.public_key)
        sign_state = SignStateFile(root / "sign")
        sign_state.create(record)
        self.store = open_store(root / "chain", genesis)
        member = MemberId(1)
        self.models = ModelStore(root / "blobs")
        records = RoundStore(root / "rounds", Secret(b"k" * 32))
        ports = Ports(
            SystemEntropy(), lambda name, study: None, lambda study: False, lambda study, number, part: None,
            records.put_long, lambda study: restore_chain(bytes(32), 64), self.models.new_draft,
        )
        self.core = assemble(
            Identity(self.chain_id, member, signer, bytes(16)),
            ChainEnd(self.store.tip, self.store.load_state(), None),
            VoteSigner(self.chain_id, member, signer, record), ports,
        )
        self.journal = journal or root / "journal.jsonl"
        parts = Parts(
            self.store, sign_state, records, self.models,
            cast(WatchingTrainer, FakeTrainer()), Journal(self.journal, member, lambda: 1),
            peer_id_of(genesis.members[0].network_key), signer.public_key,
        )
        self.reactor = Reactor(self.core, parts)
        self.network = FakeNetwork()

    def peer(self, member: int) -> PeerId:
        return peer_id_of(self.genesis.members[member - 1].network_key)

    def lines(self) -> list[dict[str, object]]:
        return [read_json(line) for line in self.journal.read_text().splitlines()]

    def play(self, body: Callable[[Stage], Awaitable[None]]) -> None:
        async def main() -> None:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.reactor.run, self.network)
                    await trio.testing.wait_all_tasks_blocked()
                    await body(self)
                    nursery.cancel_scope.cancel()

        try:
            trio.run(main)
        finally:
            assert self.reactor.parts.journal is not None
            self.reactor.parts.journal.close()
            self.store.close()


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


def test_submitted_body_is_answered_when_a_block_carries_it(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        for number in (1, 2):
            transaction, height, receipt = await stage.reactor.submit(Memo(f"line {number}"))
            assert (height, receipt.ok, receipt.txid) == (number, True, transaction.txid)
        assert stage.store.tip.height == 2

    stage = Stage(tmp_path)
    stage.play(body)
    kinds = [line["kind"] for line in stage.lines()]
    assert kinds.count("block") == 2


def test_answer_comes_for_the_body_whatever_became_of_its_signature(tmp_path: Path) -> None:
    """Another copy of the nonce was used up meanwhile: the body is signed anew, and the command still ends."""

    async def body(stage: Stage) -> None:
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

    Stage(tmp_path).play(body)


def test_peers_nonsense_is_counted_and_too_much_of_it_cuts_it_off(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
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

    Stage(tmp_path, count=4).play(body)


def test_refused_peer_is_named_until_it_is_up(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
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

    Stage(tmp_path, count=4).play(body)


def test_drop_of_a_member_that_is_none_any_more_is_no_mistake(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        stage.reactor._dispatch("test", lambda: [DropPeer(MemberId(9), "a block before removed it")])
        stage.reactor._dispatch("test", lambda: [do.SendFrame(MemberId(9), b"x")])
        assert stage.network.dropped == [] and stage.network.sent == []

    Stage(tmp_path, count=4).play(body)


def test_model_that_is_asked_for_again_and_again_is_sent_once_in_a_while(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        name = Hash(b"m" * 32)
        draft = stage.models.new_draft()
        draft.append(b"a model, as far as serving goes")
        draft.finish(b"")
        stage.models.adopt(name, draft)
        peer = stage.peer(2)
        stage.network.tell(net.PeerUp(peer, "address"))
        for _ in range(50):
            stage.network.tell(net.Received(peer, wire.WANT.frame(wire.WantModel(name))))
            stage.network.tell(net.Received(peer, wire.WANT.frame(wire.WantModel(b"n" * 32))))
        await settled()
        assert stage.network.blobs == [(peer, wire.encode_header(wire.ModelHeader(name)), 31)]

    Stage(tmp_path, count=4).play(body)


def test_effects_that_arise_while_effects_are_performed_wait_their_turn(tmp_path: Path) -> None:
    order: list[str] = []

    async def body(stage: Stage) -> None:
        reactor = stage.reactor
        perform = reactor._perform

        def watch(effect: do.Effect) -> None:
            order.append(effect.kind if isinstance(effect, do.Log) else type(effect).__name__)
            if effect == do.log("first"):
                reactor._dispatch("inner", lambda: [do.log("inner")])
            perform(effect)

        reactor._perform = watch  # type: ignore[method-assign]
        reactor._dispatch("outer", lambda: [do.log("first"), do.log("second")])

    Stage(tmp_path).play(body)
    assert order == ["first", "second", "inner"]


def test_worker_that_cannot_work_is_a_failed_job_not_the_end(tmp_path: Path) -> None:
    async def body(stage: Stage) -> None:
        told: list[work.Answer] = []
        stage.core.tell = lambda by, done, now: told.append(done.answer) or []  # type: ignore[method-assign]
        job = work.CheckData.__new__(work.CheckData)
        stage.reactor._dispatch("test", lambda: [Asked(OfStudy(StudyId(bytes(32))), StartWork(1, job))])
        await settled()
        [answer] = told
        assert isinstance(answer, work.Failed) and "ended by signal 9" in answer.text

    Stage(tmp_path).play(body)


def test_full_disk_ends_the_daemon_with_one_sentence(tmp_path: Path) -> None:
    stage = Stage(tmp_path, journal=Path("/dev/full"))

    async def body(stage: Stage) -> None:
        raise AssertionError("it should have ended")

    with pytest.raises(BaseExceptionGroup) as caught:
        stage.play(body)
    found: list[BaseException] = [caught.value]
    while isinstance(found[0], BaseExceptionGroup):
        found = list(found[0].exceptions)
    assert isinstance(found[0], Unavailable) and "the disk is full" in str(found[0])
