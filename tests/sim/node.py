"""One simulated daemon: a replica and catch-up, a disk that survives crashes, timers and a clock that is a bit off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fednode.chain import sync
from fednode.chain.block import Block, Tip
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus.effects import Effect
from fednode.chain.consensus.events import (
    BlockSynced,
    Event,
    PeersGone,
    PeerUp,
    Received,
    Started,
    TimerFired,
    ViewTimer,
    WorkArrived,
)
from fednode.chain.consensus.messages import ConsensusMessage, Status
from fednode.chain.consensus.recovery import SignRecord, VoteSigner
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import Certificate
from fednode.crypto import Verified
from fednode.effects import Broadcast, DropPeer, Persist, Send, StartTimer
from fednode.effects import TimerFired as SyncTimerFired
from fednode.ids import Hash, Height, MemberId
from tests.sim.ledger import SimLedger, ToyLedger

if TYPE_CHECKING:
    from tests.sim.world import World


@dataclass
class Disk:
    """What outlives a crash: the sign-state file and the block store."""

    record: SignRecord | None
    tip: Tip
    blocks: list[tuple[Block, Certificate]] = field(default_factory=list)


class TwinSigner(VoteSigner):
    """A key that runs twice on purpose: it overlooks the other copy's signatures."""

    __slots__ = ()

    def notice(self, height: int, view: int, step: int, signed: bytes | None) -> None:
        pass


