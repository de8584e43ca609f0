"""What is fuzzed: every decoder of foreign or damaged bytes, and the machines behind them.

A target takes any bytes. It returns if they are refused in the way the code promises (`Rejected`, or a `FednodeError`
for files that people hand over) or accepted with the properties of what was accepted; anything else is a fault.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path

from fednode.audit.export import open_export
from fednode.audit.proofs import PROOF_FORMAT, Finality, Proof
from fednode.audit.verify import Level
from fednode.audit.verify_export import verify_export
from fednode.chain.block import Receipt, Tip, decode_block
from fednode.chain.checkpoint import Checkpoint, Consistency, make_checkpoint, prove_in_log
from fednode.chain.consensus.recovery import decode_record, encode_record
from fednode.chain.leveldb_files import Damage, check_files
from fednode.chain.light import LightBlock
from fednode.chain.state import hash_leaf
from fednode.chain.store import BlockHead
from fednode.chain.vote import SIGN_BYTES, Certificate, read_sign_bytes
from fednode.codec import decode, encode, pack, unpack
from fednode.core import traffic
from fednode.desk.calls import Arguments
from fednode.desk.control_client import pack_frame, unpack_body
from fednode.errors import FednodeError, Rejected, Unavailable, UsageError
from fednode.home.config import load_config
from fednode.home.journal import is_line_whole
from fednode.home.keystore import read_public_keys
from fednode.ids import MemberId
from fednode.json_form import from_json, parse_json, to_json
from fednode.learn.form import parse_study, to_toml
from fednode.learn.jobs import decode_answer, decode_job
from fednode.learn.model_file import read_model, write_model
from fednode.ledger.bodies import Body
from fednode.ledger.genesis import genesis_to_toml, parse_genesis
from fednode.ledger.members.identity import card_to_toml, parse_card
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.succession import Consent, Origin
from fednode.ledger.transactions import decode_transaction
from fednode.p2p.addresses import parse_multiaddr
from fednode.p2p.framing import FrameSplitter, Hello, blob_prefix, parse_blob_prefix
from fednode.p2p.wire_limits import MAX_GOSSIP_IDS
from fednode.smpc.messages import RecordPart, SumParams
from fednode.smpc.record import restore_input, restore_state
from fednode.sums.norm import norm_statement
from tests.audit.chain import play, write
from tests.fuzz.machines import consensus

GOSSIP_TOPIC = "topic"

MAX_BYTES = 4096
"""Longest input tried: every bound that matters here is either below this or checked by its length alone."""

FORMS: tuple[object, ...] = (
    Body, Certificate, Tip, BlockHead, LightBlock, Receipt, Proof, Checkpoint, Consistency, traffic.BlobHeader,
    traffic.Want, Consent, Origin,
)


def codec(data: bytes) -> None:
    """Whatever unpacks packs to the same bytes."""
    with contextlib.suppress(Rejected):
        assert pack(unpack(data, MAX_BYTES)) == data


def records(data: bytes) -> None:
    """Whatever decodes as a record encodes to the same bytes. The first byte chooses the form."""
    form = typing.cast(typing.Any, FORMS[data[0] % len(FORMS)] if data else FORMS[0])
    with contextlib.suppress(Rejected):
        assert encode(decode(form, data[1:], MAX_BYTES), form) == data[1:]


def frames(data: bytes) -> None:
    """Frames between members."""
    with contextlib.suppress(Rejected):
        frame = traffic.decode_frame(data)
        assert frame.kind.frame(frame.message) == data
    with contextlib.suppress(Rejected):
        assert traffic.encode_header(traffic.decode_header(data)) == data


def blocks(data: bytes) -> None:
    """Blocks, transactions, sign-bytes."""
    with contextlib.suppress(Rejected):
        assert encode(decode_block(data)) == data
    with contextlib.suppress(Rejected):
        assert decode_transaction(data).data == data
    if len(data) == SIGN_BYTES:
        read_sign_bytes(data)


def stored(data: bytes) -> None:
    """What lies on this node's own disk and may be damaged: sign-state, state, round records, model, journal line."""
    with contextlib.suppress(FednodeError):
        assert encode_record(decode_record(data)) == data
    key, _, value = data.partition(b"\0")
    with contextlib.suppress(FednodeError, Rejected):
        RECORD_TABLE.decode(key, value)
    two = (MemberId(1), MemberId(2))
    params = SumParams(bytes(32), bytes(32), 1, two[0], two, 8, False, lambda weight: norm_statement(8, 1),
                       next_key=bytes(32))
    for part, restore in ((RecordPart.STATE, restore_state), (RecordPart.INPUT, restore_input)):
        with contextlib.suppress(FednodeError):
            restore(params, {part: data})
    with contextlib.suppress(Rejected):
        assert write_model(read_model(data)) == data
    is_line_whole(data)


def store_files(data: bytes) -> None:
    """LevelDB's own files: the first byte tells how long the manifest is, the rest is the log."""
    cut = 16 * data[0] if data else 0
    files = {"CURRENT": b"MANIFEST-000004\n", "MANIFEST-000004": data[1 : 1 + cut], "000005.log": data[1 + cut :],
             "000003.ldb": data[-60:]}
    with contextlib.suppress(Damage):
        check_files({name: len(content) for name, content in files.items()},
                    lambda name, count: files[name][-count:] if count else files[name])


