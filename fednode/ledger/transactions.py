"""The signed transaction around a body, its limits, and the pool in which it waits for a block.

Security assumption: a signature covers the chain id and everything but itself, so a transaction is worthless on
another chain and nothing in it can be changed. Nonces grow strictly per sender, so none can be replayed; after
`valid_until` it can no longer enter a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fednode.codec import U64, Bytes64, Range, decode, encode, pack, to_plain
from fednode.crypto import Domain, Signer, Verified, is_signature_valid, sha256
from fednode.errors import Rejected
from fednode.ids import Hash, Height, MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import MemberReport
from fednode.sums.bodies import Member

MAX_TRANSACTION_BYTES = 64 * 1024
MAX_PENDING_PER_MEMBER = 64
MAX_PENDING_BYTES_PER_MEMBER = 256 * 1024
MAX_POOL_BYTES = 16 * 1024 * 1024
MAX_BLOCK_BYTES = 1024 * 1024
MAX_VALIDITY_BLOCKS = 10_000
"""Largest distance of `valid_until` from the height of the block that carries the transaction."""


@dataclass(frozen=True)
class Transaction:
    """A signed body. Not slotted: `data` and `txid` are computed once and kept."""

    sender: Member
    nonce: U64
    valid_until: Annotated[Height, Range(0, 2**64 - 1)]
    body: Body
    signature: Bytes64

    @cached_property
    def data(self) -> bytes:
        """The canonical bytes."""
        return encode(self)

    @cached_property
    def txid(self) -> Hash:
        """SHA-256 of the canonical bytes."""
        return sha256(self.data)


def decode_transaction(data: bytes) -> Transaction:
    """Decode foreign bytes; raise `Rejected` if they are no canonical transaction of at most 64 KiB."""
    transaction = decode(Transaction, data, MAX_TRANSACTION_BYTES)
    transaction.__dict__["data"] = bytes(data)  # decoding has shown that encoding gives the same bytes
    return transaction


# An array of five and its last item, 64 bytes: what of a transaction's encoding is not covered by the signature.
_ARRAY_OF_FIVE, _ARRAY_OF_FOUR = b"\x95", b"\x94"
_SIGNATURE_TAIL_BYTES = 2 + 64


def _signed_part(chain_id: bytes, transaction: Transaction) -> bytes:
    """Return chain id || canonical (sender, nonce, valid_until, body), cut out of the whole encoding."""
    data = transaction.data
    if data[:1] != _ARRAY_OF_FIVE:
        raise ValueError("a transaction is an array of five")
    return b"".join((chain_id, _ARRAY_OF_FOUR, memoryview(data)[1:-_SIGNATURE_TAIL_BYTES]))


def sign_transaction(
    signer: Signer, chain_id: bytes, sender: MemberId, nonce: int, valid_until: Height, body: Body
) -> Transaction:
    """Return the signed transaction; raise `Rejected` if the body breaks its bounds, which keep it below 64 KiB."""
    head = (int(sender), nonce, int(valid_until), to_plain(Body, body))
    signature = signer.sign(Domain.TRANSACTION, chain_id + pack(head))
    return Transaction(sender, nonce, valid_until, body, signature)


def find_sign_key(keys: Mapping[MemberId, bytes], transaction: Transaction) -> bytes:
    """Return the key a transaction must be signed with; raise `Rejected` for a stranger.

    A candidate's report names its key itself; whether that is the candidate's is a rule on the state.
    """
    key = keys.get(transaction.sender)
    if key is not None:
        return key
    if isinstance(transaction.body, MemberReport):
        return transaction.body.sign_key
    raise Rejected(f"transaction of a stranger ({transaction.sender})")


def verify_transaction(chain_id: bytes, public_key: bytes, transaction: Transaction) -> Verified[Transaction]:
    """Check the signature against the sender's key on the ledger; raise `Rejected` if it does not hold."""
    message = _signed_part(chain_id, transaction)
    if not is_signature_valid(public_key, Domain.TRANSACTION, message, transaction.signature):
        raise Rejected("transaction signature does not hold")
    return Verified(transaction, transaction.sender)


