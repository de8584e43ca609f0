"""The keys that others seal a member's shares to: one a round, drawn anew, deleted when the round has closed.

Security assumption: a key is on the disk, encrypted, before its public half is posted, and gone once its round has
closed. Then whoever steals everything a hospital keeps later opens no share of a round that is over: the ledger holds
the sealed boxes for ever, and nothing opens them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fednode.crypto import Entropy, Secret, unseal, x25519_public
from fednode.effects import Persist
from fednode.errors import StorageError
from fednode.ids import MemberId
from fednode.rounds.ledger_view import Snapshot
from fednode.smpc.messages import KeptPart, RecordPart
from fednode.smpc.record import RecordParts

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class RoundKey:
    """An X25519 key of one round."""

    secret: Secret[bytes] = field(repr=False)
    public: bytes

    def unseal(self, box: bytes) -> bytes:
        """Open a box sealed to this key; raise `Rejected` if it does not open."""
        return unseal(self.secret, box)


def read_key(parts: RecordParts) -> RoundKey | None:
    """Return the key among the parts of a round's record, or None if there is none."""
    data = parts.get(RecordPart.KEY)
    if not isinstance(data, bytes) or len(data) != KEY_BYTES:
        return None
    secret = Secret(data)
    return RoundKey(secret, x25519_public(secret))


class RoundKeys:
    """The keys of one study's rounds to come."""

    def __init__(self, entropy: Entropy, load_record: Callable[[int], RecordParts]) -> None:
        self._entropy = entropy
        self._load_record = load_record
        self._keys: dict[int, RoundKey] = {}

    def find(self, number: int) -> RoundKey | None:
        """Return the key of a round to come, or None if there is none, or none that can be read."""
        if number not in self._keys:
            try:
                found = read_key(self._load_record(number))
            except StorageError:
                return None
            if found is not None:
                self._keys[number] = found
        return self._keys.get(number)

    def prepare(self, number: int) -> tuple[RoundKey, list[Persist[KeptPart]]]:
        """Return the key of a round to come, and what must be on the disk before its public half is posted.

        A key that cannot be read is replaced: where the ledger has it already, its owner announces the new one.
        """
        known = self.find(number)
        if known is not None:
            return known, []
        secret = Secret(self._entropy.random_bytes(KEY_BYTES))
        self._keys[number] = RoundKey(secret, x25519_public(secret))
        return self._keys[number], [Persist(KeptPart(RecordPart.KEY, secret))]

    def is_announced(self, snapshot: Snapshot, me: MemberId) -> bool:
        """Whether the ledger has this member's key for the round that opens next, or it comes with the keys of this."""
        mine = next((entry for entry in snapshot.record.ready if entry.member == me), None)
        if mine is None or not mine.is_ready:
            return False
        if snapshot.round is not None and (me, mine.seal_key) in snapshot.round.seal_keys:
            return True
        coming = self.find(snapshot.next_round)
        return coming is not None and mine.seal_key == coming.public

    def forget(self, up_to: int) -> None:
        """Forget the keys of all rounds up to and including `up_to`."""
        self._keys = {number: key for number, key in self._keys.items() if number > up_to}
