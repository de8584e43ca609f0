"""COIN, SHARE, PROOF and the openings, restated for the model ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fednode.crypto import sha256
from fednode.ids import Hash, MemberId
from fednode.sums import bodies, norm, shares
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.coin import SKETCH_LABEL, draw_coin, draw_query_seed, is_link
from fednode.sums.measures import count_words
from fednode.sums.norm import Statement
from fednode.sums.phase import Phase
from tests.smpc.sim.model_disputes import DisputePhases, sizes

if TYPE_CHECKING:
    pass


@dataclass
class Checked:
    """What an attempt has on the ledger between its freeze and its result."""

    freeze: Hash | None = None
    links: dict[MemberId, bytes] = field(default_factory=dict)
    coin: bytes | None = None
    roots: dict[MemberId, bodies.ShareRoot] = field(default_factory=dict)
    query_seed: bytes | None = None
    parts: dict[MemberId, dict[int, bodies.Proof]] = field(default_factory=dict)
    openings: dict[MemberId, bytes] = field(default_factory=dict)
    openers: set[int] = field(default_factory=set)
    opened: bytes | None = None
    found: dict[MemberId, bodies.Recheck] = field(default_factory=dict)
    carried: dict[int, set[int]] = field(default_factory=dict)
    disputes: list[tuple[int, int]] = field(default_factory=list)
    boxes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    confirm_seed: bytes | None = None
    told: dict[int, bytes] = field(default_factory=dict)
    true: dict[int, shares.Decoded] = field(default_factory=dict)
    off: list[tuple[int, int]] = field(default_factory=list)
    shown: dict[tuple[int, int], bytes] = field(default_factory=dict)


class CheckPhases(DisputePhases):
    """Mixed into the model ledger."""

    expected: list[MemberId]
    heads: dict[MemberId, bytes]
    coins: int
    blocks: int

    def _open(self, phase: Phase, expected: Iterable[MemberId], step: int = 0) -> None: ...
    def _void(self, reason: str) -> None: ...
    def _fail(self, reason: str) -> None: ...

    def _context(self) -> SumContext:
        return SumContext(self.params.chain_id, self.params.study, self.params.round, self.a.number)

    def _statement(self, dealer: MemberId) -> Statement:
        return self.params.statement(self.a.committed[dealer].weight)

    def _open_coin(self) -> None:
        self.coins += 1
        self.a.checked.freeze = sha256(b"block", self.blocks.to_bytes(4, "big"), repr(sorted(self.a.digests)).encode())
        self._open(Phase.COIN, [i for i in self.a.present if i not in self.absent])

    def _Coin(self, sender: MemberId, message: bodies.Coin) -> str | None:
        if sender not in self.a.present:
            return "not present"
        if not is_link(self.heads[sender], 0, message.preimage, self.coins):
            return "link"
        self.a.checked.links[sender] = message.preimage
        return None

    def _end_COIN(self) -> None:
        checked = self.a.checked
        if len(checked.links) < self.f + 1:
            return self._void("too few links")
        assert checked.freeze is not None
        checked.coin = draw_coin(self._context(), SKETCH_LABEL, checked.freeze, checked.links)
        return self._open(Phase.SHARE, [i for i in self.a.included if i not in self.absent])

    def _ShareRoot(self, sender: MemberId, message: bodies.ShareRoot) -> str | None:
        if sender not in self.a.included:
            return "not included"
        if len(message.sketch) != 1024 or len(message.bits_root) != 32 or len(message.proof_root) != 32:
            return "size"
        self.a.checked.roots[sender] = message
        return None

    def _end_SHARE(self) -> None:
        checked = self.a.checked
        silent = set(self.a.included) - set(checked.roots)
        if silent:
            self.absent |= silent
            return self._void("no shares from a member of the sum")
        assert checked.coin is not None and checked.freeze is not None
        posted = {i: (r.sketch, r.bits_root, r.proof_root) for i, r in checked.roots.items()}
        checked.query_seed = draw_query_seed(self._context(), checked.coin, checked.freeze, posted)
        return self._open(Phase.PROOF, [i for i in self.a.present if i not in self.absent])

    def _Proof(self, sender: MemberId, message: bodies.Proof) -> str | None:
        if sender not in self.a.present:
            return "not present"
        size, most = sizes(len(self.params.members))
        dealers = len(self.a.included[most * message.part : most * (message.part + 1)])
        parts = self.a.checked.parts.setdefault(sender, {})
        if message.part in parts:
            return "already posted"
        if not dealers or len(message.data) != dealers * size or message.sum_ok not in (0, 1, 2):
            return "size"
        parts[message.part] = message
        if len(parts) < -(-len(self.a.included) // most):
            return "part"  # taken in; the sender has not posted everything yet
        return None

    def _answers(self, place: int) -> dict[int, f.FieldVector]:
        found = {}
        size, most = sizes(len(self.params.members))
        for member, parts in self.a.checked.parts.items():
            if place // most in parts:
                at = place % most * size
                found[int(member)] = np.frombuffer(parts[place // most].data[at : at + size], f.FIELD)
        return found

    def _end_PROOF(self) -> None:
        checked, n = self.a.checked, len(self.params.members)
        bad = []
        for place, dealer in enumerate(self.a.included):
            answers = self._answers(place)
            carried = norm.decide(answers, n)
            checked.carried[int(dealer)] = set(carried or ())
            if carried is None:
                bad.append(dealer)
                if shares.decode(answers, shares.sharing_degree(n), n - self.f, n) is not None:
                    self.faulty.add(dealer)
        if len(bad) < len(self.a.included):
            self.barred |= set(bad)
        if bad:
            return self._void(f"proofs of {bad}")
        verdicts = [parts[min(parts)].sum_ok for parts in checked.parts.values() if parts]
        if verdicts.count(2) > self.f:
            return self._open(Phase.RECHECK, [i for i in self.a.present if i not in self.absent])
        if verdicts.count(1) < self.t:
            return self._void("too few hold the sum against its sketches")
        return self._settle()

    def _Recheck(self, sender: MemberId, message: bodies.Recheck) -> str | None:
        if sender not in self.a.present:
            return "not present"
        if any(self.a.digests.get(chunk, digest) == digest for chunk, digest in message.chunks):
            return "nothing wrong with this chunk"
        for dealer, found in message.sketches:
            if dealer not in self.a.included or found == sha256(self.a.checked.roots[dealer].sketch):
                return "nothing wrong with this sketch"
        if sender in message.withheld or not set(message.withheld) <= {*self.a.included, *self.a.owners}:
            return "nothing to withhold"
        self.a.checked.found[sender] = message
        return None

    def _end_RECHECK(self) -> None:
        named, accused = self._find_spoilers()
        self.faulty |= named
        self.barred |= accused
        self._void(f"spoiled by {sorted(named)}" if named else "the sum is not that of the committed vectors")

    def _find_spoilers(self) -> tuple[set[MemberId], set[MemberId]]:
        """Of each member: who holds what against it. The same lie of f + 1 witnesses names, f + 1 accusers drop."""
        found = self.a.checked.found
        named, dropped = set(), set()
        for member in self.params.members:
            lies = [
                [told for told in message.chunks if self.a.owners[told[0]] == member]
                + [("sketch", told) for told in message.sketches if told[0] == member]
                for message in found.values()
            ]
            accusers = 0
            for message, against in zip(found.values(), lies, strict=True):
                accused = {self.a.owners[c] for c, _ in message.chunks} | {i for i, _ in message.sketches}
                accused |= set(message.withheld)
                accusers += (bool(against) or member in message.withheld) and len(accused) <= self.f
            if any(sum(lie in others for others in lies) > self.f for against in lies for lie in against):
                named.add(member)
            if member in named or accusers > self.f:
                dropped.add(member)
        return named, dropped

    def _take_opening(self, sender: MemberId, opening: bytes | None) -> str | None:
        if opening is None:
            return None
        if len(opening) != (257 + count_words(self.params.plan)) * 8:
            return "opening"
        self.a.checked.openings[sender] = opening
        return None

    def _decode_openings(self) -> bool:
        n, checked = len(self.params.members), self.a.checked
        found = {int(i): np.frombuffer(data, f.FIELD) for i, data in checked.openings.items() if i in checked.openers}
        decoded = shares.decode(found, shares.sharing_degree(n), n - self.f, n)
        if decoded is None:
            return False
        checked.opened = f.to_bytes(decoded.value)
        return True
