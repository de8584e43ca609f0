"""More members than f lose what they signed, or are gone for good: people are told, and found a successor.

A seed draws how many of the machines lose their sign-state or everything but the keys, whether one of them never comes
back, whether a hospital stays out, and whether a disk is rolled back to before its owner signed. People do what the
operating manual says, each in their own time, some of it twice; power fails in between. Then the study goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fednode.crypto import Secret
from fednode.desk.health import signing_members
from fednode.errors import GenesisError, Refused
from fednode.home.keystore import Keys, PublicKeys
from fednode.home.succession import sign_consent
from fednode.ids import MemberId
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import Genesis, make_successor
from fednode.ledger.succession import Consent, check_against, make_origin
from tests.sim.checker import Violation
from tests.sim.whole.trouble import Trouble
from tests.sim.whole.wrong import problems_of
from tests.support.seeds import Stream, seed_of

if TYPE_CHECKING:
    from tests.sim.whole.disk import Snapshot
    from tests.sim.whole.node import WholeNode
    from tests.sim.whole.world import World

FEWEST = 3
"""Members of a successor, so that the study can go on."""


class LostSignStates(Trouble):
    """Strikes once; then the federation goes on as another chain."""

    needs_sound_disks = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        draw, machines = world.random, list(world.nodes.values())
        count = len(machines)
        self.begins = draw.randrange(1, 30)
        self.losers = draw.sample(machines, draw.randrange((count - 1) // 3 + 1, count + 1))
        self.loses_all = draw.random() < 0.5
        self.gone = self.losers[0] if draw.random() < 0.25 and count > FEWEST else None
        others = [node for node in machines if node is not self.gone]
        self.out = draw.choice(others) if len(others) > FEWEST and draw.random() < 0.3 else None
        self.rolled = world.unsound if self.gone is None and self.out is None and draw.random() < 0.4 else None
        self.going = [node for node in machines if node not in (self.gone, self.out)]
        self.has_struck = self.is_told = self.has_rolled = False
        self.consents: dict[MemberId, Consent] = {}
        self.successor: Genesis | None = None
        self.second: Genesis | None = None
        """Another file from the same signatures, by mistake."""
        self.joined: set[MemberId] = set()
        self._copy: Snapshot | None = None

    # --- what happens -------------------------------------------------------------------------------------------

    def on_height(self, height: int) -> None:
        if height >= self.begins and not self.has_struck:
            self.has_struck = True
            self.world.after(self.world.random.randrange(1, 200), self._strike)

    def _strike(self) -> None:
        if self.rolled is not None:
            self._copy = self.rolled.disk.snapshot()
        for node in self.losers:
            node.stop()
            self.world.checker.may_stop.add(node.member)
            node.disk.lose_everything() if self.loses_all else node.disk.lose_sign_state()
            self.world.start_soon(node)
        self.world.checker.may_stop |= {node.member for node in self.going}

    def may_start(self, node: WholeNode) -> bool:
        return not (self.has_struck and node is self.gone)

    # --- what people do -----------------------------------------------------------------------------------------

    def look(self) -> None:
        if not self.has_struck:
            return
        if not self.is_told:
            self.is_told = any(self._is_told(node) for node in self.going if node.is_up)
            return
        for node in self.going:
            if self.world.random.random() < 0.6:
                self._act(node)
        if self.successor is None and len(self.consents) == len(self.going):
            self._assemble(self.world.random.choice(self.going))
        if len(self.joined) == len(self.going) and not self.world.checker.blocks:
            self.world.random.choice(self.going).submit(Memo("the chain goes on"))
        if self.rolled is not None and not self.has_rolled and self._lives():
            self._roll_back(self.rolled)

    def _is_told(self, node: WholeNode) -> bool:
        core = node.core
        texts = problems_of(node)
        is_short = len(signing_members(core, node.now_ms())) < core.replica.tip.members.quorum
        if is_short != any("are needed: no block is made" in text for text in texts):
            raise Violation(f"machine {node.slot} does not tell who signs: {texts}")
        return is_short and core.attendance.heard(node.now_ms()) >= frozenset(core.up)

    def _act(self, node: WholeNode) -> None:
        draw = self.world.random
        if node.member not in self.consents or (node.slot not in self.joined and draw.random() < 0.2):
            self._sign(node)
        elif self.successor is not None and node.slot not in self.joined:
            self._join(node, self.successor)
        elif self.second is not None and node.slot in self.joined and not (self.has_rolled and node is self.rolled):
            self._try_second(node, self.second)

    def _stopped(self, node: WholeNode) -> None:
        if node.is_up:
            node.stop()
        self.world.start_soon(node)

    def _sign(self, node: WholeNode) -> None:
        """Sign; sometimes the power fails before the file is handed on."""
        self._stopped(node)
        disk = node.disk
        keys, card = self._keys(node), next(c for n, c in disk.genesis.numbered if n == node.member)
        entropy = Stream(self.world.key, "consent", node.slot, self.world.now_ms)
        consent = sign_consent(disk.home, keys, disk.genesis, disk, card, entropy)
        self.world.checker.on_consent(node, consent)
        if self.world.random.random() < 0.7:
            self.consents[node.member] = consent

    def _assemble(self, node: WholeNode) -> None:
        """Put the file together once all that go on have the same block: the manual says so."""
        if len({other.disk.tip.block_hash for other in self.going}) > 1:
            return
        disk, consents = node.disk, list(self.consents.values())
        certificate = disk.get_certificate(disk.height)
        now_ms = node.now_ms()
        origin = make_origin(consents, disk.tip, certificate, disk.load_state(), disk.get_members)
        self.successor = make_successor("whole", origin, now_ms)
        if self.world.random.random() < 0.3:
            fewer = make_origin(consents[:2], disk.tip, certificate, disk.load_state(), disk.get_members)
            self.second = make_successor("whole", fewer, now_ms)

    def _join(self, node: WholeNode, successor: Genesis) -> None:
        """Check the file against the old chain and go on with it. Whoever has a block more when others have gone on
        already goes on without it."""
        disk = node.disk
        try:
            check_against(successor.origin, disk.tip, disk.load_state(), disk.get_members)
        except GenesisError as error:
            if "assembled again" not in str(error):
                return
            if not self.joined:
                self.successor = self.second = None
                return
        self._stopped(node)
        disk.join(successor, self._keys(node))
        self.world.checker.on_joined(node, successor)
        self.joined.add(node.slot)

    def _try_second(self, node: WholeNode, second: Genesis) -> None:
        try:
            node.disk.join(second, self._keys(node))
        except Refused:
            return
        self.world.checker.on_joined(node, second)

    def _lives(self) -> bool:
        return len(self.joined) == len(self.going) and len(self.world.checker.blocks) > 2

    def _roll_back(self, node: WholeNode) -> None:
        """Its whole disk is that of the moment before everything went wrong: it knows of no succession."""
        assert self._copy is not None
        self.has_rolled = True
        self.world.checker.untrusted.add(node.member)
        self._stopped(node)
        node.disk.roll_back(self._copy)

    def _keys(self, node: WholeNode) -> Keys:
        card = next(card for number, card in self.world.genesis.numbered if number == node.member)
        secret = Secret(seed_of(card.name, "network"))
        public = PublicKeys(card.sign_key, card.network_key)
        return Keys(public, node.signer, secret, secret)

    # --- what is promised ---------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        has_ended = len(self.joined) == len(self.going) and bool(self.world.checker.blocks)
        return has_ended and (self.rolled is None or self.has_rolled)

    def is_gone(self, node: WholeNode) -> bool:
        return node in (self.gone, self.out) or (self.has_rolled and node is self.rolled)
