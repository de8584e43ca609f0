"""Getting a model by its hash: from the local store, else from the members, one after the other."""

from __future__ import annotations

from collections.abc import Collection

from fednode.ids import Hash, MemberId
from fednode.learn.model_file import MAX_FILE_BYTES
from fednode.node import effects as do
from fednode.node import wire

RETRY_MS = 2_000
"""How long one member has before the next is asked; a large model keeps arriving meanwhile."""


class Models:
    """Which models are wanted, and who was asked last."""

    def __init__(self) -> None:
        self._wanted: dict[Hash, MemberId] = {}
        self._arriving: set[Hash] = set()

    def want(self, name: Hash) -> None:
        """Remember that somebody waits for a model."""
        self._wanted.setdefault(name, MemberId(0))

    def settled(self, name: Hash) -> None:
        """The model is here."""
        self._wanted.pop(name, None)
        self._arriving.discard(name)

    def expects(self, name: Hash, size_bytes: int) -> bool:
        """Whether to read a blob that says it is this model."""
        return name in self._wanted and name not in self._arriving and size_bytes <= MAX_FILE_BYTES

    def fetch(self, name: Hash, members: Collection[MemberId]) -> list[do.Effect]:
        """Ask the next connected member, and another one after a while."""
        if name not in self._wanted:
            return []
        effects: list[do.Effect] = [do.StartTimer(("model", bytes(name)), RETRY_MS)]
        last = self._wanted[name]
        peer = min((m for m in members if m > last), default=min(members, default=None))
        if peer is not None:
            self._wanted[name] = peer
            effects.append(do.SendFrame(peer, wire.encode_want(wire.WantModel(name))))
        return effects

    def retry(self, name: Hash, members: Collection[MemberId]) -> list[do.Effect]:
        """The member asked last has had its time."""
        return self.fetch(name, members)

    def peer_up(self, member: MemberId) -> list[do.Effect]:
        """Ask a member that has just come for whatever is still wanted."""
        return [do.SendFrame(member, wire.encode_want(wire.WantModel(name))) for name in self._wanted]

    def arrived(self, sender: MemberId, name: Hash, data: memoryview) -> list[do.Effect]:
        """Have what a member sent looked at, and kept if it is this model; `settled` or `spoilt` follows."""
        if not self.expects(name, len(data)):
            return []
        self._arriving.add(name)
        return [do.KeepModel(sender, name, data)]

    def spoilt(self, name: Hash) -> None:
        """What came was another thing."""
        self._arriving.discard(name)
