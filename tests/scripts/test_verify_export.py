"""The single-file verifier: what it accepts, and that each way of changing an export is caught and named.

Every forger here is a good one: counts and digest of the file are made to fit. The strongest are all members together,
who sign whatever block they like; what they cannot do is sign for each other's past.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import pytest

from fednode.audit.export import (
    PREAMBLE,
    ExportBlock,
    ExportEnd,
    ExportHead,
    ExportItem,
    ExportStep,
    Record,
    open_export,
)
from fednode.audit.verify import ChainEntry, Level, verify_chain
from fednode.audit.verify_export import verify_export
from fednode.chain.block import Block, Receipt, compute_evidence_root, receipts_data
from fednode.chain.state import State, compute_root
from fednode.chain.vote import (
    NO_VIEW,
    PREVOTE,
    Certificate,
    Evidence,
    Member,
    MemberSet,
    Vote,
    make_evidence,
    sign_bytes,
)
from fednode.codec import decode, encode
from fednode.crypto import Domain, Ed25519Signer, Secret, sha256
from fednode.errors import Rejected
from fednode.ledger.bodies import Memo
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.bodies import MemberReport, VersionVote
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.studies.bodies import Weights
from fednode.ledger.studies.records import RoundReport, report_key
from fednode.ledger.transactions import decode_transaction, sign_transaction
from fednode.ledger.versions import VERSIONS
from tests.audit.chain import (
    RoundWorld,
    assemble,
    change,
    play,
    play_changes,
    records_of,
    replace_block,
    with_new_member,
    write,
)

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify_export.py"
OTHER = bytes(31) + b"\x01"
LEVELS = ("file", "links", "certificates", "transactions", "state", "rounds")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_export", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def world() -> RoundWorld:
    return play(2)


@pytest.fixture(scope="module")
def records(world: RoundWorld) -> list[Any]:
    return records_of(write(world))


@pytest.fixture
def found(script: ModuleType, tmp_path: Path) -> Callable[[bytes], dict[str, list[str]]]:
    """Return the problems per level, only the levels that have any."""

    def check(data: bytes) -> dict[str, list[str]]:
        path = tmp_path / "chain.fnx"
        path.write_bytes(data)
        try:
            problems = script.verify(path).problems
        except (script.Wrong, *script.MALFORMED) as error:
            return {"unreadable": [str(error)]}
        return {level: texts for level, texts in problems.items() if texts}

    return check


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the script as an auditor does: isolated, from elsewhere, so that nothing of fednode can be imported."""
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


# --- what holds ------------------------------------------------------------------------------------------------

def test_a_good_export_passes_and_tells_how_the_model_came_about(world: RoundWorld, tmp_path: Path) -> None:
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(world))
    done = run("--chain-id", world.chain_id.hex(), "--json", path)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["levels"] == dict.fromkeys(("chain", *LEVELS), "PASSED")
    assert shown["checked"] == {
        "blocks": len(world.blocks), "votes": 4 * len(world.blocks),
        "transactions": sum(len(d.receipts) for d in world.blocks), "of them refused by the rules": 0,
    }
    story = shown["lineage"]
    assert (story["model"], story["study"]) == (world.report(2).model_hash.hex(), world.study.hex())
    assert story["approved_by"] == "the genesis"
    assert [(r["round"], r["counted"], r["votes"], r["sum_held_by"]) for r in story["rounds"]] == [
        (number, [1, 2, 3, 4], [1, 2, 3], [1, 2, 3]) for number in (1, 2)
    ]


