"""Exports: what is written is read back, holds at every level, and what was changed is named."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.audit.export import ExportBlock, ExportHead, ExportItem, ExportStep, StateReader, make_head, open_export
from fednode.audit.verify import Level
from fednode.audit.verify_export import ExportReport, verify_export
from fednode.chain.state import State
from fednode.chain.vote import Certificate
from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import nonce_key
from fednode.ledger.record_table import RECORD_TABLE
from tests.audit.chain import RoundWorld, assemble, change, play, records_of, replace_block, with_new_member, write

NOW_MS = 10**12


@pytest.fixture(scope="module")
def world() -> RoundWorld:
    return play(1)


def check(data: bytes, level: Level = Level.EXECUTION) -> ExportReport:
    return verify_export(open_export(io.BytesIO(data).read), level, NOW_MS)


def problem(data: bytes, level: Level = Level.EXECUTION) -> str:
    try:
        return check(data, level).problem
    except Rejected as error:
        return f"unreadable: {error.reason}"


def test_an_export_is_the_same_bytes_each_time_and_holds_at_every_level(world: RoundWorld) -> None:
    data = write(world)
    assert data == write(world) == assemble(records_of(data))
    for level in Level:
        report = check(data, level)
        assert report.problem == "" and report.chain.height == len(world.blocks)
        assert report.chain.verdicts == tuple((step, True) for step in Level if step <= level)
        assert report.is_state_right is (None if level == Level.STORAGE else True)
    assert report.items == len(list(world.state.items()))


@pytest.mark.parametrize("first", [2, 9])
def test_a_later_stretch_holds_up_to_the_transactions(world: RoundWorld, first: int) -> None:
    report = check(write(world, first))
    assert report.problem == "" and report.is_state_right
    assert [step for step, _ in report.chain.verdicts][-1] == Level.TRANSACTIONS
    assert report.chain.tip_hash == world.blocks[-1].block.hash


def test_changes_are_named(world: RoundWorld) -> None:
    records = records_of(write(world))
    blocks = [record for record in records if isinstance(record, ExportBlock)]
    certificate = decode(Certificate, blocks[4].certificate, 10_000)
    forged = replace(certificate, signatures=(certificate.signatures[1], *certificate.signatures[1:]))
    items = [record for record in records if isinstance(record, ExportItem)]
    for data, says in (
        (change(records, 4, ExportBlock, certificate=encode(forged)), "block 5 does not hold: certificate with a bad"),
        (change(records, 4, ExportBlock, receipts=blocks[5].receipts), "block 5 does not hold: its receipts"),
        (change(records, 4, ExportBlock, block=blocks[5].block), "block 5 does not hold: block does not follow"),
        (change(records, 0, ExportItem, value=items[0].value + b"\x00"), "records of the state"),
        (assemble([record for record in records if record is not items[0]]), "records of the state"),
        (assemble([records[0], *reversed(items), *records[1 + len(items):]]), "out of order"),
        (assemble(records[:-1]), "does not hold the blocks its head names"),
        (change(records, 0, ExportHead, last_hash=bytes(32)), "names block"),
        (change(records, 0, ExportHead, genesis=encode(replace(world.genesis, name="x"), Genesis)), "not that of"),
        (change(records, 0, ExportHead, format=2), "another format"),
        (assemble(records[1:]), "does not begin with its head"),
        (assemble(records)[:-1], "cut off"),
        (assemble(records) + b"x", "follows the end"),
        (b"nonsense", "no fednode export"),
    ):
        assert says in problem(data), (says, problem(data))


def test_a_state_that_all_members_sign_falsely_fails_at_execution(world: RoundWorld) -> None:
    records = records_of(write(world))
    items = {record.key: record.value for record in records if isinstance(record, ExportItem)}
    items[nonce_key(1)] = b"\x91\xcd\xff\xff"
    state = State.load(RECORD_TABLE, items.items())
    last = world.blocks[-1].block
    block = replace(last, header=replace(last.header, state_root=state.root))
    kept = [record for record in records if not isinstance(record, ExportItem)]
    leaves = [ExportItem(*leaf) for leaf in state.leaves()]
    forged = replace_block(world, [kept[0], *leaves, *kept[1:]], last.height, block)
    assert problem(assemble(forged), Level.TRANSACTIONS) == ""
    assert "gives another state" in problem(assemble(forged))


def test_steps_and_blocks_of_a_later_stretch_are_checked(world: RoundWorld) -> None:
    records = records_of(write(world, 9))
    step = next(record for record in records if isinstance(record, ExportStep)).block
    blocks = [record for record in records if isinstance(record, ExportBlock)]
    certificate = decode(Certificate, blocks[1].certificate, 10_000)
    thin = replace(certificate, bitmap=b"\x03", signatures=certificate.signatures[:2])
    for data, says in (
        (change(records, 0, ExportStep, block=replace(step, certificate=thin)), "step to block 8 does not hold"),
        (change(records, 0, ExportStep, block=world.light(7)), "end at block 7, not before block 9"),
        (assemble([record for record in records if not isinstance(record, ExportStep)]), "end at block 0"),
        (change(records, 1, ExportBlock, certificate=encode(thin)), "2 signatures, 3 needed"),
        (change(records, 1, ExportBlock, receipts=()), "its receipts"),
        (change(records, 1, ExportBlock, block=blocks[2].block), "does not follow"),
    ):
        assert says in problem(data), (says, problem(data))


def test_a_change_of_members_is_followed(world: RoundWorld) -> None:
    report = check(assemble(with_new_member(world, 9)))
    assert report.problem == "" and report.is_state_right
    assert "3 signatures, 4 needed" in problem(assemble(with_new_member(world, 9, signers=3)))


def test_nothing_is_exported_of_an_empty_chain(world: RoundWorld) -> None:
    for first, last in ((1, 0), (0, 1), (3, 2)):
        with pytest.raises(Rejected, match="are none"):
            make_head(world.genesis, first, last, bytes(32))


def test_no_changed_byte_goes_unnoticed(world: RoundWorld) -> None:
    data = write(world)
    rng = random.Random(2)
    for _ in range(40):
        at = rng.randrange(len(data))
        assert problem(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]), at


@given(st.sets(st.integers(0, 60_000), max_size=40))
def test_the_state_root_is_rebuilt_from_its_records(numbers: set[int]) -> None:
    state = State.load(RECORD_TABLE, ((nonce_key(number), b"\x91\x01") for number in numbers))
    reader = StateReader()
    for leaf in state.leaves():
        reader.add(ExportItem(*leaf))
    assert reader.compute_root() == state.root
