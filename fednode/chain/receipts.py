"""What the members say of every transaction in a block; its header commits to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fednode.codec import Bytes32, Size, encode


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction. `reason` is a code of the application, empty if it was accepted."""

    txid: Bytes32
    ok: bool
    reason: Annotated[str, Size(0, 100)]


def receipts_data(receipts: Sequence[Receipt]) -> tuple[bytes, ...]:
    """Return the canonical bytes of receipts: leaves of the receipts root, and what the store keeps."""
    return tuple(encode(receipt) for receipt in receipts)