def test_a_study_with_proofs_is_checked_too(tmp_path: Path) -> None:
    """Hidden weights are committed to as 0, and so is their sum."""
    world = play(2, lambda: RoundWorld(terms=replace(RoundWorld().terms, weights=Weights.HIDDEN)))
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(world))
    done = run("--chain-id", world.chain_id.hex(), "--json", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [entry["weight"] for entry in json.loads(done.stdout)["lineage"]["rounds"]] == [0, 0]
    entries = [ChainEntry(d.block.encoded, encode(d.certificate), receipts_data(d.receipts)) for d in world.blocks]
    assert verify_chain(entries, world.genesis, Level.EXECUTION).is_whole


def test_it_imports_nothing_of_fednode() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) < 700
    code = f"import sys; sys.argv = ['x', '--help']\ntry: exec(open({str(SCRIPT)!r}).read())\nexcept SystemExit: pass\n"
    code += "print([name for name in sys.modules if name.startswith(('fednode', 'msgpack'))])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_earlier_model_is_found_by_the_beginning_of_its_hash(world: RoundWorld, tmp_path: Path) -> None:
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(world))
    first = world.report(1).model_hash.hex()
    done = run("--model", first[:10], path)
    assert done.returncode == 0
    assert f"model {first}" in done.stdout and "NOT COMPARED" in done.stdout
    unknown = run("--model", "ffff", path)
    assert unknown.returncode == 12 and "no round in this file" in unknown.stderr


def test_an_export_from_the_middle_is_tied_to_the_genesis(world: RoundWorld, found) -> None:
    for first in (2, 20, len(world.blocks)):
        assert found(write(world, first)) == {}


def test_a_round_with_a_member_left_out(script: ModuleType, found) -> None:
    world = play(0)
    report = world.finish_round(4)
    assert report.counted == (1, 2, 3)
    assert found(write(world)) == {}


# --- what does not hold ----------------------------------------------------------------------------------------




def certificate(records: list[Any], height: int, **parts: Any) -> bytes:
    """Change the certificate of a block."""
    blocks = [record for record in records if isinstance(record, ExportBlock)]
    old = decode(Certificate, blocks[height - 1].certificate, 10_000)
    return change(records, height - 1, ExportBlock, certificate=encode(replace(old, **parts)))


def signatures_of(records: list[Any], height: int) -> tuple[bytes, ...]:
    blocks = [record for record in records if isinstance(record, ExportBlock)]
    return decode(Certificate, blocks[height - 1].certificate, 10_000).signatures


def test_another_chain(world: RoundWorld, found, tmp_path: Path) -> None:
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(world))
    done = run("--chain-id", "00" * 32, path)
    assert done.returncode == 12 and "this is not the chain you named" in done.stdout
    other = encode(replace(world.genesis, name="other"), Genesis)
    records = records_of(write(world))
    assert "genesis" in found(change(records, 0, ExportHead, genesis=other))["unreadable"][0]


@pytest.mark.parametrize("height", [7, 64])
def test_a_changed_header(world: RoundWorld, records: list[Any], found, height: int) -> None:
    height = min(height, len(world.blocks))
    block = world.blocks[height - 1].block
    for field, value in (("state_root", bytes(32)), ("time_ms", block.header.time_ms + 1), ("proposer", 1),
                         ("params_hash", bytes(32)), ("members_hash", bytes(32)), ("next_members_hash", bytes(32))):
        if getattr(block.header, field) == value:
            continue
        changed = replace(block, header=replace(block.header, **{field: value}))
        problems = found(change(records, height - 1, ExportBlock, block=changed.encoded))
        assert any(f"block {height}: " in text for text in problems["certificates"]), (field, problems)
        if height < len(world.blocks):
            assert f"block {height + 1}: it does not follow" in problems["links"][0]
        else:
            assert "is not the one the head of the file names" in problems["links"][-1]


def test_a_changed_certificate(records: list[Any], found) -> None:
    first, second, *rest = signatures_of(records, 9)
    for parts, says in (
        ({"signatures": (bytes(64), second, *rest)}, "signature of member 1 does not hold"),
        ({"signatures": (first, first, *rest)}, "signature of member 2 does not hold"),
        ({"signatures": (second, first, *rest)}, "signature of member 1 does not hold"),
        ({"bitmap": b"\x07", "signatures": (first, second, rest[1])}, "signature of member 3 does not hold"),
        ({"bitmap": b"\x07"}, "bitmap does not fit"),
        ({"bitmap": b"\x1f"}, "bitmap does not fit"),
        ({"bitmap": b"\x03", "signatures": (first, second)}, "2 signatures, 3 are needed"),
        ({"bitmap": b"\x1f", "signatures": (first, second, *rest, first)}, "bitmap does not fit"),
        ({"view": 1}, "signature of member 1 does not hold"),
        ({"block_hash": bytes(32)}, "certificate is of another block"),
    ):
        problems = found(certificate(records, 9, **parts))
        assert set(problems) <= {"certificates"}, problems
        assert says in problems["certificates"][0], (parts, problems)


