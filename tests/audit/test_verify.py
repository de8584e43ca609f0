"""Each level of a chain check catches what it promises, and names the first block that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fednode.audit.verify import ChainEntry, Level, entries_of, verify_chain
from fednode.chain.block import Block, check_form
from fednode.chain.leveldb import open_store
from fednode.chain.state import compute_root
from fednode.chain.store import DecidedBlock
from fednode.codec import encode
from fednode.crypto import Domain, Ed25519Signer, Secret, sha256
from fednode.ids import MemberId
from fednode.ledger.members.bodies import MemberRotate
from fednode.ledger.members.identity import make_identity_card
from fednode.ledger.members.reading import get_members
from fednode.ledger.members.rules import rotation_message
from fednode.ledger.transactions import decode_transaction
from tests.contract.test_store import ChainMaker, MemoryStore
from tests.ledger.world import make_test_genesis
from tests.support.seeds import seed_of


@pytest.fixture(scope="module")
def chain() -> tuple[ChainMaker, list[DecidedBlock]]:
    maker = ChainMaker()
    return maker, [maker.decide(maker.transaction(1 + n % 4)) for n in range(6)]


def entry(decided: DecidedBlock) -> ChainEntry:
    return ChainEntry(
        decided.block.encoded, encode(decided.certificate), tuple(encode(receipt) for receipt in decided.receipts)
    )


def changed(maker: ChainMaker, decided: DecidedBlock, **parts: object) -> ChainEntry:
    """Return the entry of a block with another header, certified by everybody: a conspiracy of all members."""
    header = replace(decided.block.header, **{k: v for k, v in parts.items() if k != "transactions"})
    transactions = parts.get("transactions", decided.block.transactions)
    header = replace(header, tx_root=compute_root(transactions), tx_count=len(transactions))
    block = Block(header, transactions, decided.block.evidence, decided.block.parent_certificate)
    check_form(block)
    return ChainEntry(block.encoded, encode(maker.certify(block)), None)


def verdict(chain, number: int, bad: ChainEntry, level: Level = Level.EXECUTION):
    maker, blocks = chain
    entries = [entry(decided) for decided in blocks]
    entries[number - 1] = bad
    return verify_chain(entries, maker.genesis, level)


def test_a_good_chain_holds_at_every_level(chain) -> None:
    maker, blocks = chain
    store = MemoryStore(maker.genesis)
    for decided in blocks:
        store.append(decided)
    for level in Level:
        report = verify_chain(entries_of(store), maker.genesis, level)
        assert report.is_whole and report.height == 6 and report.tip_hash == blocks[-1].block.hash
        assert report.verdicts == tuple((step, True) for step in Level if step <= level)
    assert report.state_root == maker.state.root


def test_an_empty_chain_is_the_genesis(chain) -> None:
    report = verify_chain([], chain[0].genesis, Level.EXECUTION)
    assert report.is_whole and report.height == 0


def test_bytes_that_are_no_block_fail_at_storage(chain) -> None:
    good = entry(chain[1][2])
    report = verdict(chain, 3, replace(good, block=good.block[:-1]))
    assert (report.height, report.verdicts[0]) == (2, (Level.STORAGE, False))
    assert "block 3" in report.problem


def test_a_missing_block_fails_at_links(chain) -> None:
    maker, blocks = chain
    entries = [entry(decided) for decided in blocks if decided.block.height != 4]
    report = verify_chain(entries, maker.genesis, Level.LINKS)
    assert report.height == 3 and report.verdicts == ((Level.STORAGE, True), (Level.LINKS, False))


def test_a_certificate_of_another_block_fails_at_links(chain) -> None:
    report = verdict(chain, 3, replace(entry(chain[1][2]), certificate=encode(chain[1][1].certificate)))
    assert report.height == 2 and dict(report.verdicts)[Level.LINKS] is False


def test_a_forged_signature_fails_at_certificates(chain) -> None:
    good = chain[1][2].certificate
    forged = replace(good, signatures=(bytes(64), *good.signatures[1:]))
    bad = replace(entry(chain[1][2]), certificate=encode(forged))
    assert verdict(chain, 3, bad, Level.LINKS).is_whole
    report = verdict(chain, 3, bad)
    assert report.height == 2 and dict(report.verdicts)[Level.CERTIFICATES] is False


def test_a_certificate_below_the_quorum_fails_at_certificates(chain) -> None:
    good = chain[1][5].certificate
    thin = replace(good, bitmap=bytes([3]), signatures=good.signatures[:2])
    report = verdict(chain, 6, replace(entry(chain[1][5]), certificate=encode(thin)))
    assert report.height == 5 and "2 signatures, 3 needed" in report.problem


def test_a_proposer_without_a_turn_fails_at_certificates(chain) -> None:
    maker, blocks = chain
    others = [m for m in range(1, 5) if m != blocks[5].block.header.proposer]
    report = verdict(chain, 6, changed(maker, blocks[5], proposer=others[0]))
    assert report.height == 5 and "no turn" in report.problem


def test_a_forged_transaction_fails_at_transactions(chain) -> None:
    maker, blocks = chain
    tx = decode_transaction(blocks[5].block.transactions[0])
    forged = replace(tx, nonce=tx.nonce + 1)
    bad = changed(maker, blocks[5], transactions=(forged.data,))
    assert verdict(chain, 6, bad, Level.CERTIFICATES).is_whole
    report = verdict(chain, 6, bad)
    assert report.height == 5 and "signature" in report.problem


def test_a_replayed_transaction_fails_at_transactions(chain) -> None:
    maker, blocks = chain
    report = verdict(chain, 6, changed(maker, blocks[5], transactions=blocks[1].block.transactions))
    assert report.height == 5 and "nonce" in report.problem and dict(report.verdicts)[Level.TRANSACTIONS] is False


def test_changed_receipts_fail_at_transactions(chain) -> None:
    report = verdict(chain, 6, replace(entry(chain[1][5]), receipts=(sha256(b""),)))
    assert report.height == 5 and dict(report.verdicts)[Level.TRANSACTIONS] is False


@pytest.mark.parametrize("root", ["state_root", "receipts_root"])
def test_another_outcome_fails_only_at_execution(chain, root: str) -> None:
    maker, blocks = chain
    bad = changed(maker, blocks[5], **{root: bytes(32)})
    assert verdict(chain, 6, bad, Level.TRANSACTIONS).is_whole
    report = verdict(chain, 6, bad)
    assert report.height == 5 and dict(report.verdicts)[Level.EXECUTION] is False


def test_a_chain_of_another_genesis_is_refused_at_the_first_block(chain) -> None:
    report = verify_chain([entry(decided) for decided in chain[1]], make_test_genesis(5), Level.EXECUTION)
    assert report.height == 0 and "another chain" in report.problem


def renewed(maker: ChainMaker, member: int) -> tuple[MemberRotate, Ed25519Signer]:
    """What replaces a member's keys, and the signer it goes on with."""
    new, network = (Ed25519Signer(Secret(seed_of("renewed", kind))) for kind in ("sign", "network"))
    name = get_members(maker.state)[member - 1].name
    card = make_identity_card(name, (), new, network)
    message = rotation_message(maker.genesis.chain_id, MemberId(member), card)
    return MemberRotate(card, new.sign(Domain.IDENTITY_CARD, message)), new


def test_a_change_of_the_members_is_followed_at_every_level(tmp_path: Path) -> None:
    maker = ChainMaker()
    store = open_store(tmp_path / "chain", maker.genesis)
    body, signer = renewed(maker, 2)
    store.append(maker.decide(maker.transaction(1)))
    store.append(maker.decide(maker.transaction(2, body)))
    maker.signers[2] = signer
    for member in (2, 3):
        store.append(maker.decide(maker.transaction(member)))
    for level in Level:
        report = verify_chain(entries_of(store), maker.genesis, level)
        assert (report.problem, report.height) == ("", 4)
    entries = list(entries_of(store))
    assert [entry.next_members is not None for entry in entries] == [False, True, False, False]
    hidden = [replace(entry, next_members=None) for entry in entries]
    assert "does not say to whom" in verify_chain(hidden, maker.genesis, Level.CERTIFICATES).problem
    assert verify_chain(hidden, maker.genesis, Level.EXECUTION).is_whole
    wrong = [replace(entry, next_members=entry.next_members and encode(maker.genesis.member_set)) for entry in entries]
    assert "other members for the next height" in verify_chain(wrong, maker.genesis, Level.CERTIFICATES).problem
    store.close()
