"""A chain for auditors: rounds of the real rules in blocks signed by all members, and the light blocks of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fednode.audit.export import (
    PREAMBLE,
    ExportBlock,
    ExportEnd,
    ExportHead,
    ExportItem,
    ExportStep,
    Record,
    make_head,
    write_export,
)
from fednode.chain.block import Block, receipts_data
from fednode.chain.light import LightBlock, LightRules, follow, trust_genesis
from fednode.chain.state import EMPTY_ROOT, State
from fednode.chain.store import DecidedBlock
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, Member, MemberSet, Vote, make_certificate, sign_bytes
from fednode.codec import decode, encode
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.ids import MemberId
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import (
    MemberAddresses,
    MemberApprove,
    MemberPropose,
    MemberRemove,
    MemberReport,
    MemberRotate,
)
from fednode.ledger.members.identity import make_identity_card
from fednode.ledger.members.reading import MEMBERS_KEY, get_members
from fednode.ledger.members.records import MemberList
from fednode.ledger.members.rules import rotation_message
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.versions import VERSIONS
from tests.contract.test_store import ChainMaker, MemoryStore
from tests.ledger.sum_world import World
from tests.support.cards import make_card
from tests.support.seeds import seed_of


class RoundWorld(World):
    """A `World` whose blocks are decided, certified and stored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.maker = ChainMaker(self.size, self.terms)
        assert self.maker.genesis == self.genesis, "both make the genesis of the same members and study"
        self.store = MemoryStore(self.genesis)
        self.blocks: list[DecidedBlock] = []
        self.sets = [self.genesis.member_set]
        """The members that decide heights 1, 2, 3, ..., the next one included."""

    def block(self, *messages: tuple[int, Body]):
        transactions = [self.sign(member, body) for member, body in messages]
        decided = self.maker.decide(*transactions)
        self.store.append(decided)
        self.blocks.append(decided)
        self.sets.append(decided.tip.members)
        self.at = self.next_time()
        self.state = self.maker.state
        return decided.receipts

    def light(self, height: int) -> LightBlock:
        decided = self.blocks[height - 1]
        certificate = self.store.get_certificate(height)
        return LightBlock(decided.block.header, certificate, self.sets[height - 1], self.sets[height])

    def sign_as(self, member: int, signer: Ed25519Signer) -> None:
        """From now on the member signs with this key."""
        self.signers[MemberId(member)] = self.maker.signers[member] = signer


def play(rounds: int = 2, make: Callable[[], RoundWorld] = RoundWorld) -> RoundWorld:
    """Return a world in which everybody joined and played so many rounds honestly."""
    world = make()
    assert all(receipt.ok for receipt in world.block(*((member, world.ready(member)) for member in world.members)))
    for _ in range(rounds):
        world.finish_round()
    return world


def follow_members(world: RoundWorld) -> None:
    """Let those who are members now play the next rounds."""
    world.members = [record.member for record in get_members(world.state)]
    world.size = len(world.members)


def play_changes() -> RoundWorld:
    """Return a chain with a round before and one after a fifth member joined, one rotated its keys and one left.

    Blocks with a change: `world.changes`, by what changed.
    """
    world = play(1)
    card = make_card("fifth")
    world.changes = {}
    assert world.post(1, MemberPropose(card)).ok
    world.sign_as(5, Ed25519Signer(Secret(seed_of("fifth", "sign"))))
    assert world.post(5, MemberReport(card.sign_key, len(world.blocks), world.state.root)).ok
    for voter in (1, 2, 4):
        assert world.post(voter, MemberApprove(1)).ok
    assert world.post(5, MemberReport(card.sign_key, len(world.blocks), world.state.root)).ok
    world.changes["joined"] = len(world.blocks)
    new, network = (Ed25519Signer(Secret(seed_of("renewed", kind))) for kind in ("sign", "network"))
    name = get_members(world.state)[1].name
    renewed = make_identity_card(name, (), new, network)
    message = rotation_message(world.chain_id, MemberId(2), renewed)
    assert world.post(2, MemberRotate(renewed, new.sign(Domain.IDENTITY_CARD, message))).ok
    world.changes["rotated"] = len(world.blocks)
    world.sign_as(2, new)
    assert world.post(3, MemberAddresses(("/ip4/10.0.0.3/tcp/7700",))).ok
    assert world.post(1, MemberRemove(MemberId(4), "closed for good")).ok
    for voter in (2, 3, 5):
        assert world.post(voter, MemberApprove(2)).ok
    world.changes["left"] = len(world.blocks)
    follow_members(world)
    assert world.members == [1, 2, 3, 5]
    world.ready_all(5)
    world.finish_round(4)  # it was opened while the member that left was one
    world.finish_round()
    assert world.report(3).counted == (1, 2, 3, 5)
    return world


# --- exports, and changing them --------------------------------------------------------------------------------

def export_block(block: Block, certificate: Certificate, receipts: tuple[bytes, ...], after: MemberSet) -> ExportBlock:
    """Return a block as an export has it; `after` is the member set of the next height."""
    is_change = block.header.next_members_hash != block.header.members_hash
    return ExportBlock(block.encoded, encode(certificate), receipts, after if is_change else None)


def write(world: RoundWorld, first: int = 1) -> bytes:
    """Return the export of a world's blocks from `first` on."""
    last = world.blocks[-1].block
    blocks = (
        export_block(
            d.block, world.light(d.block.height).certificate, receipts_data(d.receipts), world.sets[d.block.height]
        )
        for d in world.blocks[first - 1 :]
    )
    steps = () if first == 1 else follow(
        trust_genesis(world.genesis), first - 1, world.light, last.header.time_ms, LightRules(VERSIONS)
    )
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
    state = State.load(RECORD_TABLE, items.items())
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


def change(records: list[Any], at: int, form: type, /, **parts: Any) -> bytes:
    """Change the record number `at` of a kind."""
    places = [place for place, record in enumerate(records) if isinstance(record, form)]
    changed = list(records)
    changed[places[at]] = replace(changed[places[at]], **parts)
    return assemble(changed)
