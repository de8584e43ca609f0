"""The world around whole nodes: virtual time, breaking connections, faults from the seed, and a study to finish."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from fednode.ids import MemberId
from fednode.ledger.bodies import StudyAction, StudyVote
from fednode.ledger.consensus.signing import initial_record
from fednode.ledger.genesis import Genesis
from fednode.ledger.records import StudyStatus
from fednode.ledger.state import get_studies, get_study
from fednode.node import wire
from tests.sim.checker import Violation
from tests.sim.whole.checker import WholeChecker
from tests.sim.whole.disk import CHAIN, MODELS, RECORDS, SIGN_STATE, Disk, Snapshot
from tests.sim.whole.node import WholeNode
from tests.sim.whole.parts import GENESIS_MS, keys_of, repeatable, tiny_genesis, tiny_study

FAULT_HEIGHTS = 42
"""Faults strike at heights up to this: an undisturbed run takes about 45 blocks."""

FAULTS_END_MS = 90_000
HEAL_AFTER_MS = 9_000
LIVENESS_BOUND_MS = 400_000
LOOK_MS = 2_000
LIES = (
    frozenset({SIGN_STATE}), frozenset({CHAIN}), frozenset({RECORDS}), frozenset({SIGN_STATE, CHAIN, RECORDS, MODELS})
)


@dataclass(frozen=True)
class Plan:
    """One run. `disk` is what is wrong with one member's disk: sound, torn, lying or rolled back.

    `crash_at`, if set: member 1 dies right before its effect of this number, whatever the seed draws.
    """

    seed: int
    members: int = 4
    faults: int = 4
    disk: str = "sound"
    crash_at: int = 0
    sum_rule: int = 2


DISKS = ("sound", "torn", "sound", "lying", "sound", "rollback")


def draw_plan(seed: int, members: int = 4, faults: int = 4, disk: str | None = None) -> Plan:
    """Return the plan of a seed: half of them have one member with a bad disk, unless `disk` says what it is."""
    return Plan(seed, members, faults, disk or DISKS[seed % len(DISKS)])


class World:
    """One run; `run` raises `Violation` if a promise is broken. The run is a function of the plan alone."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.key = f"{plan.seed}/{plan.members}/{plan.faults}/{plan.disk}"
        """What everything random comes from."""
        self.random = random.Random(self.key)
        self.now_ms = GENESIS_MS
        self.genesis: Genesis = tiny_genesis(plan.members, plan.sum_rule)
        self.spec = tiny_study(plan.sum_rule)
        self.checker = WholeChecker(self)
        self.nodes: dict[MemberId, WholeNode] = {}
        for member, (signer, _) in keys_of(plan.members).items():
            disk = Disk(self.genesis, initial_record(self.genesis.chain_id, signer.public_key))
            self.nodes[member] = WholeNode(self, member, self.random.randrange(-500, 500), disk)
        self.studies = tuple(study.study for study in self.genesis.studies)
        self.unsound = self.nodes[MemberId(self.random.randrange(1, plan.members + 1))]
        self._snapshot: Snapshot | None = None
        self.loss = self.repeat = 0.0
        self.slow_ms = 10
        self.sides: dict[MemberId, int] | None = None
        self.links: set[frozenset[MemberId]] = set()
        self.events = self.effects = 0
        self.is_healed = self._is_healing = False
        self._pending: list[tuple[int, Callable[[], None]]] = []
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0

    # --- time ---------------------------------------------------------------------------------------------------

    def after(self, delay_ms: int, call: Callable[[], None]) -> None:
        """Call later; calls of one moment happen in the order they were asked for."""
        self._serial += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._serial, call))

    def run(self) -> World:
        """Faults while the study runs, then health: the study must then finish everywhere."""
        try:
            with repeatable(self.key):
                self._run()
        finally:
            for node in self.nodes.values():
                node.disk.close()
        return self

    def _run(self) -> None:
        for node in self.nodes.values():
            self.after(self.random.randrange(50), self._starter(node))
        self.after(60, self._connect)
        self._pending = [(self.random.randrange(FAULT_HEIGHTS), self._fault) for _ in range(self.plan.faults)]
        if self.plan.disk in ("lying", "rollback"):
            height = self.random.randrange(2, FAULT_HEIGHTS)
            self._pending.append((height - self.random.randrange(1, 3), self._take_snapshot))
            self._pending.append((height, lambda: self._crash(self.unsound)))
        self._pending.sort(key=lambda item: item[0])
        self.after(FAULTS_END_MS, self._heal)
        self.on_height(0)
        self.after(LOOK_MS, self._look)
        while not self._is_finished():
            if self.now_ms > GENESIS_MS + FAULTS_END_MS + LIVENESS_BOUND_MS or not self._queue:
                raise Violation(f"the study does not finish: {self.describe()}")
            at_ms, _, call = heapq.heappop(self._queue)
            self.now_ms = at_ms
            self.events += 1
            call()

    def on_height(self, height: int) -> None:
        """A height was decided for the first time: faults that wait for it strike soon; after the last comes health."""
        while self._pending and self._pending[0][0] <= height:
            self.after(self.random.randrange(1, 60), self._pending.pop(0)[1])
        if not self._pending and not self._is_healing:
            self._is_healing = True
            is_calm = not self.plan.faults and self.plan.disk == "sound"
            self.after(1 if is_calm else HEAL_AFTER_MS, self._heal)

    def describe(self) -> list[str]:
        """Say where every node stands, for a failed run."""
        lines = []
        for node in self.nodes.values():
            record = get_study(node.core.chain.state, self.studies[0])
            status = StudyStatus(record.status).name if record is not None else "-"
            lines.append(
                f"member {node.member} up={node.is_up} height={node.disk.height} {status} refusal={node.refusal} "
                f"{node.problems[-1:]}"
            )
        return lines

    def _is_finished(self) -> bool:
        """Whether every node that can still follow has the whole study and its last model."""
        if not self.is_healed:
            return False
        for node in self.nodes.values():
            if not node.is_up and node.refusal is not None:
                continue
            if not node.is_up:
                return False
            record = get_study(node.core.chain.state, self.studies[0])
            if record is None or record.status != StudyStatus.FINISHED or not node.has_model(record.model_hash):
                return False
        return True

    def _look(self) -> None:
        """People look at their screens: a paused study goes on once everything is mended."""
        self.after(LOOK_MS, self._look)
        for node in self.nodes.values():
            if not node.is_up or not self.is_healed:
                continue
            for study in get_studies(node.core.chain.state):
                record = get_study(node.core.chain.state, study)
                if record is not None and record.status == StudyStatus.PAUSED:
                    node.submit(StudyVote(study, StudyAction.RESUME))

    # --- network ------------------------------------------------------------------------------------------------

    def is_connected(self, one: MemberId, other: MemberId) -> bool:
        """Whether two nodes hold a connection."""
        return frozenset((one, other)) in self.links

    def send(self, sender: WholeNode, to: MemberId, data: bytes) -> None:
        """Send a frame, if there is a connection."""
        if data[0] == wire.Kind.CONSENSUS:
            frame = wire.decode_frame(data)
            assert isinstance(frame, wire.ConsensusFrame)
            self.checker.on_sent(sender.member, frame.message)
        self._carry(sender, to, lambda node: node.frame(sender.member, data))

    def send_blob(self, sender: WholeNode, to: MemberId, header: bytes, data: bytes) -> None:
        """Send a chunk or model."""
        self._carry(sender, to, lambda node: node.blob(sender.member, header, data))

    def announce(self, sender: WholeNode, data: bytes) -> None:
        """Gossip."""
        for member in self.nodes:
            if member != sender.member:
                self._carry(sender, member, lambda node: node.announcement(sender.member, data))

    def _carry(self, sender: WholeNode, to: MemberId, deliver: Callable[[WholeNode], None]) -> None:
        draw = self.random.random
        if not self.is_connected(sender.member, to) or draw() < self.loss:
            return
        node = self.nodes[to]
        lives = (sender.life, node.life)

        def arrive() -> None:
            if node.is_up and node.life == lives[1] and self.is_connected(sender.member, to):
                deliver(node)

        self.after(1 + int(draw() * self.slow_ms), arrive)
        if self.repeat and draw() < self.repeat:
            self.after(1 + int(draw() * 10 * self.slow_ms), arrive)

    def _may_connect(self, one: WholeNode, other: WholeNode) -> bool:
        return one.is_up and other.is_up and (
            self.sides is None or self.sides[one.member] == self.sides[other.member]
        )

    def _connect(self) -> None:
        """Make and break connections as nodes and network are now; both ends hear of it."""
        members = list(self.nodes.values())
        for position, one in enumerate(members):
            for other in members[position + 1 :]:
                pair = frozenset((one.member, other.member))
                if self._may_connect(one, other) == (pair in self.links):
                    continue
                if pair in self.links:
                    self.links.discard(pair)
                    one.peer_down(other.member)
                    other.peer_down(one.member)
                else:
                    self.links.add(pair)
                    one.peer_up(other.member)
                    other.peer_up(one.member)

    # --- faults -------------------------------------------------------------------------------------------------

    def _starter(self, node: WholeNode) -> Callable[[], None]:
        def start() -> None:
            if not node.is_up:
                node.start()
                self.after(self.random.randrange(5, 200), self._connect)

        return start

    def _fault(self) -> None:
        kinds = (self._crash_one, self._crash_one, self._crash_one, self._split, self._storm, self._crash_all)
        self.random.choice(kinds)()

    def _crash_one(self) -> None:
        """Kill a node between two effects of its near future."""
        self._crash(self.unsound if self.plan.disk == "torn" else self.random.choice(list(self.nodes.values())))

    def _crash(self, node: WholeNode) -> None:
        if node.is_up and node.effects_until_crash is None:
            node.effects_until_crash = self.random.randrange(30)

    def _crash_all(self) -> None:
        for node in self.nodes.values():
            self._crash(node)

    def may_tear(self, node: WholeNode) -> bool:
        """Whether a power cut leaves this node's sign-state half written."""
        return self.plan.disk == "torn" and node is self.unsound

    def _take_snapshot(self) -> None:
        self._snapshot = self.unsound.disk.snapshot()

    def on_crash(self, node: WholeNode) -> None:
        """A node died: a bad disk shows what it is, and the node restarts after a while."""
        for pair in [pair for pair in self.links if node.member in pair]:
            self.links.discard(pair)
            (other,) = pair - {node.member}
            self.nodes[other].peer_down(node.member)
        if node is self.unsound and self._snapshot is not None and node.member not in self.checker.untrusted:
            if self.plan.disk == "rollback":
                self.checker.untrusted.add(node.member)
                node.disk.roll_back(self._snapshot)
            elif self.plan.disk == "lying" and node.disk.lose(
                self.random.randrange(1, 8), self.random.choice(LIES)
            ):
                self.checker.untrusted.add(node.member)
                if self.random.random() < 0.5:  # back at once, and out of reach of some who know what it signed
                    self._split()
                    self.after(self.random.randrange(1, 50), self._starter(node))
                    return
        self.after(self.random.randrange(10, 5_000), self._starter(node))

    def _split(self) -> None:
        """Cut the network in two for a while."""
        self.sides = {member: self.random.randrange(2) for member in self.nodes}
        self._connect()
        self.after(self.random.randrange(500, 8_000), self._join)

    def _join(self) -> None:
        self.sides = None
        self._connect()

    def _storm(self) -> None:
        """Lose, repeat and delay messages for a while."""
        self.loss, self.repeat = self.random.choice(((0.3, 0.0), (0.05, 0.5), (0.1, 0.1), (0.0, 0.2)))
        self.slow_ms = self.random.choice((10, 100, 800))
        self.after(self.random.randrange(500, 6_000), self._calm)

    def _calm(self) -> None:
        self.loss = self.repeat = 0.0
        self.slow_ms = 10

    def _heal(self) -> None:
        """End all faults: everybody up, everybody connected."""
        if self.is_healed:
            return
        self._calm()
        self.sides = None
        for node in self.nodes.values():
            node.effects_until_crash = None
            self._starter(node)()
        self.after(300, self._connect)
        self.is_healed = True
