"""What is left of a gossip frame before the library sees it, and what one may cost."""

from __future__ import annotations

import os
import random
import time
import tracemalloc

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_uvarint

from fednode.errors import Rejected
from fednode.p2p import wire_limits
from fednode.p2p.libp2p.gossip_frame import BoundedCache, Served, count_fields, cut
from tests.p2p.test_faults import GOSSIP, TOPIC, attacked, no_handshake_quota  # noqa: F401  fixtures

NAMES = [b"\x00\x24" + bytes([number]) * 44 for number in range(200)]


def message(number: int = 0, data: bytes = b"x", topic: str = TOPIC) -> rpc_pb2.Message:
    return rpc_pb2.Message(from_id=bytes(38), seqno=number.to_bytes(8, "big"), data=data, topicIDs=[topic])


def everything() -> rpc_pb2.RPC:
    """A frame with every field that the library knows."""
    rpc = rpc_pb2.RPC(publish=[message()], senderRecord=b"record")
    rpc.subscriptions.add(topicid=TOPIC, subscribe=True)
    rpc.subscriptions.add(topicid="another", subscribe=True)
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=NAMES[:3])
    rpc.control.iwant.add(messageIDs=NAMES[:3])
    rpc.control.graft.add(topicID=TOPIC)
    prune = rpc.control.prune.add(topicID=TOPIC, backoff=2**63)
    prune.peers.add(peerID=b"somebody", signedPeerRecord=b"record")
    rpc.control.idontwant.add(messageIDs=NAMES[:3])
    rpc.control.extensions.topicObservation = True
    rpc.control.observe.add(topicID=TOPIC)
    rpc.control.unobserve.add(topicID=TOPIC)
    rpc.testExtension.SetInParent()
    return rpc


def names_of(rpc: rpc_pb2.RPC) -> set[str]:
    """Every field that is set, with where it stands."""
    found: set[str] = set()

    def walk(part, path: str) -> None:
        for field, value in part.ListFields():
            found.add(path + field.name)
            if field.message_type is not None:
                for item in value if hasattr(value, "__len__") else [value]:
                    walk(item, f"{path}{field.name}.")

    walk(rpc, "")
    return found


def test_only_what_a_mesh_of_one_topic_needs_is_left() -> None:
    """A field that the library learns later is out until somebody names it here."""
    everywhere = everything()
    kept = cut(everywhere, TOPIC, lambda name: True)
    assert names_of(everywhere) - names_of(kept) == {
        "senderRecord", "testExtension", "control.prune.peers", "control.prune.peers.peerID",
        "control.prune.peers.signedPeerRecord", "control.idontwant", "control.idontwant.messageIDs",
        "control.extensions", "control.extensions.topicObservation", "control.observe", "control.observe.topicID",
        "control.unobserve", "control.unobserve.topicID",
    }
    assert [entry.topicid for entry in kept.subscriptions] == [TOPIC]
    assert kept.control.prune[0].backoff == wire_limits.MAX_GOSSIP_BACKOFF_S


@given(st.lists(st.sampled_from(NAMES), max_size=400), st.booleans())
def test_a_name_counts_once_however_it_is_written(names: list[bytes], is_hex: bool) -> None:
    rpc = rpc_pb2.RPC()
    for start in range(0, len(names), 10):
        part = [name.hex().upper().encode() if is_hex else name for name in names[start : start + 10]]
        rpc.control.iwant.add(messageIDs=part)
        rpc.control.ihave.add(topicID=TOPIC, messageIDs=part)
    control = cut(rpc, TOPIC, lambda name: True).control
    unique = [name.hex().encode() for name in dict.fromkeys(names)]
    for entries in (control.iwant, control.ihave):
        assert [list(entry.messageIDs) for entry in entries] == ([unique] if unique else [])


def test_ids_are_cut_off_and_long_ones_left_out() -> None:
    rpc = rpc_pb2.RPC()
    names = [b"%064x" % number for number in range(wire_limits.MAX_GOSSIP_IDS + 50)]
    rpc.control.ihave.add(topicID=TOPIC, messageIDs=[bytes(wire_limits.MAX_GOSSIP_ID_BYTES + 1), *names])
    ((kept,),) = ([entry.messageIDs for entry in cut(rpc, TOPIC, lambda name: True).control.ihave],)
    assert list(kept) == names[: wire_limits.MAX_GOSSIP_IDS]


@pytest.mark.parametrize("odd", [{"seqno": b"1"}, {"seqno": bytes(500_000)}, {"from_id": bytes(100_000)}])
def test_names_of_messages_are_short(odd: dict[str, bytes]) -> None:
    rpc = rpc_pb2.RPC(publish=[message()])
    for name, value in odd.items():
        setattr(rpc.publish[0], name, value)
    with pytest.raises(Rejected, match="name"):
        cut(rpc, TOPIC, lambda name: True)


# --- fields are counted before they are built

PARTS = st.builds(
    lambda numbers, names: rpc_pb2.RPC(
        publish=[message(number) for number in numbers],
        control=rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=names)] * 2),
    ),
    st.lists(st.integers(0, 9), max_size=5), st.lists(st.sampled_from(NAMES), max_size=5),
)


def fields_of(part) -> int:
    """The number of fields on the wire, from what the library has built."""
    count = 0
    for field, value in part.ListFields():
        items = value if field.is_repeated else [value]
        count += len(items) + sum(fields_of(item) for item in items if field.message_type is not None)
    return count


