"""What may be opened: decided by (Q, U) of the round's one unmasking and by nothing else.

Security assumption: a member of U has its b opened, a dropped member of Q its a, no member both; a dropped member
never opens its own b. U holds at least max(N - f, 3) members and, if the study is pinned, exactly the pinned ones.
Whatever else the ledger might say, this file refuses. No share that was dealt again is opened unless it was settled.
"""

from __future__ import annotations

from fednode.crypto import scalar_bytes
from fednode.ids import MemberId
from fednode.smpc.dealing import get_share
from fednode.smpc.jobs import OpenedSecret
from fednode.smpc.messages import SumParams, SumView
from fednode.smpc.record import AttemptRecord, Opening, SharesRecord
from fednode.sums import bodies
from fednode.sums import field as f
from fednode.sums.field import FieldVector
from fednode.sums.norm import Statement


def find_unsafe(params: SumParams, view: SumView) -> str | None:
    """Return why U of this view must not be summed or opened, or None if it may."""
    included, qualified = set(view.included), set(view.qualified)
    if len(included) != len(view.included) or len(included) < params.min_included:
        return f"the sum would hold {len(included)} members, fewer than {params.min_included}"
    if not included <= set(view.committers) or not set(view.committers) <= qualified:
        return "the sum would hold a member that is not committed"
    if view.pinned is not None and included != set(view.pinned):
        return "the sum would hold other members than an earlier one of the same vectors"
    return None


class Unsafe(Exception):
    """Why this member must say nothing more in the round."""


def refuse_unsafe(params: SumParams, view: SumView) -> None:
    """Raise `Unsafe` unless U of this view may be summed and opened."""
    reason = find_unsafe(params, view)
    if reason is not None:
        raise Unsafe(reason)


def dropped_members(opening: Opening) -> tuple[MemberId, ...]:
    """Return Q outside U."""
    return tuple(member for member in opening.qualified if member not in opening.included)


def first_reveal(
    params: SumParams, view: SumView, record: AttemptRecord, opening: Opening, share: bytes | None = None
) -> bodies.Reveal | None:
    """Return what this member opens in REVEAL: own b if in U, its shares of a of the dropped; None if it lacks one.

    `share` is its share of the summed sketches. Everybody is waited for, and an empty message counts.
    """
    own_b = scalar_bytes(record.b_scalar) if params.me in opening.included else None
    a_shares = _shares_of(params, view, record, dropped_members(opening), "a")
    if a_shares is None:
        return None
    return bodies.Reveal(*params.place(view.number), own_b, a_shares, (), share)


def second_reveal(
    params: SumParams, view: SumView, record: AttemptRecord, opening: Opening
) -> bodies.Reveal | None:
    """Return what this member opens in REVEAL2: shares of b of the silent members of U, late own b."""
    awaited = tuple(member for member in view.silent_b if member in opening.included)
    own_b = scalar_bytes(record.b_scalar) if params.me in awaited else None
    b_shares = _shares_of(params, view, record, awaited, "b")
    if b_shares is None or (own_b is None and not b_shares):
        return None
    return bodies.Reveal(*params.place(view.number), own_b, (), b_shares)


def _shares_of(
    params: SumParams, view: SumView, record: AttemptRecord, dealers: tuple[MemberId, ...], which: str
) -> tuple[tuple[MemberId, bytes], ...] | None:
    """Return this member's share of every dealer but itself, or None if one is not at hand."""
    shares = []
    for dealer in dealers:
        if dealer != params.me:
            share = get_share(params, view, record, dealer, which)
            if share is None:
                return None
            shares.append((dealer, share))
    return tuple(shares)


def collect_openings(view: SumView) -> tuple[tuple[OpenedSecret, ...], tuple[OpenedSecret, ...]]:
    """Return what the ledger holds to remove the masks: b of every member of U, a of every dropped one."""
    own_b, a_shares, b_shares = dict(view.own_b), dict(view.a_shares), dict(view.b_shares)
    b = tuple(OpenedSecret(i, view.keys[i].b_points, own_b.get(i), b_shares.get(i, ())) for i in view.included)
    a = tuple(OpenedSecret(j, view.keys[j].a_points, None, a_shares.get(j, ())) for j in view.dropped)
    return b, a


# --- the shares of what was proven -------------------------------------------------------------------------------

def share_of_sum(
    params: SumParams, view: SumView, answered: SharesRecord, included: tuple[MemberId, ...]
) -> bytes | None:
    """Return the sum over U of what this member holds, or None if of a dealer it holds nothing that is settled."""
    me, rows = params.me, []
    held = held_shares(params, view, answered)
    confirmed = answered.confirmed
    redealt = {} if confirmed is None else {share.dealer: share.held for share in confirmed.redealt}
    off = {dealer for dealer, holder, _ in view.unconfirmed if holder == me}
    for dealer in included:
        share, statement = held.get(dealer), params.statement(view.weight_of(dealer))
        if (dealer, me) in view.disputes:
            is_settled = me in view.confirmed and dealer not in off
            share = _read_share(redealt[dealer], statement) if is_settled and dealer in redealt else None
        if share is None:
            return None
        rows.append(share[: statement.opened_length])
    total = rows[0]
    for row in rows[1:]:
        total = f.add(total, row)
    return f.to_bytes(total)


def held_shares(params: SumParams, view: SumView, answered: SharesRecord) -> dict[MemberId, FieldVector]:
    """Return what is on record of every dealer; `Unsafe` if it is damaged."""
    found, start = {}, 0
    for dealer in answered.covered:
        statement = params.statement(view.weight_of(dealer))
        size = statement.held_length * f.ELEMENT_BYTES
        found[dealer] = _read_share(answered.held[start : start + size], statement)
        start += size
    return found


def _read_share(data: bytes, statement: Statement) -> FieldVector:
    share = f.from_bytes(data, statement.held_length)
    if share is None:
        raise Unsafe("the saved shares are damaged")
    return share
