"""Who is here and votes, whose key runs on two machines, whose clock is wrong: from what members say of themselves.

Security assumption: presences are signed (`presence.py`); at most f members lie. Nothing here decides about blocks. The
one thing that follows is a pause: a process that is shown a newer presence of its own key, by another process, signs
nothing while that one lives. Nobody without the key can make such a presence, and each one made counts once.

Two processes are told from a restart by their order: a restart ends the first before the second begins, so neither the
sender's clock nor the order of arrival can show the first after the second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from statistics import median_low

from fednode.chain.block import Tip
from fednode.chain.consensus.effects import Decide
from fednode.chain.consensus.replica import Replica
from fednode.chain.vote import MemberSet
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.presence import Presence, Statement, encode_presence, make_presence, verify_presence
from fednode.crypto import Signer
from fednode.effects import Asked, StartTimer
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.ledger.application import LedgerApplication

BEAT_MS = 5_000
ANNOUNCE_BEATS = 2
"""Every other beat is gossiped as well: it reaches those to whom there is no connection."""
FRESH_MS = 4 * BEAT_MS
"""Who was not heard for so long is not counted as present."""
TWIN_MS = 6 * BEAT_MS
"""How long after its last word a second process with the same key is taken to run."""
COPY_CLOCK_MS = 600_000
"""How far the clock of a second process with our key may be from ours for its word to count. So what it said is no use
to anybody who keeps it for later."""
MISSED_BLOCKS = 20
"""So many blocks in a row without a vote are no accident: one that is late for a block is in the next one's proof."""
MAX_CHECKS = 16
"""Presences of one sender whose signature is checked within a beat: an honest one sends two, and a few of our copy."""
MAX_LIVES = 4
"""Processes remembered per member: the newest."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is on the chain."""

    chain_id: bytes
    member: MemberId
    signer: Signer = field(repr=False)
    incarnation: bytes
    """16 random bytes of this process: tells it from another one with the same key."""


@dataclass(slots=True)
class _Life:
    """One process of a member, as heard here. Times in ms: `began`, `said` by its clock, `first`, `heard` by ours."""

    presence: Presence
    began_ms: int
    first_ms: int
    heard_ms: int

    @property
    def said(self) -> Statement:
        return self.presence.said

    def is_beside(self, other: _Life) -> bool:
        """Whether this one spoke after the other had begun, by the senders' clocks and by the order of arrival."""
        return self.said.time_ms >= other.began_ms and self.heard_ms > other.first_ms


@dataclass(frozen=True, slots=True)
class Clocks:
    """How this machine's clock stands to the others': `offset_ms` > 0 if it is ahead of their median.

    `agreeing` of `others` have a clock near this median. `astray`: members whose clock is far from the median of all.
    """

    offset_ms: int
    agreeing: int
    others: int
    astray: tuple[tuple[MemberId, int], ...]


