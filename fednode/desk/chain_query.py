"""What is asked of a chain: the same answers from a running daemon's store and from the directory of a stopped one."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator

from fednode.audit.verify import ChainEntry
from fednode.chain.block import Tip, receipts_data
from fednode.chain.state import State
from fednode.chain.store import LedgerStore
from fednode.codec import encode
from fednode.desk.read_models import (
    BlockView,
    ChainEndView,
    KnownMember,
    PlannedVersion,
    TransactionView,
    VersionSpan,
    VersionsView,
    VersionVotes,
    WholeBlock,
)
from fednode.desk.record import extended
from fednode.desk.views import block_view, numbers, transaction_view, utc_text
from fednode.errors import Unavailable, UsageError
from fednode.home.keystore import PublicKeys
from fednode.ids import quorum
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.members.reading import get_flag, get_members, get_versions, version_at
from fednode.ledger.members.records import MemberRecord, VersionPlan
from fednode.ledger.transactions import decode_transaction
from fednode.ledger.versions import VERSIONS

MAX_BLOCKS = 64
MAX_BYTES = 4 * 1024 * 1024
"""Blocks and bytes of one answer with whole blocks."""


def stored_chain(store: LedgerStore, genesis: Genesis) -> ChainEndView:
    """Return name, members and end of the chain in a store, in the words a running daemon uses."""
    return describe_chain(store.tip, store.load_state(), genesis, "store")


def versions_view(state: State, height: int, source: str) -> VersionsView:
    """Return by which rules the chain goes on after `height`, what was decided for later, and the votes."""
    record, members = get_versions(state), [member.member for member in get_members(state)]
    return VersionsView(
        in_force=version_at(state, height + 1),
        known=tuple(sorted(VERSIONS)),
        planned=None if record.plan is None else _plan_view(record.plan),
        history=tuple(VersionSpan(version=span.version, from_height=span.from_height) for span in record.spans),
        votes=tuple(
            extended(
                VersionVotes, _plan_view(vote.plan), voters=numbers(v for v in vote.voters if v in members),
                needed=quorum(len(members)),
            )
            for vote in record.open
        ),
        source=source,
    )


def _plan_view(plan: VersionPlan) -> PlannedVersion:
    return PlannedVersion(
        version=plan.version, from_height=plan.from_height, release=plan.release, is_known=plan.version in VERSIONS
    )


def version_warning(state: State) -> str | None:
    """Return what to do before a planned version comes into force, if this program does not know it."""
    plan = get_versions(state).plan
    if plan is None or plan.version in VERSIONS:
        return None
    return (
        f"protocol version {plan.version} is in force from block {plan.from_height} on and this program does not know "
        f"it: install fednode {plan.release} or later before then, or this node stops there"
    )


def describe_chain(tip: Tip, state: State, genesis: Genesis, source: str) -> ChainEndView:
    """Return name, members, rules and end of a chain."""
    planned = get_versions(state).plan
    return ChainEndView(
        name=genesis.name,
        id=tip.chain_id.hex(),
        height=int(tip.height),
        hash=tip.block_hash.hex(),
        time_ms=tip.time_ms,
        time=utc_text(tip.time_ms),
        state_root=state.root.hex(),
        members=len(tip.members),
        fault_bound=tip.members.fault_bound,
        quorum=tip.members.quorum,
        protocol_version=version_at(state, tip.height + 1),
        planned_version=None if planned is None else _plan_view(planned),
        source=source,
    )


def known_member(number: int, known: MemberRecord | IdentityCard, double_votes: int = 0) -> KnownMember:
    """Return a hospital with everything public about it, and at how many heights the chain saw it sign twice."""
    public = PublicKeys(known.sign_key, known.network_key)
    return KnownMember(
        id=int(number), name=known.name, fingerprint=public.fingerprint, peer_id=public.peer_id,
        sign_key=known.sign_key.hex(), network_key=known.network_key.hex(),
        addresses=tuple(known.addresses), double_votes=double_votes,
    )


def founders(genesis: Genesis) -> tuple[KnownMember, ...]:
    """Return the members that a chain begins with."""
    return tuple(known_member(number, card) for number, card in genesis.numbered)


def stored_members(state: State) -> tuple[KnownMember, ...]:
    """Return the members of a state."""
    return tuple(
        known_member(record.member, record, flag.count if (flag := get_flag(state, record.member)) else 0)
        for record in get_members(state)
    )


def chain_show(store: LedgerStore, at: str) -> tuple[BlockView, ...]:
    """Return the blocks that `at` names: a height, a block hash, `latest`, or A..B (at most 64 blocks)."""
    first, last = range_of(at, 1, store.tip.height, store.find_block)
    return tuple(_block(store, height) for height in range(first, last + 1))


def range_of(at: str, begin: int, tip: int, find_block: Callable[[bytes], int | None]) -> tuple[int, int]:
    """Return the heights that `at` names on a chain of which blocks `begin` to `tip` are here; at most 64 of them."""
    if match := re.fullmatch(r"(\d{1,15})?\.\.(\d{1,15})?", at):
        first, last = int(match[1] or begin), int(match[2] or tip)
    elif at == "latest":
        first = last = tip
    elif re.fullmatch(r"\d{1,15}", at):
        first = last = int(at)
    elif re.fullmatch("[0-9a-fA-F]{64}", at):
        found = find_block(bytes.fromhex(at))
        if found is None:
            raise UsageError(f"no block has the hash {at}; 'fednode chain status' shows the latest")
        first = last = found
    else:
        raise UsageError(f"'{at}' is no block; give a height, a block hash of 64 digits, latest, or A..B")
    if tip == 0:
        raise UsageError("the chain has no block yet; the first one comes with the first transaction")
    if not begin <= first <= last <= tip:
        raise UsageError(f"the chain has blocks {begin} to {tip}; ask for some of these")
    if last - first >= MAX_BLOCKS:
        raise UsageError(f"{last - first + 1} blocks are too many at once; ask for at most {MAX_BLOCKS}")
    return first, last


def _block(store: LedgerStore, height: int) -> BlockView:
    block, certificate = store.get_block(height), store.get_certificate(height)
    receipts = store.get_receipts(height)
    if block is None or certificate is None or receipts is None:
        raise Unavailable(f"block {height} is not in the store; it is being written, ask again")
    return block_view(block, certificate, receipts, store.get_members(height))


def chain_transaction(store: LedgerStore, txid: str) -> TransactionView:
    """Return a transaction of the chain with its place and receipt."""
    if not re.fullmatch("[0-9a-fA-F]{64}", txid):
        raise UsageError(f"'{txid}' is no transaction id; give all 64 hexadecimal digits")
    place = store.find_transaction(bytes.fromhex(txid))
    block = None if place is None else store.get_block(place.height)
    receipts = None if place is None else store.get_receipts(place.height)
    if place is None or block is None or receipts is None:
        raise UsageError(f"transaction {txid} is not on the chain; it may still be waiting, or was made elsewhere")
    transaction = decode_transaction(block.transactions[place.index])
    return transaction_view(transaction, place.height, receipts[place.index])


# --- whole blocks, for verification ---------------------------------------------------------------------------

def chain_blocks(store: LedgerStore, first: int) -> list[WholeBlock]:
    """Return whole blocks from height `first` on, as many as fit one answer; none past the end."""
    found: list[WholeBlock] = []
    size = 0
    for block, certificate in store.blocks(first, min(first + MAX_BLOCKS - 1, store.tip.height)):
        receipts = receipts_data(store.get_receipts(block.height) or ())
        size += len(block.encoded) + sum(map(len, receipts))
        if found and size > MAX_BYTES:
            break
        has_change = block.header.next_members_hash != block.header.members_hash
        found.append(WholeBlock(
            block=_text(block.encoded), certificate=_text(encode(certificate)), receipts=tuple(map(_text, receipts)),
            next_members=_text(encode(store.get_members(block.height + 1))) if has_change else None,
        ))
    return found


def entries_from(blocks: Iterable[WholeBlock]) -> Iterator[ChainEntry]:
    """Turn whole blocks back into what verification reads."""
    for whole in blocks:
        yield ChainEntry(
            _bytes(whole.block), _bytes(whole.certificate), tuple(map(_bytes, whole.receipts)),
            None if whole.next_members is None else _bytes(whole.next_members),
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise Unavailable("the daemon answered with something that is no block; use one version of fednode") from None
