"""What else can happen to a federation while a study runs: members come and go, rules change, a key runs twice, a
worker fails. A seed has one of these at most, on top of crashes, bad disks and bad networks.

    members   a fifth hospital is invited, follows, is approved and trains; an old one is removed; an address changes
    version   a new protocol version is voted in, and one hospital has not installed it
    twin      a copy of one machine runs beside it, with the same keys
    worker    one hospital's training process fails or hangs, again and again
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fednode.chain.consensus.recovery import initial_record
from fednode.chain.state import State
from fednode.crypto import Ed25519Signer, Secret
from fednode.ids import MemberId, StudyId
from fednode.learn import jobs as work
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import MemberAddresses, MemberApprove, MemberPropose, MemberRemove, VersionVote
from fednode.ledger.members.reading import get_members, get_membership, get_versions
from fednode.ledger.members.records import Change
from fednode.ledger.members.version_rules import NOTICE_BLOCKS
from fednode.ledger.versions import VERSIONS, Versions
from tests.sim.checker import Violation
from tests.sim.whole.disk import Disk
from tests.support.cards import make_card
from tests.support.seeds import seed_of

if TYPE_CHECKING:
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.world import World

NEW_RULES: Versions = {**VERSIONS, 2: replace(VERSIONS[1], summary="simulated", proposal_lapse_blocks=500)}
NEW_MEMBER = MemberId(5)
NEW_ADDRESS = "/ip4/10.9.9.9/tcp/7700"
TWIN_SLOTS = 100
HANG_MS = 20_000


class Trouble:
    """None: what every kind of trouble begins as."""

    needs_sound_disks = False
    """Whether it makes a member faulty already: one is all that four tolerate."""

    genesis_ahead_ms = 0
    """How far the clock of whoever made the genesis was ahead."""

    def __init__(self, world: World) -> None:
        self.world = world

    def may_begin_without(self, member: MemberId) -> bool:
        """Whether people vote that a study begins without a member that is not ready for long."""
        return True

    def on_height(self, height: int) -> None:
        """A height was decided for the first time."""

    def look(self) -> None:
        """People look at their screens, every few seconds."""

    def on_heal(self) -> None:
        """Everything is mended."""

    def is_over(self) -> bool:
        """Whether what was to happen has happened."""
        return True

    def is_gone(self, node: WholeNode) -> bool:
        """Whether nothing is promised to this node."""
        return False

    def may_start(self, node: WholeNode) -> bool:
        """Whether this machine is still there."""
        return True

    def versions_of(self, node: WholeNode) -> Versions:
        """The rules that a node's program knows."""
        return VERSIONS

    def approves(self, node: WholeNode, study: StudyId) -> bool:
        """Whether a hospital approves a study without asking anybody."""
        return True

    def spoil(self, node: WholeNode, answer: work.Answer) -> tuple[work.Answer, int]:
        """Return what the worker really answers, and how much later."""
        return answer, 0

    def voters(self) -> list[tuple[WholeNode, State]]:
        """Members that are up, each with the state it knows."""
        up = [node for node in self.world.nodes.values() if node.is_up]
        return [
            (node, node.core.chain.state) for node in up
            if any(record.member == node.member for record in get_members(node.core.chain.state))
        ]

    def latest(self) -> State | None:
        """The state of the longest chain that is up."""
        up = [node for node in self.world.nodes.values() if node.is_up]
        return max(up, key=lambda node: node.disk.height).core.chain.state if up else None


