"""What a member must still know after a crash: its scalars, the shares it holds, its vector, its promises.

Security assumption: the performer encrypts both parts with the keystore key and deletes them when the round closes.
Each promise is recorded before it is made: scalars before their points, received shares before the acknowledgement,
the vector and its chunk digests before the root, (Q, U) before anything is opened. Also the seed of all
shares before the keys, the roots of the shares before they are posted, the answers to proofs before the first of
them, with them what this member holds of every dealer, and its one answer to the confirm query. Only the current
attempt is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Final

from fednode.codec import U8, U16, U32, Bytes32, Size, decode, encode
from fednode.crypto import Secret, scalar_from_bytes
from fednode.effects import Persist
from fednode.errors import Rejected, StorageError
from fednode.ids import MemberId
from fednode.smpc import vectors
from fednode.smpc.messages import KeptPart, RecordPart, SumParams, SumView
from fednode.smpc.vectors import merkle_root
from fednode.sums import bodies
from fednode.sums.measures import count_parts

RECORD_FORMAT: Final = 1
MAX_STATE_BYTES: Final = 1 << 20
"""256 members: two polynomials, 256 sealed boxes and 256 pairs of shares are below 150 KB."""

MAX_SHARES_BYTES: Final = 1 << 24
"""256 dealers, five repetitions: what is held of them is 540 KB, 15 MB with the most measures; their answers 690 KB."""

INPUT_HEADER_BYTES: Final = 128
"""The encoded `InputRecord` is padded to this, so that a long vector follows it without another encoding."""

INPUT_START: Final = 1 + INPUT_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class ReceivedShare:
    """The two shares a dealer sealed to this member, already checked."""

    dealer: U16
    a_share: Bytes32 = field(repr=False)
    b_share: Bytes32 = field(repr=False)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The shares held and the dealers named wrong."""

    received: tuple[ReceivedShare, ...]
    wrong: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """The masks' partners, the digests of the masked chunks and the weight that were promised."""

    qualified: tuple[MemberId, ...]
    leaves: tuple[Bytes32, ...]
    weight: U16

    @property
    def root(self) -> bytes:
        """The root on the ledger."""
        return merkle_root(self.leaves)


@dataclass(frozen=True, slots=True)
class Shared:
    """The coin this member's sketch was shared for, and the roots over its sealed boxes."""

    coin: Bytes32
    bits_root: Bytes32
    proof_root: Bytes32


@dataclass(frozen=True, slots=True)
class Sharing:
    """What all randomness of this attempt's shares and proofs is derived from, and what was dealt from it."""

    seed: Bytes32 = field(repr=False)
    shared: Shared | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """The sets that decide every opening of this round."""

    qualified: tuple[MemberId, ...]
    included: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt: coefficients of both polynomials (secret first), the posted keys, and the promises so far."""

    attempt: U16
    a_coefficients: tuple[Bytes32, ...] = field(repr=False)
    b_coefficients: tuple[Bytes32, ...] = field(repr=False)
    keys: bodies.Keys
    sharing: Sharing
    acknowledged: Acknowledged | None = None
    answered: tuple[MemberId, ...] | None = None
    committed: Committed | None = None
    opening: Opening | None = None

    @property
    def a_scalar(self) -> int:
        """The secret of the pair masks."""
        return scalar_from_bytes(self.a_coefficients[0])

    @property
    def b_scalar(self) -> int:
        """The secret of the self mask."""
        return scalar_from_bytes(self.b_coefficients[0])


@dataclass(frozen=True, slots=True)
class StateRecord:
    """File STATE: whose round it is, and the current attempt."""

    format: U8
    chain_id: bytes
    study: bytes
    round: U32
    me: MemberId
    attempt: AttemptRecord


@dataclass(frozen=True, slots=True)
class RedealtShare:
    """What a dealer dealt this member again (`norm.held_of`)."""

    dealer: U16
    held: Annotated[bytes, Size(0, MAX_SHARES_BYTES)] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The one confirm query this member answers in an attempt, and the shares among those it rests on that came in
    REDEAL."""

    seed: Bytes32
    answers: Annotated[bytes, Size(0, MAX_SHARES_BYTES)] = field(repr=False)
    redealt: tuple[RedealtShare, ...]


