"""A small deterministic world: members with disks, a ledger, a network that loses and reorders, scripted trouble.

One seed, one run. Time is a heap of events; nothing reads a clock. A crash takes everything a member has not
persisted; what it persisted before is there when it comes back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fednode.crypto import Secret, unseal, x25519_public
from fednode.effects import Compute, ComputeDone, Note, Persist, StartTimer, TimerFired
from fednode.ids import MemberId
from fednode.smpc import messages as m
from fednode.smpc.record import INPUT_START, LongPart, RecordParts, restore_input
from fednode.smpc.session import Session
from fednode.smpc.vectors import load
from fednode.sums.bounds import SCALE
from fednode.sums.coin import restore_chain
from fednode.sums.measures import CLAIM, Split, count_words, read_sums
from fednode.sums.norm import Statement, statement_of
from fednode.sums.phase import Phase
from tests.smpc.sim.model_ledger import ModelLedger, ResultVote
from tests.support.clock import VirtualClock
from tests.support.seeds import Stream

CHAIN, STUDY = b"c" * 32, b"s" * 32
TIMEOUT_MS = 1000
BLOCK_MS = 10
END_MS = 120_000
LINKS = 64


def with_long_input(disk: Mapping[m.RecordPart, bytes]) -> RecordParts:
    """The same record, its vector to be read when it is needed."""
    parts: dict[m.RecordPart, bytes | LongPart] = dict(disk)
    whole = disk.get(m.RecordPart.INPUT)
    if whole is not None:
        parts[m.RecordPart.INPUT] = LongPart(whole[:INPUT_START], lambda size_bytes: whole[INPUT_START:][:size_bytes])
    return parts


class Ledger(Protocol):
    """What the world needs of a ledger; the model and the real rules both have it."""

    outcome: tuple[str, object] | None

    def apply(self, txs: list[tuple[MemberId, int, object]], expire: bool = False) -> None: ...
    def view(self) -> m.SumView: ...


@dataclass(frozen=True)
class Absence:
    """A member goes down when a phase of an attempt opens, and comes back `down_ms` later, or never (0).

    With `after`, it goes down only once it has taken that many effects of the phase.
    """

    member: int
    phase: Phase
    attempt: int = 0
    down_ms: int = 0
    after: int = 0


@dataclass
class Node:
    member: MemberId
    secret: Secret[bytes]
    disk: dict[m.RecordPart, bytes] = field(default_factory=dict)
    session: Session | None = None
    epoch: int = 0
    view: m.SumView | None = None
    opened: list[tuple[bytes, int, NDArray[np.int32]]] = field(default_factory=list)
    told: list[tuple[int, ...]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trained: int = 0
    effects_done: int = 0
    crash_at: set[int] = field(default_factory=set)
    tamper: Callable[[m.Effect], list[m.Effect]] | None = None
    lie: Callable[[object], object] | None = None
    work: Callable[[object], object] | None = None
    """Does this member's jobs instead of `job.run`: a liar that deals or answers as it likes."""


MOMENTS, SHARE = Split(23, 3, True), Split(16, 2)
PLAN = (MOMENTS, SHARE)
"""What members claim beside their vectors: a column, and a share of rows."""
OPENED = 257 + count_words(PLAN)
HELD = OPENED + 2
"""Elements of an opening, and of what is held of a dealer, where there are few members."""


@dataclass
class Trace:
    """Everything that left a member or reached a disk, for the privacy tests."""

    ledger: list[tuple[MemberId, int, object]] = field(default_factory=list)
    wire: list[tuple[MemberId, m.SendChunk]] = field(default_factory=list)
    disks: list[tuple[MemberId, m.RecordPart, bytes]] = field(default_factory=list)
    views: list[m.SumView] = field(default_factory=list)