def test_a_changed_transaction(world: RoundWorld, records: list[Any], found) -> None:
    block = world.blocks[6].block
    other = (world.blocks[7].block.transactions[0],)
    problems = found(change(records, 6, ExportBlock, block=replace(block, transactions=other).encoded))
    assert problems["links"] == ["block 7: its transactions are not those its header names"]
    assert "receipt is that of another transaction" in problems["transactions"][0]


def test_a_transaction_forged_by_all_members_together(world: RoundWorld, records: list[Any], found) -> None:
    last = world.blocks[-1].block
    good = decode_transaction(last.transactions[0])
    stranger = replace(good, sender=9)
    for forged, says in (
        (replace(good, signature=bytes(64)), "signature of a transaction"),
        (stranger, "signature of a transaction of member 9"),
        (decode_transaction(world.blocks[1].block.transactions[0]), "nonce"),
    ):
        receipts = receipts_data((Receipt(forged.txid, True, ""),))
        header = replace(last.header, tx_root=compute_root((forged.data,)), receipts_root=compute_root(receipts))
        block = Block(header, (forged.data,), (), last.parent_certificate)
        problems = found(assemble(replace_block(world, records, last.height, block, receipts=receipts)))
        assert says in problems["transactions"][0], problems
        assert "certificates" not in problems and "links" not in problems


def test_a_changed_receipt(world: RoundWorld, records: list[Any], found) -> None:
    receipt = replace(world.blocks[6].receipts[0], ok=False, reason="changed")
    problems = found(change(records, 6, ExportBlock, receipts=receipts_data((receipt,))))
    assert problems == {"transactions": ["block 7: its receipts are not those its header names"]}
    assert "transactions" in found(change(records, 6, ExportBlock, receipts=()))


def test_a_changed_or_missing_report(world: RoundWorld, records: list[Any], found) -> None:
    items = [record for record in records if isinstance(record, ExportItem)]
    at = next(i for i, item in enumerate(items) if item.key == report_key(world.study, 1))
    lie = encode(replace(world.report(1), counted=(1, 2, 3)), RoundReport)
    problems = found(change(records, at, ExportItem, value=lie))
    assert "records of the state are not those" in problems["state"][0]
    assert "round 1: its weight is not the sum" in problems["rounds"][0]
    left_out = assemble([record for record in records if record is not items[at]])
    problems = found(left_out)
    assert "state" in problems and "a report of its 2 rounds is missing" in problems["rounds"][0]
    kind = found(change(records, at, ExportItem, kind=7))
    assert set(kind) == {"state"}


def test_a_report_forged_by_all_members_together(world: RoundWorld, records: list[Any], found) -> None:
    """Even a state root that everybody signs cannot contradict the votes that stand in the blocks before."""
    good = world.report(1)
    last = world.blocks[-1].block
    for lie, says in (
        ({"model_hash": OTHER}, "0 members voted"), ({"sum_digest": OTHER}, "0 members voted"),
        ({"counted": (1, 2, 3)}, "weight is not the sum"), ({"counted": (1, 2, 3, 9)}, "[9] are counted"),
        ({"weight": 1}, "0 members voted"), ({"closed_ms": 5}, "another time"), ({"attempts": 2}, "0 members"),
        ({"start_model": OTHER}, "starts from another model"),
    ):
        value = encode(replace(good, **lie), RoundReport)
        items = {record.key: record.value for record in records if isinstance(record, ExportItem)}
        items[report_key(world.study, 1)] = value
        state = State.load(RECORD_TABLE, items.items())
        kept = [record for record in records if not isinstance(record, ExportItem)]
        leaves = [ExportItem(*leaf) for leaf in state.leaves()]
        block = replace(last, header=replace(last.header, state_root=state.root))
        forged = replace_block(world, [kept[0], *leaves, *kept[1:]], last.height, block)
        problems = found(assemble(forged))
        assert set(problems) == {"rounds"}, problems
        assert any(says in text for text in problems["rounds"]), (lie, problems)


