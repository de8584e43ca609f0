"""Shares dealt again on the ledger, to a holder that disputes what it was dealt: hidden from everybody but the two.

Security assumption: Diffie-Hellman in the prime-order group is hard; every member's dispute key of the attempt was
drawn by itself (it proved that it knows the scalar) and serves nothing else. The key of a box follows from the common
point of dealer and holder and from the place of both, so a dealer hides one vector under it: what it dealt in this
attempt. A box has no tag: it lies on the ledger under its dealer's name, and what it says is held against the proven
shares. Who shows the point, with a proof that it is the right one (`equal_logs`), lets everybody open the box.
"""

from __future__ import annotations

import numpy as np

from fednode.crypto import Domain, tagged_hash
from fednode.keystream import KEY_BYTES, AesCtr
from fednode.sums.attempt import SumContext, dispute_context
from fednode.sums.field import FieldVector, from_bytes, to_bytes


def hide_held(held: FieldVector, shared_point: bytes, context: SumContext, dealer: int, holder: int) -> bytes:
    """Return the box with what `holder` is to hold of `dealer` (`norm.held_of`), 8 bytes an element.

    `shared_point` is the dealer's scalar times the holder's dispute point, or the other way round.
    """
    return _xor(to_bytes(held), shared_point, context, dealer, holder)


def show_held(
    box: bytes, shared_point: bytes, context: SumContext, dealer: int, holder: int, length: int
) -> FieldVector | None:
    """Return what a box hides, or None if that is no vector of `length` elements."""
    return from_bytes(_xor(box, shared_point, context, dealer, holder), length)


def _xor(data: bytes, shared_point: bytes, context: SumContext, dealer: int, holder: int) -> bytes:
    place = dispute_context(context, dealer, holder)
    key = tagged_hash(Domain.ROUND, b"redealt share", shared_point, place)[:KEY_BYTES]
    stream = AesCtr(key).read(len(data))
    return (np.frombuffer(data, np.uint8) ^ np.frombuffer(stream, np.uint8)).tobytes()
