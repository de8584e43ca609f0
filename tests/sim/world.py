"""The world around the nodes: virtual time, a network that loses, repeats and delays, faults drawn from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import assert_never

from fednode.chain import sync
from fednode.chain.block import genesis_tip
from fednode.chain.consensus import messages as m
from fednode.chain.consensus.recovery import initial_record
from fednode.chain.vote import PRECOMMIT, PREVOTE, PROPOSAL, MemberSet, Vote
from fednode.errors import Rejected
from fednode.ids import MemberId
from tests.sim.adversary import Adversary
from tests.sim.checker import Checker, Violation
from tests.sim.faults import Crash, CrashAll, Deafen, Doubt, Fault, Lines, Split, Storm, Timed, draw_fault
from tests.sim.keys import CHAIN_ID, GENESIS_MS, make_members
from tests.sim.ledger import JOINING, found_with
from tests.sim.node import Disk, SimNode, fresh_disk
from tests.support.clock import VirtualClock

FAULT_WINDOW_MS = 15_000
HEIGHTS_AFTER_HEALING = 10
LIVENESS_BOUND_MS = 120_000
SUBMIT_EVERY_MS = 40
LONGEST_REST_MS = 4_000
"""How long a machine that died stays down at most."""
FOUND_GONE_MS = 800
"""How long after a line is cut those at its ends know that two dials have failed."""
WAVER_MS = 500
JOIN_AT = 3
"""Which transaction makes an observer a member."""

Message = m.ConsensusMessage | sync.SyncMessage


@dataclass(frozen=True)
class Plan:
    """What one run looks like. Everything not named here is drawn from the seed."""

    seed: int
    members: int = 4
    faults: int = 3
    has_twin: bool = False
    is_real: bool = False
    """Ed25519 signatures, and every message through the codec."""
    has_adversary: bool = False
    """Member 1 attacks."""
    joins: bool = False
    """The last member is an observer at first and becomes a validator by a transaction."""
    script: tuple[Timed, ...] | None = None
    """The faults to strike; None: as many as `faults` says, drawn from the seed."""


def draw_plan(seed: int, members: int = 4, faults: int = 3) -> Plan:
    """Return the plan of a seed.

    One in three has a twin and one an adversary (if f > 0), one in eight a member that joins, one in fifty real
    signatures and bytes.
    """
    return Plan(
        seed, members, faults, has_twin=members >= 4 and seed % 3 == 0, is_real=seed % 50 == 7,
        has_adversary=members >= 4 and seed % 3 == 1, joins=seed % 8 == 2,
    )


class Weather:
    """How the network behaves at the moment."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.repeat = 0.0
        self.slow_ms = 20
        self.sides: dict[int, int] | None = None
        self.deaf: frozenset[tuple[int, int, int]] = frozenset()
        """(sender, receiver, kind of vote) that does not get through."""
        self.doubt = 0.0

    def connects(self, one: int, other: int) -> bool:
        return self.sides is None or self.sides[one] == self.sides[other]