def test_members_smuggled_in(world: RoundWorld, records: list[Any], found) -> None:
    """New members follow only from a header that the old ones signed."""
    mine = MemberSet(tuple(Member(i, world.signers[1 + i % 4].public_key) for i in (1, 2, 3, 4)))
    problems = found(change(records, 6, ExportBlock, next_members=mine))
    assert "block 7: it names other members for the next height" in problems["certificates"][0]
    twice = MemberSet((Member(1, bytes(32)), Member(2, bytes(31) + b"\x01")))
    object.__setattr__(twice, "members", (Member(1, bytes(32)), Member(2, bytes(32))))
    assert "keys once each" in found(change(records, 6, ExportBlock, next_members=twice))["file"][0]


@pytest.mark.parametrize("first", [1, 9])
def test_a_change_of_members_that_the_old_ones_signed(world: RoundWorld, found, first: int) -> None:
    """Nobody proposed the fifth member: whoever sees the chain from its first block on notices."""
    height = len(world.blocks)
    problems = found(assemble(with_new_member(world, first)))
    if first > 1:
        assert problems == {}
        return
    unvoted = f"block {height}: nobody voted for the members it names for the next height"
    no_turn = f"block {height + 1}: member 5 had no turn to propose it"  # unless the order of that height begins with 5
    assert set(problems) == {"certificates"}
    assert problems["certificates"] in ([unvoted], [unvoted, no_turn])
    problems = found(assemble(with_new_member(world, first, signers=3)))
    assert any("3 signatures, 4 are needed" in text for text in problems["certificates"])
    records = with_new_member(world, first)
    at = next(i for i, record in enumerate(records) if isinstance(record, ExportBlock) and record.next_members)
    records[at] = replace(records[at], next_members=None)
    assert "names other members for the next height" in found(assemble(records))["certificates"][0]


# --- members, keys and versions that change by rule ------------------------------------------------------------

@pytest.fixture(scope="module")
def changing() -> RoundWorld:
    return play_changes()


@pytest.fixture(scope="module")
def changing_records(changing: RoundWorld) -> list[Any]:
    return records_of(write(changing))


@pytest.mark.parametrize("after", [0, -1, 0, 1, 2])
@pytest.mark.parametrize("what", ["joined", "rotated", "left"])
def test_members_that_changed_by_rule_are_followed_from_any_block(
    changing: RoundWorld, found, what: str, after: int
) -> None:
    assert found(write(changing, changing.changes[what] + after)) == {}


def test_the_whole_chain_and_its_lineage(changing: RoundWorld, found, tmp_path: Path) -> None:
    path = tmp_path / "chain.fnx"
    path.write_bytes(write(changing))
    done = run("--chain-id", changing.chain_id.hex(), "--json", path)
    shown = json.loads(done.stdout)
    assert shown["levels"] == dict.fromkeys(("chain", *LEVELS), "PASSED"), done.stdout
    story = shown["lineage"]
    assert story["plan_hash"] == changing.study.hex()
    assert [item["counted"] for item in story["rounds"]] == [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 5]]
    assert "5 fifth" in run(path).stdout and changing.study.hex() in run(path).stdout


@pytest.mark.parametrize("what", ["joined", "rotated", "left"])
def test_a_change_that_nobody_voted_for_or_that_is_hidden(
    changing: RoundWorld, changing_records: list[Any], found, what: str
) -> None:
    at = changing.changes[what]
    hidden = found(change(changing_records, at - 1, ExportBlock, next_members=None))
    assert f"block {at}: it names other members for the next height" in hidden["certificates"][0]
    late = found(change(changing_records, at, ExportBlock, next_members=changing.sets[at + 1]))
    is_same = changing.sets[at + 1] == changing.sets[at]
    assert is_same == ("new members come with it, and it changes none" in str(late))
    wrong = found(change(changing_records, at - 1, ExportBlock, next_members=changing.sets[0]))
    assert any(f"block {at}: it names other members for the next height" in text for text in wrong["certificates"])