# --- the pool: transactions that wait for a block, bounded per member, in nonce order, fair between members -------
# Security assumption: whoever calls `add` has checked the signature, so a pending transaction costs its sender's
# share of the pool and nobody else's. A transaction that the rules refuse *now* is not thrown away at once: gossip
# may outrun the block that opens the phase it answers. It waits, does not count as work (else an idle chain would be
# woken for nothing) and is dropped when it was refused at `MAX_REFUSALS` heights.


MAX_REFUSALS = 3

Judge = Callable[[Transaction], bool]
"""Whether the rules would accept a transaction alone in the next block."""


class _Entry:
    """A pending transaction and what the rules last said about it."""

    __slots__ = ("is_acceptable", "judged_at", "refusals", "transaction")

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.judged_at = -1
        self.is_acceptable = False
        self.refusals = 0


class _Queue:
    """One member's pending transactions, ascending by nonce."""

    __slots__ = ("entries", "last_nonce", "nonces", "size_bytes")

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.nonces: set[int] = set()
        self.size_bytes = 0
        self.last_nonce = -1
        """Highest nonce of this member seen in a block."""

    def insert(self, entry: _Entry) -> None:
        """Keep the order; new ones nearly always belong at the end."""
        place = len(self.entries)
        while place and self.entries[place - 1].transaction.nonce > entry.transaction.nonce:
            place -= 1
        self.entries.insert(place, entry)
        self.nonces.add(entry.transaction.nonce)
        self.size_bytes += len(entry.transaction.data)

    def keep(self, is_kept: Callable[[_Entry], bool]) -> list[_Entry]:
        """Drop the entries that are not kept and return them."""
        kept: list[_Entry] = []
        dropped: list[_Entry] = []
        for entry in self.entries:
            (kept if is_kept(entry) else dropped).append(entry)
        if dropped:
            self.entries = kept
            self.nonces = {entry.transaction.nonce for entry in kept}
            self.size_bytes = sum(len(entry.transaction.data) for entry in kept)
        return dropped


_EMPTY = _Queue()


