"""Troubles that somebody else caused: candidates that are switched off, a wrong clock, a genesis of the future.

    candidates   two hospitals are invited, follow, report, and are gone before the members approve of them
    late         one hospital is started only when the others have waited for a while
    clock        one machine's clock is off by minutes
    genesis      whoever made the genesis had a clock that was hours ahead
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fednode.chain.consensus.recovery import initial_record
from fednode.chain.state import State
from fednode.crypto import Ed25519Signer, Secret
from fednode.desk.health import health_problems
from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import MemberApprove, MemberPropose
from fednode.ledger.members.reading import get_members, get_membership
from tests.sim.checker import Violation
from tests.sim.whole.disk import Disk
from tests.sim.whole.trouble import Trouble
from tests.support.cards import make_card
from tests.support.seeds import seed_of

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.world import World

CANDIDATES = ("fifth", "sixth")
BLOCKS_AFTER = 5
AHEAD_MS = 7_200_000
OFF_MS = 600_000


class DeadCandidates(Trouble):
    """No approval alone can stop the chain: approved of or not, who is gone never counts."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.begins = world.random.randrange(1, 12)
        self.cards = [make_card(name) for name in CANDIDATES]
        self.nodes = [self._put_up(name, MemberId(5 + at)) for at, name in enumerate(CANDIDATES)]
        self.are_dead = False
        self.approved_at: int | None = None

    def _put_up(self, name: str, slot: MemberId) -> WholeNode:
        signer = Ed25519Signer(Secret(seed_of(name, "sign")))
        disk = Disk(self.world.genesis, initial_record(self.world.genesis.chain_id, signer.public_key))
        return self.world.add_node(slot, slot, disk, signer, Secret(seed_of(name, "coin")))

    def look(self) -> None:
        state = self.latest()
        if state is None or len(self.world.checker.blocks) < self.begins:
            return
        proposals = get_membership(state).proposals
        reported = [open_ for open_ in proposals if open_.report is not None]
        if not self.are_dead:
            for node in self.nodes[: len(proposals)]:
                if not node.is_up:
                    self.world.start_soon(node)
            if len(reported) == len(CANDIDATES):
                self.are_dead = True
                for node in self.nodes:
                    node.stop()
        for node, seen in self.voters():
            for body in self._wishes(node.member, seen):
                node.submit(body)
        if self.approved_at is None and reported and all(open_.approved is not None for open_ in proposals):
            self.approved_at = len(self.world.checker.blocks)

    def _wishes(self, me: MemberId, state: State) -> list[Body]:
        proposals = get_membership(state).proposals
        if len(proposals) < len(CANDIDATES) and not self.are_dead:
            return [MemberPropose(self.cards[len(proposals)])] if me == 1 + len(proposals) else []
        return [MemberApprove(open_.number) for open_ in proposals if self.are_dead and me not in open_.approvals]

    def is_over(self) -> bool:
        state = self.latest()
        if state is None or self.approved_at is None:
            return False
        if len(get_members(state)) != len(self.world.founders):
            raise Violation("a candidate that was gone became a member")
        return len(self.world.checker.blocks) >= self.approved_at + BLOCKS_AFTER or self.world.is_healed

    def may_start(self, node: WholeNode) -> bool:
        return not self.are_dead or node not in self.nodes

    def is_gone(self, node: WholeNode) -> bool:
        return node in self.nodes


class LateHospital(Trouble):
    """It is waited for while its people ask for that, and left out by votes where they do not: the checker counts."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        sound = [node for node in world.nodes.values() if node is not world.unsound]
        self.late = world.random.choice(sound)
        self.comes_ms = world.now_ms + world.random.randrange(2_000, 30_000)
        self.is_patient = world.random.randrange(2) == 0

    def may_start(self, node: WholeNode) -> bool:
        return node is not self.late or self.world.now_ms >= self.comes_ms

    def may_begin_without(self, member: MemberId) -> bool:
        return not self.is_patient or member != self.late.member

    def look(self) -> None:
        if self.late.life == 0 and self.may_start(self.late):
            self.world.start_soon(self.late)

    def on_heal(self) -> None:
        self.comes_ms = min(self.comes_ms, self.world.now_ms)

    def is_over(self) -> bool:
        return self.late.life > 0


class WrongClock(Trouble):
    """The machine is named, by itself and by the others, and nobody else is."""

    needs_sound_disks = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.odd = world.unsound
        self.odd.skew_ms += world.random.choice((-1, 1)) * OFF_MS
        world.checker.untrusted.add(self.odd.member)
        self.told: set[MemberId] = set()

    def look(self) -> None:
        for node in self.world.founders:
            if node.is_up:
                self._read(node, [text for text in problems_of(node) if "clock" in text])

    def _read(self, node: WholeNode, texts: list[str]) -> None:
        """One of the others may name this machine's clock or nobody's while it hears of the odd one alone."""
        others = node.core.attendance.heard(node.now_ms())
        for text in texts:
            words = "this machine's clock" if node is self.odd else f"the clock of H{self.odd.member} "
            if text.startswith(words):
                self.told.add(node.slot)
            elif len(others) >= len(self.world.founders) - 1:
                raise Violation(f"machine {node.slot} blames the wrong clock: {text}")

    def is_over(self) -> bool:
        return len(self.told) == len(self.world.founders)


class WrongGenesis(Trouble):
    """The genesis is named as the cause, and nobody's clock."""

    genesis_ahead_ms = AHEAD_MS

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.told: set[MemberId] = set()

    def look(self) -> None:
        for node in self.world.founders:
            for text in problems_of(node) if node.is_up else []:
                if "clock of" in text or "machine's clock" in text:
                    raise Violation(f"machine {node.slot} blames a clock that is right: {text}")
                if text.startswith("the genesis was made with a clock that was ahead"):
                    self.told.add(node.slot)

    def is_over(self) -> bool:
        return len(self.told) == len(self.world.founders)


def problems_of(node: WholeNode) -> list[str]:
    """Return what this machine's status says is wrong with the chain."""
    return health_problems(node.core, lambda member: f"H{member}", node.now_ms())