@dataclass(frozen=True, slots=True)
class SharesRecord:
    """File SHARES: what this member answers to the proofs of U = `included`, and what it holds of those `covered`."""

    format: U8
    chain_id: bytes
    study: bytes
    round: U32
    me: MemberId
    attempt: U16
    query_seed: Bytes32
    sum_ok: U8
    answers: Annotated[bytes, Size(0, MAX_SHARES_BYTES)] = field(repr=False)
    included: tuple[MemberId, ...]
    covered: tuple[MemberId, ...]
    held: Annotated[bytes, Size(0, MAX_SHARES_BYTES)] = field(repr=False)
    confirmed: Confirmed | None = None


@dataclass(frozen=True, slots=True)
class InputRecord:
    """Head of file INPUT, before the vector and the claims (little-endian uint32 both); the same in all attempts of the
    round."""

    format: U8
    chain_id: bytes
    study: bytes
    round: U32
    me: MemberId
    weight: U16
    length: U32
    claims: U32


@dataclass(slots=True, eq=False)
class Input:
    """The vector in use and the claims beside it, at hand or to be read again where they are needed."""

    values: vectors.Vector = field(repr=False)
    weight: int
    claims: vectors.Vector = field(repr=False)

    def spend(self) -> vectors.RingVector | None:
        """Give the vector's memory away, if it may be written over: after Unmask no attempt masks it again."""
        values = self.values
        if callable(values) or not values.flags.writeable:
            return None
        self.values = _read_spent
        return values


@dataclass(frozen=True, slots=True, eq=False)
class LongPart:
    """A part too long to be read by the way: its first piece, and `read(size_bytes)`, which returns all the rest of it
    from a thread and raises `StorageError` if that is damaged or of another size."""

    head: bytes = field(repr=False)
    read: Callable[[int], vectors.Buffer] = field(repr=False)


RecordParts = Mapping[RecordPart, bytes | LongPart]
"""What is on disk of a round's record, in clear."""


def persist_state(params: SumParams, attempt: AttemptRecord) -> Persist[KeptPart]:
    """Return the effect that replaces STATE."""
    record = StateRecord(RECORD_FORMAT, params.chain_id, params.study, params.round, params.me, attempt)
    return Persist(KeptPart(RecordPart.STATE, Secret(encode(record))))


def persist_input(params: SumParams, own: Input) -> Persist[KeptPart]:
    """Return the effect that writes INPUT."""
    return Persist(KeptPart(RecordPart.INPUT, Secret(b"".join(input_parts(params, own)))))


def input_parts(params: SumParams, own: Input) -> tuple[bytes, memoryview, memoryview]:
    """Return what INPUT consists of: a head of `INPUT_START` bytes, the vector itself, and the claims."""
    place = (RECORD_FORMAT, params.chain_id, params.study, params.round, params.me)
    values, claims = vectors.load(own.values), vectors.load(own.claims)
    head = encode(InputRecord(*place, own.weight, values.size, claims.size))
    vector, claimed = (vectors.view_bytes(part.astype(vectors.RING, copy=False)) for part in (values, claims))
    return bytes([len(head)]) + head.ljust(INPUT_HEADER_BYTES), vector, claimed


def persist_shares(shares: SharesRecord) -> Persist[KeptPart]:
    """Return the effect that replaces SHARES."""
    return Persist(KeptPart(RecordPart.SHARES, Secret(encode(shares))))


def restore_state(params: SumParams, parts: RecordParts) -> AttemptRecord | None:
    """Read STATE, if there is one; raise `StorageError` if it is damaged or belongs to another round."""
    data = parts.get(RecordPart.STATE)
    if not isinstance(data, bytes):
        return None
    try:
        record = decode(StateRecord, data, MAX_STATE_BYTES)
    except Rejected as error:
        raise StorageError(f"the record of round {params.round} is damaged ({error.reason}); delete it, the "
                           "hospital sits this round out") from None
    _check_place(params, record)
    return record.attempt


def restore_shares(params: SumParams, parts: RecordParts) -> SharesRecord | None:
    """Read SHARES, if there is one; raise `StorageError` if it is damaged or belongs to another round."""
    data = parts.get(RecordPart.SHARES)
    if not isinstance(data, bytes):
        return None
    try:
        record = decode(SharesRecord, data, 3 * MAX_SHARES_BYTES)
    except Rejected as error:
        raise StorageError(f"the saved shares of round {params.round} are damaged ({error.reason}); delete them, the "
                           "hospital sits this round out") from None
    _check_place(params, record)
    return record


