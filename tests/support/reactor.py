"""One reactor without a network, a worker or other members: a test is all of them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import trio
import trio.testing

from fednode.chain.consensus.recovery import VoteSigner, initial_record
from fednode.chain.leveldb import open_store
from fednode.core.assemble import ChainEnd, assemble
from fednode.core.attendance import Identity
from fednode.crypto import Ed25519Signer, Secret
from fednode.documents import read_json
from fednode.errors import TrainingError
from fednode.home.blobs import ModelStore
from fednode.home.journal import Journal
from fednode.home.keystore import SystemEntropy
from fednode.home.own_states import OwnStateStore
from fednode.home.round_store import RoundStore
from fednode.home.sign_state import SignStateFile
from fednode.ids import MemberId, PeerId, StudyId
from fednode.learn import jobs as work
from fednode.ledger.genesis import make_genesis
from fednode.node.parts import Parts
from fednode.node.reactor import Reactor
from fednode.node.tables import WatchingTrainer
from fednode.p2p import network as net
from fednode.p2p.addresses import peer_id_of
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
        self._send, self._receive = trio.open_memory_channel[net.NetworkEvent](math.inf)

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

    pid = pid_beside = None

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
        self.root, self.store = root, open_store(root / "chain", genesis)
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
            self.store, sign_state, records, self.own_states, self.models,
            cast(WatchingTrainer, FakeTrainer()), Journal(self.journal, member, lambda: 1),
            peer_id_of(genesis.members[0].network_key), signer.public_key,
        )
        self.reactor = Reactor(self.core, parts)
        self.network = FakeNetwork()

    def own_states(self, study: StudyId) -> OwnStateStore:
        return OwnStateStore(self.root / "own", study, Secret(b"k" * 32))

    def peer(self, member: int) -> PeerId:
        return peer_id_of(self.genesis.members[member - 1].network_key)

    async def receive(self, member: int, *frames: bytes) -> None:
        """Let frames of a member arrive and be looked at."""
        for frame in frames:
            self.network.tell(net.Received(self.peer(member), frame))
        await settled()

    def lines(self) -> list[dict[str, object]]:
        return [read_json(line) for line in self.journal.read_text().splitlines()]

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[Stage]:
        """Let the reactor run for a while."""
        try:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.reactor.run, self.network)
                    await trio.testing.wait_all_tasks_blocked()
                    yield self
                    nursery.cancel_scope.cancel()
        finally:
            self.reactor.parts.journal.close()
            self.store.close()


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()