class SimNode:
    """`index` names the machine, `member` the identity: twins share the second."""

    def __init__(self, world: World, index: int, member: MemberId, is_twin: bool, skew_ms: int, disk: Disk) -> None:
        self.world = world
        self.index = index
        self.member = member
        self.is_twin = is_twin
        self.skew_ms = skew_ms
        self.disk = disk
        self.is_up = False
        self.life = 0
        """Counts restarts: timers of an earlier life are void."""
        self.effects_until_crash: int | None = None
        self.timers: dict[object, int] = {}
        self.pool: list[bytes] = []

    @property
    def height(self) -> int:
        """Height of the stored chain."""
        return len(self.disk.blocks)

    def now_ms(self) -> int:
        """This machine's clock."""
        return self.world.now_ms + self.skew_ms

    def start(self) -> None:
        """Begin a life from what is on the disk."""
        world, disk = self.world, self.disk
        self.ledger = self.load_ledger()
        signer_class = TwinSigner if self.is_twin else VoteSigner
        signer = signer_class(disk.tip.chain_id, self.member, world.signers[self.member], disk.record)
        certificate = disk.blocks[-1][1] if disk.blocks else None
        self.replica = Replica(disk.tip, certificate, self.ledger, signer, check=world.check)
        self.catch_up = sync.CatchUp(disk.tip, check=world.check)
        self.is_up = True
        self.life += 1
        self.timers.clear()
        for item in self.pool:
            self.ledger.add(item)
        self._perform_sync(self.catch_up.handle(sync.SyncStarted()))
        self.feed(Started(self.now_ms()))

    def load_ledger(self) -> SimLedger:
        """Return the ledger as the disk remembers it."""
        ledger = ToyLedger(self.disk.tip.members, self.world.everybody)
        for block, _ in self.disk.blocks:
            ledger.state_root = Hash(block.header.state_root)
            ledger.committed.update(block.transactions)
        return ledger

    def store(self, decided: ask.Decide) -> None:
        """Make a block durable, with what belongs to it."""
        self.disk.blocks.append((decided.block, decided.certificate))
        self.disk.tip = decided.tip

    def crash(self) -> None:
        """Lose everything but the disk."""
        self.is_up = False
        self.effects_until_crash = None
        self.world.on_crash(self)

    # --- inputs -----------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Give the replica an event and perform what it asks for, unless the machine dies in between."""
        if not self.is_up:
            return
        for effect in self.replica.handle(event):
            if self.effects_until_crash is not None:
                self.effects_until_crash -= 1
                if self.effects_until_crash < 0:
                    self.crash()
                    return
            self._perform(effect)

    def receive(self, sender: MemberId, message: ConsensusMessage | sync.SyncMessage) -> None:
        """Take a message whose signatures have been checked."""
        if isinstance(message, sync.BlockRangeRequest | sync.BlockRangeResponse | Status):
            self.feed_sync(sync.SyncReceived(sender, message))
        else:
            self.feed(Received(Verified(message, sender), self.now_ms()))

    def feed_sync(self, event: sync.SyncEvent) -> None:
        """Give catch-up an event."""
        if self.is_up:
            self._perform_sync(self.catch_up.handle(event))

    def submit(self, transaction: bytes) -> None:
        """A transaction reaches this machine, and stays in its pool across restarts as clients send again."""
        self.pool.append(transaction)
        if self.is_up and self.ledger.add(transaction):
            self.feed(WorkArrived(self.now_ms()))

    def greet(self, peer: MemberId) -> None:
        """A connection to `peer` stands."""
        self.feed_sync(sync.PeerConnected(peer))
        self.feed(PeerUp(peer, self.now_ms()))

    def find_gone(self, members: frozenset[MemberId]) -> None:
        """Dials have shown who cannot be reached; or lines flap, and it only seems so."""
        self.feed(PeersGone(members, self.now_ms()))

    def on_timer(self, life: int, key: ViewTimer | sync.SyncTimer, token: int) -> None:
        """A timer ran out; it counts unless it was replaced or the machine restarted."""
        if not self.is_up or life != self.life or self.timers.get(key) != token:
            return
        if isinstance(key, sync.SyncTimer):
            self.feed_sync(SyncTimerFired(key))
        else:
            self.feed(TimerFired(key.kind, key.height, key.view, self.now_ms()))

    # --- effects ----------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Persist():
                self.disk.record = effect.record
            case Broadcast():
                self.world.checker.on_sent(self.member, effect.message)
                self.world.send_all(self, effect.message)
            case Send():
                self.world.checker.on_sent(self.member, effect.message)
                self.world.send(self, effect.peer, effect.message)
            case StartTimer():
                self._start_timer(effect)
            case ask.Decide():
                self.store(effect)
                self.pool = [item for item in self.pool if self.ledger.is_new(item)]
                if not self.is_twin:
                    self.world.checker.on_decided(effect.block, effect.certificate)
                self.feed_sync(sync.TipMoved(effect.tip))
            case ask.Behind():
                self.feed_sync(sync.PeerAhead(effect.peer, effect.height))
            case DropPeer():
                self.world.checker.on_reported(effect.peer, effect.reason)
            case ask.FoundEvidence():
                self.world.evidence_found += 1
            case ask.StoppedSigning():
                self.world.on_stopped_signing(self, effect.reason)

    def _perform_sync(self, effects: list[sync.SyncEffect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self.world.send(self, effect.peer, effect.message)
                case sync.ServeRange():
                    blocks = self.disk.blocks[effect.first - 1 : effect.last]
                    self.world.send(self, effect.peer, sync.make_response(blocks))
                case StartTimer():
                    self._start_timer(effect)
                case sync.Adopt():
                    self.world.after(0, self._adopt, self.life, effect)
                case DropPeer():
                    self.world.checker.on_reported(effect.peer, effect.reason)

    def _adopt(self, life: int, effect: sync.Adopt) -> None:
        if life == self.life:
            self.feed(BlockSynced(effect.block, effect.certificate, self.now_ms()))

    def _start_timer(self, timer: StartTimer[ViewTimer | sync.SyncTimer]) -> None:
        key = timer.key
        token = self.timers[key] = self.timers.get(key, 0) + 1
        self.world.after(timer.delay_ms, self.on_timer, self.life, key, token)


def fresh_disk(tip: Tip, record: SignRecord | None) -> Disk:
    """Return the disk of a machine that was just installed."""
    assert tip.height == Height(0)
    return Disk(record, tip)