def test_a_vote_less_than_needed_is_noticed(
    script: ModuleType, changing: RoundWorld, changing_records: list[Any], found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script counts the votes for a change itself: without one of them it does not believe it."""
    take = script.Check._member_vote
    for what in ("joined", "left"):
        at = changing.changes[what]

        def without_last(check: Any, sender: int, kind: int, about: Any, at: int = at) -> None:
            if check.height + 1 != at:
                take(check, sender, kind, about)

        monkeypatch.setattr(script.Check, "_member_vote", without_last)
        problems = found(assemble(changing_records))["certificates"]
        assert problems == [f"block {at}: nobody voted for the members it names for the next height"]


def test_a_candidate_reports_with_the_key_that_was_proposed(
    changing: RoundWorld, changing_records: list[Any], found
) -> None:
    """Every member together could write a report of a key that nobody proposed; the proposal on the chain tells."""
    at = next(
        height for height, decided in enumerate(changing.blocks, 1)
        if isinstance(decode_transaction(decided.block.transactions[0]).body, MemberReport)
    )
    block = changing.blocks[at - 1].block
    good = decode_transaction(block.transactions[0])
    other = Ed25519Signer(Secret(bytes(32)))
    body = replace(good.body, sign_key=other.public_key)
    forged = sign_transaction(other, changing.chain_id, good.sender, good.nonce, good.valid_until, body)
    receipts = receipts_data((Receipt(forged.txid, True, ""),))
    header = replace(block.header, tx_root=compute_root((forged.data,)), receipts_root=compute_root(receipts))
    parts = {"block": Block(header, (forged.data,), (), block.parent_certificate).encoded, "receipts": receipts}
    problems = found(change(changing_records, at - 1, ExportBlock, **parts))
    assert "the signature of a transaction of member 5 does not hold" in problems["transactions"][0]


def test_a_planned_version_is_followed_and_an_unknown_one_ends_the_check(found) -> None:
    world = RoundWorld()
    for member in (1, 2, 3):
        assert world.post(member, VersionVote(2, 14, "0.6.0")).ok
    while len(world.blocks) < 13:
        world.post(1, Memo(f"block {len(world.blocks)}"))
    assert found(write(world)) == {}
    world.maker.versions = {**VERSIONS, 2: VERSIONS[1]}
    world.post(1, Memo("the first of version 2"))
    problems = found(write(world))
    says = "block 14: it is of protocol version 2, this program knows 1: use that of a newer release"
    assert problems == {"links": [says]}


def test_evidence_that_proves_nothing(world: RoundWorld, records: list[Any], found) -> None:
    last = world.blocks[-1].block
    height = last.height

    def vote(value: bytes, signer: int = 2, is_good: bool = True) -> Vote:
        message = sign_bytes(world.chain_id, PREVOTE, height, 0, NO_VIEW, value)
        signature = world.signers[signer].sign(Domain.PREVOTE, message) if is_good else bytes(64)
        return Vote(PREVOTE, height, 0, NO_VIEW, value, 2, signature)

    one, other = bytes(31) + b"\x01", bytes(31) + b"\x02"
    good = make_evidence(vote(one), vote(other))
    for piece, says in (
        (good, ""), (make_evidence(vote(one), vote(other, is_good=False)), "signature that does not hold"),
        (make_evidence(vote(one, 1), vote(other, 1)), "signature that does not hold"),
    ):
        assert isinstance(piece, Evidence)
        header = replace(last.header, evidence_root=compute_evidence_root((piece,)))
        block = Block(header, last.transactions, (piece,), last.parent_certificate)
        problems = found(assemble(replace_block(world, records, height, block)))
        assert (problems == {}) if not says else says in problems["certificates"][0]
        unnamed = Block(last.header, last.transactions, (piece,), last.parent_certificate)
        problems = found(change(records, height - 1, ExportBlock, block=unnamed.encoded))
        assert "evidence is not that its header names" in problems["links"][0]


def test_blocks_left_out_swapped_or_cut_off(records: list[Any], found) -> None:
    places = [at for at, record in enumerate(records) if isinstance(record, ExportBlock)]
    without = [record for at, record in enumerate(records) if at != places[5]]
    assert "block 7: it does not follow" in found(assemble(without))["links"][0]
    swapped = list(records)
    swapped[places[5]], swapped[places[6]] = swapped[places[6]], swapped[places[5]]
    assert "block 7: it does not follow" in found(assemble(swapped))["links"][0]
    assert f"ends at block {len(places) - 1}" in found(assemble(records[:-1]))["file"][0]
    turned = [*records[:1], *records[-2:], *records[1:-2]]
    assert "out of order" in found(assemble(turned))["file"][0]
    data = assemble(records)
    assert "cut off" in found(data[: len(data) // 2])["file"][0]
    assert "digest" in found(data + b"\x00")["file"][0]
    assert "no fednode export" in found(b"something else, long enough")["unreadable"][0]
    assert "no fednode export" in found(data[:10])["unreadable"][0]


def test_steps_that_do_not_hold(world: RoundWorld, found) -> None:
    records = records_of(write(world, 20))
    step = next(record for record in records if isinstance(record, ExportStep)).block
    signatures = step.certificate.signatures
    thin = replace(step, certificate=replace(step.certificate, bitmap=b"\x03", signatures=signatures[:2]))
    later = replace(step, header=replace(step.header, time_ms=step.header.time_ms + 1))
    strange = MemberSet(tuple(Member(i, world.signers[1 + i % 4].public_key) for i in (1, 2, 3, 4)))
    for bad, says in (
        (thin, "2 signatures, 3 are needed"), (later, "another block"), (world.light(18), ""),
        (replace(step, members=strange), "signature of member 1"),
        (replace(step, next_members=strange), "other members"),
        (replace(step, header=replace(step.header, version=2)), "protocol version 2"),
    ):
        problems = found(change(records, 0, ExportStep, block=bad))
        named = problems.get("certificates", []) + problems.get("links", [])
        assert named and any(says in text for text in named), (says, problems)


@pytest.mark.slow
def test_no_changed_byte_goes_unnoticed(changing: RoundWorld, found) -> None:
    """Wherever it is; and where the forger makes the digest fit, in whatever signs or is signed."""
    data = write(changing)
    rng = random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(data))
        changed = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        assert found(changed), f"byte {at}"


@pytest.mark.slow
def test_no_changed_byte_of_any_class_goes_unnoticed_by_either_verifier(
    changing: RoundWorld, changing_records: list[Any], found
) -> None:
    """One bit of every kind of field, with counts and digest of the file made to fit: both verifiers refuse it."""
    rng = random.Random(3)
    for name, forged in flipped(changing_records, rng):
        assert found(forged), f"the single file accepts a changed {name}"
        try:
            opened = open_export(io.BytesIO(forged).read)
            assert verify_export(opened, Level.EXECUTION, 10**12).problem, f"fednode accepts a changed {name}"
        except Rejected:
            continue


def flipped(records: list[Any], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield files in which one bit of one bytes field or number is another, a few of every class of field."""
    for place, record in enumerate(records):
        if place % 3:
            continue
        fields = [field.name for field in dataclasses.fields(record)]
        chosen = fields if isinstance(record, ExportHead) else [rng.choice(fields)]
        for field in chosen:
            value = getattr(record, field)
            if isinstance(value, bytes) and value:
                at = rng.randrange(len(value))
                other: object = value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :]
            elif isinstance(value, int):
                other = value ^ 1
            elif isinstance(value, tuple) and value:
                other = value[1:]
            else:
                continue
            changed = list(records)
            changed[place] = replace(record, **{field: other})
            try:
                yield f"{type(record).__name__}.{field} of record {place}", assemble(changed)
            except Rejected:
                continue


