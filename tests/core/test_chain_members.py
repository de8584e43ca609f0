"""The replicated machine when members and keys change: the next height's voters, and what its pool forgets."""

from __future__ import annotations

from typing import NoReturn

import pytest

from fednode.chain.block import Block, BlockContext, Tip, advance, assemble, context_of, genesis_tip
from fednode.chain.vote import Certificate
from fednode.core.membership import MAX_REPORT_LAG, dial_map, due_report, peer_map
from fednode.core.studies import NO_STUDY, Site, Studies
from fednode.crypto import Domain, Ed25519Signer, Secret
from fednode.effects import Asked
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Height, MemberId, View
from fednode.ledger.application import LedgerApplication
from fednode.ledger.bodies import Memo
from fednode.ledger.members.bodies import MemberApprove, MemberPropose, MemberReport, MemberRotate
from fednode.ledger.members.identity import make_identity_card
from fednode.ledger.members.reading import get_members
from fednode.ledger.members.rules import rotation_message
from fednode.ledger.transactions import sign_transaction
from fednode.p2p.addresses import peer_id_of
from fednode.rounds.events import OfStudy, Submit
from fednode.rounds.place import Ports
from tests.ledger.sum_world import World
from tests.support.cards import make_card
from tests.support.seeds import Stream, seed_of


class Node:
    """A chain whose blocks are decided without votes."""

    def __init__(self) -> None:
        self.world = World(4)
        self.chain = LedgerApplication(self.world.chain_id, self.world.state, 0, NO_HASH)
        genesis = self.world.genesis
        self.tip: Tip = genesis_tip(genesis.chain_id, genesis.member_set, genesis.time_ms)
        self.certificate: Certificate | None = None
        self.nonce = 0

    def add(self, member: int, signer: Ed25519Signer, body: object) -> bytes:
        self.nonce += 1
        transaction = sign_transaction(
            signer, self.world.chain_id, MemberId(member), self.nonce, Height(50), body,  # type: ignore[arg-type]
        )
        self.chain.admit(self.chain.verify(transaction.data))
        return transaction.data

    def decide(self) -> Block:
        """Make a block of what is in the pool and adopt it."""
        height = Height(self.tip.height + 1)
        context = BlockContext(self.world.chain_id, height, self.tip.time_ms + 1, MemberId(1), ())
        done = self.chain.pick(context, True)
        assert done is not None
        block = assemble(self.tip, context, done, self.certificate)
        assert context_of(block) == context
        self.chain.commit(block, done)
        self.tip = advance(self.tip, block, done.next_members)
        self.certificate = Certificate(height, View(0), block.hash, b"\x0f", (bytes(64),) * 4)
        return block


def test_the_header_names_the_members_of_the_next_height() -> None:
    node, card = Node(), make_card("fifth")
    signers, fifth = node.world.signers, Ed25519Signer(Secret(seed_of("fifth", "sign")))
    node.add(1, signers[MemberId(1)], MemberPropose(card))
    with pytest.raises(Rejected, match="stranger"):
        node.add(5, fifth, MemberReport(card.sign_key, 0, bytes(32)))
    node.decide()
    assert peer_map(node.chain.state)[MemberId(5)] == peer_id_of(card.network_key)
    report = due_report(node.chain.state, MemberId(5))
    assert (report.height, report.state_root) == (1, node.chain.state.root)
    node.add(5, fifth, report)
    node.decide()
    assert due_report(node.chain.state, MemberId(5)) is None
    for member in (1, 2, 3):
        node.add(member, signers[MemberId(member)], MemberApprove(1))
    block = node.decide()
    assert block.header.members_hash == block.header.next_members_hash, "no vote alone makes a member"
    here = due_report(node.chain.state, MemberId(5))
    assert here is not None and (here.height, here.state_root) == (3, node.chain.state.root)
    node.add(5, fifth, here)
    block = node.decide()
    assert due_report(node.chain.state, MemberId(5)) is None
    assert block.header.members_hash != block.header.next_members_hash
    assert node.tip.members.ids == (1, 2, 3, 4, 5)
    dial = dial_map(node.chain.state, MemberId(5), peer_id_of(card.network_key))
    assert len(dial) == 4 and peer_id_of(card.network_key) not in dial


@pytest.mark.parametrize(("lag", "reports"), [(0, True), (MAX_REPORT_LAG, True), (MAX_REPORT_LAG + 1, False)])
def test_a_candidate_reports_as_soon_as_its_root_can_arrive_in_time(lag: int, reports: bool) -> None:
    """While others make blocks there is always a newer one."""
    node, card = Node(), make_card("fifth")
    node.add(1, node.world.signers[MemberId(1)], MemberPropose(card))
    node.decide()

    def unused(*args: object) -> NoReturn:
        raise AssertionError("a candidate has no rounds")

    ports = Ports(
        Stream("fifth"), lambda name, study: None, lambda study: False, unused, unused, unused, unused,
    )
    site = Site(node.world.chain_id, MemberId(5), ports, unused, lambda: lag)
    report = due_report(node.chain.state, MemberId(5))
    assert report is not None
    assert (Asked(OfStudy(NO_STUDY), Submit(report)) in Studies(site).on_state(node.chain.state)) == reports


def rotating() -> tuple[Node, Ed25519Signer, Ed25519Signer]:
    """Return a node in whose pool member 2 replaces its key, the old one and the new one."""
    node = Node()
    old, new = node.world.signers[MemberId(2)], Ed25519Signer(Secret(seed_of("new", "sign")))
    record = get_members(node.chain.state)[1]
    card = make_identity_card(record.name, record.addresses, new, Ed25519Signer(Secret(seed_of("new", "network"))))
    message = rotation_message(node.world.chain_id, MemberId(2), card)
    node.add(2, old, MemberRotate(card, new.sign(Domain.IDENTITY_CARD, message)))
    return node, old, new


def test_what_an_old_key_signed_is_forgotten() -> None:
    node, old, new = rotating()
    node.decide()
    with pytest.raises(Rejected, match="signature"):
        node.add(2, old, Memo("signed with the old key"))
    node.add(2, new, Memo("signed with the new key"))
    assert node.decide().header.tx_count == 1
    assert node.tip.members.key_of(MemberId(2)) == new.public_key


def test_pending_transactions_of_a_replaced_key_leave_the_pool() -> None:
    node, old, _ = rotating()
    height = Height(1)
    context = BlockContext(node.world.chain_id, height, node.tip.time_ms + 1, MemberId(1), ())
    done = node.chain.pick(context, True)
    assert done is not None
    late = node.add(2, old, Memo("still signed with the old key"))
    node.chain.commit(assemble(node.tip, context, done, None), done)
    assert len(node.chain.pool) == 0
    with pytest.raises(Rejected):
        node.chain.execute(context, (late,))
