"""Whole rounds in one process: the real round machines and secure sums of all members, over the real ledger rules.

One seed, one run. Time is a heap of events and nothing reads a clock. There is no consensus: whatever has been
submitted goes into the next block. A crash takes everything that was not on the member's disk, and what it had
submitted in the last moments with it; what it had sent may have arrived.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np

from fednode.chain.state import State
from fednode.crypto import Secret, sha256
from fednode.effects import Asked, Compute, ComputeDone, Job, Note, Persist, StartTimer, TimerFired
from fednode.errors import StorageError
from fednode.ids import NO_HASH, Hash, Height, MemberId, StudyId
from fednode.learn import jobs as work
from fednode.learn.form import parse_study
from fednode.learn.model_file import MemoryDraft, check_model, read_model
from fednode.learn.study import study_bytes
from fednode.learn.tables.table import Table
from fednode.ledger import bodies as tx
from fednode.ledger.genesis import GenesisStudy, make_genesis
from fednode.ledger.rules import apply_block, is_tx_acceptable, pick_transactions
from fednode.ledger.studies.bodies import StudyBegin, compute_study_id
from fednode.ledger.studies.records import RoundReport, StudyRecord, StudyStatus, get_report, get_round, get_study
from fednode.ledger.sums.course import BlockTime
from fednode.ledger.sums.phases import is_phase_message, pending_phase
from fednode.ledger.sums.records import RoundRecord
from fednode.ledger.transactions import Transaction
from fednode.rounds import events as ev
from fednode.rounds.ledger_view import SnapshotReader
from fednode.rounds.machine import StudyMachine
from fednode.rounds.place import Place, Ports
from fednode.rounds.terms import terms_from_spec
from fednode.smpc import jobs as sum_jobs
from fednode.smpc import messages as sm
from fednode.sums.coin import restore_chain
from fednode.sums.phase import Phase
from tests.rounds.training import FakeWorker, points, study_text
from tests.support.cards import make_cards
from tests.support.clock import VirtualClock
from tests.support.seeds import Stream, seed_of

BLOCK_MS = 10
LINKS = 512

WORK_MS = 30
END_MS = 600_000

Tamper = Callable[["Member", ev.Effect], list[ev.Effect]]


@dataclass(frozen=True)
class Absence:
    """A member goes down when a phase of a round opens, and comes back `down_ms` later, or never (0)."""

    member: int
    phase: Phase
    round: int
    down_ms: int = 0


@dataclass
class Disk:
    """What outlives a crash."""

    records: dict[tuple[int, str], bytes] = field(default_factory=dict)
    models: dict[Hash, bytes] = field(default_factory=dict)


@dataclass
class Member:
    number: MemberId
    coin_secret: Secret[bytes]
    worker: FakeWorker | None
    disk: Disk = field(default_factory=Disk)
    machine: StudyMachine | None = None
    epoch: int = 0
    height: int = 0
    effects_done: int = 0
    crash_at: set[int] = field(default_factory=set)
    tamper: Tamper | None = None
    run_sum_job: Callable[[Job[sum_jobs.Result]], sum_jobs.Result] = lambda job: job.run()
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    wanted: set[Hash] = field(default_factory=set)
    timers: dict[Hashable, int] = field(default_factory=dict)
    submitted: list[tx.Body] = field(default_factory=list)

    @property
    def is_up(self) -> bool:
        return self.machine is not None


class World(VirtualClock):
    """N members and one study."""

    def __init__(
        self, count: int = 4, seed: int = 0, *, rounds: int = 1, accuracy: float = 0, patience: int = 0,
        absences: tuple[Absence, ...] = (), tables: dict[int, Table | None] | None = None,
        asleep: tuple[int, ...] = (), restart_ms: int = 50,
    ) -> None:
        super().__init__()
        self.random, self.seed, self.restart_ms = random.Random(seed), seed, restart_ms
        self.spec = parse_study(study_text(rounds, accuracy, patience))
        terms, data = terms_from_spec(self.spec), study_bytes(self.spec)
        genesis = make_genesis("test", make_cards(count), [GenesisStudy(terms, data)], 1000)
        self.chain_id = genesis.chain_id
        self.study = StudyId(compute_study_id(terms, data))
        self.state: State = genesis.first_state()
        self.at = BlockTime(0, 1000)
        self.members = {}
        for number in range(1, count + 1):
            table = (tables or {}).get(number, points(number))
            secret = Secret(seed_of(genesis.members[number - 1].name, "coin"))
            disk = Disk()
            worker = FakeWorker(table, disk.models) if table is not None else None
            self.members[number] = Member(MemberId(number), secret, worker, disk)
        self.absences, self.asleep = list(absences), asleep
        self.pool: list[tuple[int, tx.Body]] = []
        self.refused: list[tuple[int, tx.Body, str]] = []
        self.nonces = dict.fromkeys(self.members, 0)
        self.blocks = 0
        self.opened: list[tuple[int, int, tuple[int, ...]]] = []
        """(round, attempt, U) of every unmasking, in order."""
        self._seen: tuple[int, int] = (-1, -1)
        self._is_started = False

    # --- what the ledger says -----------------------------------------------------------------------------------

    @property
    def life(self) -> StudyRecord:
        record = get_study(self.state, self.study)
        assert record is not None
        return record

    @property
    def status(self) -> StudyStatus:
        return StudyStatus(self.life.status)

    @property
    def round(self) -> RoundRecord | None:
        return get_round(self.state, self.study)

    @property
    def reports(self) -> list[RoundReport]:
        found = (get_report(self.state, self.study, number) for number in range(self.life.next_round))
        return [report for report in found if report is not None]

    def model_of(self, member: int) -> Hash:
        """The hash of the study's model, checked against the file on the member's disk."""
        wanted = Hash(self.life.model_hash)
        assert read_model(self.members[member].disk.models[wanted]).hash == wanted
        return wanted

    # --- running ------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[World], bool] | None = None, limit_ms: int = END_MS) -> World:
        """Run until `until` holds or, without it, the study has ended."""
        if not self._is_started:
            self._is_started = True
            for number in self.members:
                if number not in self.asleep:
                    self.start(number)
            self.after(BLOCK_MS, self._block)
        done = until or (lambda world: world.status in (StudyStatus.FINISHED, StudyStatus.STOPPED))
        end = self.now_ms + limit_ms
        while not done(self):
            assert self.has_calls and self.now_ms < end, (self.status, self.life.reason, self.round)
            self.step()
        return self

    def settle(self, ms: int = 2_000) -> World:
        """Let what is under way come to rest: models that are still fetched, records that are still deleted."""
        end = self.now_ms + ms
        self.after(ms, lambda: None)
        return self.run(lambda world: world.now_ms >= end)

    def start(self, number: int) -> None:
        """Begin a life from what is on the disk."""
        member = self.members[number]
        assert member.machine is None
        entropy = Stream("entropy", number, member.epoch, self.seed)

        def load(study: StudyId, round_number: int, part: str) -> bytes | None:
            if (round_number, "damaged") in member.disk.records:
                raise StorageError("the round record is damaged")
            return member.disk.records.get((round_number, part))

        def keep(study: StudyId, round_number: int, part: str, pieces: Sequence[bytes | memoryview]) -> None:
            member.disk.records[round_number, part] = b"".join(pieces)

        data = work.DataAt("table.csv") if member.worker is not None else None
        ports = Ports(
            entropy, lambda name, study: data, lambda study: False, load, keep,
            lambda study: restore_chain(sha256(member.coin_secret.reveal(), study), LINKS), MemoryDraft,
        )
        place = Place(self.chain_id, member.number, self.study, self.spec, data, ports, self._holds_message)
        member.machine, member.height = StudyMachine(place), -1
        member.wanted.clear()
        member.timers.clear()
        self._tell(member)
        for other in self.members.values():
            if other.is_up and other is not member:
                self._connect(member, other.number)
                self._connect(other, member.number)

    def stop(self, number: int, down_ms: int = 0) -> None:
        """Take a member down: only its disk remains. Half of what it said last has not reached anybody."""
        member = self.members[number]
        member.machine, member.epoch = None, member.epoch + 1
        self.pool = [entry for entry in self.pool if entry[0] != number or self.random.random() < 0.5]
        if down_ms:
            self.after(down_ms, lambda: self.start(number))

    def post(self, member: int, body: tx.Body) -> None:
        """What a person says through this member."""
        self.pool.append((member, body))

    def begin_without(self, missing: int) -> World:
        """Let people vote that the study begins without a member that will not be ready; returns before it ends."""
        for voter in [number for number in self.members if number != missing][:3]:
            self.post(voter, StudyBegin(self.study, MemberId(missing)))
        return self

    def _connect(self, member: Member, peer: MemberId) -> None:
        number = None if member.machine is None else member.machine.current_round
        if number is not None:
            self.deliver(member, ev.SumHappened(number, sm.PeerUp(peer)), 2)

    def _holds_message(self, study: StudyId) -> bool:
        pending = pending_phase(self.state, study)
        return pending is not None and any(
            is_phase_message(pending, body) and self._judge(sender, body) for sender, body in self.pool
        )

    def _judge(self, sender: int, body: tx.Body) -> bool:
        at = BlockTime(self.at.height + 1, 0)
        return is_tx_acceptable(self.state, at, self._transaction(sender, body, self.nonces[sender] + 1)).ok

    def _transaction(self, sender: int, body: tx.Body, nonce: int) -> Transaction:
        return Transaction(MemberId(sender), nonce, Height(self.at.height + 50), body, bytes(64))

    # --- blocks -------------------------------------------------------------------------------------------------

    def _block(self) -> None:
        self.after(BLOCK_MS, self._block)
        if not self.pool or sum(member.is_up for member in self.members.values()) < 2 * len(self.members) // 3 + 1:
            return
        at = BlockTime(self.at.height + 1, 1000 + self.now_ms)
        signed = []
        for sender, body in self.pool:
            self.nonces[sender] += 1
            signed.append(self._transaction(sender, body, self.nonces[sender]))
        picked = pick_transactions(self.state, at, signed, 1 << 20)
        for transaction in signed:
            if transaction not in picked:
                reason = is_tx_acceptable(self.state, at, transaction).reason
                self.refused.append((transaction.sender, transaction.body, reason))
        self.pool = []
        if not picked:
            return
        applied = apply_block(self.state, at, picked)
        assert all(receipt.ok for receipt in applied.receipts)
        was_unmasked = self.round is not None and self.round.is_unmasked
        self.state, self.at, self.blocks = applied.state, at, self.blocks + 1
        current = self.round
        if current is not None and current.is_unmasked and not was_unmasked:
            self.opened.append((current.number, current.attempt.number, current.attempt.included))
        self._trouble()
        for member in self.members.values():
            if member.is_up:
                self._tell(member)

    def _trouble(self) -> None:
        current = self.round
        if current is None or (current.number, current.phase.number) == self._seen:
            return
        self._seen = (current.number, current.phase.number)
        for absence in list(self.absences):
            if (absence.phase, absence.round) == (current.phase.kind, current.number):
                self.absences.remove(absence)
                if self.members[absence.member].is_up:
                    self.stop(absence.member, absence.down_ms)

    def _tell(self, member: Member) -> None:
        """Give a member the state, a little later, never an older one after a newer."""
        state, height = self.state, self.at.height
        epoch = member.epoch

        def act() -> None:
            if member.machine is None or member.epoch != epoch or height <= member.height:
                return
            member.height = height
            snapshot = SnapshotReader(self.study).read(state)
            assert snapshot is not None
            self.perform(member, member.machine.handle(ev.LedgerChanged(snapshot)))

        self.after(self.random.randrange(1, BLOCK_MS), act)

    # --- events and effects -------------------------------------------------------------------------------------

    def deliver(self, member: Member, event: ev.Event, delay_ms: int) -> None:
        epoch = member.epoch

        def act() -> None:
            if member.machine is None or member.epoch != epoch:
                return
            if isinstance(event, ev.SumHappened) and isinstance(event.event, sm.ChunkArrived):
                chunk = event.event
                if not member.machine.is_chunk_expected(event.round, chunk.ref, len(chunk.data), chunk.sender):
                    return
            self.perform(member, member.machine.handle(event))

        self.after(delay_ms, act)

    def perform(self, member: Member, effects: list[ev.Effect]) -> None:
        for effect in effects:
            for change in member.tamper(member, effect) if member.tamper else [effect]:
                member.effects_done += 1
                if member.effects_done in member.crash_at:
                    self.stop(member.number, self.restart_ms)
                    return
                self._perform_one(member, change)

    def _perform_one(self, member: Member, effect: ev.Effect) -> None:
        match effect:
            case ev.Submit(body):
                member.submitted.append(body)
                if (member.number, body) not in self.pool:
                    self.pool.append((member.number, body))
            case ev.StartWork(number, job):
                assert member.worker is not None, "a member without data has no work"
                answer = member.worker.answer(job)
                self.deliver(member, ev.WorkDone(number, answer), WORK_MS + member.worker.delay_ms)
            case ev.NeedModel(name):
                member.wanted.add(name)
                self._fetch(member, name)
            case ev.StoreModel(name, draft):
                assert isinstance(draft, MemoryDraft) and read_model(draft.data).hash == name
                member.disk.models[name] = bytes(draft.data)
            case StartTimer(key, delay_ms):
                self._start_timer(member, key, TimerFired(key), delay_ms)
            case Compute(number, job):
                self.deliver(member, ComputeDone(number, job.run()), 2)
            case Asked(ev.OfSum(_, round_number), inner):
                self._perform_sum(member, round_number, inner)
            case ev.ForgetRound(number):
                member.disk.records = {key: data for key, data in member.disk.records.items() if key[0] > number}
            case Note(text, is_problem):
                (member.problems if is_problem else member.notes).append(text)

    def _perform_sum(
        self, member: Member, number: int,
        effect: ev.SumEffect,
    ) -> None:
        delay_ms = self.random.randrange(1, 8)
        match effect:
            case Persist(sm.KeptPart(part, data)):
                member.disk.records[number, part.value] = data.reveal()
            case sm.SendChunk(to, ref, proof, data):
                event = ev.SumHappened(number, sm.ChunkArrived(member.number, ref, proof, bytes(data)))
                self.deliver(self.members[to], event, delay_ms)
            case sm.WantChunk(to, ref):
                self.deliver(self.members[to], ev.SumHappened(number, sm.WantArrived(member.number, ref)), delay_ms)
            case StartTimer(key, timeout_ms):
                self._start_timer(member, (number, key), ev.SumHappened(number, TimerFired(key)), timeout_ms)
            case Compute(job_id, job):
                event = ev.SumHappened(number, ComputeDone(job_id, member.run_sum_job(job)))
                self.deliver(member, event, 2)

    def _start_timer(self, member: Member, key: Hashable, event: ev.Event, delay_ms: int) -> None:
        """Starting a timer again replaces it."""
        epoch = member.epoch
        token = member.timers[key] = member.timers.get(key, 0) + 1

        def act() -> None:
            if member.machine is not None and member.epoch == epoch and member.timers.get(key) == token:
                self.perform(member, member.machine.handle(event))

        self.after(delay_ms, act)

    def _fetch(self, member: Member, name: Hash) -> None:
        """Look on the own disk, then ask somebody who is up and has it, until it is here."""
        epoch = member.epoch

        def act() -> None:
            if member.machine is None or member.epoch != epoch or name not in member.wanted:
                return
            holders = [m for m in self.members.values() if m.is_up and name in m.disk.models]
            data = member.disk.models.get(name) or next((m.disk.models[name] for m in holders), None)
            if data is None:
                self.after(200, act)
                return
            member.disk.models[name] = data
            member.wanted.discard(name)
            self.perform(member, member.machine.handle(ev.ModelLoaded(name, check_model(lambda: BytesIO(data)))))

        self.after(3, act)


def check_sums(world: World) -> None:
    """What must hold whatever happened: one unmasking per round, at least max(N - f, 3) in each, equal models."""
    numbers = [number for number, _, _ in world.opened]
    assert len(numbers) == len(set(numbers)), f"a round was unmasked twice: {world.opened}"
    needed = max(len(world.members) - (len(world.members) - 1) // 3, 3)
    assert all(len(included) >= needed for _, _, included in world.opened), world.opened


def check_models(world: World) -> None:
    """Every member that is up and has data has the study's model on its disk."""
    wanted = Hash(world.life.model_hash)
    if wanted == NO_HASH:
        return
    for member in world.members.values():
        if member.is_up:
            model = read_model(member.disk.models[wanted])
            assert model.hash == wanted


def values_of(world: World, member: int) -> np.ndarray:
    """The model's values on a member's disk."""
    return read_model(world.members[member].disk.models[Hash(world.life.model_hash)]).values


def failed(text: str = "out of memory") -> work.Failed:
    """What a worker says that could not do its job."""
    return work.Failed("memory", text)


def check_all(world: World) -> None:
    """What must hold of the sums and of the models."""
    check_sums(world)
    check_models(world)
