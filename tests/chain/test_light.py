"""Light verification: the published traces of Tendermint's model-based tests, and what each rule keeps out.

The traces are mapped, not parsed: byte formats differ, but who signed, which set a header names and when it was made
carry over. A validator becomes a member with a key of ours; a header names our set where the trace's hash is that of
the trace's set, and otherwise none; a signature by a stranger is one more bit than the set has.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.chain.block import Header, compute_block_hash, compute_params_hash
from fednode.chain.light import (
    Judgement,
    LightBlock,
    LightRules,
    TrustedBlock,
    Verdict,
    follow,
    judge,
    one_third,
    trust_header,
)
from fednode.chain.state import compute_root
from fednode.chain.vote import NO_VIEW, PRECOMMIT, Certificate, Member, MemberSet, sign_bytes
from fednode.crypto import Domain, Ed25519Signer, Secret, sha256
from fednode.errors import Rejected
from fednode.ids import NO_HASH, fault_bound, quorum
from fednode.ledger.versions import VERSIONS
from tests.support.seeds import seed_of

NO_SET = sha256(b"no set of ours has this hash")
PARAMS = compute_params_hash(1)


class Chain:
    """Headers decided by any set of numbered members; keys follow from the numbers."""

    def __init__(self, name: str = "chain") -> None:
        self.chain_id = seed_of(name)
        self._signers: dict[int, Ed25519Signer] = {}

    def signer(self, number: int) -> Ed25519Signer:
        return self._signers.setdefault(number, Ed25519Signer(Secret(seed_of("light", number))))

    def members(self, *numbers: int) -> MemberSet:
        return MemberSet(tuple(Member(number, self.signer(number).public_key) for number in sorted(numbers)))

    def header(self, height: int, time_ms: int, members: bytes, after: bytes, parent: bytes = NO_HASH) -> Header:
        roots = [bytes(32)] * 4
        return Header(1, self.chain_id, height, time_ms, parent, *roots, members, after, PARAMS, bytes(32), 1, 0)

    def certify(self, header: Header, members: MemberSet, signers: set[int], strangers: int = 0) -> Certificate:
        block_hash = compute_block_hash(header)
        message = sign_bytes(self.chain_id, PRECOMMIT, header.height, 0, NO_VIEW, block_hash)
        bits = sum(1 << index for index, member in enumerate(members.ids) if member in signers)
        bits |= ((1 << strangers) - 1) << len(members)
        signatures = [self.signer(m).sign(Domain.PRECOMMIT, message) for m in members.ids if m in signers]
        signatures += [self.signer(90_000 + i).sign(Domain.PRECOMMIT, message) for i in range(strangers)]
        size = (max(bits.bit_length(), len(members)) + 7) // 8
        return Certificate(header.height, 0, block_hash, bits.to_bytes(size, "little"), tuple(signatures))

    def block(
        self, height: int, members: MemberSet, after: MemberSet, signers: set[int] | None = None,
        parent: bytes = NO_HASH, time_ms: int | None = None,
    ) -> LightBlock:
        header = self.header(height, 1000 * height if time_ms is None else time_ms, members.hash, after.hash, parent)
        certificate = self.certify(header, members, set(members.ids) if signers is None else signers)
        return LightBlock(header, certificate, members, after)


# --- the published traces --------------------------------------------------------------------------------------

def milliseconds(text: str) -> int:
    """A trace has whole seconds or nanoseconds; only whole ones are compared."""
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")[:19] + "+00:00").timestamp() * 1000)


def validators_of(trace_set: Any) -> list[dict[str, Any]]:
    return (trace_set or {}).get("validators") or []


def trace_hash(trace_set: Any) -> bytes:
    """Tendermint's hash of a validator set: the RFC 6962 root over keys and powers, the strongest first."""
    leaves = []
    for validator in sorted(validators_of(trace_set), key=lambda v: (-int(v["voting_power"]), v["address"])):
        key = base64.b64decode(validator["pub_key"]["value"])
        assert len(key) == 32
        power, rest = b"", int(validator["voting_power"])
        while rest:
            power, rest = power + bytes([rest & 127 | (128 if rest > 127 else 0)]), rest >> 7
        leaves.append(b"\x0a\x22\x0a\x20" + key + b"\x10" + power)
    return compute_root(leaves)