# --- one verdict ------------------------------------------------------------------------------------------------

def refused_by_fednode(data: bytes, now_ms: int) -> str:
    try:
        return verify_export(open_export(io.BytesIO(data).read), Level.EXECUTION, now_ms).problem
    except Rejected as error:
        return error.reason


def with_truth(value: Any, at: list[int]) -> Any:
    """Return a value in which the at-th number that is 0 or 1 is a truth value, which to Python is the same."""
    if isinstance(value, int) and not isinstance(value, bool) and value in (0, 1):
        at[0] -= 1
        return bool(value) if at[0] == -1 else value
    if isinstance(value, tuple):
        return tuple(with_truth(item, at) for item in value)
    return value


def variants(world: RoundWorld, records: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Yield files that a forger might hand over: forms, order, times, turns; digests and counts fit."""
    data = assemble(records)
    blocks = [at for at, record in enumerate(records) if isinstance(record, ExportBlock)]
    items = [at for at, record in enumerate(records) if isinstance(record, ExportItem)]
    yield "the preamble in other words", data.replace(b"needs Python", b"nodes Python", 1)
    for name, (one, other) in {"items": items[:2], "blocks": blocks[:2]}.items():
        swapped = list(records)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        yield f"two {name} swapped", assemble(swapped)
        yield f"one of the {name} twice", assemble([*records[: one + 1], *records[one:]])
    for at in (blocks[1], blocks[-1]):
        with_set = list(records)
        with_set[at] = replace(records[at], next_members=world.sets[-1])
        yield "members that come with a block that changes none", assemble(with_set)
    for at in (0, items[0], blocks[2]):
        for number in range(3):
            odd = list(records)
            odd[at] = records[at]
            form = encode(records[at], Record)
            changed = msgpack.packb(with_truth(as_tuples(msgpack.unpackb(form)), [number]), use_bin_type=True)
            if changed != form:
                yield f"a truth value in a {type(records[at]).__name__}", framed(odd, at, changed)
    certificate = as_tuples(msgpack.unpackb(records[blocks[3]].certificate))
    odd = list(records)
    odd[blocks[3]] = replace(records[blocks[3]], certificate=msgpack.packb(with_truth(certificate, [0])))
    yield "a truth value as the view of a certificate", assemble(odd)
    last = world.blocks[-1].block
    for member in (1, 2, 3, 4):
        turned = replace(last, header=replace(last.header, proposer=member))
        yield f"last block proposed by {member}", assemble(replace_block(world, records, last.height, turned))
    for time_ms in (NOW_MS + 4_999, NOW_MS + 5_000, NOW_MS + 10**9):
        late = replace(last, header=replace(last.header, time_ms=time_ms))
        name = f"last block of {time_ms - NOW_MS} ms from now"
        yield name, assemble(replace_block(world, records, last.height, late))


def as_tuples(value: Any) -> Any:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def framed(records: list[Any], at: int, data: bytes) -> bytes:
    """Return a file in which these bytes stand for one record."""
    parts = [encode(record, Record) for record in records]
    parts[at] = data
    body = PREAMBLE + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    counts = [sum(isinstance(record, kind) for record in records) for kind in (ExportStep, ExportItem, ExportBlock)]
    end = encode(ExportEnd(*counts, sha256(body)), Record)
    return body + len(end).to_bytes(4, "big") + end


NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize("first", [1, 20])
def test_both_verifiers_refuse_the_same_files(
    world: RoundWorld, script: ModuleType, found, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the form, the order, the clock or the turn: what one of them refuses, the other does."""
    monkeypatch.setattr(script.time, "time_ns", lambda: NOW_MS * 10**6)
    verdicts = {}
    for name, data in variants(world, records_of(write(world, first))):
        one, other = found(data), refused_by_fednode(data, NOW_MS)
        verdicts[name] = bool(one)
        if name.startswith("last block of"):  # what else follows from a time is for the rules and the rounds
            is_late = name != "last block of 4999 ms from now"
            assert ("the future" in str(one)) == is_late and bool(other) >= is_late >= ("the future" in other)
        else:
            assert bool(one) == bool(other), (name, one, other)
    assert found(write(world, first)) == {} and refused_by_fednode(write(world, first), NOW_MS) == ""
    assert sum(verdicts.values()) >= 11
