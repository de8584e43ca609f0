"""Several whole nodes in memory: the real cores, real signatures and bytes, a clock and a network that obey the test.

Nothing here knows trio. Effects are performed in order as the reactor performs them, and on the way it is checked that
nothing signed leaves a node before the record of it is on its disk.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Protocol

from fednode.chain import sync
from fednode.chain.block import Receipt
from fednode.chain.consensus.messages import Proposal
from fednode.chain.consensus.recovery import SignRecord, VoteSigner, initial_record
from fednode.chain.store import DecidedBlock
from fednode.chain.vote import Vote
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.assemble import ChainEnd, assemble
from fednode.core.attendance import Identity
from fednode.core.core import Core
from fednode.crypto import Ed25519Signer, Secret, sha256
from fednode.effects import Asked, Compute, ComputeDone, DropPeer, Persist, StartTimer, TimerFired
from fednode.errors import Rejected
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.form import parse_study
from fednode.learn.model_file import MemoryDraft, StoredModel, check_model
from fednode.learn.study import StudySpec, study_bytes
from fednode.ledger.bodies import Body
from fednode.ledger.genesis import GenesisStudy, make_genesis
from fednode.ledger.studies.bodies import StudyBegin, compute_study_id
from fednode.ledger.studies.records import StudyRecord, get_study
from fednode.ledger.transactions import Transaction, decode_transaction
from fednode.rounds.events import ForgetRound, OfStudy, OfSum, StartWork, StoreModel, WorkDone
from fednode.rounds.place import Ports
from fednode.rounds.terms import terms_from_spec
from fednode.smpc.messages import KeptPart
from fednode.sums.coin import restore_chain
from tests.contract.test_store import MemoryStore
from tests.rounds.training import FakeWorker, points, study_text
from tests.support.cards import make_cards
from tests.support.clock import VirtualClock
from tests.support.seeds import Stream, seed_of

LINKS = 512
"""Length of a hash chain: what a test takes, not what a term may."""

START_MS = 1_700_000_000_000
WORK_MS = 30


class OwnStatesInMemory:
    """What a hospital keeps of its own for one study."""

    def __init__(self) -> None:
        self.states: dict[int, bytes] = {}

    def rounds(self) -> tuple[int, ...]:
        return tuple(sorted(self.states))

    def load(self, round_number: int) -> bytes:
        return self.states[round_number]

    def keep(self, round_number: int, state: bytes) -> None:
        self.states[round_number] = state

    def forget(self, round_number: int) -> None:
        del self.states[round_number]


class Worker(Protocol):
    """Does a hospital's jobs at once."""

    def answer(self, job: work.Job) -> work.Answer: ...


@dataclass
class Disk:
    """What outlives a crash."""

    store: MemoryStore
    record: SignRecord | None
    records: dict[tuple[bytes, int, str], bytes] = field(default_factory=dict)
    models: dict[Hash, bytes] = field(default_factory=dict)
    own: dict[StudyId, OwnStatesInMemory] = field(default_factory=dict)
    has_consented: bool = False


@dataclass
class Node:
    number: MemberId
    disk: Disk
    signer: Ed25519Signer
    coin_secret: Secret[bytes]
    worker: Worker | None
    auto_approve: bool = False
    core: Core | None = None
    epoch: int = 0
    timers: dict[Hashable, int] = field(default_factory=dict)
    logs: list[do.Log] = field(default_factory=list)
    dropped: list[tuple[MemberId, str]] = field(default_factory=list)
    rejected: list[tuple[MemberId, str]] = field(default_factory=list)
    lists: list[list[do.Effect]] = field(default_factory=list)
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    effects_done: int = 0
    crash_at: set[int] = field(default_factory=set)
    tamper: Callable[[do.Effect], list[do.Effect]] | None = None

    @property
    def height(self) -> int:
        return self.disk.store.tip.height

    def live(self) -> Core:
        assert self.core is not None, f"node {self.number} is down"
        return self.core


def look_at_model(name: Hash, data: bytes) -> StoredModel | None:
    """The model in `data`, if it is the one of this name."""
    try:
        model = check_model(lambda: BytesIO(data))
    except Rejected:
        return None
    return model if model.hash == name else None


