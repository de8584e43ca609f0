"""The small corpus in the tree: a few real inputs for each target, from which fuzzing finds its way faster."""

from __future__ import annotations

import json
from pathlib import Path

from fednode.chain.consensus.messages import ConsensusMessage
from fednode.chain.consensus.recovery import encode_record, initial_record
from fednode.chain.sync import SyncMessage
from fednode.codec import encode
from fednode.core import traffic
from fednode.core.presence import Presence
from fednode.errors import Rejected
from fednode.home.config import config_template
from fednode.ledger.genesis import genesis_to_toml
from fednode.ledger.members.identity import card_to_toml
from fednode.ledger.transactions import Transaction
from fednode.p2p.framing import frame
from tests.core.hostile import Draw
from tests.fuzz.targets import FORMS, MAX_BYTES
from tests.ledger.world import make_test_genesis

CHECKOUT = Path(__file__).resolve().parents[2]

DECISION = bytes([
    0, 4, 0, 0,  # work for A, the leader
    0, 5, 0, 5, 0, 5, 1, 5, 0, 5, 0, 5,  # A and B hear each other
    0, 0, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3, 0, 1,  # C votes for A's block, to A and to B
    0, 5, 0, 5, 0, 5, 1, 5,
    0, 0, 2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3, 0, 1,  # and once more
    0, 5, 0, 5, 0, 5, 1, 5,
])
"""A script in which the honest members decide a block."""


def seeds(name: str) -> list[bytes]:
    """Return real inputs of a target."""
    draw = Draw(1)

    def drawn(form: object, count: int) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(20 * count):
            try:
                data = encode(draw.value(form), form)  # type: ignore[arg-type]
            except Rejected:
                continue
            if len(data) < MAX_BYTES // 4 and len(found) < count:
                found.append(data)
        return found

    match name:
        case "codec" | "blocks":
            return drawn(Transaction, 4)
        case "records":
            return [bytes([place]) + data for place, form in enumerate(FORMS) for data in drawn(form, 1)]
        case "frames":
            frames = [b"\x01" + data for data in drawn(ConsensusMessage, 6)] + [
                b"\x02" + data for data in drawn(SyncMessage, 2)
            ]
            frames += [b"\x05" + data for data in drawn(Presence, 2)]
            return [*frames, *(b"\x04" + data for data in drawn(traffic.Want, 2)), *drawn(traffic.BlobHeader, 2)]
        case "stored":
            return [encode_record(initial_record(bytes(32), bytes(32))), b"S/x\0" + bytes(9)]
        case "toml":
            genesis = make_test_genesis(4)
            study = (CHECKOUT / "genesis" / "digits.toml").read_bytes()
            return [genesis_to_toml(genesis).encode()[:MAX_BYTES], card_to_toml(genesis.members[0]).encode(), study]
        case "configuration":
            return [config_template("A", ("/ip4/127.0.0.1/tcp/7700",), (), "table.csv").encode()]
        case "proofs" | "exports":
            return [bytes([0, 1, place, place, 1]) for place in range(0, 250, 50)]
        case "control":
            return [json.dumps({"format": 1, "call": "chain_show", "args": {"at": "1..2", "n": 3, "x": None}}).encode()]
        case "streams":
            return [frame(b"hello") + frame(b""), frame(b"x" * 300)]
        case "consensus":
            return [DECISION, DECISION[:40] + bytes([0, 9, 0]) + DECISION[40:], bytes([0, 3, 0, 0, 0] * 20)]
        case "gossip":
            return _gossip_frames()
        case "store-files":
            return _store_files()
    raise KeyError(name)


def _gossip_frames() -> list[bytes]:
    """Every field that the library knows, and a message."""
    from libp2p.pubsub.pb import rpc_pb2

    names = [bytes([0, 36, number]) * 10 for number in range(3)]
    rpc = rpc_pb2.RPC(senderRecord=b"record")
    rpc.subscriptions.add(topicid="topic", subscribe=True)
    rpc.control.ihave.add(topicID="topic", messageIDs=[*names, names[0].hex().encode()])
    rpc.control.iwant.add(messageIDs=names)
    rpc.control.graft.add(topicID="topic")
    rpc.control.prune.add(topicID="topic", backoff=60).peers.add(peerID=b"peer", signedPeerRecord=b"record")
    rpc.control.idontwant.add(messageIDs=names)
    rpc.control.observe.add(topicID="topic")
    said = rpc_pb2.RPC()
    said.publish.add(from_id=bytes(38), seqno=bytes(8), data=b"data", topicIDs=["topic"], signature=bytes(64))
    return [rpc.SerializeToString(), said.SerializeToString()]


def _store_files() -> list[bytes]:
    """A manifest and a log as LevelDB writes them."""
    import tempfile

    import plyvel

    with tempfile.TemporaryDirectory() as folder:
        database = plyvel.DB(folder, create_if_missing=True)
        for number in range(4):
            database.put(b"key %d" % number, b"value" * 10)
        database.close()
        manifest = next(Path(folder).glob("MANIFEST-*")).read_bytes()
        log = next(Path(folder).glob("*.log")).read_bytes()
    size = -(-len(manifest) // 16)
    return [bytes([size]) + manifest.ljust(16 * size, b"\0") + log, b"\0" + log]


def write_corpus(folder: Path) -> None:
    """Write the seeds of every target."""
    from tests.fuzz.targets import TARGETS

    for name in TARGETS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(seeds(name)):
            (folder / name / f"{number:02d}").write_bytes(data)