class World(VirtualClock):
    """One run. `run` raises `Violation` if a promise is broken; the run is a function of the plan alone."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(f"{plan.seed}/{plan.members}/{plan.faults}/{plan.has_twin}")
        super().__init__(GENESIS_MS)
        self.everybody, self.signers, self.check = make_members(plan.members + plan.joins, plan.is_real)
        self.members = found_with(self.everybody, plan.joins)
        identities = [(member, False) for member in self.everybody.ids]
        if plan.has_adversary:
            identities[0] = (MemberId(1), True)
        if plan.has_twin:
            identities = [(member, member == 1) for member in self.everybody.ids] + [(MemberId(1), True)]
        honest = frozenset(member for member, is_twin in identities if not is_twin)
        self.checker = self.make_checker(honest)
        tip = genesis_tip(CHAIN_ID, self.members, GENESIS_MS)
        self.nodes = [
            self.make_node(
                Adversary if plan.has_adversary and is_twin else SimNode, index, member, is_twin,
                self.random.randrange(-1000, 1000),
                fresh_disk(tip, initial_record(CHAIN_ID, self.signers[member].public_key)),
            )
            for index, (member, is_twin) in enumerate(identities)
        ]
        self.weather = Weather()
        self.evidence_found = 0
        self.events = 0
        self.faults: tuple[Timed, ...] = ()
        self._is_healed = False
        self._submitted = 0
        self._has_clients = True
        self.sent = 0
        """Messages that were sent from one machine to another."""

    def make_checker(self, honest: frozenset[MemberId]) -> Checker:
        """Return who watches this run."""
        return Checker(self.members, self.check, honest, self.everybody)

    def make_node(
        self, kind: type[SimNode], index: int, member: MemberId, is_twin: bool, skew_ms: int, disk: Disk
    ) -> SimNode:
        """Return one machine."""
        return kind(self, index, member, is_twin, skew_ms, disk)

    def make_transaction(self, number: int) -> bytes:
        """Return what the clients submit as their `number`th transaction, from 1."""
        return b"join %d" % JOINING if self.plan.joins and number == JOIN_AT else b"tx %d" % number

    # --- time -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Faults first, then health: every honest node must then decide ten heights within the bound."""
        self.begin()
        drawn = tuple(
            Timed(self.random.randrange(100, FAULT_WINDOW_MS), draw_fault(self.random, len(self.nodes)))
            for _ in range(self.plan.faults)
        )
        self.faults = drawn if self.plan.script is None else self.plan.script
        for timed in self.faults:
            self.after(timed.at_ms, self._strike, timed.fault)
        self.after(FAULT_WINDOW_MS + 6_000, self._heal)
        while not self._is_healed:
            self.step()
        honest = [node for node in self.nodes if not node.is_twin]
        goal = max(node.height for node in honest) + HEIGHTS_AFTER_HEALING
        deadline_ms = self.now_ms + LIVENESS_BOUND_MS
        while min(node.height for node in honest) < goal:
            if self.now_ms > deadline_ms or not self.has_calls:
                raise Violation(f"no {HEIGHTS_AFTER_HEALING} heights in time: {[node.height for node in self.nodes]}")
            self.step()

    def begin(self, skip: SimNode | None = None) -> None:
        """Start everybody but one, and the clients."""
        for node in self.nodes:
            if node is not skip:
                self.after(self.random.randrange(50), node.start)
        self.after(60, self._connect_all)
        self._submit()

    def run_to(self, height: int) -> None:
        """Run until every machine that is up has this height."""
        while not any(node.is_up for node in self.nodes) or min(n.height for n in self.nodes if n.is_up) < height:
            self.step()

    def run_for(self, time_ms: int) -> None:
        """Run for some time."""
        self.after(time_ms, lambda: None)
        goal_ms = self.now_ms + time_ms
        while self.now_ms < goal_ms:
            self.step()

    def stop_submitting(self) -> None:
        """Let the clients go home."""
        self._has_clients = False

    def step(self) -> None:
        self.events += 1
        super().step()

    def _submit(self) -> None:
        """Give all nodes a transaction now and then; while faults rage only as much as makes a few heights."""
        if not self._has_clients:
            return
        self._submitted += 1
        transaction = self.make_transaction(self._submitted)
        for node in self.nodes:
            self.after(self.random.randrange(30), node.submit, transaction)
        pause_ms = SUBMIT_EVERY_MS if self._is_healed else self.random.randrange(200, 3_000)
        self.after(pause_ms, self._submit)

    # --- network ----------------------------------------------------------------------------------------------

    def send_all(self, sender: SimNode, message: Message) -> None:
        """To every machine of another member."""
        carried = _Carried(self, message)
        for node in self.nodes:
            if node.member != sender.member:
                self._carry(sender, node, carried)

    def send(self, sender: SimNode, peer: MemberId, message: Message) -> None:
        """To the machine, or machines, of one member."""
        carried = _Carried(self, message)
        for node in self.nodes:
            if node.member == peer:
                self._carry(sender, node, carried)

    def _carry(self, sender: SimNode, node: SimNode, carried: _Carried) -> None:
        self.sent += 1
        weather, draw = self.weather, self.random.random
        if weather.deaf and self._is_muffled(sender, node, carried.message):
            return
        if not weather.connects(sender.index, node.index) or draw() < weather.loss:
            return
        self.after(1 + int(draw() * weather.slow_ms), self._arrive, sender, node, carried)
        if weather.repeat and draw() < weather.repeat:
            self.after(1 + int(draw() * 10 * weather.slow_ms), self._arrive, sender, node, carried)

    def _is_muffled(self, sender: SimNode, node: SimNode, message: Message) -> bool:
        vote = message if isinstance(message, Vote) else message.vote if isinstance(message, m.Proposal) else None
        return vote is not None and (sender.index, node.index, vote.kind) in self.weather.deaf

    def _arrive(self, sender: SimNode, node: SimNode, carried: _Carried) -> None:
        if not node.is_up or not self.weather.connects(sender.index, node.index):
            return
        if carried.is_verified(node.replica.tip.members):
            node.receive(sender.member, carried.message)
        elif not self.plan.joins:  # what was signed before a change may not hold after it, and that is nobody's fault
            self.checker.on_reported(sender.member, carried.reason)

    def _connect_all(self) -> None:
        for node in self.nodes:
            for other in self.nodes:
                if node.member != other.member and self.weather.connects(node.index, other.index) and other.is_up:
                    node.greet(other.member)

    # --- faults -----------------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        match fault:
            case Crash(index, effects):
                self._kill(self.nodes[index], effects)
            case CrashAll(counts):
                for node, effects in zip(self.nodes, counts, strict=True):
                    self._kill(node, effects)
            case Split(sides, for_ms):
                self.weather.sides = dict(enumerate(sides))
                self.after(FOUND_GONE_MS, self.tell_gone)
                self.after(for_ms, self._join)
            case Storm(loss, repeat, slow_ms, for_ms):
                self.weather.loss, self.weather.repeat, self.weather.slow_ms = loss, repeat, slow_ms
                self.after(for_ms, self._calm)
            case Deafen(share, draw, for_ms):
                self.weather.deaf = self._choose_deaf(share, random.Random(draw))
                self.after(for_ms, self._calm)
            case Doubt(share, draw, for_ms):
                self.weather.doubt = share
                self._waver(random.Random(draw))
                self.after(for_ms, self._calm)
            case Lines():
                raise ValueError(f"consensus alone knows no such fault: {fault}")
            case _:
                assert_never(fault)

    def _waver(self, draw: random.Random) -> None:
        """Let machines take others for gone, and other ones a little later."""
        if not self.weather.doubt:
            return
        for node in self.nodes:
            others = sorted({other.member for other in self.nodes} - {node.member})
            node.find_gone(frozenset(member for member in others if draw.random() < self.weather.doubt))
        self.after(WAVER_MS, self._waver, draw)

    def tell_gone(self) -> None:
        """Let every machine know which members it cannot reach, which is the truth."""
        for node in self.nodes:
            reached = {
                other.member for other in self.nodes if other.is_up and self.weather.connects(node.index, other.index)
            }
            node.find_gone(frozenset(other.member for other in self.nodes if other.member not in reached))

    def _kill(self, node: SimNode, effects: int) -> None:
        """Kill a node between two effects of its near future; it comes back later."""
        if node.is_up and node.effects_until_crash is None:
            node.effects_until_crash = effects

    def _choose_deaf(self, share: float, draw: random.Random) -> frozenset[tuple[int, int, int]]:
        """Let some kinds of votes not get from some nodes to some others: each node sees another picture."""
        indices = range(len(self.nodes))
        return frozenset(
            (one, other, kind)
            for one in indices for other in indices for kind in (PROPOSAL, PREVOTE, PRECOMMIT) if draw.random() < share
        )

    def on_crash(self, node: SimNode) -> None:
        """A node died: it restarts after a while, and the others may have found out before."""
        self.after(FOUND_GONE_MS, self.tell_gone)
        self.after(self.random.randrange(10, LONGEST_REST_MS), self.restart, node)

    def restart(self, node: SimNode) -> None:
        """Start a machine that is down, and connect it."""
        if node.is_up:
            return
        node.start()
        for other in self.nodes:
            if other.member != node.member and other.is_up and self.weather.connects(node.index, other.index):
                node.greet(other.member)
                other.greet(node.member)
        self.tell_gone()

    def _join(self) -> None:
        self.weather.sides = None
        self._connect_all()
        self.tell_gone()

    def _calm(self) -> None:
        self.weather.loss = self.weather.repeat = 0.0
        self.weather.deaf = frozenset()
        self.weather.slow_ms = 20
        if self.weather.doubt:
            self.weather.doubt = 0.0
            self.tell_gone()

    def _heal(self) -> None:
        """End all faults: everybody up, everybody connected."""
        self._calm()
        self.weather.sides = None
        for node in self.nodes:
            node.effects_until_crash = None
            if not node.is_up:
                node.start()
        self._connect_all()
        self.tell_gone()
        self._is_healed = True

    def on_stopped_signing(self, node: SimNode, reason: str) -> None:
        """No honest node ever has a reason to, whatever crashes."""
        raise Violation(f"member {node.member} stopped signing: {reason}")


class _Carried:
    """A message under way to several nodes: checked once per member set, on first arrival."""

    __slots__ = ("_checked", "_verdict", "_world", "message", "reason")

    def __init__(self, world: World, message: Message) -> None:
        self._world = world
        self._verdict: bool | None = None
        self._checked: MemberSet | None = None
        self.message = message
        self.reason = ""

    def is_verified(self, members: MemberSet) -> bool:
        if self._verdict is None or self._checked is not members:
            self._verdict, self._checked = self._verify(members), members
        return self._verdict

    def _verify(self, members: MemberSet) -> bool:
        message, world = self.message, self._world
        if isinstance(message, m.Status | sync.BlockRangeRequest | sync.BlockRangeResponse):
            return True
        try:
            if world.plan.is_real:
                message = self.message = m.decode_message(m.encode_message(message))
            m.verify_message(message, members, CHAIN_ID, world.check)
        except Rejected as error:
            self.reason = error.reason
            return False
        return True