class World(VirtualClock):
    """N members in one round."""

    def __init__(
        self, count: int = 4, length: int = 37, seed: int = 0, *, round_number: int = 1, loss: float = 0.0,
        absences: tuple[Absence, ...] = (), pinned: tuple[MemberId, ...] | None = None, restart_ms: int = 50,
        vectors: dict[MemberId, NDArray[np.uint32]] | None = None, ledger: Callable[..., Ledger] = ModelLedger,
        secrets: dict[MemberId, Secret[bytes]] | None = None, weights: str = "public",
        max_weight: int = 7, coins: int = 0,
    ) -> None:
        super().__init__()
        self.weights, self.max_weight = weights, 1 if weights == "equal" else max_weight
        self.plan = PLAN
        self.random, self.loss, self.restart_ms = random.Random(seed), loss, restart_ms
        self.members = tuple(MemberId(i) for i in range(1, count + 1))
        self.length, self.seed, self.round_number = length, seed, round_number
        self.nodes = {
            i: Node(i, secrets[i] if secrets else Secret(Stream("seal", i, seed).random_bytes(32)))
            for i in self.members
        }
        seal_keys = {i: x25519_public(node.secret) for i, node in self.nodes.items()}
        self.chains = {i: restore_chain(Stream("chain", node.secret.reveal()).random_bytes(32), LINKS)
                       for i, node in self.nodes.items()}
        heads = {i: chain.head for i, chain in self.chains.items()}
        self.ledger = ledger(self.params(self.members[0]), seal_keys, TIMEOUT_MS, pinned, heads, coins)
        self.vectors = vectors or {}
        self.absences = list(absences)
        self.trace = Trace()
        self.pool: list[tuple[MemberId, int, object]] = []
        self.opened_at_ms, self._phase_no, self._timeout_ms = 0, -1, TIMEOUT_MS

    def params(self, member: MemberId) -> m.SumParams:
        is_public = self.weights == "public"

        def statement(weight: int) -> Statement:
            public = weight if is_public else None
            return statement_of(self.length, self.max_weight, public, members=len(self.members), plan=self.plan)

        return m.SumParams(
            CHAIN, STUDY, self.round_number, member, self.members, self.length, is_public, statement, self.plan,
            next_key=x25519_public(Secret(Stream("next", member, self.seed).random_bytes(32))),
        )

    # --- running ------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[World], bool] | None = None) -> World:
        """Run until the round has closed, `until` holds, or time is over."""
        for member in self.members:
            self._start(member)
        self._publish()
        self.after(BLOCK_MS, self._block)
        while self.has_calls and self.now_ms < END_MS:
            if self.ledger.outcome is not None or (until is not None and until(self)):
                break
            self.step()
        return self

    def _block(self) -> None:
        self.after(BLOCK_MS, self._block)
        txs, self.pool = self.pool, []
        timed_out = not txs and self.now_ms - self.opened_at_ms > self._timeout_ms
        up = sum(node.session is not None for node in self.nodes.values())
        if not txs and not (timed_out and up >= 2 * len(self.members) // 3 + 1):
            return
        self.trace.ledger += txs
        self.ledger.apply(txs, expire=timed_out)
        self._publish()

    def _publish(self) -> None:
        """Give every member up the new view, each a little later, in order."""
        if self.ledger.outcome is not None:
            return
        view = self.ledger.view()
        self.trace.views.append(view)
        if view.phase_no != self._phase_no:
            self._phase_no, self.opened_at_ms, self._timeout_ms = view.phase_no, self.now_ms, view.phase_timeout_ms
        for absence in list(self.absences):
            if view.phase is absence.phase and view.number == absence.attempt:
                if absence.after:
                    node = self.nodes[MemberId(absence.member)]
                    node.crash_at.add(node.effects_done + absence.after)
                else:
                    self.stop(MemberId(absence.member), absence.down_ms)
                self.absences.remove(absence)
        for member, node in self.nodes.items():
            self.after(self.random.randrange(1, BLOCK_MS), self._deliver(member, node.epoch, m.ViewChanged(view)))

    def _start(self, member: MemberId) -> None:
        node = self.nodes[member]
        entropy = Stream("entropy", member, node.epoch, self.seed, self.round_number)

        def open_box(box: bytes) -> bytes:
            return unseal(node.secret, box)

        if node.disk:
            parts = node.disk if node.epoch % 2 else with_long_input(node.disk)
            node.session = Session.restore(self.params(member), parts, entropy, open_box, self.chains[member].link)
        else:
            node.session = Session(self.params(member), entropy, open_box, self.chains[member].link)
        if not node.session.has_input:
            event = m.InputReady(self._train(node).copy(), self.weight_of(member), claims=self._claim(node))
            self.after(self.random.randrange(1, 60), self._deliver(member, node.epoch, event))

    def weight_of(self, member: MemberId) -> int:
        """The weight a member brings."""
        return 1 if self.weights == "equal" else 1 + member % 3

    def _train(self, node: Node) -> NDArray[np.uint32]:
        """A vector that is different each time a member trains, as after a crash."""
        if node.member in self.vectors:
            return self.vectors[node.member]
        node.trained += 1
        seed = Stream("x", node.member, node.trained, self.seed, self.round_number).random_bytes(8)
        values = np.random.default_rng(list(seed)).integers(-(2**23), 2**23, self.length)
        longest = 5 * SCALE * self.weight_of(node.member) / (6 * self.max_weight)  # as long as a member's may be
        values = (values * (longest / max(1.0, float(np.linalg.norm(values))))).astype(np.int64)
        return values.astype(np.int32).view(np.uint32)

    def _claim(self, node: Node) -> NDArray[np.uint32]:
        """Claims that are different each time a member trains."""
        drawn = random.Random(f"{node.member} {node.trained} {self.seed} {self.round_number}")
        unit, share = MOMENTS.unit, SHARE.unit
        mean, right = drawn.randrange(unit + 1), drawn.choice([None, drawn.randrange(share + 1)])
        second = drawn.randrange(-(-mean * mean // unit), mean + 1)
        told = [second, mean - second, unit - mean, *((0, 0) if right is None else (right, share - right))]
        return np.array(told, CLAIM)

    def stop(self, member: MemberId, down_ms: int) -> None:
        """Take a member down; everything it has not persisted is gone."""
        node = self.nodes[member]
        if node.session is None:
            return
        node.session, node.epoch = None, node.epoch + 1
        if down_ms:
            self.after(down_ms, lambda: self._return(member))

    def _return(self, member: MemberId) -> None:
        self._start(member)
        epoch = self.nodes[member].epoch
        self.after(1, self._deliver(member, epoch, m.ViewChanged(self.ledger.view())))
        for other in self.members:
            if other != member and self.nodes[other].session is not None:
                self.after(2, self._deliver(member, epoch, m.PeerUp(other)))
                self.after(2, self._deliver(other, self.nodes[other].epoch, m.PeerUp(member)))

    # --- events and effects -------------------------------------------------------------------------------------

    def _deliver(self, member: MemberId, epoch: int, event: m.Event) -> Callable[[], None]:
        def act() -> None:
            node = self.nodes[member]
            if node.session is None or node.epoch != epoch or self.ledger.outcome is not None:
                return
            if isinstance(event, m.ViewChanged):
                if node.view is not None and event.view.phase_no < node.view.phase_no:
                    return
                node.view = event.view
            if isinstance(event, m.ChunkArrived):
                size = len(event.data)
                if not node.session.is_chunk_expected(event.ref, size, event.sender):
                    return
            self._perform(node, node.session.handle(event))

        return act

    def _perform(self, node: Node, effects: list[m.Effect]) -> None:
        for effect in effects:
            for change in node.tamper(effect) if node.tamper else [effect]:
                node.effects_done += 1
                if node.effects_done in node.crash_at:
                    self.stop(node.member, self.restart_ms)
                    return
                self._perform_one(node, change)

    def _perform_one(self, node: Node, effect: m.Effect) -> None:
        match effect:
            case Persist(m.KeptPart(part, data)):
                node.disk[part] = data.reveal()
                self.trace.disks.append((node.member, part, data.reveal()))
            case m.Submit(message):
                if self.random.random() >= self.loss:
                    post = (node.member, message.attempt, message)
                    self.after(self.random.randrange(1, 8), lambda: self.pool.append(post))
            case m.SendChunk(to, ref, proof, data):
                self.trace.wire.append((node.member, effect))
                self._send(to, m.ChunkArrived(node.member, ref, proof, bytes(data)))
            case m.WantChunk(to, ref):
                self._send(to, m.WantArrived(node.member, ref))
            case StartTimer(name, delay_ms):
                self.after(delay_ms, self._deliver(node.member, node.epoch, TimerFired(name)))
            case Compute(job_id, job):
                result = job.run() if node.work is None else node.work(job)
                if node.lie is not None:
                    result = node.lie(result)  # type: ignore[assignment]
                done = self._deliver(node.member, node.epoch, ComputeDone(job_id, result))
                self.after(self.random.randrange(1, 5), done)
            case m.SumOpened(values, weight, digest, words):
                node.opened.append((digest, weight, values))
                node.told.append(words)
                self.pool.append((node.member, self.ledger.view().number, ResultVote(digest)))
            case m.SumFailed(reason):
                node.failed.append(reason)
                self.pool.append((node.member, self.ledger.view().number, ResultVote(None)))
            case Note(text):
                node.notes.append(text)

    def _send(self, to: MemberId, event: m.Event) -> None:
        if self.nodes[to].session is not None and self.random.random() >= self.loss:
            self.after(self.random.randrange(1, 30), self._deliver(to, self.nodes[to].epoch, event))

    # --- what came out ------------------------------------------------------------------------------------------

    def input_of(self, member: MemberId) -> NDArray[np.int32]:
        """The vector a member fixed, from its disk."""
        own = restore_input(self.params(member), self.nodes[member].disk)
        return own.values.view(np.int32)

    def _told(self, words: tuple[int, ...]) -> list[int]:
        return [part for tally in read_sums(self.plan, words, len(self.members)) for part in tally.parts]

    def expected_claims(self, included: tuple[MemberId, ...]) -> list[int]:
        """The sums of the claims members fixed, from their disks."""
        found = [restore_input(self.params(i), self.nodes[i].disk) for i in included]
        return [int(part) for part in np.sum([load(own.claims).astype(np.int64) for own in found if own], axis=0)]

    def expected_sum(self, included: tuple[MemberId, ...]) -> NDArray[np.int64]:
        return np.sum([self.input_of(i).astype(np.int64) for i in included], axis=0)

    def check(self) -> m.SumView:
        """Every opened sum is the exact sum over U with its weight; return the last view."""
        view = self.trace.views[-1]
        for node in self.nodes.values():
            assert len({digest for digest, _, _ in node.opened}) <= 1
            for _, weight, values in node.opened:
                assert (values.astype(np.int64) == self.expected_sum(view.included)).all()
                assert weight == sum(self.weight_of(i) for i in view.included)
                assert self._told(node.told[-1]) == self.expected_claims(view.included)
                assert len(view.included) >= max(len(self.members) - (len(self.members) - 1) // 3, 3)
        assert not (self.ledger.outcome is not None and self.ledger.outcome[0] == "ok") or any(
            node.opened for node in self.nodes.values()
        )
        return view

    def check_ok(self) -> m.SumView:
        """Check, and that the round ended well; return the last view."""
        assert self.ledger.outcome is not None and self.ledger.outcome[0] == "ok", self.ledger.outcome
        return self.check()


def sent(effects: list[m.Effect]) -> list[m.SendChunk]:
    """Return the chunks that leave."""
    return [effect for effect in effects if isinstance(effect, m.SendChunk)]
