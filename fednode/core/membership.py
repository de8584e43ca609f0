"""What follows for this node from who is a member: whom to connect to, who it is itself, what a candidate owes.

Security assumption: the state is that of a final block. Members and candidates may connect; a candidate is served
blocks, and only its report is taken. Whoever is on neither list is refused by the transport from that height on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from fednode.chain.state import State
from fednode.ids import MemberId, PeerId
from fednode.ledger.members.bodies import MemberReport
from fednode.ledger.members.reading import (
    get_candidates,
    get_followers,
    get_members,
    get_membership,
    has_quorum,
)
from fednode.ledger.members.records import MAX_ROOTS
from fednode.p2p.addresses import peer_id_of

FOLLOWER = MemberId(0)
"""Number of a node that is neither member nor candidate on the chain so far: it follows and sends nothing."""

PARTING_S = 2.0
"""How long a replaced network key keeps its connection, for the block that replaced it to arrive there."""

PeerMap = dict[MemberId, PeerId]


MAX_REPORT_LAG = MAX_ROOTS // 2
"""How far behind a candidate may be and still report: its root must be among the latest of the ledger on arrival. While
a study trains there is always a newer block, so who waited for none to be missing could wait for ever."""


def peer_map(state: State) -> PeerMap:
    """Return the peer id of everybody who may connect."""
    return {record.member: peer_id_of(record.network_key) for record in get_followers(state)}


def without(peers: PeerMap, barred: Collection[MemberId]) -> PeerMap:
    """Return the map without those whose messages broke this node: they may connect after its next start."""
    return {member: peer for member, peer in peers.items() if member not in barred}


@dataclass(frozen=True, slots=True)
class Doors:
    """`barred` may not connect; `why_not(address)` says why a member's address is not dialled, None if it may be."""

    barred: Collection[MemberId] = ()
    why_not: Callable[[str], str | None] = lambda address: None


def dial_map(
    state: State, me: MemberId, own_peer: PeerId, doors: Doors = Doors()
) -> dict[PeerId, tuple[str, ...]]:
    """Return peer id, and the addresses that may be dialled, of everybody else who may connect."""
    return {
        peer: tuple(address for address in record.addresses if doors.why_not(address) is None)
        for record in get_followers(state)
        if (peer := peer_id_of(record.network_key)) != own_peer and record.member not in (me, *doors.barred)
    }


def undialled(state: State, me: MemberId, doors: Doors) -> list[str]:
    """Return a sentence about every other member that has an address that is not dialled: one, however many it has."""
    found = []
    for record in get_followers(state):
        refused = [(address, why) for address in record.addresses if (why := doors.why_not(address)) is not None]
        if record.member != me and refused:
            (address, why), more = refused[0], len(refused) - 1
            others = "" if not more else f" ({more} more of its addresses are not either)"
            found.append(
                f"member {record.member} ({record.name}) is not dialled at {address}: {why}{others}; if it should be, "
                "list it under [network] allow"
            )
    return found


def replaced_peers(before: Mapping[PeerId, MemberId], now: PeerMap, own_peer: PeerId) -> dict[PeerId, tuple[str, ...]]:
    """Return the old peer ids of members that have new ones now, as a dial map that dials nobody."""
    kept = {*now.values(), own_peer}
    return {peer: () for peer, member in before.items() if peer not in kept and member in now}


def due_report(state: State, me: MemberId) -> MemberReport | None:
    """Return what this node owes as a candidate: the state after the tip, as it computed it.

    Once to show that it follows, and once it is approved to become a member. The ledger keeps recent roots while a
    candidate owes one, so their last height is the tip's parent.
    """
    mine = next((candidate for candidate in get_candidates(state) if candidate.member == me), None)
    if mine is None:
        return None
    approved = mine.proposal.approved
    if mine.proposal.report is not None and (approved is None or not has_quorum(mine.proposal, get_members(state))):
        return None
    roots = get_membership(state).roots
    height = max(mine.proposal.height, approved.height if approved is not None else 0, roots[-1][0] + 1 if roots else 0)
    return MemberReport(mine.card.sign_key, height, state.root)