class Trace:
    def __init__(self, path: Path) -> None:
        self.data = json.loads(path.read_text())
        self.chain = Chain(path.name)
        self._numbers: dict[str, int] = {}

    def number(self, address: str) -> int:
        return self._numbers.setdefault(address, len(self._numbers) + 1)

    def set_of(self, trace_set: Any) -> MemberSet | None:
        found = validators_of(trace_set)
        return self.chain.members(*(self.number(validator["address"]) for validator in found)) if found else None

    def named(self, text: str, trace_set: Any) -> bytes:
        """What our header names where the trace's header names `text` and comes with `trace_set`."""
        mine = self.set_of(trace_set)
        return mine.hash if mine is not None and text.lower() == trace_hash(trace_set).hex() else NO_SET

    def start(self) -> TrustedBlock:
        initial = self.data["initial"]
        signed = initial["signed_header"]["header"]
        after = self.set_of(initial["next_validator_set"])
        assert after is not None
        header = self.chain.header(
            int(signed["height"]), milliseconds(signed["time"]), NO_SET,
            self.named(signed["next_validators_hash"], initial["next_validator_set"]),
        )
        return trust_header(header, after)

    def step(self, step: Any, trusted: TrustedBlock) -> Judgement:
        block = step["block"]
        signed, commit = block["signed_header"]["header"], block["signed_header"]["commit"]
        members, after = self.set_of(block["validator_set"]), self.set_of(block["next_validator_set"])
        if members is None:
            return Judgement(Verdict.INVALID, "a set without members cannot even be written down")
        height = int(signed["height"])
        header = self.chain.header(
            height, milliseconds(signed["time"]), self.named(signed["validators_hash"], block["validator_set"]),
            NO_SET if after is None else self.named(signed["next_validators_hash"], block["next_validator_set"]),
            trusted.block_hash if height == trusted.height + 1 else NO_HASH,
        )
        if after is None:  # the trace's block ends its chain: any set will do, nothing follows it
            after = members
            header = replace(header, next_members_hash=after.hash)
        signers = [
            self.number(signature["validator_address"])
            for signature in commit.get("signatures") or [] if signature.get("signature")
        ]
        known = set(signers).intersection(members.ids)
        if not signers:
            return Judgement(Verdict.INVALID, "a certificate without signatures cannot even be written down")
        certificate = self.chain.certify(header, members, known, len(signers) - len(known))
        assert int(commit["height"]) == height
        now_ms = milliseconds(step["now"])
        found = judge(trusted, LightBlock(header, certificate, members, after), now_ms, self.rules())
        if found.verdict is Verdict.SUCCESS:
            self.trusted = trust_header(header, after)
        return found

    def rules(self) -> LightRules:
        return LightRules(VERSIONS, int(self.data["initial"]["trusting_period"]) // 10**6, 0, one_third)

    def run(self) -> None:
        self.trusted = self.start()
        for number, step in enumerate(self.data["input"], 1):
            found = self.step(step, self.trusted)
            assert found.verdict.value == step["verdict"], (self.data["description"], number, found)


def test_published_traces(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "vectors" / "tendermint-light-client-mbt").rglob("*.json"))
    assert len(paths) == 41
    for path in paths:
        Trace(path).run()


# --- rule by rule ----------------------------------------------------------------------------------------------

CHAIN = Chain()
FOUR = CHAIN.members(1, 2, 3, 4)
FIVE = CHAIN.members(1, 2, 3, 4, 5)
FAR = 10**9
TRUSTED = TrustedBlock(CHAIN.chain_id, 5, 5000, seed_of("trusted"), FOUR, PARAMS)
RULES = LightRules(VERSIONS, overlap=one_third)


def verdict(block: LightBlock, now_ms: int = FAR, rules: LightRules = RULES, trusted: TrustedBlock = TRUSTED) -> str:
    found = judge(trusted, block, now_ms, rules)
    assert (found.verdict is Verdict.SUCCESS) == (found.reason == "")
    return f"{found.verdict.value} {found.reason}".strip()


def test_a_later_block_of_the_same_members_is_believed() -> None:
    assert verdict(CHAIN.block(9, FOUR, FOUR)) == "SUCCESS"


def test_the_next_block_must_follow_and_be_decided_by_those_named() -> None:
    assert verdict(CHAIN.block(6, FOUR, FIVE, parent=TRUSTED.block_hash)) == "SUCCESS"
    assert "does not follow" in verdict(CHAIN.block(6, FOUR, FOUR))
    assert "other members" in verdict(CHAIN.block(6, FIVE, FIVE, parent=TRUSTED.block_hash))


def test_a_third_of_the_trusted_members_is_too_few() -> None:
    others = CHAIN.members(4, 5, 6, 7)
    assert verdict(CHAIN.block(9, others, others)).startswith("NOT_ENOUGH_TRUST 1 of the 4")
    others = CHAIN.members(3, 4, 5, 6)
    assert verdict(CHAIN.block(9, others, others)) == "SUCCESS"
    assert verdict(CHAIN.block(9, others, others), rules=LightRules(VERSIONS)).startswith("NOT_ENOUGH_TRUST")


