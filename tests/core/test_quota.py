"""Bounds on what one member may send: honest rates never meet them, floods do within seconds."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from fednode.chain.consensus.messages import MAX_BUNDLE, BlockRequest, ViewCertificate, bundle_bound, decode_message
from fednode.chain.vote import MAX_MEMBERS, NIL, NO_VIEW, PREVOTE, Vote, domain_of, sign_bytes
from fednode.codec import encode
from fednode.core import traffic
from fednode.core.quota import (
    CLAIMS_BURST,
    FRAMES_BURST,
    FRAMES_PER_S,
    PENALTY,
    PENALTY_NS,
    SIGNATURES_BURST,
    Quota,
)
from fednode.crypto import Ed25519Signer, Secret
from fednode.ids import Height, MemberId, View
from fednode.ledger.transactions import MAX_PENDING_PER_MEMBER
from fednode.p2p import network as net
from fednode.p2p.wire_limits import MAX_BLOB_BYTES, MAX_FRAME_BYTES
from tests.support.reactor import Stage, settled
from tests.support.seeds import seed_of

SECOND_NS = 1_000_000_000


def send(quota: Quota, per_s: int, size_bytes: int, seconds: int, is_asked_for: bool = False) -> float | None:
    """Return the seconds after which a steady sender is cut off, None if it is not."""
    for index in range(per_s * seconds):
        at_ns = SECOND_NS + index * SECOND_NS // per_s
        if quota.take_frame(size_bytes, is_asked_for, at_ns) is not None:
            return (at_ns - SECOND_NS) / SECOND_NS
    return None


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AbstractAsyncContextManager[Stage]:
    monkeypatch.setattr("fednode.node.reactor.monotonic_ns", lambda: SECOND_NS)
    return Stage(tmp_path, count=4).playing()


def test_an_honest_member_at_its_busiest_is_never_cut_off() -> None:
    """Two hundred frames of transactions a second, three votes for each of sixty blocks, for a minute."""
    assert send(Quota(), 380, 3_000, 60) is None


def test_what_piled_up_while_this_node_stood_still_is_read() -> None:
    quota = Quota()
    backlog = 5 * 380  # connections that are silent for longer are ended
    assert all(quota.take_frame(3_000, False, SECOND_NS) is None for _ in range(backlog))
    assert send(quota, 380, 3_000, 60) is None


def test_a_flood_of_messages_ends_within_seconds() -> None:
    seconds = send(Quota(), 2_000, 200, 60)
    assert seconds is not None
    assert seconds <= FRAMES_BURST / (2_000 - FRAMES_PER_S) + 0.01


def test_a_flood_of_bytes_ends_within_seconds() -> None:
    seconds = send(Quota(), 10, 1_000_000, 60)
    assert seconds is not None and seconds <= 10
    assert send(Quota(), 10, 1_000_000, 60, is_asked_for=True) is None  # answers while this node catches up


def test_the_largest_message_and_a_blob_of_any_size_are_no_flood() -> None:
    quota = Quota()
    quota.cut_off(SECOND_NS)
    assert quota.take_frame(MAX_FRAME_BYTES, False, SECOND_NS) is None
    assert quota.take_refused_blob(MAX_BLOB_BYTES, SECOND_NS) is None


def test_pieces_of_a_round_that_ended_early_are_no_flood() -> None:
    quota = Quota()
    for round_ in range(10):
        at_ns = SECOND_NS * (1 + 60 * round_)
        assert all(quota.take_refused_blob(100_000_000, at_ns) is None for _ in range(3))


def test_who_was_cut_off_has_smaller_reserves_for_an_hour() -> None:
    quota = Quota()
    quota.cut_off(SECOND_NS)
    quota.connected(31 * SECOND_NS)
    taken = sum(quota.take_frame(100, False, 31 * SECOND_NS) is None for _ in range(10_000))
    assert taken == FRAMES_BURST / PENALTY
    quota.connected(SECOND_NS + PENALTY_NS + 1)
    taken = sum(quota.take_frame(100, False, SECOND_NS + PENALTY_NS + 1) is None for _ in range(10_000))
    assert taken == FRAMES_BURST


def test_announcements_have_a_bound_of_their_own() -> None:
    quota = Quota()
    taken = sum(quota.take_claim(SECOND_NS) is None for _ in range(1000))
    assert taken == CLAIMS_BURST
    assert quota.take_frame(100, False, SECOND_NS) is None


# --- the reactor ------------------------------------------------------------------------------------------------

FRAME = traffic.CONSENSUS.frame(BlockRequest(1, bytes(32)))  # type: ignore[arg-type]
FLOOD = [FRAME] * (int(FRAMES_BURST) + 500)


async def test_a_flooding_member_is_cut_off_once_and_the_rest_of_its_flood_is_not_looked_at(stage: Stage) -> None:
    stage.network.tell(net.PeerUp(stage.peer(2), "address"))
    await stage.receive(2, *FLOOD)
    ((peer, reason),) = stage.network.dropped
    assert peer == stage.peer(2) and "messages a second" in reason
    assert stage.reactor.dropped[MemberId(2)] == 500
    assert any("cut off" in problem for problem in stage.reactor.problems.texts())
    assert [line["reason"] for line in stage.lines() if line["kind"] == "cut-off"] == [reason]
    frames = sum(line["kind"] == "frame" for line in stage.lines())
    assert frames == FRAMES_BURST


async def test_a_member_that_was_cut_off_is_heard_again_when_it_is_back(stage: Stage) -> None:
    stage.network.tell(net.PeerUp(stage.peer(2), "address"))
    await stage.receive(2, *FLOOD)
    stage.network.tell(net.PeerDown(stage.peer(2), "dropped"))
    assert len(stage.network.dropped) == 1
    stage.network.tell(net.PeerUp(stage.peer(2), "address"))
    before = sum(line["kind"] == "frame" for line in stage.lines())
    await stage.receive(2, *[FRAME] * 10)
    assert sum(line["kind"] == "frame" for line in stage.lines()) == before + 10
    assert len(stage.network.dropped) == 1


async def test_blobs_that_nobody_asked_for_count(stage: Stage) -> None:
    peer, header = stage.peer(3), encode(traffic.ModelHeader(bytes(32)), traffic.BlobHeader)
    stage.network.tell(net.PeerUp(peer, "address"))
    await settled()
    refused = [stage.reactor.accept_blob(peer, header, 80_000_000) for _ in range(10)]
    assert not any(refused)
    ((dropped, reason),) = stage.network.dropped
    assert dropped == peer and "MB a second" in reason


# --- signatures -------------------------------------------------------------------------------------------------

def test_signatures_have_a_bound_of_their_own_that_holds_a_whole_pool() -> None:
    quota = Quota()
    assert quota.take_signatures(MAX_PENDING_PER_MEMBER * MAX_MEMBERS + 3 * MAX_BUNDLE, SECOND_NS) is None
    assert SIGNATURES_BURST / PENALTY > MAX_BUNDLE  # one bundle is no flood, even of who was cut off
    assert quota.take_signatures(SIGNATURES_BURST, SECOND_NS) is not None  # type: ignore[arg-type]


def own_votes(stage: Stage, member: int, first_view: int) -> bytes:
    """A full bundle of genuine votes that nobody has seen."""
    height = stage.reactor.core.replica.tip.height + 1
    signer = Ed25519Signer(Secret(seed_of(stage.genesis.members[member - 1].name, "sign")))

    def vote(view: int) -> Vote:
        text = sign_bytes(stage.chain_id, PREVOTE, height, view, NO_VIEW, NIL)
        signature = signer.sign(domain_of(PREVOTE), text)
        return Vote(PREVOTE, Height(height), View(view), NO_VIEW, NIL, MemberId(member), signature)

    return traffic.CONSENSUS.frame(ViewCertificate(tuple(vote(first_view + at) for at in range(bundle_bound(4)))))


async def test_whoever_has_too_many_signatures_checked_is_cut_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fednode.core.quota.SIGNATURES_BURST", 100.0)
    await stage.receive(2, *(own_votes(stage, 2, first_view) for first_view in range(0, 200, bundle_bound(4))))
    ((dropped, reason),) = stage.network.dropped
    assert dropped == stage.peer(2) and "signatures a second" in reason
    assert sum(line["kind"] == "frame" for line in stage.lines()) == 100 // bundle_bound(4) + 1


async def test_votes_sent_again_for_ever_are_no_flood_of_signatures(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fednode.core.quota.SIGNATURES_BURST", 100.0)
    vote = decode_message(own_votes(stage, 2, 0)[1:]).votes[0]  # type: ignore[union-attr]
    for sender in (2, 3, 4):
        await stage.receive(sender, *[traffic.CONSENSUS.frame(vote)] * 200)
    assert not stage.network.dropped
