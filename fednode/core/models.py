"""Getting a model by its hash: from the local store, else from the members, one after the other."""

from __future__ import annotations

from collections.abc import Collection

from fednode.core import effects as do
from fednode.core import wire
from fednode.effects import DropPeer
from fednode.ids import Hash, MemberId
from fednode.learn.model_file import MAX_FILE_BYTES

RETRY_MS = 2_000
"""How long a member has to begin before the next is asked."""

SLOWEST_BYTES_PER_MS = 2_000
"""16 Mbit/s: a model that comes more slowly is taken from another member as well. Until then one copy is enough."""


class Models:
    """Which models are wanted, and who was asked last."""

    def __init__(self) -> None:
        self._wanted: dict[Hash, MemberId] = {}
        self._coming: dict[Hash, tuple[MemberId, int]] = {}
        self._had_turn: set[tuple[Hash, MemberId]] = set()
        self._arriving: set[Hash] = set()

    def want(self, name: Hash) -> None:
        """Remember that somebody waits for a model."""
        self._wanted.setdefault(name, MemberId(0))

    def settled(self, name: Hash) -> None:
        """The model is here."""
        self._wanted.pop(name, None)
        self._coming.pop(name, None)
        self._had_turn = {turn for turn in self._had_turn if turn[0] != name}
        self._arriving.discard(name)

    def accepts(self, sender: MemberId, name: Hash, size_bytes: int, now_ms: int) -> bool:
        """Whether to read a blob that says it is this model: from one member at a time, however large it is.

        A member keeps the others away once. What it begins again is read, but who only ever begins holds up nobody.
        """
        if not self._is_of_use(name, size_bytes) or self._is_coming(name, now_ms, sender):
            return False
        if (name, sender) in self._had_turn:
            return True
        self._had_turn.add((name, sender))
        self._coming[name] = (sender, now_ms + RETRY_MS + size_bytes // SLOWEST_BYTES_PER_MS)
        return True

    def _is_of_use(self, name: Hash, size_bytes: int) -> bool:
        return name in self._wanted and name not in self._arriving and size_bytes <= MAX_FILE_BYTES

    def _is_coming(self, name: Hash, now_ms: int, besides: MemberId | None = None) -> bool:
        sender, deadline_ms = self._coming.get(name, (besides, now_ms))
        return sender != besides and now_ms < deadline_ms

    def fetch(self, name: Hash, members: Collection[MemberId], now_ms: int) -> list[do.Effect]:
        """Ask the next connected member unless it is on its way, and another one after a while."""
        if name not in self._wanted:
            return []
        effects: list[do.Effect] = [do.start_timer(do.ModelTimer(name), RETRY_MS)]
        if self._is_coming(name, now_ms):
            return effects
        last = self._wanted[name]
        peer = min((m for m in members if m > last), default=min(members, default=None))
        if peer is not None:
            self._wanted[name] = peer
            effects.append(do.SendFrame(peer, wire.WANT.frame(wire.WantModel(name))))
        return effects

    def peer_up(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """Ask a member that has just come for whatever is still wanted."""
        wanted = [name for name in self._wanted if not self._is_coming(name, now_ms)]
        return [do.SendFrame(member, wire.WANT.frame(wire.WantModel(name))) for name in wanted]

    def peer_down(self, member: MemberId) -> None:
        """What was on its way from a member is not any more."""
        self._coming = {name: coming for name, coming in self._coming.items() if coming[0] != member}

    def arrived(self, sender: MemberId, name: Hash, data: memoryview) -> list[do.Effect]:
        """Have what a member sent looked at, and kept if it is this model; `settled` or `spoilt` follows."""
        if not self._is_of_use(name, len(data)):
            return []
        self._arriving.add(name)
        return [do.KeepModel(sender, name, data)]

    def spoilt(self, sender: MemberId, name: Hash) -> list[do.Effect]:
        """What came was another thing."""
        self._coming.pop(name, None)
        self._arriving.discard(name)
        return [DropPeer(sender, "a model file that is not what it is called")]
