"""What hides a sum from those who read the ledger and hold no chunk of it.

Security assumption: the sum of all tails holds at least 256 bits that no honest member's key, no opening and no sketch
gives (`chunks.Layout`): every honest member of U drew its own. Everybody who has the chunks of the masked sum has the
key that follows from their salts, before anything is opened; it never leaves a member. SHA-256 is a random oracle.

All holders add the same vector to their shares of what is opened. That moves the constant term of the shared
polynomials by it and nothing else, so the rule by which shares count holds for hidden ones as it did for bare ones.
"""

from __future__ import annotations

from fednode.codec import pack
from fednode.crypto import Domain, Secret, hkdf_sha256, tagged_hash
from fednode.ids import Hash
from fednode.keystream import KEY_BYTES
from fednode.sums import field as f
from fednode.sums.attempt import SumContext
from fednode.sums.field import ELEMENT_BYTES, FieldVector

SALT_BYTES = 32


class SumKey:
    """The key that follows from the salts of a masked sum."""

    __slots__ = ("_secret",)

    def __init__(self, context: SumContext, salts: bytes) -> None:
        """`salts` of all chunks, in order (`Layout.salts`)."""
        self._secret = Secret[bytes](tagged_hash(Domain.ROUND, b"sum key", pack(context.place), salts))

    def hide(self, opening: bytes) -> bytes:
        """Return a share of what is opened as it goes on the ledger: canonical elements of F, 8 bytes each."""
        shares = f.from_bytes(opening, len(opening) // ELEMENT_BYTES)
        if shares is None:
            raise ValueError("a share is made of elements of F")
        return f.to_bytes(f.add(shares, self._pad(shares.size)))

    def show(self, opened: bytes) -> FieldVector | None:
        """Return what was opened, from what the ledger says of it; None if those are no elements of F."""
        values = f.from_bytes(opened, len(opened) // ELEMENT_BYTES)
        return None if values is None else f.subtract(values, self._pad(values.size))

    def salt(self, what: str) -> bytes:
        """Return 32 bytes for a digest of this sum, or of what is made of it: nobody without them can guess at it."""
        return hkdf_sha256(self._secret.reveal(), pack(("fednode-sum-salt", what)), SALT_BYTES)

    def _pad(self, count: int) -> FieldVector:
        return f.expand(hkdf_sha256(self._secret.reveal(), pack(("fednode-sum-pad",)), KEY_BYTES), count)


def name_sum(salt: bytes, digest: Hash) -> Hash:
    """Return what the ledger says of an opened sum with this digest."""
    return tagged_hash(Domain.ROUND, b"salted sum", salt, digest)