class World(VirtualClock):
    """N nodes of one federation, with one approved study or none."""

    def __init__(
        self, count: int = 4, *, rounds: int | None = None, seed: int = 0, loss: float = 0.0,
        spec: StudySpec | None = None,
    ) -> None:
        super().__init__(START_MS)
        self.random, self.seed, self.loss = random.Random(seed), seed, loss
        studies = []
        self.study = StudyId(bytes(32))
        if rounds is not None or spec is not None:
            spec = spec or parse_study(study_text(rounds or 1))
            terms, data = terms_from_spec(spec), study_bytes(spec)
            studies.append(GenesisStudy(terms, data))
            self.study = StudyId(compute_study_id(terms, data))
        self.genesis = make_genesis("test", make_cards(count), studies, START_MS - 1000)
        self.nodes: dict[int, Node] = {}
        for number, card in enumerate(self.genesis.members, 1):
            signer = Ed25519Signer(Secret(seed_of(card.name, "sign")))
            disk = Disk(MemoryStore(self.genesis), initial_record(self.genesis.chain_id, signer.public_key))
            secret = Secret(seed_of(card.name, "coin"))
            self.nodes[number] = Node(MemberId(number), disk, signer, secret, FakeWorker(points(number), disk.models))
        self.links: set[frozenset[int]] = set()

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    # --- time ---------------------------------------------------------------------------------------------------

    def run(self, done: Callable[[], bool], limit_ms: int = 120_000) -> World:
        end = self.now_ms + limit_ms
        while not done():
            assert self.has_calls and self.now_ms < end, f"not within {limit_ms} ms: {self.describe()}"
            self.step()
        return self

    def rest(self, ms: int = 1_000) -> World:
        """Let time pass."""
        end = self.now_ms + ms
        self.after(ms, lambda: None)
        return self.run(lambda: self.now_ms >= end, ms + 1)

    def describe(self) -> str:
        lines = []
        for node in self.nodes.values():
            core = node.core
            state = "down" if core is None else f"view {core.replica.state.view} step {core.replica.state.step.name}"
            lines.append(f"{node.number}: height {node.height} {state}")
        return "; ".join(lines)

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self, *numbers: int) -> World:
        for number in numbers or self.nodes:
            self._start(self.nodes[number])
        for one in numbers or self.nodes:
            for other in self.nodes:
                if other != one and self.nodes[other].core is not None:
                    self.connect(one, other)
        return self

    def _start(self, node: Node) -> None:
        disk, chain_id = node.disk, self.genesis.chain_id
        certificate = disk.store.get_certificate(disk.store.tip.height) if disk.store.tip.height else None

        def keep_part(study: StudyId, number: int, part: str, pieces: Sequence[bytes | memoryview]) -> None:
            disk.records[study, number, part] = b"".join(pieces)

        ports = Ports(
            Stream("node", node.number, node.epoch, self.seed), lambda name, study: "t.csv" if node.worker else None,
            lambda study: node.auto_approve, lambda study, number, part: disk.records.get((study, number, part)),
            keep_part, lambda study: restore_chain(sha256(node.coin_secret.reveal(), study), LINKS), MemoryDraft,
            own_states=lambda study: disk.own.setdefault(study, OwnStatesInMemory()),
        )
        incarnation = Stream("life", node.number, node.epoch).random_bytes(16)
        node.core = assemble(
            Identity(chain_id, node.number, node.signer, incarnation),
            ChainEnd(disk.store.tip, disk.store.load_state(), certificate),
            VoteSigner(chain_id, node.number, node.signer, disk.record, has_consented=disk.has_consented), ports,
        )
        node.timers.clear()
        self.tell(node, lambda core: core.start(self.now_ms))

    def stop(self, number: int) -> None:
        """Crash: only the disk remains."""
        node = self.nodes[number]
        node.core, node.epoch = None, node.epoch + 1
        for link in [link for link in self.links if number in link]:
            self.cut(*link)

    def connect(self, one: int, other: int) -> None:
        link = frozenset((one, other))
        if link in self.links:
            return
        self.links.add(link)
        for me, peer in ((one, other), (other, one)):
            self.tell_later(self.nodes[me], 1, lambda core, peer=peer: core.peer_up(MemberId(peer), self.now_ms))

    def cut(self, one: int, other: int) -> None:
        self.links.discard(frozenset((one, other)))
        for me, peer in ((one, other), (other, one)):
            self.tell_later(self.nodes[me], 1, lambda core, peer=peer: core.peer_down(MemberId(peer), self.now_ms))

    def isolate(self, number: int) -> None:
        for link in [link for link in self.links if number in link]:
            self.cut(*link)

    def rejoin(self, number: int) -> None:
        for other in self.nodes:
            if other != number and self.nodes[other].core is not None:
                self.connect(number, other)

    # --- what the test asks -------------------------------------------------------------------------------------

    def submit(self, number: int, body: Body) -> Transaction:
        node = self.nodes[number]
        transaction, effects = node.live().submit(body, self.now_ms)
        self.perform(node, effects)
        return transaction

    def begin_without(self, missing: int) -> None:
        """Let three people vote that the study begins without a hospital."""
        for voter in [number for number in self.nodes if number != missing][:3]:
            self.submit(voter, StudyBegin(self.study, MemberId(missing)))

    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.core is not None]

    def life(self, number: int = 1) -> StudyRecord:
        record = get_study(self.nodes[number].live().chain.state, self.study)
        assert record is not None
        return record

    def are_equal(self) -> bool:
        """Whether all nodes that are up end at the same block."""
        return len({node.disk.store.tip.block_hash for node in self.up()}) == 1

    def send_raw(self, sender: int, to: int, data: bytes) -> None:
        """A frame of bytes that no core made."""
        self._frame(self.nodes[sender], MemberId(to), data)

    # --- events -------------------------------------------------------------------------------------------------

    def tell_later(self, node: Node, delay_ms: int, ask: Callable[[Core], list[do.Effect]]) -> None:
        epoch = node.epoch

        def act() -> None:
            if node.core is not None and node.epoch == epoch:
                self.tell(node, ask)

        self.after(delay_ms, act)

    def tell(self, node: Node, ask: Callable[[Core], list[do.Effect]]) -> None:
        self.perform(node, ask(node.live()))

    def perform(self, node: Node, effects: list[do.Effect]) -> None:
        node.lists.append(effects)
        for effect in effects:
            for change in node.tamper(effect) if node.tamper else [effect]:
                node.effects_done += 1
                if node.effects_done in node.crash_at:
                    self.stop(node.number)
                    self.after(100, lambda: self.start(node.number))
                    return
                self._perform(node, change)

    def _perform(self, node: Node, effect: do.Effect) -> None:
        match effect:
            case Asked(by, inner):
                self._perform_asked(node, by, inner)
            case do.StoreBlock(block, certificate, tip, outcome):
                node.disk.store.append(
                    DecidedBlock(block, certificate, tip, outcome.applied.receipts, outcome.applied.changes)
                )
                node.receipts.update((receipt.txid, receipt) for receipt in outcome.applied.receipts)
            case do.SendToAll(data):
                self._check_signed(node, data)
                for peer in tuple(node.live().up):
                    self._frame(node, peer, data)
            case do.SendFrame(to, data):
                self._check_signed(node, data)
                self._frame(node, to, data)
            case do.SendBlob(to, header, data):
                self._blob(node, to, header, bytes(data))
            case do.Announce(data):
                for peer in tuple(node.live().up):
                    self._announcement(node, peer, data)
            case DropPeer(member, reason):
                node.dropped.append((member, reason))
            case do.Log():
                node.logs.append(effect)
            case _:
                self._perform_stored(node, effect)

    def _perform_asked(self, node: Node, by: do.Address, effect: do.HandedOn) -> None:
        disk = node.disk
        match by, effect:
            case _, Persist(SignRecord() as record):
                assert disk.record is None or record.place >= disk.record.place, "the record went back"
                disk.record = record
            case OfSum(study, round_), Persist(KeptPart(part, data)):
                disk.records[study, round_, part.value] = data.reveal()
            case OfStudy(study), ForgetRound(round_):
                disk.records = {k: v for k, v in disk.records.items() if k[0] != study or k[1] > round_}
            case _, StoreModel(name, draft):
                assert isinstance(draft, MemoryDraft)
                disk.models[name] = bytes(draft.data)
            case _, StartTimer(key, delay_ms):
                self._timer(node, (by, key), delay_ms)
            case _, StartWork(number, job):
                answer = WorkDone(number, node.worker.answer(job))
                self.tell_later(node, WORK_MS, lambda core: core.tell(by, answer, self.now_ms))
            case _, Compute(number, job):
                done = ComputeDone(number, job.run())
                self.tell_later(node, 1, lambda core: core.tell(by, done, self.now_ms))
            case _:
                raise AssertionError(f"nobody performs {effect}")

    def _perform_stored(self, node: Node, effect: do.Effect) -> None:
        disk = node.disk
        match effect:
            case do.KeepModel(sender, name, data):
                sent = look_at_model(name, bytes(data))
                if sent is not None:
                    disk.models[name] = bytes(data)
                self.tell_later(node, 1, lambda core: core.model_arrived(sender, name, sent, self.now_ms))
            case do.LoadModel(name):
                found = look_at_model(name, disk.models[name]) if name in disk.models else None
                self.tell_later(node, 1, lambda core: core.model_found(name, found, self.now_ms))
            case do.ServeBlocks(to, first, last):
                self._frame(node, to, traffic.SYNC.frame(sync.make_response(disk.store.blocks(first, last))))
            case do.ServeModel(to, name):
                if name in disk.models:
                    self._blob(node, to, traffic.encode_header(traffic.ModelHeader(name)), disk.models[name])
            case _:
                raise AssertionError(f"nobody performs {effect}")

    def _timer(self, node: Node, timer: tuple[do.Address, do.TimerKey], delay_ms: int) -> None:
        token = node.timers[timer] = node.timers.get(timer, 0) + 1
        by, key = timer
        epoch = node.epoch

        def act() -> None:
            if node.core is not None and node.epoch == epoch and node.timers.get(timer) == token:
                self.tell(node, lambda core: core.tell(by, TimerFired(key), self.now_ms))

        self.after(delay_ms, act)

    # --- the network --------------------------------------------------------------------------------------------

    def _passes(self, one: int, other: int) -> bool:
        return frozenset((one, other)) in self.links and self.random.random() >= self.loss

    def _frame(self, node: Node, to: MemberId, data: bytes) -> None:
        if self._passes(node.number, to):
            receiver = self.nodes[to]
            self.tell_later(
                receiver, self.random.randrange(1, 5),
                lambda core: self._guard(receiver, node.number, lambda: core.frame(node.number, data, self.now_ms)),
            )

    def _announcement(self, node: Node, to: MemberId, data: bytes) -> None:
        if self._passes(node.number, to):
            receiver = self.nodes[to]
            self.tell_later(
                receiver, 2, lambda core: self._guard(
                    receiver, node.number, lambda: core.announcement(node.number, data, self.now_ms)
                ),
            )

    def _blob(self, node: Node, to: MemberId, header: bytes, data: bytes) -> None:
        if not self._passes(node.number, to):
            return
        receiver, view = self.nodes[to], memoryview(data)

        def take(core: Core) -> list[do.Effect]:
            if not core.accepts_blob(node.number, header, len(data)):
                return []
            return self._guard(receiver, node.number, lambda: core.blob(node.number, header, view, self.now_ms))

        self.tell_later(receiver, self.random.randrange(1, 5), take)

    def _guard(self, node: Node, sender: MemberId, ask: Callable[[], list[do.Effect]]) -> list[do.Effect]:
        """A peer's nonsense is counted and dropped, as the reactor does."""
        try:
            return ask()
        except Rejected as error:
            node.rejected.append((sender, error.reason))
            return []

    @staticmethod
    def _check_signed(node: Node, data: bytes) -> None:
        """Nothing this member signed leaves before its record is on the disk."""
        frame = traffic.decode_frame(data)
        if frame.kind is not traffic.CONSENSUS:
            return
        message = frame.message
        vote = message.vote if isinstance(message, Proposal) else message
        if isinstance(vote, Vote) and vote.sender == node.number:
            record = node.disk.record
            assert record is not None and record.place >= (vote.height, vote.view, vote.kind), "sent before it was kept"


def transactions_in(data: bytes) -> list[Transaction]:
    """The transactions of a frame, if it is one of transactions."""
    frame = traffic.decode_frame(data)
    return [decode_transaction(item) for item in frame.message.items] if frame.kind is traffic.TRANSACTIONS else []


