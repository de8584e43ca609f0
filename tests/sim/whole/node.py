"""One simulated daemon: the real core on a fake disk, with a fake worker; it can die between any two effects."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fednode.chain import sync
from fednode.chain.consensus.recovery import SignRecord, VoteSigner
from fednode.chain.store import DecidedBlock
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.assemble import ChainEnd, assemble
from fednode.core.attendance import Identity
from fednode.core.core import Core
from fednode.core.membership import FOLLOWER
from fednode.crypto import Ed25519Signer, Secret, sha256
from fednode.effects import Asked, Compute, ComputeDone, DropPeer, Persist, StartTimer, TimerFired
from fednode.errors import FednodeError, Rejected, UpgradeNeeded
from fednode.home.succession import has_consented
from fednode.ids import Hash, Height, MemberId, StudyId
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import MemoryDraft
from fednode.ledger.bodies import Body
from fednode.ledger.members.reading import find_member, have_followers_changed
from fednode.rounds.events import ForgetRound, OfStudy, OfSum, StartWork, StoreModel, WorkDone
from fednode.rounds.jobs import Conclude
from fednode.rounds.place import Ports
from fednode.smpc.messages import KeptPart
from fednode.sums.coin import restore_chain
from tests.node.world import look_at_model
from tests.sim.whole.disk import Disk
from tests.sim.whole.parts import do_work
from tests.support.seeds import Stream

if TYPE_CHECKING:
    from tests.sim.whole.world import World

LINKS = 512
"""Length of a hash chain: what a test takes, not what a term may."""

SLOW_MS = 300


class WholeNode:
    """A member's machine. Everything but `disk` is lost in a crash."""

    def __init__(
        self, world: World, slot: MemberId, member: MemberId, skew_ms: int, disk: Disk, signer: Ed25519Signer,
        coin_secret: Secret[bytes],
    ) -> None:
        """`slot` names the machine, `member` is who it says it is: a machine and its copy share the second."""
        self.world = world
        self.slot = slot
        self.member = member
        self.signer = signer
        self.coin_secret = coin_secret
        self.skew_ms = skew_ms
        self.disk = disk
        self.is_up = False
        self.life = 0
        self.effects_until_crash: int | None = None
        self.effects_done = 0
        self.refusal: str | None = None
        """Why it signs nothing any more, from what it says itself; kept over restarts."""
        self.halted_at: int | None = None
        """Height at which it stopped because the next block is of a version it does not know."""
        self.problems: list[str] = []
        self.number = member
        """Who it is on the chain as it knows it; nobody before it is proposed."""
        self.core: Core
        self._queue: deque[Callable[[], list[do.Effect]]] = deque()
        self._is_busy = False
        self._timers: dict[tuple[do.Address, do.TimerKey], int] = {}
        self._serial = 0

    def now_ms(self) -> int:
        """This machine's clock."""
        return self.world.now_ms + self.skew_ms

    # --- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life from what is on the disk, put together as the daemon does it."""
        world, disk = self.world, self.disk
        self.life += 1
        self._queue.clear()
        self._timers.clear()
        try:
            record, silent_until = disk.start_sign_state(), disk.sign_state.silent_until
        except FednodeError as error:  # the daemon tells this and ends; the hospital is gone until the key is replaced
            self.refusal = str(error)
            return
        state, tip, chain_id = disk.load_state(), disk.tip, disk.genesis.chain_id
        signer, coin_secret = self.signer, self.coin_secret
        self.number = find_member(state, signer.public_key) or FOLLOWER
        is_follower = self.number == FOLLOWER
        vote_signer = VoteSigner(chain_id, None, None, None) if is_follower else VoteSigner(
            chain_id, self.number, signer, record, Height(silent_until), has_consented(disk.home, chain_id)
        )
        ports = Ports(
            Stream(world.key, self.slot, self.life), lambda name, study: DataAt("table.csv"),
            lambda study: world.trouble.approves(self, study),
            disk.load_part, self._keep_part,
            lambda study: restore_chain(sha256(coin_secret.reveal(), chain_id, study), LINKS), MemoryDraft,
        )
        incarnation = Stream(world.key, "life", self.slot, self.life).random_bytes(16)
        try:
            self.core = assemble(
                Identity(chain_id, self.number, signer, incarnation), ChainEnd(tip, state, disk.certificate),
                vote_signer, ports, world.trouble.versions_of(self),
            )
        except UpgradeNeeded:
            self.halted_at = tip.height
            return
        self.is_up = True
        self.dispatch(lambda: self.core.start(self.now_ms()))

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.stop()
        self.world.on_crash(self)

    def stop(self) -> None:
        """End this life."""
        self.is_up = False
        self.effects_until_crash = None
        self._queue.clear()
        self.world.cut_off(self)

    def knows(self, other: WholeNode) -> bool:
        """Whether the other is a member or a candidate on this node's ledger."""
        return find_member(self.core.chain.state, other.signer.public_key) is not None

    def must_begin_anew(self) -> bool:
        """Whether the ledger has given this node another number, or taken it."""
        return (find_member(self.core.chain.state, self.signer.public_key) or FOLLOWER) != self.number

    # --- events -------------------------------------------------------------------------------------------------

    def dispatch(self, ask: Callable[[], list[do.Effect]]) -> None:
        """Ask the core and perform in order; what arises meanwhile waits its turn."""
        if not self.is_up:
            return
        self._queue.append(ask)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._queue and self.is_up:
                self._perform_all(self._queue.popleft()())
        finally:
            self._is_busy = False

    def _perform_all(self, effects: list[do.Effect]) -> None:
        crash_at = self.world.plan.crash_at if self.member == 1 else 0
        for effect in effects:
            self.effects_done += 1
            if self.effects_done == crash_at:
                self.crash()
                return
            if self.effects_until_crash is not None:
                self.effects_until_crash -= 1
                if self.effects_until_crash < 0:
                    if is_sign_state(effect) and self.world.may_tear(self):
                        self.disk.tear_sign_state()
                    self.crash()
                    return
            self.world.effects += 1
            self._perform(effect)
            if not self.is_up:
                return

    def guard(self, sender: MemberId, ask: Callable[[], list[do.Effect]]) -> None:
        """Ask about something a member sent; nothing that an honest member sends is refused."""
        def ask_guarded() -> list[do.Effect]:
            try:
                return ask()
            except Rejected as error:
                self.world.checker.on_rejected(self.member, sender, error.reason)
                return []

        self.dispatch(ask_guarded)

    def frame(self, sender: MemberId, data: bytes) -> None:
        self.guard(sender, lambda: self.core.frame(sender, data, self.now_ms()))

    def announcement(self, sender: MemberId, data: bytes) -> None:
        self.guard(sender, lambda: self.core.announcement(sender, data, self.now_ms()))

    def blob(self, sender: MemberId, header: bytes, data: bytes) -> None:
        if self.core.accepts_blob(sender, header, len(data)):
            self.guard(sender, lambda: self.core.blob(sender, header, memoryview(data), self.now_ms()))

    def peer_up(self, member: MemberId) -> None:
        self.dispatch(lambda: self.core.peer_up(member, self.now_ms()))

    def peer_down(self, member: MemberId) -> None:
        self.dispatch(lambda: self.core.peer_down(member, self.now_ms()))

    def peer_gone(self, member: MemberId) -> None:
        self.dispatch(lambda: self.core.peer_gone(member, self.now_ms()))

    def submit(self, body: Body) -> None:
        """A person at this hospital asks for something; the ledger may say no."""
        def ask() -> list[do.Effect]:
            try:
                return self.core.submit(body, self.now_ms())[1]
            except FednodeError:
                return []

        self.dispatch(ask)

    def _later(self, delay_ms: int, ask: Callable[[], list[do.Effect]]) -> None:
        """Dispatch after a while, unless this life is over by then."""
        life = self.life
        self.world.after(delay_ms, lambda: self.dispatch(ask) if self.life == life else None)

    # --- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effect: do.Effect) -> None:
        world, disk = self.world, self.disk
        match effect:
            case Asked(by, inner):
                self._perform_asked(by, inner)
            case do.StoreBlock():
                self._store(effect)
            case do.KeepModel(sender, name, data):
                if look_at_model(name, bytes(data)) is not None:
                    disk.save_model(name, bytes(data))
                sent = disk.load_model(name)
                self.dispatch(lambda: self.core.model_arrived(sender, name, sent, self.now_ms()))
            case do.LoadModel(name):
                found = disk.load_model(name)
                self.dispatch(lambda: self.core.model_found(name, found, self.now_ms()))
            case do.SendToAll(data):
                for member in sorted(self.core.up):
                    world.send(self, member, data)
            case do.SendFrame(to, data):
                world.send(self, to, data)
            case do.SendBlob(to, header, data):
                world.send_blob(self, to, header, bytes(data))
            case do.Announce(data):
                world.announce(self, data)
            case do.Halt():
                self.halted_at = disk.height
                self.stop()
            case DropPeer(member, reason):
                world.checker.on_rejected(self.member, member, f"cut off: {reason}")
            case do.Log(kind, fields):
                self._log(kind, dict(fields))
            case do.ServeBlocks(to, first, last):
                world.send(self, to, traffic.SYNC.frame(sync.make_response(disk.range(first, last))))
            case do.ServeModel(to, name):
                if name in disk.models:
                    world.send_blob(self, to, traffic.encode_header(traffic.ModelHeader(name)), disk.models[name])

    def _perform_asked(self, by: do.Address, effect: do.HandedOn) -> None:
        world, disk, draw = self.world, self.disk, self.world.random
        match by, effect:
            case _, Persist(SignRecord() as record):
                disk.save_sign_state(record)
            case OfSum(study, round_), Persist(KeptPart(part, secret)):
                disk.save_record((study, round_, part.value), secret.reveal())
                world.checker.on_record(self, study, round_, part.value, secret.reveal())
            case OfStudy(study), ForgetRound(round_):
                disk.forget_records(study, round_)
            case _, StoreModel(name, draft):
                assert isinstance(draft, MemoryDraft)
                disk.save_model(name, bytes(draft.data))
            case _, StartTimer(key, delay_ms):
                self._start_timer(by, key, delay_ms)
            case _, StartWork(number, job):
                answer, more_ms = world.trouble.spoil(self, do_work(job, self.member))
                self._tell_later(draw.randrange(5, SLOW_MS) + more_ms, by, WorkDone(number, answer))
            case _, Compute(number, job):
                if isinstance(job, Conclude):
                    assert isinstance(by, OfStudy)
                    world.checker.on_sum(self, by.study, job.round_number, np.asarray(job.total), job.words)
                self._tell_later(draw.randrange(4), by, ComputeDone(number, job.run()))
            case _:
                raise AssertionError(f"nobody performs {effect}")

    def _tell_later(self, delay_ms: int, by: do.Address, answer: do.Answer) -> None:
        self._later(delay_ms, lambda: self.core.tell(by, answer, self.now_ms()))

    def _keep_part(self, study: StudyId, number: int, part: str, pieces: Sequence[bytes | memoryview]) -> None:
        data = b"".join(pieces)
        self.disk.save_record((study, number, part), data)
        self.world.checker.on_record(self, study, number, part, data)

    def _store(self, effect: do.StoreBlock) -> None:
        applied = effect.outcome.applied
        self.disk.append(
            DecidedBlock(effect.block, effect.certificate, effect.tip, applied.receipts, applied.changes)
        )
        self.world.checker.on_block(self, effect)
        if have_followers_changed(applied.changes):
            self.world.on_members_changed(self)

    def _start_timer(self, by: do.Address, key: do.TimerKey, delay_ms: int) -> None:
        self._serial += 1
        serial = self._timers[by, key] = self._serial

        def fire() -> list[do.Effect]:
            if self._timers.get((by, key)) != serial:
                return []
            del self._timers[by, key]
            return self.core.tell(by, TimerFired(key), self.now_ms())

        self._later(delay_ms, fire)

    def _log(self, kind: str, fields: dict[str, object]) -> None:
        if kind == "stopped-signing" and self.number != FOLLOWER:
            self.refusal = str(fields["reason"])
            self.world.checker.on_stopped_signing(self, self.refusal)
        elif kind in ("problem", "own-transaction-refused"):
            self.problems.append(f"{self.world.now_ms}: {fields.get('text', fields.get('reason'))}")

    def has_model(self, name: bytes) -> bool:
        """Whether a model is here."""
        return Hash(name) in self.disk.models


def is_sign_state(effect: do.Effect) -> bool:
    """Whether an effect replaces the sign-state record."""
    return isinstance(effect, Asked) and effect.by is do.Own.CONSENSUS and isinstance(effect.effect, Persist)
