"""One frame of gossip, cut to what a full mesh of one topic needs before the library sees it. Imports libp2p.

Security assumption: the sender is a member and may send anything. The fields of a frame are counted in its bytes before
any is built; what is left afterwards names one topic, each message once, and nothing about other peers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.utils import safe_bytes_from_hex

from fednode.errors import Rejected
from fednode.p2p import wire_limits

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10
SEQNO_BYTES, MAX_AUTHOR_BYTES = 8, 64
"""A message is named by its author's peer id, 38 bytes for an Ed25519 key, and a number of eight bytes."""


def count_fields(data: bytes) -> int:
    """Return how many fields a frame has, those of its parts included; raise `Rejected` past `MAX_GOSSIP_FIELDS`."""
    parts: list[tuple[int, int, Any]] = [(0, len(data), rpc_pb2.RPC.DESCRIPTOR)]
    count = 0
    while parts:
        at, end, kind = parts.pop()
        while at < end:
            count += 1
            if count > wire_limits.MAX_GOSSIP_FIELDS:
                raise Rejected(f"gossip frame of more than {wire_limits.MAX_GOSSIP_FIELDS} fields")
            tag, at = _read_varint(data, at, end)
            wire = tag & 7
            if wire == _VARINT:
                _, at = _read_varint(data, at, end)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            elif wire == _BYTES:
                size_bytes, at = _read_varint(data, at, end)
                field = kind.fields_by_number.get(tag >> 3)
                if field is not None and field.message_type is not None:
                    parts.append((at, min(end, at + size_bytes), field.message_type))
                at += size_bytes
            else:
                raise Rejected("gossip frame with a group")
        if at != end:
            raise Rejected("gossip frame that is cut off")
    return count


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(min(_VARINT_BYTES, end - at)):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise Rejected("gossip frame with an endless number")


def cut(rpc: rpc_pb2.RPC, topic: str, may_have: Callable[[bytes], bool]) -> rpc_pb2.RPC:
    """Return what is left of a frame: everything that is not named here is gone.

    Subscriptions and messages of `topic`; one offer and one request of at most `MAX_GOSSIP_IDS` different ids; one
    GRAFT; one PRUNE without the peers it introduces. `may_have`: whether a requested message may be served.
    Raises `Rejected` for what no honest member sends.
    """
    control = rpc.control
    for entries in (rpc.subscriptions, control.graft, control.prune, control.ihave, control.iwant):
        if len(entries) > wire_limits.MAX_GOSSIP_ENTRIES:
            raise Rejected(f"gossip frame with {len(entries)} entries of a kind")
    topics = {entry.topicID for kind in (control.graft, control.prune, control.ihave) for entry in kind}
    if topics - {topic} or any(list(message.topicIDs) != [topic] for message in rpc.publish):
        raise Rejected("gossip about another topic")  # the router remembers every topic it ever heard of
    if any(len(message.seqno) != SEQNO_BYTES or len(message.from_id) > MAX_AUTHOR_BYTES for message in rpc.publish):
        raise Rejected("gossip message without a name")  # names of messages are kept for a while
    kept = rpc_pb2.RPC(publish=rpc.publish)
    kept.subscriptions.extend([entry for entry in rpc.subscriptions if entry.topicid == topic][-1:])
    offered = _ids(name for have in control.ihave for name in have.messageIDs)
    if offered:
        kept.control.ihave.add(topicID=topic, messageIDs=[name.hex().encode() for name in offered])
    wanted = [name for name in _ids(name for want in control.iwant for name in want.messageIDs) if may_have(name)]
    if wanted:
        kept.control.iwant.add(messageIDs=[name.hex().encode() for name in wanted])
    if control.graft:
        kept.control.graft.add(topicID=topic)
    if control.prune:
        kept.control.prune.add(topicID=topic, backoff=min(control.prune[-1].backoff, wire_limits.MAX_GOSSIP_BACKOFF_S))
    return kept


def _ids(names: Iterable[bytes]) -> list[bytes]:
    """Return the first ids of `names`, each once however it is written."""
    found: dict[bytes, None] = {}
    for name in names:
        raw = safe_bytes_from_hex(name) if len(name) <= 2 * wire_limits.MAX_GOSSIP_ID_BYTES else None
        if raw and len(raw) <= wire_limits.MAX_GOSSIP_ID_BYTES:
            found[raw] = None
            if len(found) == wire_limits.MAX_GOSSIP_IDS:
                break
    return list(found)


class BoundedCache(MessageCache):
    """What may be asked for again: so many bytes, and so many ids offered at a time."""

    def __init__(self, window_size: int, history_size: int) -> None:
        super().__init__(window_size, history_size)
        self._size_bytes = 0

    def put(self, msg: rpc_pb2.Message) -> None:
        """Keep a message if there is room; gossip is lossy, what is not kept is pulled."""
        size_bytes = msg.ByteSize()
        if self._size_bytes + size_bytes <= wire_limits.MAX_GOSSIP_CACHE_BYTES:
            super().put(msg)
            self._count()

    def _count(self) -> None:
        self._size_bytes = sum(msg.ByteSize() for msg in self.msgs.values())

    def window(self, topic: str) -> list[bytes]:
        """Return the newest ids to offer."""
        return super().window(topic)[-wire_limits.MAX_GOSSIP_IDS :]

    def shift(self) -> None:
        """Forget the oldest."""
        super().shift()
        self._count()


class Served:
    """Which messages a peer was sent because it asked: each once, while it can be asked for."""

    def __init__(self, cache: MessageCache) -> None:
        self._cache = cache
        self._names: set[bytes] = set()

    def take(self, name: bytes) -> bool:
        """Whether to serve a message now."""
        if name in self._names or name not in self._cache.msgs:
            return False
        self._names &= self._cache.msgs.keys()
        self._names.add(name)
        return True
