"""The keys of an attempt: dealing the two scalars, opening what others dealt, answering complaints.

Security assumption: sealed boxes open only for their holder; a box carries the context it was made for, so one that
was copied from another place is worthless. The ledger has checked points, proofs and answers; shares are checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fednode.codec import Bytes32, decode, encode, pack
from fednode.crypto import (
    SEALED_OVERHEAD_BYTES,
    Domain,
    Entropy,
    Secret,
    base_times,
    is_share_valid,
    prove_knowledge,
    random_scalar,
    scalar_bytes,
    scalar_from_bytes,
    seal,
    tagged_hash,
    x25519,
)
from fednode.errors import Rejected
from fednode.ids import Hash, MemberId
from fednode.smpc.jobs import DealtPair
from fednode.smpc.messages import SumParams, SumView
from fednode.smpc.proving import DerivedEntropy
from fednode.smpc.record import Acknowledged, AttemptRecord, ReceivedShare, Sharing
from fednode.sums import bodies
from fednode.sums.attempt import key_proof_context
from fednode.sums.shares import Dealing, deal, evaluate

SHARE_PAIR_BYTES = 103
"""Encoded size of a `SharePair`; sealed 151, within the ledger's 160."""

SEED_BYTES = 32
"""What the randomness of an attempt's shares and proofs is derived from."""

Unseal = Callable[[bytes], bytes]
"""Opens a box sealed to this member's key of the term; raises `Rejected` if it does not open."""


@dataclass(frozen=True, slots=True)
class SharePair:
    """What a dealer seals to a holder: its shares of a and b, with the context they were dealt in.

    The context is a hash so that the sealed box stays within 160 bytes; a box moved to another round, attempt,
    dealer or holder does not open as a share.
    """

    context: Bytes32
    a_share: Bytes32 = field(repr=False)
    b_share: Bytes32 = field(repr=False)


def share_context(params: SumParams, attempt: int, dealer: MemberId, holder: MemberId) -> Hash:
    """Return the context of the shares `dealer` deals to `holder`."""
    place = pack((params.chain_id, params.study, params.round, attempt, dealer, holder))
    return tagged_hash(Domain.ROUND, b"share-pair", place)


def deal_keys(params: SumParams, view: SumView, entropy: Entropy) -> AttemptRecord:
    """Draw this member's scalars for one attempt and seal every holder's shares."""
    a, b = (deal(params.threshold, view.holders, entropy) for _ in "ab")
    sharing = Sharing(entropy.random_bytes(SEED_BYTES))
    c = dispute_scalar(params, view.number, sharing.seed)
    proofs = [
        prove_knowledge(secret, key_proof_context(params.context(view.number), params.me, which), entropy)
        for which, secret in (("a", a.secret), ("b", b.secret), ("c", c))
    ]
    others = [holder for holder in view.holders if holder != params.me]
    sealed = tuple((holder, _seal_shares(params, view, holder, a, b, entropy)) for holder in others)
    place = params.place(view.number)
    keys = bodies.Keys(
        *place, a.points, b.points, proofs[0], proofs[1], sealed, params.next_key, base_times(c), proofs[2]
    )
    return AttemptRecord(view.number, _encoded(a.coefficients), _encoded(b.coefficients), keys, sharing)


def dispute_scalar(params: SumParams, attempt: int, seed: bytes) -> int:
    """Return this member's dispute scalar c of an attempt, from the seed of its shares: the same after a restart."""
    return random_scalar(DerivedEntropy(seed, params.context(attempt), "dispute key", params.me))


def _encoded(scalars: Iterable[int]) -> tuple[bytes, ...]:
    return tuple(scalar_bytes(scalar) for scalar in scalars)


def _seal_shares(
    params: SumParams, view: SumView, holder: MemberId, a: Dealing, b: Dealing, entropy: Entropy
) -> bytes:
    context = share_context(params, view.number, params.me, holder)
    pair = SharePair(context, scalar_bytes(a.share_of(holder)), scalar_bytes(b.share_of(holder)))
    try:  # libsodium refuses low-order keys: a holder that posts one gets noise and has to complain
        x25519(Secret(entropy.random_bytes(32)), view.seal_keys[holder])
    except Rejected:
        return entropy.random_bytes(SHARE_PAIR_BYTES + SEALED_OVERHEAD_BYTES)
    return seal(view.seal_keys[holder], encode(pair))


def open_shares(params: SumParams, view: SumView, unseal: Unseal) -> tuple[list[DealtPair], list[MemberId]]:
    """Open every other dealer's box for this member: pairs still to be checked, and dealers whose box is no use."""
    opened, unopened = [], []
    for dealer in sorted(view.keys):
        if dealer != params.me:
            pair = _open_pair(params, view, dealer, unseal)
            if pair is None:
                unopened.append(dealer)
            else:
                opened.append(pair)
    return opened, unopened


def _open_pair(params: SumParams, view: SumView, dealer: MemberId, unseal: Unseal) -> DealtPair | None:
    keys = view.keys[dealer]
    box = dict(keys.sealed).get(params.me)
    if box is None:
        return None
    try:
        pair = decode(SharePair, unseal(box), SHARE_PAIR_BYTES)
        if pair.context != share_context(params, view.number, dealer, params.me):
            return None
        shares = scalar_from_bytes(pair.a_share), scalar_from_bytes(pair.b_share)
    except Rejected:
        return None
    return DealtPair(dealer, keys.a_points, keys.b_points, *shares)


def acknowledge(dealt: Iterable[DealtPair], wrong: Iterable[MemberId]) -> Acknowledged:
    """Return the shares to keep and the dealers to name."""
    named = tuple(sorted(wrong))
    received = tuple(
        ReceivedShare(pair.dealer, scalar_bytes(pair.a_share), scalar_bytes(pair.b_share))
        for pair in dealt if pair.dealer not in named
    )
    return Acknowledged(received, named)


def answer_shares(record: AttemptRecord, holders: Iterable[MemberId]) -> tuple[tuple[MemberId, bytes, bytes], ...]:
    """Return this dealer's shares for `holders`, as they will be published."""
    a = [scalar_from_bytes(value) for value in record.a_coefficients]
    b = [scalar_from_bytes(value) for value in record.b_coefficients]
    return tuple(
        (holder, scalar_bytes(evaluate(a, holder)), scalar_bytes(evaluate(b, holder))) for holder in holders
    )


def get_share(params: SumParams, view: SumView, record: AttemptRecord, dealer: MemberId, which: str) -> bytes | None:
    """Return the valid share of `which` ("a" or "b") this member holds of `dealer`, from its box or an answer."""
    if record.acknowledged is None:
        return None
    for received in record.acknowledged.received:
        if received.dealer == dealer:
            return received.a_share if which == "a" else received.b_share
    keys = view.keys[dealer]
    for holder, a_share, b_share in dict(view.answers).get(dealer, ()):
        if holder == params.me:
            share, points = (a_share, keys.a_points) if which == "a" else (b_share, keys.b_points)
            return share if is_share_valid(points, params.me, int.from_bytes(share, "little")) else None
    return None