@given(PARTS)
def test_fields_are_those_that_the_library_builds(rpc: rpc_pb2.RPC) -> None:
    assert count_fields(rpc.SerializeToString()) == fields_of(rpc)


@given(st.binary(max_size=300))
def test_junk_is_counted_or_refused(data: bytes) -> None:
    """Never another exception; what counts as in order is so for the library, or it says no itself."""
    try:
        count_fields(data)
    except Rejected:
        return
    assert count_fields(data) <= len(data)


@given(PARTS, st.data())
def test_frames_with_a_flipped_bit_are_counted_or_refused(rpc: rpc_pb2.RPC, data: st.DataObject) -> None:
    raw = bytearray(rpc.SerializeToString() or b"\x00")
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        count_fields(bytes(raw))
    except Rejected:
        return


@pytest.mark.parametrize(
    "entry", [b"\x1a\x02\x0a\x00", b"\x1a\x04\x12\x02\x0a\x00", b"\x12\x00", b"\x12\x02\x22\x00", b"\x0a\x00"],
    ids=["ihave", "iwant id", "message", "topic", "subscription"],
)
def test_a_frame_of_tiny_entries_costs_nothing(entry: bytes) -> None:
    data = entry * (wire_limits.MAX_GOSSIP_RPC_BYTES // len(entry))
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="fields"):
            count_fields(data)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


# --- what is kept for those who ask

def test_the_cache_is_bounded_by_bytes_and_offers_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BoundedCache(1, 2)
    for number in range(40):
        cache.put(message(number, bytes(500_000)))
    kept = sum(held.ByteSize() for held in cache.msgs.values())
    assert 0.9 * wire_limits.MAX_GOSSIP_CACHE_BYTES < kept <= wire_limits.MAX_GOSSIP_CACHE_BYTES
    cache.shift()
    cache.shift()
    assert not cache.msgs
    for number in range(1000):
        cache.put(message(number))
    assert len(cache.window(TOPIC)) == wire_limits.MAX_GOSSIP_IDS


def test_a_message_is_served_once_to_each_and_forgotten_with_the_cache() -> None:
    cache, number = BoundedCache(1, 2), random.Random(1)
    served = [Served(cache) for _ in range(3)]
    for _ in range(20):
        held = message(number.randrange(10**9))
        name = held.from_id + held.seqno
        assert not served[0].take(name)
        cache.put(held)
        assert [[one.take(name) for _ in range(3)] for one in served] == [[True, False, False]] * 3
        cache.shift()
    assert all(len(one._names) <= 3 for one in served)


# --- on a real host

@pytest.mark.slow
async def test_a_name_wanted_a_thousand_times_is_served_once(attacked, loopback) -> None:  # noqa: F811
    async with attacked() as (node, mallory):
        router = node._host._pubsub.router
        stream = await mallory.open(node, GOSSIP)
        await loopback.until(lambda: len(node._host._pubsub.peers) == 2)
        assert node.announce(os.urandom(500_000))
        await loopback.until(lambda: bool(router.mcache.msgs))
        (name,) = router.mcache.msgs
        sent: list[int] = []
        push = GossipSub.send_rpc

        def note(self, peer_id, rpc, priority=False) -> None:
            sent.append(len(rpc.publish))
            push(self, peer_id, rpc, priority)

        router.send_rpc = note.__get__(router)
        rpc = rpc_pb2.RPC()
        rpc.control.iwant.add(messageIDs=[name] * 1000)
        data = rpc.SerializeToString()
        for _ in range(3):
            await stream.write(encode_uvarint(len(data)) + data)
        await trio.sleep(0.5)
        assert [count for count in sent if count] == [1]


@pytest.mark.slow
async def test_gossip_past_the_quota_waits_before_a_signature_is_checked(attacked, loopback, monkeypatch) -> None:  # noqa: F811
    """The peer is not blamed, it is slowed down; the others hear each other as before."""
    checked = []
    monkeypatch.setattr("libp2p.pubsub.pubsub.signature_validator", lambda held: checked.append(held) and False)
    monkeypatch.setattr(wire_limits, "GOSSIP_WORK_US_BURST", 20_000.0)
    async with attacked() as (node, mallory):
        stream = await mallory.open(node, GOSSIP)
        data = rpc_pb2.RPC(publish=[message(number) for number in range(100)]).SerializeToString()
        began = time.monotonic()
        with trio.move_on_after(2):
            while True:
                await stream.write(encode_uvarint(len(data)) + data)
        spent_us = len(checked) * 5 * wire_limits.GOSSIP_FIELD_US
        assert spent_us < 20_000 + wire_limits.GOSSIP_WORK_US_PER_S * (time.monotonic() - began + 1)
        assert not node.counters().get("dropped_peers")


@pytest.mark.slow
async def test_peer_exchange_in_a_prune_is_not_looked_at(attacked, loopback) -> None:  # noqa: F811
    async with attacked() as (node, mallory):
        seen = []
        router = node._host._pubsub.router

        async def note(peers) -> None:
            seen.append(peers)

        router._do_px = note
        stream = await mallory.open(node, GOSSIP)
        rpc = rpc_pb2.RPC()
        for _ in range(64):
            prune = rpc.control.prune.add(topicID=TOPIC)
            for _ in range(16):
                prune.peers.add(peerID=b"peer", signedPeerRecord=bytes(100))
        data = rpc.SerializeToString()
        await stream.write(encode_uvarint(len(data)) + data)
        await loopback.until(lambda: bool(router.back_off.get(TOPIC)))
        assert not seen