def test_a_member_with_another_key_is_not_the_one_that_was_trusted() -> None:
    keys = {member.id: member.sign_key for member in CHAIN.members(5, 6, 7, 8).members}
    impostors = MemberSet(tuple(Member(number, keys[number + 4]) for number in (1, 2, 3, 4)))
    header = CHAIN.header(9, 9000, impostors.hash, impostors.hash)
    message = sign_bytes(CHAIN.chain_id, PRECOMMIT, 9, 0, NO_VIEW, compute_block_hash(header))
    signatures = tuple(CHAIN.signer(number).sign(Domain.PRECOMMIT, message) for number in (5, 6, 7, 8))
    certificate = Certificate(9, 0, compute_block_hash(header), b"\x0f", signatures)
    block = LightBlock(header, certificate, impostors, impostors)
    assert verdict(block).startswith("NOT_ENOUGH_TRUST 0 of the 4")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chain_id": bytes(32)}, "another chain"),
        ({"height": 5}, "not above"),
        ({"time_ms": 5000}, "not later"),
        ({"time_ms": FAR + 5000}, "future"),
        ({"members_hash": bytes(32)}, "another member set for its height"),
        ({"next_members_hash": bytes(32)}, "another member set for the next height"),
        ({"version": 2}, "protocol version 2"),
        ({"version": 0}, "protocol version 0"),
    ],
)
def test_headers_that_cannot_be(change: dict[str, Any], says: str) -> None:
    good = CHAIN.block(9, FOUR, FOUR)
    header = replace(good.header, **change)
    block = replace(good, header=header, certificate=CHAIN.certify(header, FOUR, {1, 2, 3, 4}))
    found = verdict(block)
    assert found.startswith("INVALID") and says in found


def test_signatures_that_do_not_hold() -> None:
    good = CHAIN.block(9, FOUR, FOUR)
    other = CHAIN.block(8, FOUR, FOUR)
    assert "of another block" in verdict(replace(good, certificate=other.certificate))
    assert "2 signatures, 3 needed" in verdict(CHAIN.block(9, FOUR, FOUR, {1, 2}))
    first, second, *rest = good.certificate.signatures
    twice = replace(good.certificate, signatures=(first, first, *rest))
    assert "bad signature" in verdict(replace(good, certificate=twice))
    forged = replace(good.certificate, signatures=(bytes(64), second, *rest))
    assert "bad signature" in verdict(replace(good, certificate=forged))
    stranger = CHAIN.certify(good.header, FOUR, {1, 2, 3, 4}, strangers=1)
    assert "does not fit" in verdict(replace(good, certificate=stranger))


def test_trust_ends_with_its_period() -> None:
    rules = LightRules(VERSIONS, 60_000, overlap=one_third)
    block = CHAIN.block(9, FOUR, FOUR)
    assert verdict(block, now_ms=64_999, rules=rules) == "SUCCESS"
    assert "older than the trusting period" in verdict(block, now_ms=65_000, rules=rules)


def test_a_trusted_header_must_name_the_members_that_come_with_it() -> None:
    with pytest.raises(Rejected, match="other members"):
        trust_header(CHAIN.block(9, FOUR, FOUR).header, FIVE)


@given(st.integers(1, 200))
def test_more_than_a_third_holds_an_honest_member(size: int) -> None:
    assert fault_bound(size) < one_third(size) <= quorum(size)
    assert 3 * one_third(size) > size


@pytest.mark.slow
@given(st.lists(st.sets(st.integers(1, 9), min_size=4), min_size=1, max_size=12))
def test_halving_finds_a_way_through_any_change_of_members(sets: list[set[int]]) -> None:
    chain = Chain()
    members = [chain.members(*numbers) for numbers in sets] + [chain.members(*sets[-1])]
    blocks: list[LightBlock] = []
    parent = NO_HASH
    for height, (now, after) in enumerate(pairwise(members), 1):
        blocks.append(chain.block(height, now, after, parent=parent))
        parent = compute_block_hash(blocks[-1].header)
    start = TrustedBlock(chain.chain_id, 0, 0, NO_HASH, members[0], PARAMS)
    path = follow(start, len(blocks), lambda height: blocks[height - 1], FAR, RULES)
    assert path[-1] == blocks[-1]
    heights = [block.header.height for block in path]
    assert heights == sorted(set(heights))


def test_the_next_block_has_the_version_that_the_trusted_one_names() -> None:
    block = CHAIN.block(6, FOUR, FOUR, parent=TRUSTED.block_hash)
    other = replace(TRUSTED, params_hash=compute_params_hash(2))
    assert verdict(block) == "SUCCESS"
    assert "not the protocol version that the block before names" in verdict(block, trusted=other)


def test_an_answer_for_another_height_is_refused() -> None:
    """A node that answers with some genuine block does not lead anybody to believe it is the one asked for."""
    for height in (8, 10, 11):
        block = CHAIN.block(height, FOUR, FOUR)
        with pytest.raises(Rejected, match=f"block 9 was asked for, and block {height} was given"):
            follow(TRUSTED, 9, lambda _, block=block: block, FAR, RULES)


def test_the_way_stops_at_a_block_that_does_not_hold() -> None:
    bad = CHAIN.block(9, FOUR, FOUR, {1, 2})
    with pytest.raises(Rejected, match="block 9: certificate with 2"):
        follow(TRUSTED, 9, lambda height: bad, FAR, RULES)
