"""The loop of one node: take an event, ask the core, perform the effects in order, write both to the journal.

Security assumption: everything here runs on one trio thread, and an effect is finished before the next begins; long
computations run in other threads or in the worker process and come back as events. Files are written inline: a vote
must not overtake its record, and a synced write is shorter than a thread's round trip on the disks this was made for.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic_ns
from typing import TypeVar, assert_never

import trio

from fednode.chain import sync
from fednode.chain.block import Receipt
from fednode.chain.consensus.messages import Decision
from fednode.chain.consensus.recovery import SignRecord
from fednode.chain.store import DecidedBlock
from fednode.core import effects as do
from fednode.core import membership as followers
from fednode.core import traffic
from fednode.core.core import Core
from fednode.core.membership import FOLLOWER, PARTING_S, Doors, PeerMap, dial_map, peer_map
from fednode.core.quota import ORDINARY, Quota
from fednode.effects import Asked, Compute, ComputeDone, DropPeer, Persist, StartTimer, TimerFired
from fednode.errors import Rejected, TrainingError, UpgradeNeeded
from fednode.fence import Unforeseen, take
from fednode.ids import MemberId, PeerId, StudyId
from fednode.learn import jobs as work
from fednode.ledger.bodies import Body
from fednode.ledger.members.reading import find_member, have_followers_changed
from fednode.ledger.transactions import Transaction
from fednode.node.chronicle import Chronicle
from fednode.node.model_desk import ModelDesk
from fednode.node.parts import Parts, finish
from fednode.node.problems import Problems
from fednode.node.submissions import Final, Submissions
from fednode.node.timers import Timers
from fednode.p2p import network as net
from fednode.rounds.events import LAST_ROUND, ForgetRound, OfStudy, OfSum, StartWork, StoreModel, WorkDone
from fednode.smpc.messages import KeptPart

MAX_REJECTED = 20
"""Frames no honest member sends, after which a member is cut off for a while; a version in between may send one."""

BLOB_REPEAT_S = 1.0
"""A blob asked for again within this time is still on its way."""

WORK_TIMEOUT_S = 3600.0
"""A bound for jobs without one of their own; the ledger's deadlines are what ends a round."""

Result = TypeVar("Result")


