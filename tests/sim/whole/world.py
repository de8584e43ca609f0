"""The world around whole nodes: virtual time, breaking connections, faults from the seed, and a study to finish."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fednode.chain.consensus.recovery import initial_record
from fednode.chain.state import State
from fednode.core import traffic
from fednode.core.taking_part import missing_members
from fednode.crypto import Ed25519Signer, Secret
from fednode.ids import MemberId
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import StudyAction, StudyBegin, StudyVote
from fednode.ledger.studies.records import StudyRecord, StudyStatus, get_studies, get_study
from tests.sim.checker import Violation
from tests.sim.faults import Crash, CrashAll, Fault, Lines, Split, Storm, Timed, draw_whole_fault
from tests.sim.whole.checker import WholeChecker
from tests.sim.whole.disk import CHAIN, MODELS, RECORDS, SIGN_STATE, Disk, Snapshot
from tests.sim.whole.node import WholeNode
from tests.sim.whole.parts import GENESIS_MS, keys_of, repeatable, tiny_genesis, tiny_study
from tests.sim.whole.troubles import TROUBLES
from tests.support.clock import VirtualClock

FAULT_HEIGHTS = 42
"""Faults strike at heights up to this: an undisturbed run takes about 45 blocks."""

FAULTS_END_MS = 90_000
HEAL_AFTER_MS = 9_000
LIVENESS_BOUND_MS = 400_000
LOOK_MS = 2_000
FOUND_GONE_MS = 800
"""How long after a connection is lost two dials have failed."""
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
    trouble: str = ""
    """What else happens, see trouble.py."""
    script: tuple[Timed, ...] | None = None
    """The faults to strike; None: as many as `faults` says, drawn from the seed."""


DISKS = ("sound", "torn", "sound", "lying", "sound", "rollback")


def draw_plan(
    seed: int, members: int = 4, faults: int = 4, disk: str | None = None, trouble: str | None = None
) -> Plan:
    """Return the plan of a seed: half of them have one member with a bad disk, four of five other trouble.

    `disk` and `trouble` say what it is instead. A machine that runs twice has a sound disk: one faulty member is all
    that four tolerate.
    """
    found = list(TROUBLES)[seed // len(DISKS) % len(TROUBLES)] if trouble is None else trouble
    chosen = disk or DISKS[seed % len(DISKS)]
    return Plan(seed, members, faults, "sound" if TROUBLES[found].needs_sound_disks else chosen, trouble=found)


class World(VirtualClock):
    """One run; `run` raises `Violation` if a promise is broken. The run is a function of the plan alone."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.key = f"{plan.seed}/{plan.members}/{plan.faults}/{plan.disk}"
        """What everything random comes from."""
        self.random = random.Random(self.key)
        super().__init__(GENESIS_MS)
        self.genesis: Genesis = tiny_genesis(plan.members)
        self.spec = tiny_study()
        self.checker = WholeChecker(self)
        self.nodes: dict[MemberId, WholeNode] = {}
        for member, (signer, coin_secret) in keys_of(plan.members).items():
            disk = Disk(self.genesis, initial_record(self.genesis.chain_id, signer.public_key))
            self.add_node(member, member, disk, signer, coin_secret)
        self.founders = list(self.nodes.values())
        self.studies = tuple(study.study for study in self.genesis.studies)
        self.unsound = self.nodes[MemberId(self.random.randrange(1, plan.members + 1))]
        self._snapshot: Snapshot | None = None
        self.loss = self.repeat = 0.0
        self.slow_ms = 10
        self.sides: dict[MemberId, int] | None = None
        self.links: set[frozenset[MemberId]] = set()
        self.cut: frozenset[frozenset[MemberId]] = frozenset()
        """Lines that carry nothing."""
        self._apart: dict[tuple[MemberId, MemberId], int] = {}
        """Since when a machine has had no connection to a member."""
        self.events = self.effects = 0
        self.is_healed = self._is_healing = False
        self._pending: list[tuple[int, Callable[[], None]]] = []
        self.faults: tuple[Timed, ...] = ()
        self.trouble = TROUBLES[plan.trouble](self)
        self.now_ms -= self.trouble.genesis_ahead_ms
        self._began_ms = self.now_ms

    def add_node(
        self, slot: MemberId, member: MemberId, disk: Disk, signer: Ed25519Signer, coin_secret: Secret[bytes]
    ) -> WholeNode:
        """Put up another machine; it has to be started."""
        skew_ms = self.random.randrange(-500, 500)
        self.nodes[slot] = WholeNode(self, slot, member, skew_ms, disk, signer, coin_secret)
        return self.nodes[slot]

    # --- time ---------------------------------------------------------------------------------------------------

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
        for node in self.founders:
            self.after(self.random.randrange(50), self._starter(node))
        self.after(60, self._connect)
        drawn = tuple(
            Timed(self.random.randrange(1, 60), draw_whole_fault(self.random, len(self.founders)), height)
            for height in [self.random.randrange(FAULT_HEIGHTS) for _ in range(self.plan.faults)]
        )
        self.faults = drawn if self.plan.script is None else self.plan.script
        self._pending = [(timed.height or 0, self._striker(timed)) for timed in self.faults]
        if self.plan.disk in ("lying", "rollback"):
            height = self.random.randrange(2, FAULT_HEIGHTS)
            self._pending.append((height - self.random.randrange(1, 3), self._take_snapshot))
            self._pending.append((height, lambda: self._crash(self.unsound, self.random.randrange(30))))
        self._pending.sort(key=lambda item: item[0])
        self.after(FAULTS_END_MS, self._heal)
        self.on_height(0)
        self.after(LOOK_MS, self._look)
        while not self._is_finished():
            if self.now_ms > self._began_ms + FAULTS_END_MS + LIVENESS_BOUND_MS or not self.has_calls:
                raise Violation(f"the study does not finish: {self.describe()}")
            self.events += 1
            self.step()

    def on_height(self, height: int) -> None:
        """A height was decided for the first time: faults that wait for it strike soon; after the last comes health."""
        self.trouble.on_height(height)
        while self._pending and self._pending[0][0] <= height:
            self._pending.pop(0)[1]()
        if not self._pending and not self._is_healing and self.trouble.is_over():
            self._is_healing = True
            is_calm = not self.plan.faults and self.plan.disk == "sound"
            self.after(1 if is_calm else HEAL_AFTER_MS, self._heal)

    def describe(self) -> list[str]:
        """Say where every node stands, for a failed run."""
        lines = []
        for node in self.nodes.values():
            record = get_study(node.core.chain.state, self.studies[0]) if node.life else None
            status = StudyStatus(record.status).name if record is not None else "-"
            lines.append(
                f"machine {node.slot} up={node.is_up} height={node.disk.height} {status} refusal={node.refusal} "
                f"{node.problems[-1:]}"
            )
        return lines

    def _is_finished(self) -> bool:
        """Whether every node that can still follow has the whole study and its last model."""
        if not self.is_healed or not self.trouble.is_over():
            return False
        for node in self.nodes.values():
            if self.trouble.is_gone(node) or (not node.is_up and node.refusal is not None):
                continue
            if not node.is_up:
                return False
            record = get_study(node.core.chain.state, self.studies[0])
            if record is not None and _is_stuck_by_rule(node.core.chain.state, record):
                continue
            if record is None or record.status != StudyStatus.FINISHED or not node.has_model(record.model_hash):
                return False
        return True

    def _look(self) -> None:
        """People look at their screens: a study begins without a hospital that stays away, by their votes; a paused one
        goes on once everything is mended.
        """
        self.after(LOOK_MS, self._look)
        self.trouble.look()
        for node in self.nodes.values():
            if node.is_up:
                self._vote_to_begin(node)
        for node in self.nodes.values():
            if not node.is_up or not self.is_healed:
                continue
            for study in get_studies(node.core.chain.state):
                record = get_study(node.core.chain.state, study)
                if record is not None and record.status == StudyStatus.PAUSED:
                    node.submit(StudyVote(study, StudyAction.RESUME))

    def _vote_to_begin(self, node: WholeNode) -> None:
        """Say that a study begins without those whom its members would be asked about by now."""
        state = node.core.chain.state
        members = [found.member for found in get_members(state)]
        for study in get_studies(state):
            record = get_study(state, study)
            beginning = None if record is None else record.beginning
            if record is None or beginning is None or node.member not in members:
                continue
            if self.now_ms < beginning.since_ms + record.terms.start_after_ms:
                continue
            for missing in missing_members(record, None, members):
                if not self.trouble.may_begin_without(MemberId(missing)):
                    continue
                if node.member not in beginning.voters(missing) and missing in record.hospitals:
                    node.submit(StudyBegin(study, MemberId(missing)))

    # --- network ------------------------------------------------------------------------------------------------

    def is_connected(self, one: WholeNode, other: WholeNode) -> bool:
        """Whether two machines hold a connection."""
        return frozenset((one.slot, other.slot)) in self.links

    def machines_of(self, member: MemberId) -> list[WholeNode]:
        """Return the machine of a member, or both where it runs twice."""
        return [node for node in self.nodes.values() if node.member == member]

    def send(self, sender: WholeNode, to: MemberId, data: bytes) -> None:
        """Send a frame, if there is a connection."""
        if data[0] == traffic.CONSENSUS.code:
            self.checker.on_sent(sender, traffic.decode_frame(data).message)
        for node in self.machines_of(to):
            self._carry(sender, node, lambda node: node.frame(sender.member, data))

    def send_blob(self, sender: WholeNode, to: MemberId, header: bytes, data: bytes) -> None:
        """Send a chunk or model."""
        for node in self.machines_of(to):
            self._carry(sender, node, lambda node: node.blob(sender.member, header, data))

    def announce(self, sender: WholeNode, data: bytes) -> None:
        """Gossip."""
        for node in list(self.nodes.values()):
            if node.member != sender.member:
                self._carry(sender, node, lambda node: node.announcement(sender.member, data))

    def _carry(self, sender: WholeNode, node: WholeNode, deliver: Callable[[WholeNode], None]) -> None:
        draw = self.random.random
        if not self.is_connected(sender, node) or draw() < self.loss:
            return
        life = node.life

        def arrive() -> None:
            if node.is_up and node.life == life and self.is_connected(sender, node):
                deliver(node)

        self.after(1 + int(draw() * self.slow_ms), arrive)
        if self.repeat and draw() < self.repeat:
            self.after(1 + int(draw() * 10 * self.slow_ms), arrive)

    def _may_connect(self, one: WholeNode, other: WholeNode) -> bool:
        """Whether two machines reach each other, and each finds the other on its ledger."""
        return (
            one.is_up and other.is_up and one.member != other.member
            and one.disk.genesis.chain_id == other.disk.genesis.chain_id
            and (self.sides is None or self.sides.get(one.slot, 0) == self.sides.get(other.slot, 0))
            and frozenset((one.slot, other.slot)) not in self.cut
            and one.knows(other) and other.knows(one)
        )

    def _connect(self) -> None:
        """Make and break connections as nodes and network are now; both ends hear of it."""
        machines = list(self.nodes.values())
        for position, one in enumerate(machines):
            for other in machines[position + 1 :]:
                pair = frozenset((one.slot, other.slot))
                if self._may_connect(one, other) == (pair in self.links):
                    continue
                if pair in self.links:
                    self.links.discard(pair)
                    self._tell_down(one, other)
                    self._tell_down(other, one)
                else:
                    self.links.add(pair)
                    for here, there in ((one, other), (other, one)):
                        self._apart.pop((here.slot, there.member), None)
                        self.checker.found_back(here, there.member)
                        here.peer_up(there.member)

    def _tell_down(self, node: WholeNode, gone: WholeNode) -> None:
        """A connection is lost; a member is, if it was the last one to it."""
        if not any(self.is_connected(node, machine) for machine in self.machines_of(gone.member)):
            node.peer_down(gone.member)
            self.dial(node, gone.member)

    def dial(self, node: WholeNode, member: MemberId) -> None:
        """A machine has no connection to a member from now on: two dials fail, unless there is one before."""
        life, since = node.life, self.now_ms
        self._apart[node.slot, member] = since

        def give_up() -> None:
            if node.is_up and node.life == life and self._apart.get((node.slot, member)) == since:
                self.checker.found_gone(node, member)
                node.peer_gone(member)

        self.after(FOUND_GONE_MS, give_up)

    def cut_off(self, node: WholeNode) -> None:
        """A node's life has ended: the others lose their connections to it."""
        for pair in sorted((pair for pair in self.links if node.slot in pair), key=sorted):
            self.links.discard(pair)
            (other,) = pair - {node.slot}
            self._tell_down(self.nodes[other], node)

    def on_members_changed(self, node: WholeNode) -> None:
        """A block changed who may connect, or who this node is: then it begins anew as that, as the daemon does."""
        if node.must_begin_anew():
            node.stop()
            self.start_soon(node)
        self.after(1, self._connect)

    # --- faults -------------------------------------------------------------------------------------------------

    def _starter(self, node: WholeNode) -> Callable[[], None]:
        def start() -> None:
            if not node.is_up and self.trouble.may_start(node):
                node.start()
                for member in sorted({other.member for other in self.nodes.values()} - {node.member}):
                    self.dial(node, member)
                self.after(self.random.randrange(5, 200), self._connect)

        return start

    def start_soon(self, node: WholeNode) -> None:
        """Start a machine in a moment."""
        self.after(self.random.randrange(1, 50), self._starter(node))

    def _striker(self, timed: Timed) -> Callable[[], None]:
        return lambda: self.after(timed.at_ms, lambda: self._strike(timed.fault))

    def _strike(self, fault: Fault) -> None:
        match fault:
            case Crash(index, effects):
                self._crash(self.unsound if self.plan.disk == "torn" else self.founders[index], effects)
            case CrashAll(counts):
                for node, effects in zip(self.founders, counts, strict=True):
                    self._crash(node, effects)
            case Split(sides, for_ms):
                self._split({node.slot: side for node, side in zip(self.founders, sides, strict=True)}, for_ms)
            case Storm():
                self.loss, self.repeat, self.slow_ms = fault.loss, fault.repeat, fault.slow_ms
                self.after(fault.for_ms, self._calm)
            case Lines(index, others, flap_ms, for_ms):
                slots = [node.slot for node in self.founders]
                cut = frozenset(frozenset((slots[index], slots[other])) for other in others)
                self._cut(cut, flap_ms, self.now_ms + for_ms)
            case _:
                raise ValueError(f"whole nodes know no such fault: {fault}")

    def _cut(self, lines: frozenset[frozenset[MemberId]], flap_ms: int, until_ms: int) -> None:
        """Cut lines until a time, or have them come and go until then."""
        is_over = self.now_ms >= until_ms or self.is_healed
        self.cut = frozenset() if is_over or (flap_ms and self.cut) else lines
        self._connect()
        if not is_over:
            self.after(flap_ms or until_ms - self.now_ms, self._cut, lines, flap_ms, until_ms)

    def _crash(self, node: WholeNode, effects: int) -> None:
        """Kill a node between two effects of its near future."""
        if node.is_up and node.effects_until_crash is None:
            node.effects_until_crash = effects

    def may_tear(self, node: WholeNode) -> bool:
        """Whether a power cut leaves this node's sign-state half written."""
        return self.plan.disk == "torn" and node is self.unsound

    def _take_snapshot(self) -> None:
        self._snapshot = self.unsound.disk.snapshot()

    def on_crash(self, node: WholeNode) -> None:
        """A node died: a bad disk shows what it is, and the node restarts after a while."""
        if node is self.unsound and self._snapshot is not None and node.member not in self.checker.untrusted:
            if self.plan.disk == "rollback":
                self.checker.untrusted.add(node.member)
                node.disk.roll_back(self._snapshot)
            elif self.plan.disk == "lying" and node.disk.lose(
                self.random.randrange(1, 8), self.random.choice(LIES)
            ):
                self.checker.untrusted.add(node.member)
                if self.random.random() < 0.5:  # back at once, and out of reach of some who know what it signed
                    sides = {slot: self.random.randrange(2) for slot in self.nodes}
                    self._split(sides, self.random.randrange(500, 8_000))
                    self.start_soon(node)
                    return
        self.after(self.random.randrange(10, 5_000), self._starter(node))

    def _split(self, sides: dict[MemberId, int], for_ms: int) -> None:
        """Cut the network in two for a while."""
        self.sides = sides
        self._connect()
        self.after(for_ms, self._join)

    def _join(self) -> None:
        self.sides = None
        self._connect()

    def _calm(self) -> None:
        self.loss = self.repeat = 0.0
        self.slow_ms = 10

    def _heal(self) -> None:
        """End all faults: everybody up, everybody connected."""
        if self.is_healed:
            return
        self._calm()
        self.sides, self.cut = None, frozenset()
        self.is_healed = True
        self.trouble.on_heal()
        for node in list(self.nodes.values()):
            node.effects_until_crash = None
            if node in self.founders or node.life:
                self._starter(node)()
        self.after(300, self._connect)


def _is_stuck_by_rule(state: State, record: StudyRecord) -> bool:
    """Whether a study waits, or is paused, for a member that was removed for good or stayed out of a successor.

    A sum that was unmasked and then failed may only be repeated over the same members; when one of them is voted out,
    people have to stop the study and begin another.
    """
    members = {member.member for member in get_members(state)}
    is_waiting = record.status in (StudyStatus.PAUSED, StudyStatus.WAITING)
    return is_waiting and record.pin is not None and not set(record.pin) <= members