class Attendance:
    """What this node knows of its members' processes. Pure: times come in, presences go out."""

    def __init__(self, identity: Identity) -> None:
        self.me = identity.member
        self._chain_id = identity.chain_id
        self._signer = identity.signer
        self._incarnation = identity.incarnation
        self._lives: dict[MemberId, dict[bytes, _Life]] = {}
        self._began_ms: int | None = None
        self._twin_until_ms = 0
        self._copies: dict[bytes, Statement] = {}
        """The last word of each other process with our key, as long as it could be repeated."""
        self._tip_at_ms = 0
        self._behind_since_ms: int | None = None
        self._working_since_ms: int | None = None
        self._beats = self._said = 0
        self._missed: dict[MemberId, int] = {}
        """Blocks in a row without a signature of a member that says that it votes."""
        self._checked: dict[MemberId, tuple[int, int]] = {}
        """Of each sender: the beat of this node's clock it is in, and how many of its presences were checked in it."""

    def start(self, now_ms: int) -> None:
        """The process begins."""
        self._began_ms = self._tip_at_ms = now_ms

    # --- own word -----------------------------------------------------------------------------------------------

    def speak(self, tip: Tip, is_signing: bool, now_ms: int) -> Presence | None:
        """Return what to say now; None if this node is no member with this key."""
        if tip.members.keys.get(self.me) != self._signer.public_key:
            return None
        self._said += 1
        said = Statement(
            self._chain_id, self.me, self._incarnation, self._said, now_ms, tip.height, tip.block_hash,
            is_signing and not self.is_twin(now_ms),
        )
        return make_presence(said, self._signer)

    def is_announcing(self) -> bool:
        """Count a beat; return whether it is one to gossip."""
        self._beats += 1
        return self._beats % ANNOUNCE_BEATS == 1

    # --- others -------------------------------------------------------------------------------------------------

    def hear(self, sender: MemberId, presence: Presence, tip: Tip, now_ms: int) -> list[Presence]:
        """Take a presence that `sender` delivered; return what to pass on to that member: proof that it runs twice.

        Raises `Rejected` if no honest member delivers it: a member speaks for itself, or brings back to us what
        somebody with our own key says.
        """
        member = MemberId(presence.said.member)
        key = tip.members.keys.get(member)
        if member not in (sender, self.me):
            raise Rejected("presence of somebody else")
        is_own = presence.said.incarnation == self._incarnation and member == self.me
        if key is None or is_own or not self._may_check(sender, now_ms):
            return []  # it left or is no member yet; or it is our own word; or it speaks far too often
        try:
            verify_presence(presence, self._chain_id, key)
        except Rejected:
            if presence.said.chain_id != self._chain_id:
                raise
            return []  # signed just before its key was replaced, or before this node knows that it was
        if member == self.me:
            self._hear_own(presence.said, now_ms)
            return []
        return self._note(member, presence, now_ms)

    def _may_check(self, sender: MemberId, now_ms: int) -> bool:
        """Count a check of a signature; whether the sender has not used up what it may cost."""
        beat, count = self._checked.get(sender, (0, 0))
        count = count + 1 if beat == now_ms // BEAT_MS else 1
        self._checked[sender] = (now_ms // BEAT_MS, count)
        return count <= MAX_CHECKS

    def _hear_own(self, said: Statement, now_ms: int) -> None:
        """Somebody has our key. Our own earlier process spoke before this one began, unless its clock was ahead.

        Any member can keep such words and bring them again: each counts once, in their order, and only while it is new.
        """
        self._copies = {
            name: word for name, word in self._copies.items() if abs(word.time_ms - now_ms) <= COPY_CLOCK_MS
        }
        known = self._copies.get(said.incarnation)
        if abs(said.time_ms - now_ms) > COPY_CLOCK_MS or (known is not None and said.beat <= known.beat):
            return
        self._copies[said.incarnation] = said
        if self._began_ms is not None and said.time_ms > self._began_ms:
            self._twin_until_ms = now_ms + TWIN_MS

    def _note(self, member: MemberId, presence: Presence, now_ms: int) -> list[Presence]:
        lives, said = self._lives.setdefault(member, {}), presence.said
        life = lives.get(said.incarnation)
        if life is None:
            lives[said.incarnation] = _Life(presence, said.time_ms, now_ms, now_ms)
            self._missed.pop(member, None)
            while len(lives) > MAX_LIVES:
                del lives[min(lives, key=lambda name: lives[name].heard_ms)]
        elif said.beat > life.said.beat:
            life.presence, life.heard_ms = presence, now_ms
        return [life.presence for life in self._twins(member, now_ms)]

    def _twins(self, member: MemberId, now_ms: int) -> list[_Life]:
        """Return the processes of a member that run side by side."""
        lives = [life for life in self._lives.get(member, {}).values() if now_ms - life.heard_ms <= TWIN_MS]
        return [
            life for life in lives
            if any(other is not life and life.is_beside(other) and other.is_beside(life) for other in lives)
        ]

    # --- blocks -------------------------------------------------------------------------------------------------

    def on_block(self, signers: Collection[MemberId] | None, now_ms: int) -> None:
        """A block became the tip; these signed it, or the one before. None: it is an old one."""
        self._tip_at_ms = now_ms
        self._working_since_ms = None
        if signers is not None:
            absent = self._claiming(now_ms).difference(signers)
            self._missed = {member: self._missed.get(member, 0) + 1 for member in absent}

    def beat(self, tip: Tip, has_work: bool, now_ms: int) -> None:
        """Look around: whether the others are ahead of this node, whether anything waits for a block; since when."""
        self._working_since_ms = (self._working_since_ms or now_ms) if has_work else None
        if self.height_of_others(tip, now_ms) <= tip.height:
            self._behind_since_ms = None
        elif self._behind_since_ms is None:
            self._behind_since_ms = now_ms

    # --- what is known ------------------------------------------------------------------------------------------

    def _present(self, now_ms: int) -> dict[MemberId, Statement]:
        """What each member that is here says of itself; of several processes the one heard last."""
        found: dict[MemberId, Statement] = {}
        for member, lives in self._lives.items():
            fresh = [life for life in lives.values() if now_ms - life.heard_ms <= FRESH_MS]
            if fresh:
                found[member] = max(fresh, key=lambda life: life.heard_ms).said
        return found

    def voting(self, now_ms: int) -> frozenset[MemberId]:
        """Other members that are here and vote: they say so, and blocks that came meanwhile do not show otherwise."""
        return self._claiming(now_ms).difference(self.unheard(now_ms))

    def _claiming(self, now_ms: int) -> frozenset[MemberId]:
        return frozenset(member for member, said in self._present(now_ms).items() if said.is_signing)

    def unheard(self, now_ms: int) -> frozenset[MemberId]:
        """Other members that say that they vote, and have signed none of the last blocks."""
        return frozenset(
            member for member in self._claiming(now_ms) if self._missed.get(member, 0) >= MISSED_BLOCKS
        )

    def heard(self, now_ms: int) -> frozenset[MemberId]:
        """Other members that are here, voting or not."""
        return frozenset(self._present(now_ms))

    def is_twin(self, now_ms: int) -> bool:
        """Whether another process uses our key."""
        return now_ms <= self._twin_until_ms

    def twins(self, now_ms: int) -> tuple[MemberId, ...]:
        """Other members whose key is used by two processes."""
        return tuple(member for member in sorted(self._lives) if self._twins(member, now_ms))

    def height_of_others(self, tip: Tip, now_ms: int) -> int:
        """The highest end of the chain that at least f + 1 of the others claim: one of them does not lie."""
        claims = sorted((said.height for said in self._present(now_ms).values()), reverse=True)
        needed = tip.members.fault_bound
        return claims[needed] if len(claims) > needed else 0

    def behind_ms(self, now_ms: int) -> int:
        """For how long the others have been ahead while no block came."""
        since = self._behind_since_ms
        return 0 if since is None else max(0, now_ms - max(since, self._tip_at_ms))

    def stalled_ms(self, now_ms: int) -> int:
        """For how long transactions have waited while no block came."""
        return 0 if self._working_since_ms is None else max(0, now_ms - self._working_since_ms)

    def clocks(self, now_ms: int, tolerance_ms: int) -> Clocks | None:
        """Compare clocks as they were when each member was last heard; None if nobody was."""
        offsets: dict[MemberId, int] = {}
        for member, lives in self._lives.items():
            fresh = [life for life in lives.values() if now_ms - life.heard_ms <= FRESH_MS]
            if fresh:
                newest = max(fresh, key=lambda life: life.heard_ms)
                offsets[member] = newest.said.time_ms - newest.heard_ms
        if not offsets:
            return None
        middle = median_low(offsets.values())
        overall = median_low([*offsets.values(), 0])
        astray = tuple(
            (member, offset - overall) for member, offset in sorted(offsets.items())
            if abs(offset - overall) > tolerance_ms
        )
        agreeing = _near(offsets.values(), middle, tolerance_ms)
        return Clocks(-middle, agreeing, len(offsets), astray)


def _near(values: Iterable[int], middle: int, tolerance_ms: int) -> int:
    return sum(abs(value - middle) <= tolerance_ms for value in values)


# --- the roll call: presences sent and taken, on every connection, every few seconds, and what follows ------------


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
        return [Asked(do.Own.CORE, StartTimer(do.CoreTimer.PRESENCE, BEAT_MS))]

    def beat(self, up: Iterable[MemberId], now_ms: int) -> list[do.Effect]:
        """Say that this process lives; look whether blocks come."""
        self.attendance.beat(self._replica.tip, self._chain.pool.has_work(), now_ms)
        self._hold(now_ms)
        presence = self._speak(now_ms)
        again = Asked(do.Own.CORE, StartTimer(do.CoreTimer.PRESENCE, BEAT_MS))
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
    return do.SendFrame(to, traffic.PRESENCE.frame(presence), everywhere=True)