def toml(data: bytes) -> None:
    """Files that people exchange and write: genesis, card, study, addresses."""
    text = data.decode(errors="replace")
    with contextlib.suppress(FednodeError, Rejected):
        assert parse_genesis(genesis_to_toml(parse_genesis(text))).chain_id
    with contextlib.suppress(FednodeError, Rejected):
        card_to_toml(parse_card(text))
    with contextlib.suppress(FednodeError, Rejected):
        spec = parse_study(text)
        assert parse_study(to_toml(spec)) == spec
    with contextlib.suppress(FednodeError):
        parse_multiaddr(text)


_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-")


def configuration(data: bytes) -> None:
    """hospital.toml and the keystore, which are files."""
    path = Path(_FOLDER.name) / "file.toml"
    path.touch(mode=0o600)
    path.write_bytes(data)
    with contextlib.suppress(FednodeError):
        load_config(path, {})
    with contextlib.suppress(FednodeError):
        read_public_keys(path)
    override = data[:200].decode("utf-8", "replace").replace("\0", "")
    with contextlib.suppress(FednodeError):
        load_config(path, {"FEDNODE_NETWORK__LISTEN": override, "FEDNODE_LIMITS__WORKER_MEMORY_MB": override})


@functools.cache
def _real() -> tuple[bytes, bytes, bytes]:
    """An export, a proof and a checkpoint of a small chain in which a round was played."""
    world = play(1)
    leaves = [hash_leaf(decided.block.hash) for decided in world.blocks]
    last = world.blocks[-1].block.header
    finality = Finality(world.genesis, None, (world.light(len(leaves)),))
    log = prove_in_log(leaves, len(leaves))
    proof = Proof(PROOF_FORMAT, world.chain_id, last, finality, log)
    texts = [json.dumps(to_json(record)).encode() for record in (proof, make_checkpoint(last, leaves))]
    return write(world), texts[0], texts[1]


def _patched(whole: bytes, data: bytes) -> bytes:
    """Return `whole` with the changes that `data` names: where (3 bytes), what, how often (1 each), one by one."""
    out = bytearray(whole)
    for start in range(0, len(data) - 4, 5):
        place = int.from_bytes(data[start : start + 3], "big") % len(out)
        out[place : place + 1] = data[start + 3 : start + 4] * (data[start + 4] % 4)
        if not out:
            break
    return bytes(out)


def exports(data: bytes) -> None:
    """An export of the chain, checked as an auditor does: as it comes, and a real one with changes in it."""
    for candidate in (data, _patched(_real()[0], data)):
        with contextlib.suppress(FednodeError, Rejected):
            report = verify_export(open_export(io.BytesIO(candidate).read), Level.EXECUTION, 2_000_000_000_000)
            assert report.chain.problem or candidate == _real()[0], "a changed export holds"


def proofs(data: bytes) -> None:
    """Proofs and checkpoints as JSON: as they come, and real ones with changes in them."""
    for candidate in (data, *(_patched(whole, data) for whole in _real()[1:])):
        with contextlib.suppress(Rejected):
            value = parse_json(candidate)
            for form in (Proof, Checkpoint, Consistency):
                with contextlib.suppress(Rejected):
                    record = from_json(form, value)
                    assert from_json(form, to_json(record)) == record


def control(data: bytes) -> None:
    """Requests over the control socket."""
    with contextlib.suppress(Unavailable):
        message = unpack_body(data)
        pack_frame({"error": f"no call {message.get('call')}"})
        values = message.get("args")
        arguments = Arguments(values if isinstance(values, dict) else {})
        for name in arguments.values:
            for get in (arguments.text, arguments.number, arguments.optional_text, arguments.optional_number):
                with contextlib.suppress(UsageError):
                    get(name)


def streams(data: bytes) -> None:
    """Bytes of a connection: frames cut out of it, the hello, the head of a blob, jobs and answers of the worker."""
    for size in (1, 7, 4096):
        splitter, found = FrameSplitter(), []
        with contextlib.suppress(Rejected):
            for start in range(0, len(data), size):
                found += splitter.feed(data[start : start + size])
    with contextlib.suppress(Rejected):
        Hello.from_frame(data)
    prefix_bytes = len(blob_prefix(b"", 0))
    with contextlib.suppress(Rejected):
        parse_blob_prefix(data[:prefix_bytes].ljust(prefix_bytes, b"\0"))
    for form in (decode_job, decode_answer):
        with contextlib.suppress(Rejected):
            form(data)


def gossip(data: bytes) -> None:
    """A frame of gossip: what is left of it names one topic, each message once, no other peer, and nothing unknown."""
    from google.protobuf.message import DecodeError
    from libp2p.pubsub.pb import rpc_pb2

    from fednode.p2p.libp2p.gossip_frame import count_fields, cut

    with contextlib.suppress(Rejected, DecodeError):
        fields = count_fields(data)
        kept = cut(rpc_pb2.RPC.FromString(data), GOSSIP_TOPIC, lambda name: True)
        assert cut(kept, GOSSIP_TOPIC, lambda name: True) == kept
        assert count_fields(kept.SerializeToString()) <= fields + 4  # one offer and one request in place of several
        assert len(kept.SerializeToString()) <= 2 * len(data) + 4 * len(GOSSIP_TOPIC) + 64
        assert not any(prune.peers for prune in kept.control.prune)
        for entries in (kept.control.ihave, kept.control.iwant):
            names = [name for entry in entries for name in entry.messageIDs]
            assert len(names) == len(set(names)) <= MAX_GOSSIP_IDS


TARGETS: dict[str, Callable[[bytes], None]] = {
    "codec": codec, "records": records, "frames": frames, "blocks": blocks, "stored": stored,
    "store-files": store_files, "toml": toml, "configuration": configuration, "exports": exports, "proofs": proofs,
    "control": control, "streams": streams, "consensus": consensus,
    "gossip": gossip,
}