class MembersChange(Trouble):
    """A fifth hospital joins; then one of the first four is removed and one announces another address."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.card = make_card("fifth")
        self.begins = world.random.randrange(1, 12)
        sound = [node.member for node in world.nodes.values() if node is not world.unsound]
        self.target, self.moving = sound[-1], sound[0]
        signer = Ed25519Signer(Secret(seed_of("fifth", "sign")))
        disk = Disk(world.genesis, initial_record(world.genesis.chain_id, signer.public_key))
        self.node = world.add_node(NEW_MEMBER, NEW_MEMBER, disk, signer, Secret(seed_of("fifth", "coin")))

    def _members(self, state: State) -> list[MemberId]:
        return [record.member for record in get_members(state)]

    def _is_invited(self, state: State) -> bool:
        proposals = get_membership(state).proposals
        return NEW_MEMBER in self._members(state) or any(open_.change == Change.ADD for open_ in proposals)

    def on_height(self, height: int) -> None:
        if height >= self.begins:
            self.world.after(1, self.look)

    def look(self) -> None:
        state = self.latest()
        if state is None or len(self.world.checker.blocks) < self.begins:
            return
        if self._is_invited(state) and not self.node.is_up and self.node.life == 0:
            self.world.start_soon(self.node)
        for node, seen in self.voters():
            for body in self._wishes(node.member, seen):
                node.submit(body)

    def _wishes(self, me: MemberId, state: State) -> list[Body]:
        wishes: list[Body] = []
        members, proposals = self._members(state), get_membership(state).proposals
        if not self._is_invited(state) and NEW_MEMBER not in members and me == min(members):
            wishes.append(MemberPropose(self.card))
        if NEW_MEMBER in members and self.target in members:
            if me == max(members) and not any(open_.change == Change.REMOVE for open_ in proposals):
                wishes.append(MemberRemove(self.target, "simulated"))
            mine = next(record for record in get_members(state) if record.member == me)
            if me == self.moving and mine.addresses != (NEW_ADDRESS,):
                wishes.append(MemberAddresses((NEW_ADDRESS,)))
        wishes += [
            MemberApprove(open_.number) for open_ in proposals
            if me not in open_.approvals and (open_.change == Change.REMOVE or open_.report is not None)
        ]
        return wishes

    def is_over(self) -> bool:
        state = self.latest()
        return state is not None and NEW_MEMBER in self._members(state) and self.target not in self._members(state)

    def is_gone(self, node: WholeNode) -> bool:
        return node.member == self.target


class VersionChange(Trouble):
    """Version 2 is voted in; one hospital installs it only when everything else is mended."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        sound = [node for node in world.nodes.values() if node is not world.unsound]
        self.late = world.random.choice(sound)
        self.from_height = 0
        self.begins = world.random.randrange(1, 8)
        self.is_installed = False

    def may_start(self, node: WholeNode) -> bool:
        """Whether this machine is still there."""
        return True

    def versions_of(self, node: WholeNode) -> Versions:
        return VERSIONS if node is self.late and not self.is_installed else NEW_RULES

    def on_height(self, height: int) -> None:
        if height >= self.begins:
            self.world.after(1, self.look)

    def look(self) -> None:
        height, state = len(self.world.checker.blocks), self.latest()
        if height < self.begins or state is None or self._is_decided(state):
            return
        if height + NOTICE_BLOCKS + 1 > self.from_height:
            self.from_height = height + NOTICE_BLOCKS + 4
        body = VersionVote(2, self.from_height, "the next")
        for node, seen in self.voters():
            votes = get_versions(seen).open
            if not any(vote.plan.from_height == self.from_height and node.member in vote.voters for vote in votes):
                node.submit(body)

    def _is_decided(self, state: State) -> bool:
        record = get_versions(state)
        return record.plan is not None or record.current == 2

    def on_heal(self) -> None:
        self.is_installed = True

    def is_over(self) -> bool:
        state = self.latest()
        if state is None or get_versions(state).current != 2:
            return False
        first = get_versions(state).spans[-1].from_height
        headers = [block.header for block in self.world.checker.blocks]
        if wrong := [header.height for header in headers if header.version != 1 + (header.height >= first)]:
            raise Violation(f"version 2 is in force from block {first} on, blocks {wrong} have another")
        if self.late.halted_at not in (None, first - 1):
            raise Violation(f"without version 2 a hospital stopped at block {self.late.halted_at}, not before {first}")
        return len(self.world.checker.blocks) > first


class Twin(Trouble):
    """A copy of one machine is started beside it: what a restored backup is when nobody notices."""

    needs_sound_disks = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.begins = world.random.randrange(2, 20)
        self.member = world.unsound.member
        self.copy: WholeNode | None = None
        self.told: set[MemberId] = set()
        self.told_others = False

    def on_height(self, height: int) -> None:
        if height < self.begins or self.copy is not None:
            return
        world, original = self.world, self.world.unsound
        world.checker.untrusted.add(self.member)
        disk = Disk(world.genesis, initial_record(world.genesis.chain_id, original.signer.public_key))
        disk.roll_back(original.disk.snapshot())
        slot = MemberId(TWIN_SLOTS + self.member)
        self.copy = world.add_node(slot, self.member, disk, original.signer, original.coin_secret)
        world.start_soon(self.copy)

    def look(self) -> None:
        for node in self.world.nodes.values():
            if node.is_up and node.member == self.member and node.core.attendance.is_twin(node.now_ms()):
                self.told.add(node.slot)
            elif node.is_up and self.member in node.core.attendance.twins(node.now_ms()):
                self.told_others = True

    def is_over(self) -> bool:
        """Both machines are told, and so are others."""
        return self.copy is not None and len(self.told) == 2 and self.told_others

    def is_gone(self, node: WholeNode) -> bool:
        return node.member == self.member


class BadWorker(Trouble):
    """One hospital's worker runs out of memory or hangs until it is killed, until it is mended."""

    is_mended = False

    def spoil(self, node: WholeNode, answer: work.Answer) -> tuple[work.Answer, int]:
        if node is not self.world.unsound or self.is_mended:
            return answer, 0
        match self.world.random.randrange(3):
            case 0:
                return work.Failed("memory", "simulated: the worker ran out of memory"), 0
            case 1:
                return work.Failed("memory", "simulated: the worker hung and was killed"), HANG_MS
            case _:
                return answer, 0

    def on_heal(self) -> None:
        self.is_mended = True

