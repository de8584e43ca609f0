"""The presences a node sends and takes: on every connection, every few seconds, and what it does about its own copy."""

from __future__ import annotations

from collections.abc import Iterable

from fednode.chain.consensus.effects import Decide
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import MemberSet
from fednode.core import effects as do
from fednode.core import wire
from fednode.core.attendance import BEAT_MS, FRESH_MS, Attendance, Identity
from fednode.core.presence import Presence, encode_presence
from fednode.ids import MemberId
from fednode.ledger.application import LedgerApplication


class RollCall:
    """Ties `Attendance` to the replica whose end of the chain it tells, and whose signing it holds back."""

    def __init__(self, identity: Identity, chain: LedgerApplication, replica: Replica) -> None:
        self.attendance = Attendance(identity)
        self._chain = chain
        self._replica = replica
        self._signed_by: MemberSet | None = None
        """Who decided the tip, once a block came in this life."""

    def start(self, now_ms: int) -> list[do.Effect]:
        """The node begins; nobody is connected yet."""
        self.attendance.start(now_ms)
        return [do.start_timer(do.CoreTimer.PRESENCE, BEAT_MS)]

    def beat(self, up: Iterable[MemberId], now_ms: int) -> list[do.Effect]:
        """Say that this process lives; look whether blocks come."""
        self.attendance.beat(self._replica.tip, self._chain.pool.has_work(), now_ms)
        self._hold(now_ms)
        presence = self._speak(now_ms)
        again = do.start_timer(do.CoreTimer.PRESENCE, BEAT_MS)
        if presence is None:
            return [again]
        gossip: list[do.Effect] = (
            [do.Announce(encode_presence(presence))] if self.attendance.is_announcing() else []
        )
        return [*gossip, *(_send(member, presence) for member in sorted(up)), again]

    def greet(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """A member can be reached: tell it who is here."""
        presence = self._speak(now_ms)
        return [] if presence is None else [_send(member, presence)]

    def hear(self, sender: MemberId, presence: Presence, now_ms: int) -> list[do.Effect]:
        """Take a presence; bring a member that runs twice the proof of it. Raises `Rejected` as `Attendance.hear`."""
        proofs = self.attendance.hear(sender, presence, self._replica.tip, now_ms)
        self._hold(now_ms)
        return [_send(sender, proof) for proof in proofs]

    def on_block(self, decided: Decide, now_ms: int) -> None:
        """A block became the tip: whose signatures it and its proof show, late ones for the block before included."""
        found = set(decided.certificate.signers(decided.tip.signed_by))
        parent, before = decided.block.parent_certificate, self._signed_by
        if parent is not None and before is not None:
            found.update(parent.signers(before))
        self._signed_by = decided.tip.signed_by
        is_new = now_ms - decided.tip.time_ms <= FRESH_MS  # one that is fetched tells nothing about who is here now
        self.attendance.on_block(found if is_new else None, now_ms)

    def _speak(self, now_ms: int) -> Presence | None:
        return self.attendance.speak(self._replica.tip, self._replica.refusal is None, now_ms)

    def _hold(self, now_ms: int) -> None:
        """While another machine signs with this key, this one does not."""
        self._replica.hold(self.attendance.is_twin(now_ms))


def _send(to: MemberId, presence: Presence) -> do.Effect:
    return do.SendFrame(to, wire.PRESENCE.frame(presence), everywhere=True)