class Reactor:
    """Feeds the core and does what it asks. `run` returns when `stop` is called; errors of the environment end it."""

    def __init__(self, core: Core, parts: Parts, doors: Doors = Doors()) -> None:  # noqa: B008  frozen
        self.core = core
        self.parts = parts
        self.network: net.Network | None = None
        self.addresses: dict[MemberId, str] = {}
        self.refused: dict[MemberId, str] = {}
        self.problems = Problems(now_ms)
        self.dropped: Counter[MemberId] = Counter()
        self.timers = Timers(self._on_timer)
        self.identity_changed = trio.Event()
        self._doors = doors
        self.peer_of: PeerMap = {}
        self._member_of: dict[PeerId, MemberId] = {}
        self._follow_members()
        self._queue: deque[tuple[str, Callable[[], list[do.Effect]]]] = deque()
        self._is_busy = False
        self._nursery: trio.Nursery | None = None
        self._rejected: Counter[MemberId] = Counter()
        self._quotas: dict[MemberId, Quota] = {}
        self._cut_off: set[MemberId] = set()
        self._sent_blobs: dict[tuple[MemberId, bytes], float] = {}
        self._submissions = Submissions()
        self._chronicle = Chronicle(core.chain.state)
        self._block_stored = trio.Event()
        self._model_desk = ModelDesk(core, parts.models, self._compute, self._send_blob, now_ms)

    # --- running ------------------------------------------------------------------------------------------------

    async def run(self, network: net.Network) -> None:
        """Serve until cancelled."""
        self.network = network
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.timers.run)
            self._dispatch("start", lambda: self.core.start(now_ms()))
            nursery.start_soon(self._warm_up)
            while True:
                event = await network.receive()
                self._on_network(event)

    async def _warm_up(self) -> None:
        """Start the worker before the first job needs it: a member that returns in a round has a deadline to meet."""
        if any(machine.needs_worker for _, machine in self.core.studies.running()):
            try:
                await self.parts.trainer.start()
            except TrainingError as error:
                self.problems.begin("worker", str(error))

    def _dispatch(self, name: str, ask: Callable[[], list[do.Effect]]) -> None:
        """Ask the core and perform; what arises meanwhile waits its turn."""
        self._queue.append((name, ask))
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._queue:
                name, ask = self._queue.popleft()
                began_ns = monotonic_ns()
                effects = ask()
                for effect in effects:
                    self._perform(effect)
                if self.parts.journal is not None:
                    made = tuple(do.name_of(effect) for effect in effects)
                    self.parts.journal.write(name, effects=made, held_us=(monotonic_ns() - began_ns) // 1000)
        finally:
            self._is_busy = False

    def accept_blob(self, peer: PeerId, header: bytes, size_bytes: int) -> bool:
        """Whether the network may read a blob: it asks before any memory is taken."""
        member = self._member_of.get(peer)
        if member is None:
            return False
        if self.core.accepts_blob(member, header, size_bytes):
            return True
        self._keeps_to(member, self._quota(member).take_refused_blob(size_bytes, monotonic_ns()))
        return False

    async def submit(self, body: Body) -> tuple[Transaction, int, Receipt]:
        """Bring a body onto the ledger; return the transaction, its height and receipt once a block carries it.

        Raises `Refused` if the rules would refuse it now. Waits without end: the caller sets the time.
        """
        (final,) = await self.submit_all((body,))
        return final.transaction, final.height, final.receipt

    async def submit_all(self, bodies: Sequence[Body]) -> list[Final]:
        """Bring bodies onto the ledger in one go, or none of them; return when the last of them is in a block."""
        _, effects = self.core.submit_all(bodies, now_ms())
        self._submissions.open(bodies)
        self._dispatch("submit", lambda: effects)
        return await self._submissions.wait(bodies)

    def look_at_table(self, study: StudyId, data: work.DataAt | None) -> None:
        """Tell a study that its table is another file, or that the file has changed: it is checked anew."""
        self._dispatch("table", lambda: self.core.table_changed(study, data))

    async def wait_block(self) -> None:
        """Return after the next block is stored."""
        await self._block_stored.wait()

    def _follow_members(self, block: do.StoreBlock | None = None) -> None:
        """Take over from the ledger who may connect; tell the daemon if this node is somebody else from now on."""
        state, me = self.core.chain.state, self.core.identity.member
        before, self.peer_of = self._member_of, followers.without(peer_map(state), self._doors.barred)
        self._member_of = {peer: member for member, peer in self.peer_of.items()}
        for member in sorted(member for peer, member in before.items() if peer not in self._member_of):
            self.addresses.pop(member, None)
            self._dispatch("peer-down", partial(self.core.peer_down, member, now_ms()))
        self.problems.keep("undialled", followers.undialled(state, me, self._doors))
        if self.network is not None:
            old = followers.replaced_peers(before, self.peer_of, self.parts.own_peer)
            parting = old if block and self._nursery else {}
            others = dial_map(state, me, self.parts.own_peer, self._doors)
            self.network.set_members(others | parting)
            for peer in parting:  # it cannot ask any more for the block that replaced its key
                assert block is not None and self._nursery is not None
                self.network.send(peer, traffic.CONSENSUS.frame(Decision(block.block, block.certificate)))
                self._nursery.start_soon(self._part)
        found = find_member(state, self.parts.sign_key) or FOLLOWER
        if found == FOLLOWER and me in self.peer_of:
            text = "the ledger holds newer keys of this hospital: restart with the keystore that has them"
            self.problems.begin("keys", text)
        elif found != me:
            self.identity_changed.set()

    async def _part(self) -> None:
        await trio.sleep(PARTING_S)
        self._follow_members()

    # --- events -------------------------------------------------------------------------------------------------

    def _on_network(self, event: net.NetworkEvent) -> None:
        member = self._member_of.get(event.peer)
        if member is None:
            return
        if member in self._cut_off and isinstance(event, net.Received | net.BlobReceived | net.Announced):
            self.dropped[member] += 1  # it was on its way when the member was cut off
            return
        match event:
            case net.PeerUp(_, address):
                self._cut_off.discard(member)
                self._quota(member).connected(monotonic_ns())
                self.addresses[member] = address
                self.refused.pop(member, None)
                self.problems.end(("refused", member), ("cut off", member))
                self._rejected.pop(member, None)
                self._dispatch("peer-up", lambda: self.core.peer_up(member, now_ms()))
            case net.PeerDown():
                self.addresses.pop(member, None)
                self._dispatch("peer-down", lambda: self.core.peer_down(member, now_ms()))
            case net.PeerGone():
                self._dispatch("peer-gone", lambda: self.core.peer_gone(member, now_ms()))
            case net.Refused(_, reason):
                self.refused[member] = reason
                self.problems.begin(("refused", member), f"member {member} refused: {reason}")
            case net.Received(_, frame):
                if self._keeps_to(member, self._count(member, frame)):
                    self._guard(member, "frame", lambda: self.core.frame(member, frame, now_ms()))
            case net.BlobReceived(_, header, blob):
                self._guard(member, "blob", lambda: self.core.blob(member, header, blob, now_ms()))
            case net.Announced(_, claim):
                if self._keeps_to(member, self._quota(member).take_claim(monotonic_ns())):
                    self._guard(member, "announcement", lambda: self.core.announcement(member, claim, now_ms()))
            case _:
                assert_never(event)

    def _count(self, member: MemberId, frame: bytes) -> str | None:
        """Count a frame within the bounds of its class; return why its sender is to be cut off, if it is."""
        kind = traffic.class_of(frame)
        is_asked_for = kind is not None and kind.is_fetched and self.core.catch_up.target is not None
        bounds = ORDINARY if kind is None else kind.bounds
        return self._quota(member).take_frame(len(frame), is_asked_for, monotonic_ns(), bounds)

    def _quota(self, member: MemberId) -> Quota:
        return self._quotas.setdefault(member, Quota())

    def _keeps_to(self, member: MemberId, excess: str | None) -> bool:
        """Whether a member keeps to its quota; it is cut off if not, and what it sent before that is not read."""
        if excess is None:
            return True
        self.dropped[member] += 1
        self._dispatch("quota", lambda: [DropPeer(member, excess)])
        return False

    def _guard(self, member: MemberId, name: str, ask: Callable[[], list[do.Effect]]) -> None:
        """A peer's nonsense is counted and dropped; too much of it cuts the peer off."""
        def ask_guarded() -> list[do.Effect]:
            self.core.chain.check.take()
            try:
                effects = take(member, name, ask)
            except Rejected as error:
                self._rejected[member] += 1
                self.dropped[member] += 1
                effects = [do.log("rejected", member=member, what=name, reason=error.reason)]
                if self._rejected[member] > MAX_REJECTED or isinstance(error, Unforeseen):
                    self._rejected[member] = 0
                    effects = [DropPeer(member, error.reason)]
            excess = self._quota(member).take_signatures(self.core.chain.check.take(), monotonic_ns())
            return effects if excess is None else [*effects, DropPeer(member, excess)]

        self._dispatch(name, ask_guarded)

    def _on_timer(self, timer: tuple[do.Address, do.TimerKey]) -> None:
        by, key = timer
        self._dispatch("timer", lambda: self.core.tell(by, TimerFired(key), now_ms()))

    # --- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effect: do.Effect) -> None:
        match effect:
            case Asked(by, inner):
                self._perform_asked(by, inner)
            case do.SendToAll(data):
                for member in tuple(self.core.up):
                    self._send(member, data)
            case do.SendFrame(to, data, everywhere):
                self._send(to, data, everywhere)
            case do.SendBlob():
                self._send_blob(effect)
            case do.Announce(data):
                if self.network is not None:
                    self.network.announce(data)
            case do.ServeBlocks(to, first, last):
                response = sync.make_response(self.parts.store.blocks(first, last))
                self._send(to, traffic.SYNC.frame(response))
            case do.StoreBlock():
                self._store_block(effect)
            case do.KeepModel() | do.LoadModel() | do.ServeModel():
                self._model_desk.perform(effect)
            case DropPeer(member, reason):
                self._drop(member, reason)
            case do.Log(kind, fields):
                self._log(kind, dict(fields))
            case do.Halt(reason):
                raise UpgradeNeeded(reason)
            case _:
                assert_never(effect)

    def _perform_asked(self, by: do.Address, effect: do.HandedOn) -> None:
        """Do what a machine asked for; what comes of it finds its way back by `by`."""
        match by, effect:
            case _, StartTimer(key, delay_ms):
                self.timers.start((by, key), delay_ms)
            case _, Compute(number, job):
                self._compute(
                    job.is_short, job.run, f"computed-{type(job).__name__}",
                    lambda result: self.core.tell(by, ComputeDone(number, result), now_ms()),
                )
            case do.Own(), Persist(SignRecord() as record):
                self.parts.sign_state.save(record)
            case OfSum(study, round_), Persist(KeptPart(part, secret)):
                self.parts.records.put(study, round_, part.value, secret)
            case OfStudy(study), ForgetRound(round_):
                self.parts.records.forget(study, round_)
                if round_ == LAST_ROUND:
                    self.parts.own_states(study).clear()
            case OfStudy(), StoreModel() as store:
                self._model_desk.perform(store)
            case OfStudy() as study, StartWork(number, job):
                assert self._nursery is not None, "effects are performed while the reactor runs"
                self._nursery.start_soon(self._work, study, number, job)
            case _:
                raise TypeError(f"nobody does {type(effect).__name__} for {by}")

    def _drop(self, member: MemberId, reason: str) -> None:
        """Cut a member off for a while."""
        if member in self._cut_off:
            return
        self._cut_off.add(member)
        self._quota(member).cut_off(monotonic_ns())
        self.problems.begin(("cut off", member), f"member {member} was cut off for a while: {reason}")
        self._log("cut-off", {"member": member, "reason": reason})
        if self.network is not None and member in self.peer_of:  # a block in between may have removed it
            self.network.drop(self.peer_of[member], reason)

    def _send(self, to: MemberId, data: bytes, everywhere: bool = False) -> None:
        if self.network is not None and to in self.peer_of:
            (self.network.send_everywhere if everywhere else self.network.send)(self.peer_of[to], data)

    def _send_blob(self, effect: do.SendBlob) -> None:
        key, now = (effect.to, effect.header), time.monotonic()
        peer = self.peer_of.get(effect.to)
        if self.network is None or peer is None or now - self._sent_blobs.get(key, -BLOB_REPEAT_S) < BLOB_REPEAT_S:
            return
        if len(self._sent_blobs) > 10_000:
            self._sent_blobs = {k: at for k, at in self._sent_blobs.items() if now - at < BLOB_REPEAT_S}
        if self.network.send_blob(peer, effect.header, effect.data):
            self._sent_blobs[key] = now

    def _store_block(self, effect: do.StoreBlock) -> None:
        applied = effect.outcome.applied
        self.parts.store.append(
            DecidedBlock(effect.block, effect.certificate, effect.tip, applied.receipts, applied.changes)
        )
        if have_followers_changed(applied.changes):
            self._follow_members(effect)
        me = self.core.identity.member
        self._submissions.settle(me, effect.block.height, effect.outcome.transactions, applied.receipts)
        self._block_stored.set()
        self._block_stored = trio.Event()
        self._log("block", {"height": effect.block.height, "hash": effect.block.hash, "txs": len(applied.receipts)})
        state, transactions = applied.state, effect.outcome.transactions
        for kind, text, about in self._chronicle.tell(state, applied.changes, transactions, applied.receipts):
            self._log(kind, {**about, "text": text, "height": effect.block.height})

    def _compute(
        self, is_short: bool, job: Callable[[], Result], name: str, tell: Callable[[Result], list[do.Effect]]
    ) -> None:
        def told(result: Result | Rejected) -> list[do.Effect]:
            return [do.log("problem", text=result.reason)] if isinstance(result, Rejected) else tell(result)

        if is_short:
            result = finish(name, job)
            self._dispatch(name, lambda: told(result))
            return

        async def run() -> None:
            result = await trio.to_thread.run_sync(finish, name, job)
            self._dispatch(name, lambda: told(result))

        assert self._nursery is not None
        self._nursery.start_soon(run)

    async def _work(self, by: OfStudy, number: int, job: work.Job) -> None:
        try:
            answer = await self.parts.trainer.run(by.study, job, WORK_TIMEOUT_S)
        except TrainingError as error:
            answer = work.Failed("memory", str(error)[:2000])
        else:
            self.problems.end("worker")
        self._dispatch("worked", lambda: self.core.tell(by, WorkDone(number, answer), now_ms()))

    def _log(self, kind: str, fields: Mapping[str, bool | int | str | bytes | None]) -> None:
        if kind == "problem" and "study" not in fields:  # a study's own is asked for while it lasts
            self.problems.tell(str(fields.get("text", "")))
        if self.parts.journal is not None:
            self.parts.journal.write(kind, **fields)


def now_ms() -> int:
    """Return UTC in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