class Mempool:
    """The pool of one node. `height` is that of the tip; `judge` always refers to the state at the tip."""

    __slots__ = ("_by_txid", "_height", "_judge", "_queues", "_size_bytes", "_swept_at")

    def __init__(self, judge: Judge, height: int = 0) -> None:
        self._judge = judge
        self._height = height
        self._queues: dict[MemberId, _Queue] = {}
        self._by_txid: dict[Hash, Transaction] = {}
        self._size_bytes = 0
        self._swept_at = -1

    def __len__(self) -> int:
        return len(self._by_txid)

    def __iter__(self) -> Iterator[Transaction]:
        """Every pending transaction, the waiting ones too, in arrival order."""
        return iter(tuple(self._by_txid.values()))

    @property
    def size_bytes(self) -> int:
        """Bytes of all pending transactions."""
        return self._size_bytes

    def get(self, txid: Hash) -> Transaction | None:
        """Return a pending transaction."""
        return self._by_txid.get(txid)

    def add(self, transaction: Transaction) -> bool:
        """Take a transaction with a checked signature; return False if it is here already.

        Raises `Rejected` if it is too old, too far ahead, contradicts a pending one or exceeds a bound.
        """
        if not self.is_welcome(transaction):
            return False
        size_bytes = len(transaction.data)
        queue = self._queues.setdefault(transaction.sender, _Queue())
        queue.insert(_Entry(transaction))
        self._by_txid[transaction.txid] = transaction
        self._size_bytes += size_bytes
        return True

    def is_welcome(self, transaction: Transaction) -> bool:
        """Whether `add` would take a transaction: False if it is here, `Rejected` if it may not wait. Costs little."""
        if transaction.txid in self._by_txid:
            return False
        if not self._height < transaction.valid_until <= self._height + 1 + MAX_VALIDITY_BLOCKS:
            raise Rejected(f"transaction valid until height {transaction.valid_until}, the chain is at {self._height}")
        size_bytes = len(transaction.data)
        queue = self._queues.get(transaction.sender) or _EMPTY
        if transaction.nonce <= queue.last_nonce:
            raise Rejected("nonce already used")
        if transaction.nonce in queue.nonces:
            raise Rejected("another transaction with this nonce is pending")
        if len(queue.entries) >= MAX_PENDING_PER_MEMBER:
            raise Rejected(f"{MAX_PENDING_PER_MEMBER} transactions of this member are pending")
        if queue.size_bytes + size_bytes > MAX_PENDING_BYTES_PER_MEMBER:
            raise Rejected(f"{MAX_PENDING_BYTES_PER_MEMBER} bytes of this member are pending")
        if self._size_bytes + size_bytes > MAX_POOL_BYTES:
            raise Rejected("the pool is full")
        return True

    def has_work(self) -> bool:
        """Whether a pending transaction would be accepted in the next block."""
        found = next((True for entry in self._entries() if self._is_acceptable(entry)), False)
        if self._swept_at != self._height:  # an entry is judged once per height
            self._swept_at = self._height
            self._drop(lambda entry: entry.refusals < MAX_REFUSALS)
        return found

    def candidates(self) -> Iterator[Transaction]:
        """Yield pending transactions for a block: members in turn, each one's in nonce order."""
        return iter([entry.transaction for entry in self._entries()])

    def take(self, max_bytes: int) -> tuple[Transaction, ...]:
        """Return candidates of at most `max_bytes` together, acceptable one by one. They stay pending until committed.

        A transaction that does not fit ends its sender's turn: a later nonce in the block would make it worthless.
        """
        taken: list[Transaction] = []
        full: set[MemberId] = set()
        room = max_bytes
        for entry in self._entries():
            transaction = entry.transaction
            if transaction.sender in full or not self._is_acceptable(entry):
                continue
            if len(transaction.data) > room:
                full.add(transaction.sender)
                continue
            taken.append(transaction)
            room -= len(transaction.data)
        return tuple(taken)

    def apply_block(self, height: int, committed: Iterable[Transaction]) -> tuple[Transaction, ...]:
        """Follow the tip to `height`: forget the committed, overtaken and expired; return what was dropped unused."""
        self._height = height
        done = set()
        for transaction in committed:
            done.add(transaction.txid)
            queue = self._queues.setdefault(transaction.sender, _Queue())
            queue.last_nonce = max(queue.last_nonce, transaction.nonce)
        dropped = self._drop(
            lambda entry: entry.transaction.valid_until > height
            and entry.transaction.nonce > self._queues[entry.transaction.sender].last_nonce
        )
        return tuple(transaction for transaction in dropped if transaction.txid not in done)

    def drop(self, transaction: Transaction) -> None:
        """Forget one transaction."""
        self._drop(lambda entry: entry.transaction is not transaction)

    def drop_senders(self, senders: Set[MemberId]) -> None:
        """Forget everything of senders whose key changed or who left."""
        self._drop(lambda entry: entry.transaction.sender not in senders)

    def _entries(self) -> Iterator[_Entry]:
        queues = [queue.entries for _, queue in sorted(self._queues.items()) if queue.entries]
        for turn in range(max(map(len, queues), default=0)):
            for entries in queues:
                if turn < len(entries):
                    yield entries[turn]

    def _is_acceptable(self, entry: _Entry) -> bool:
        """Ask the rules, once per height."""
        if entry.judged_at != self._height:
            entry.judged_at = self._height
            entry.is_acceptable = self._judge(entry.transaction)
            entry.refusals = 0 if entry.is_acceptable else entry.refusals + 1
        return entry.is_acceptable

    def _drop(self, is_kept: Callable[[_Entry], bool]) -> list[Transaction]:
        dropped = [entry.transaction for queue in self._queues.values() for entry in queue.keep(is_kept)]
        for transaction in dropped:
            del self._by_txid[transaction.txid]
            self._size_bytes -= len(transaction.data)
        return dropped
