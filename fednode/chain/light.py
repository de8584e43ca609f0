"""Following a chain by its headers alone: what may be believed of a later block when an earlier one is trusted.

Security assumption: of the members that may vote after a trusted block, fewer than the rules' share sign what is not
so, for as long as the block is trusted. Members that have left can still sign old heights with their keys, so a trusted
block does not stay trusted for ever: after the trusting period a newer one must come from somewhere else. Whoever sets
no period trusts its genesis or checkpoint for as long as those keys are kept well.

The rules are those of Tendermint's light client (Buchman, Kwon, Milosevic 2018; Braithwaite et al. 2020):

    adjacent   the next block: it must be signed by a quorum of exactly the members the trusted block names for it
    skipping   any later block: a quorum of its own members, among them a large enough share of those trusted
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum

from fednode import crypto
from fednode.chain.block import Header, TimeMs, check_version, compute_block_hash, compute_params_hash
from fednode.chain.founding import Founding
from fednode.chain.vote import Certificate, HeightField, MemberSet, SignatureCheck, verify_certificate
from fednode.codec import Bytes32
from fednode.errors import Rejected
from fednode.ids import NO_HASH, Height, quorum

CLOCK_DRIFT_MS = 5_000
"""How far the clock of whoever made a block may be ahead: what a member tolerates before it votes."""

MAX_STEPS = 512
"""Blocks on the way from what is trusted to what is proven; a few suffice unless members change all the time."""


class Verdict(Enum):
    """What is known of a block. NOT_ENOUGH_TRUST: nothing wrong, but look at a block in between first."""

    SUCCESS = "SUCCESS"
    NOT_ENOUGH_TRUST = "NOT_ENOUGH_TRUST"
    INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class LightBlock:
    """A header with its certificate, the members that decide its height and those of the next."""

    header: Header
    certificate: Certificate
    members: MemberSet
    next_members: MemberSet


@dataclass(frozen=True, slots=True)
class TrustedBlock:
    """What is taken for granted: a place on the chain, who decides the next height, and the version of its rules."""

    chain_id: Bytes32
    height: HeightField
    time_ms: TimeMs
    block_hash: Bytes32
    next_members: MemberSet
    params_hash: Bytes32


def trust_genesis(genesis: Founding) -> TrustedBlock:
    """Return the place before the first block."""
    params_hash = compute_params_hash(genesis.protocol_version)
    return TrustedBlock(genesis.chain_id, Height(0), genesis.time_ms, NO_HASH, genesis.member_set, params_hash)


def trust_header(header: Header, next_members: MemberSet) -> TrustedBlock:
    """Return a header as trusted; raise `Rejected` if it names another set for the next height."""
    if header.next_members_hash != next_members.hash:
        raise Rejected("the header names other members for the next height")
    place = (header.chain_id, header.height, header.time_ms, compute_block_hash(header))
    return TrustedBlock(*place, next_members, header.params_hash)


def one_third(trusted: int) -> int:
    """Return the fewest of `trusted` members that are more than a third: one of them at least is honest."""
    return trusted // 3 + 1


@dataclass(frozen=True, slots=True)
class LightRules:
    """How far trust reaches.

    `versions`: those of the application's rules that whoever asks knows. `trusting_period_ms`: how long after its time
    a block is trusted, None for always. `overlap`: how many of so many trusted members must have signed a block that
    is not adjacent; `one_third` suffices while the period holds, a `quorum` of them could have decided the block by
    themselves.
    """

    versions: Collection[int]
    trusting_period_ms: int | None = None
    clock_drift_ms: int = CLOCK_DRIFT_MS
    overlap: Callable[[int], int] = quorum
    check: SignatureCheck = crypto.is_signature_valid


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason, which is empty after a success."""

    verdict: Verdict
    reason: str = ""


def judge(trusted: TrustedBlock, block: LightBlock, now_ms: int, rules: LightRules) -> Judgement:
    """Tell whether `block` may be trusted because `trusted` is. `now_ms`: UTC of whoever asks."""
    try:
        _check_form(block, rules)
        _check_times(trusted, block, now_ms, rules)
        if block.header.height == trusted.height + 1:
            _check_adjacent(trusted, block, rules)
        else:
            signers = {block.members.keys[member] for member in block.certificate.signers(block.members)}
            shared, needed = len(signers.intersection(trusted.next_members.keys.values())), len(trusted.next_members)
            if shared < rules.overlap(needed):
                reason = f"{shared} of the {needed} trusted members signed it, {rules.overlap(needed)} needed"
                return Judgement(Verdict.NOT_ENOUGH_TRUST, reason)
        verify_certificate(block.certificate, block.members, trusted.chain_id, rules.check)
    except Rejected as error:
        return Judgement(Verdict.INVALID, error.reason)
    return Judgement(Verdict.SUCCESS)


def _check_form(block: LightBlock, rules: LightRules) -> None:
    header, certificate = block.header, block.certificate
    check_version(header.version, header.height, rules.versions)
    if header.members_hash != block.members.hash:
        raise Rejected("the header names another member set for its height")
    if header.next_members_hash != block.next_members.hash:
        raise Rejected("the header names another member set for the next height")
    if (certificate.height, certificate.block_hash) != (header.height, compute_block_hash(header)):
        raise Rejected("its certificate is of another block")


def _check_times(trusted: TrustedBlock, block: LightBlock, now_ms: int, rules: LightRules) -> None:
    header = block.header
    if header.chain_id != trusted.chain_id:
        raise Rejected("block of another chain")
    if rules.trusting_period_ms is not None and trusted.time_ms + rules.trusting_period_ms <= now_ms:
        raise Rejected("the trusted block is older than the trusting period")
    if header.time_ms >= now_ms + rules.clock_drift_ms:
        raise Rejected("the block comes from the future")
    if header.height <= trusted.height:
        raise Rejected("the block is not above the trusted one")
    if header.time_ms <= trusted.time_ms:
        raise Rejected("the block is not later than the trusted one")


def _check_adjacent(trusted: TrustedBlock, block: LightBlock, rules: LightRules) -> None:
    check_version(block.header.version, block.header.height, rules.versions, trusted.params_hash)
    if block.header.parent_hash != trusted.block_hash:
        raise Rejected("the block does not follow the trusted one")
    if block.members != trusted.next_members:
        raise Rejected("decided by other members than the trusted block names")


def follow(
    trusted: TrustedBlock, target: int, fetch: Callable[[int], LightBlock], now_ms: int, rules: LightRules
) -> tuple[LightBlock, ...]:
    """Return the blocks that lead from `trusted` to height `target`, the target last, each judged by the one before.

    Halves the distance where trust does not reach. Raises `Rejected` where a block does not hold.
    """
    path: list[LightBlock] = []
    waiting = [target]
    while waiting:
        block = fetch(waiting[-1])
        if block.header.height != waiting[-1]:
            raise Rejected(f"block {waiting[-1]} was asked for, and block {block.header.height} was given")
        found = judge(trusted, block, now_ms, rules)
        if found.verdict is Verdict.INVALID:
            raise Rejected(f"block {waiting[-1]}: {found.reason}")
        if found.verdict is Verdict.NOT_ENOUGH_TRUST:
            waiting.append((trusted.height + waiting[-1]) // 2)
            continue
        waiting.pop()
        path.append(block)
        if len(path) > MAX_STEPS:
            raise Rejected(f"more than {MAX_STEPS} blocks lie between; start from a later checkpoint")
        trusted = trust_header(block.header, block.next_members)
    return tuple(path)