def restore_input(params: SumParams, parts: RecordParts) -> Input | None:
    """Read INPUT, if there is one; raise `StorageError` if it is damaged or belongs to another round.

    Of a `LongPart` the beginning is read here, the vector each time it is needed.
    """
    data = parts.get(RecordPart.INPUT)
    if data is None:
        return None
    head = data.head if isinstance(data, LongPart) else data[:INPUT_START]
    try:
        record = decode(InputRecord, head[1 : 1 + head[0]] if head else b"", INPUT_HEADER_BYTES)
    except Rejected as error:
        raise StorageError(f"the saved update of round {params.round} is damaged ({error.reason}); delete it, the "
                           "hospital sits this round out") from None
    _check_place(params, record)
    length, claims = params.length, count_parts(params.plan)
    size_bytes = (length + claims) * vectors.ELEMENT_BYTES
    is_whole = isinstance(data, LongPart) or len(data) == INPUT_START + size_bytes
    if (record.length, record.claims) != (length, claims) or len(head) != INPUT_START or not is_whole:
        raise StorageError(f"the saved update of round {params.round} has the wrong length; delete it, the hospital "
                           "sits this round out")
    if isinstance(data, LongPart):
        read = partial(_read_vector, data, size_bytes)
        return Input(partial(read, slice(length)), record.weight, partial(read, slice(length, None)))
    found = vectors.from_bytes(memoryview(data)[INPUT_START:])
    return Input(found[:length], record.weight, found[length:])


def _read_spent() -> vectors.RingVector:
    raise AssertionError("a vector is asked for after the Unmask of its round")


def _read_vector(part: LongPart, size_bytes: int, which: slice) -> vectors.RingVector:
    return vectors.from_bytes(part.read(size_bytes))[which]


def _check_place(params: SumParams, record: StateRecord | InputRecord | SharesRecord) -> None:
    if record.format != RECORD_FORMAT:
        raise StorageError(f"the record of round {params.round} has format {record.format}, this program reads "
                           f"{RECORD_FORMAT}; use the program that wrote it until the round has closed")
    place = (params.chain_id, params.study, params.round, params.me)
    if (record.chain_id, record.study, record.round, record.me) != place:
        raise StorageError("the record belongs to another chain, study, round or member; move it back where it was")


def find_contradiction(
    params: SumParams, view: SumView, mine: AttemptRecord | None, has_input: bool, shares: SharesRecord | None = None
) -> str | None:
    """Return what the ledger shows of this member that its record does not, if anything.

    A member that goes on after losing its record could mask another vector under the same keys; it stays silent.
    """
    if view.number > params.faults:
        return "more attempts than a round has"
    keys, commit = view.keys.get(params.me), view.root_of(params.me)
    if mine is not None and mine.attempt != view.number:
        if mine.opening is not None:
            return "a second attempt after the round's unmasking"
        mine = None
    if keys is not None:
        points = None if mine is None else (mine.keys.a_points, mine.keys.b_points, mine.keys.c_point)
        if points != (keys.a_points, keys.b_points, keys.c_point):
            return "the ledger holds keys of this member that are not on record"
    if commit is not None:
        promised = None if mine is None or not has_input else mine.committed
        if promised is None or promised.root != commit:
            return "the ledger holds a commitment of this member that is not on record"
    return _find_other_shares(params, view, mine, shares)


def _shared_of(mine: AttemptRecord | None) -> Shared | None:
    return None if mine is None else mine.sharing.shared


def _find_other_shares(
    params: SumParams, view: SumView, mine: AttemptRecord | None, shares: SharesRecord | None
) -> str | None:
    posted = view.share_roots.get(params.me)
    if posted is not None:
        shared = _shared_of(mine)
        if shared is None or (shared.bits_root, shared.proof_root) != (posted.bits_root, posted.proof_root):
            return "the ledger holds shares of this member that are not on record"
    dealt = _shared_of(mine)
    if dealt is not None and view.coin not in (None, dealt.coin):
        return "another coin than the one this member's shares were made for"
    if view.parts_of(params.me) and (shares is None or shares.attempt != view.number):
        return "the ledger holds answers of this member that are not on record"
    if shares is not None and shares.attempt == view.number and view.query_seed not in (None, shares.query_seed):
        return "another query than the one answered on record"
    confirmed = None if shares is None or shares.attempt != view.number else shares.confirmed
    if params.me in view.confirmed and confirmed is None:
        return "the ledger holds a second answer of this member that is not on record"
    if confirmed is not None and view.confirm_seed not in (None, confirmed.seed):
        return "another confirm query than the one answered on record"
    return None
