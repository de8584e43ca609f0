"""A chain for auditors: rounds of the real rules in blocks signed by all members, and the light blocks of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from fednode.codec import decode, encode
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.ids import MemberId
from fednode.ledger.block import Block
from fednode.ledger.bodies import Body
from fednode.ledger.export import (
    PREAMBLE,
    ExportBlock,
    ExportEnd,
    ExportHead,
    ExportItem,
    ExportStep,
    Record,
    export_block,
    make_head,
    write_export,
)
from fednode.ledger.light import LightBlock
from fednode.ledger.members import Member, MemberSet
from fednode.ledger.merkle import EMPTY_ROOT
from fednode.ledger.records import MemberList
from fednode.ledger.rules import receipts_data
from fednode.ledger.state import MEMBERS_KEY, State, get_members
from fednode.ledger.store import DecidedBlock
from fednode.ledger.vote import NO_VIEW, PRECOMMIT, Vote, make_certificate, sign_bytes
from tests.contract.test_store import ChainMaker, MemoryStore
from tests.ledger.proven_world import ProvenWorld
from tests.ledger.world import World, seed_of


class RoundWorld(World):
    """A `World` whose blocks are decided, certified and stored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.maker = ChainMaker(self.size, self.terms)
        assert self.maker.genesis == self.genesis, "both make the genesis of the same members and study"
        self.store = MemoryStore(self.genesis)
        self.blocks: list[DecidedBlock] = []

    def block(self, *messages: tuple[int, Body]):
        transactions = [self.sign(member, body) for member, body in messages]
        decided = self.maker.decide(*transactions)
        self.store.append(decided)
        self.blocks.append(decided)
        self.at = self.next_time()
        self.state = self.maker.state
        return decided.receipts

    def light(self, height: int) -> LightBlock:
        decided = self.blocks[height - 1]
        members = self.genesis.member_set
        certificate = self.store.get_certificate(height)
        return LightBlock(decided.block.header, certificate, members, members)


class ProvenRoundWorld(RoundWorld, ProvenWorld):
    """The same with a study of sum rule 2."""


def play(rounds: int = 2, make: type[RoundWorld] = RoundWorld) -> RoundWorld:
    """Return a world in which everybody joined and played so many rounds honestly."""
    world = make()
    assert all(receipt.ok for receipt in world.block(*((member, world.ready(member)) for member in world.members)))
    for _ in range(rounds):
        world.finish_round()
    return world


# --- exports, and changing them --------------------------------------------------------------------------------

def write(world: RoundWorld, first: int = 1) -> bytes:
    """Return the export of a world's blocks from `first` on."""
    members = world.genesis.member_set
    last = world.blocks[-1].block
    blocks = (
        export_block(d.block, world.light(d.block.height).certificate, receipts_data(d.receipts), members)
        for d in world.blocks[first - 1 :]
    )
    steps = () if first == 1 else (world.light(first - 1),)
    head = make_head(world.genesis, first, last.height, last.hash)
    return b"".join(write_export(head, steps, world.state.leaves(), blocks))


def records_of(data: bytes) -> list[Any]:
    """Return the records of an export, the end left out."""
    at, found = len(PREAMBLE), []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(decode(Record, data[at + 4 : at + 4 + size], size))
        at += 4 + size
    return found[:-1]


def assemble(records: list[Any]) -> bytes:
    """Return a file of these records whose counts and digest fit: a forger can compute them as well as we."""
    body = PREAMBLE
    for record in records:
        data = encode(record, Record)
        body += len(data).to_bytes(4, "big") + data
    counts = [sum(isinstance(record, kind) for record in records) for kind in (ExportStep, ExportItem, ExportBlock)]
    end = encode(ExportEnd(*counts, hashlib.sha256(body).digest()), Record)
    return body + len(end).to_bytes(4, "big") + end


def replace_block(world: RoundWorld, records: list[Any], height: int, block: Block, **parts: Any) -> list[Any]:
    """Return the records with another block at a height, certified by everybody: all members conspire."""
    first = next(record for record in records if isinstance(record, ExportHead)).first
    places = [at for at, record in enumerate(records) if isinstance(record, ExportBlock)]
    old = records[places[height - first]]
    certificate = encode(world.maker.certify(block))
    new = replace(old, block=block.encoded, certificate=certificate, **parts)
    changed = list(records)
    changed[places[height - first]] = new
    head = changed[0]
    if head.last == height:
        changed[0] = replace(head, last_hash=block.hash)
    return changed


def with_new_member(world: RoundWorld, first: int = 1, signers: int = 4) -> list[Any]:
    """Return an export whose last two blocks no rule would make: one admits a fifth member, the five decide the next.

    `signers` of the five sign the last block.
    """
    records = records_of(write(world, first))
    old = world.genesis.member_set
    key = Ed25519Signer(Secret(seed_of("fifth")))
    five = MemberSet((*old.members, Member(MemberId(5), key.public_key)))
    listed = get_members(world.state)
    fifth = replace(listed[0], member=MemberId(5), name="fifth", sign_key=key.public_key)
    items = dict(world.state.items()) | {MEMBERS_KEY: encode(MemberList((*listed, fifth)))}
    state = State.load(items.items())
    last = world.blocks[-1].block
    change = replace(last, header=replace(last.header, next_members_hash=five.hash, state_root=state.root))
    records = replace_block(world, records, last.height, change, next_members=five)
    certificate = world.maker.certify(change)
    header = replace(
        change.header, height=last.height + 1, time_ms=last.header.time_ms + 1, parent_hash=change.hash,
        parent_certificate_hash=certificate.hash, members_hash=five.hash, tx_count=0,
        tx_root=EMPTY_ROOT, receipts_root=EMPTY_ROOT, proposer=MemberId(5),
    )
    block = Block(header, (), (), certificate)
    message = sign_bytes(world.chain_id, PRECOMMIT, block.height, 0, NO_VIEW, block.hash)
    votes = [
        Vote(PRECOMMIT, block.height, 0, NO_VIEW, block.hash, number, signer.sign(Domain.PRECOMMIT, message))
        for number, signer in [*world.signers.items(), (MemberId(5), key)][5 - signers :]
    ]
    added = export_block(block, make_certificate(five, votes), (), five)
    kept = [record for record in records[1:] if not isinstance(record, ExportItem)]
    steps = [record for record in kept if isinstance(record, ExportStep)]
    leaves = [ExportItem(*leaf) for leaf in state.leaves()]
    head = replace(records[0], last=block.height, last_hash=block.hash)
    return [head, *steps, *leaves, *kept[len(steps) :], added]
