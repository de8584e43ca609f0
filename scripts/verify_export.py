#!/usr/bin/env python3
"""Check an export of a fednode chain without fednode: this file, Python 3.11 and PyNaCl are all it takes.

    python verify_export.py --chain-id ID FILE      ID: from a source of your own (a member's 'fednode genesis show')
    python verify_export.py --model HASH FILE       also show how this model came about (default: the latest one)

Nothing in the file is believed. The chain id is the hash of the genesis in the file, so with the right id the members
that founded the chain are right; everything else follows from signatures and hashes:

    chain         the genesis in the file is that of the chain you named
    file          records are canonical, in order and complete, the digest at the end fits (finds damage, not forgery)
    links         every block names the one before it, and its transactions, evidence and parent certificate
    certificates  q of n members signed every block; members changed only as the block before says, and as q of them
                  voted or one of them signed with both its keys; every recorded double vote bears two signatures
    transactions  signatures hold, nonces grow, nothing is out of its time, receipts are those the header names
    state         all records of the ledger's state together give the state root that the last block's signers signed
    rounds        every report of a round, and every study, agrees with the votes and commitments signed in the blocks

This program does not run the rules again: that they were applied rightly is what q members sign with every state root
('fednode chain import --verify-only' runs them). A file that begins after block 1 is tied to the genesis by
certificates of blocks in between; rounds and changes of members that began before are not checked against votes.
Exit codes: 0 everything held, 12 something did not, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, BinaryIO

from nacl import bindings, exceptions

PREAMBLE = b"""fednode-export 1
Blocks of a fednode chain with certificates and receipts, and the state after the last block.
Check it with: python scripts/verify_export.py --chain-id ID FILE (needs Python and PyNaCl, nothing of fednode)

"""
MAX_RECORD_BYTES, CLOCK_DRIFT_MS = 32 * 1024 * 1024 + 1024, 5_000
MAX_DEPTH, BUCKETS = 16, 4096
MAX_VALIDITY_BLOCKS, MAX_EVIDENCE_AGE, ABSENT_AFTER_SETS = 10_000, 500, 2
HEAD, STEP, ITEM, BLOCK, END = 1, 2, 3, 4, 5
LEVELS = ("chain", "file", "links", "certificates", "transactions", "state", "rounds")
TAGS = {name: f"fednode/1/{name}".encode() for name in (
    "proposal", "prevote", "precommit", "transaction", "genesis", "block", "study", "state")}
VOTE_TAGS = {1: TAGS["proposal"], 2: TAGS["prevote"], 3: TAGS["precommit"]}
NO_HASH, VOTE_LAYOUT = bytes(32), struct.Struct(">B32sQIi32s")
COMMIT, SUM_ACK, RESULT, PROPOSE, REMOVE, APPROVE, REPORT, ROTATE = 14, 17, 19, 40, 41, 42, 43, 44
ROUND_KINDS = {0: "statistics", 1: "training", 2: "closing"}
SHARE_UNIT = 65_535  # what a share of rows is counted in
MALFORMED = (ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error)  # other fields or types


class Wrong(Exception):
    """What is wrong with the file, in one sentence."""


NUMBERS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}
PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}


def encode(value: Any) -> bytes:
    """Return the one canonical msgpack encoding of a value: each in its shortest form; arrays are tuples."""
    if value is None or isinstance(value, bool):
        return b"\xc0" if value is None else b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return _encode_int(value)
    if isinstance(value, tuple):
        return _head(len(value), 15, 0x90, (0, 0xDC, 0xDD)) + b"".join(map(encode, value))
    if isinstance(value, bytes):
        return _head(len(value), -1, 0, (0xC4, 0xC5, 0xC6)) + value
    text = value.encode()
    return _head(len(text), 31, 0xA0, (0xD9, 0xDA, 0xDB)) + text


def _encode_int(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b", value)
    for code, form in NUMBERS.items():
        with suppress(struct.error):
            return bytes([code]) + struct.pack(form, value)
    raise Wrong("an integer has more than 64 bits")


def _head(length: int, most: int, base: int, codes: tuple[int, int, int]) -> bytes:
    if length <= most:
        return bytes([base | length])
    at = next(at for at, code in enumerate(codes) if code and length < 1 << (8 << at))
    return bytes([codes[at]]) + length.to_bytes(1 << at, "big")


def decode(data: bytes, what: str) -> Any:
    """Return the value of canonical bytes; raise `Wrong` for anything else."""
    try:
        value, end = _decode(data, 0, 0)
    except (IndexError, UnicodeDecodeError, struct.error):
        raise Wrong(f"{what} cannot be decoded") from None
    if end != len(data) or encode(value) != data:
        raise Wrong(f"{what} is not in canonical form")
    return value


def numbers_only(value: Any, what: str) -> Any:
    """Return a value without truth values in it: to Python these are numbers, so a signature would hold for both."""
    if isinstance(value, bool):
        raise Wrong(f"{what} has a truth value in the place of a number")
    if isinstance(value, tuple):
        for item in value:
            numbers_only(item, what)
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    code, at = data[at], at + 1
    if code < 0x80 or code >= 0xE0:
        return (code if code < 0x80 else code - 256), at
    if code in PLAIN:
        return PLAIN[code], at
    if code in NUMBERS:
        size = struct.calcsize(NUMBERS[code])
        return struct.unpack_from(NUMBERS[code], data, at)[0], at + size
    if 0x90 <= code < 0xA0:
        kind, length = "array", code & 15
    elif 0xA0 <= code < 0xC0:
        kind, length = "text", code & 31
    elif code in LENGTHS:
        kind = "bytes" if code < 0xD9 else "text" if code < 0xDC else "array"
        length, at = int.from_bytes(data[at : at + LENGTHS[code]], "big"), at + LENGTHS[code]
    else:
        raise IndexError("maps, floats and extension types do not exist here")
    if kind == "array":
        items = []
        if depth == MAX_DEPTH:
            raise IndexError("nested too deeply")
        for _ in range(length):
            item, at = _decode(data, at, depth + 1)
            items.append(item)
        return tuple(items), at
    if at + length > len(data):
        raise IndexError("cut off")
    return (data[at : at + length] if kind == "bytes" else data[at : at + length].decode()), at + length


def tagged(name: str, *parts: bytes) -> bytes:
    """Return SHA-256 over the length-prefixed domain tag and length-prefixed parts."""
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in (TAGS[name], *parts))).digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the RFC 6962 root over leaf contents; an unpaired last node moves up as it is."""
    hashes = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(hashes) > 1:
        pairs = [sha256(b"\x01" + hashes[i] + hashes[i + 1]).digest() for i in range(0, len(hashes) - 1, 2)]
        hashes = pairs + hashes[len(pairs) * 2 :]
    return hashes[0] if hashes else sha256().digest()


PARAMS = [tagged("block", b"params", encode((version,))) for version in range(256)]  # how headers name the next one


def is_signed(key: bytes, tag: bytes, message: bytes, signature: bytes) -> bool:
    """Check an Ed25519 signature (libsodium's rule) over the length-prefixed tag and the message."""
    with suppress(exceptions.CryptoError, ValueError, TypeError):
        bindings.crypto_sign_open(signature + bytes([len(tag)]) + tag + message, key)
        return True
    return False


class Members:
    """The voters of one height, ascending by number."""

    def __init__(self, value: Any) -> None:
        (pairs,) = value
        self.keys: dict[int, bytes] = dict(pairs)
        self.ids = list(self.keys)
        if not pairs or len(set(self.keys.values())) != len(pairs) or self.ids != sorted(self.ids):
            raise Wrong("a member set is not one: members and keys once each, ascending")
        self.hash = tagged("block", b"members", encode(value))
        self.quorum = 2 * len(self.ids) // 3 + 1

    def signers(self, certificate: tuple[Any, ...], chain_id: bytes) -> list[int]:
        """Return who signed a certificate; raise `Wrong` unless a quorum did and every signature holds."""
        height, view, block_hash, bitmap, signatures = certificate
        bits, size = int.from_bytes(bitmap, "little"), len(self.ids)
        if len(bitmap) != (size + 7) // 8 or bits >> size or bits.bit_count() != len(signatures):
            raise Wrong("the certificate's bitmap does not fit the members or the signatures")
        found = [member for place, member in enumerate(self.ids) if bits >> place & 1]
        if len(found) < self.quorum:
            raise Wrong(f"the certificate has {len(found)} signatures, {self.quorum} are needed")
        message = VOTE_LAYOUT.pack(3, chain_id, height, view, -1, block_hash)
        for member, signature in zip(found, signatures, strict=True):
            if not is_signed(self.keys[member], TAGS["precommit"], message, signature):
                raise Wrong(f"the certificate's signature of member {member} does not hold")
        return found


def read_records(file: BinaryIO) -> Iterator[tuple[Any, ...]]:
    """Yield the records of an export, the head first; raise `Wrong` where order, count or digest are not right."""
    def take(count: int) -> bytes:
        data = file.read(count)
        if len(data) != count:
            raise Wrong("the file is cut off")
        return data

    if file.read(len(PREAMBLE)) != PREAMBLE:
        raise Wrong("this is no fednode export of format 1")
    digest = sha256(PREAMBLE)
    counts, last = {STEP: 0, ITEM: 0, BLOCK: 0}, 0
    while True:
        length = take(4)
        if int.from_bytes(length, "big") > MAX_RECORD_BYTES:
            raise Wrong("a record is longer than any can be")
        data = take(int.from_bytes(length, "big"))
        record = numbers_only(decode(data, "a record of the file"), "a record of the file")
        expected = range(max(last, STEP), END + 1) if last else (HEAD,)
        if not isinstance(record, tuple) or not record or record[0] not in expected:
            raise Wrong("a record of the file is of no known kind, or out of order")
        last = record[0]
        if last == END:
            break
        digest.update(length + data)
        counts[last] = counts.get(last, 0) + 1
        yield record
    if record[1:] != (counts[STEP], counts[ITEM], counts[BLOCK], digest.digest()) or file.read(1):
        raise Wrong("the digest at the end differs: the file was damaged, cut or added to")


class Check:
    """Everything learnt from the file so far, and the first thing wrong on each level."""

    def __init__(self, head: tuple[Any, ...]) -> None:
        _, form, self.chain_id, self.first, self.last, self.last_hash, genesis = head
        self.problems: dict[str, list[str]] = {level: [] for level in LEVELS}
        if form != 1 or tagged("genesis", genesis) != self.chain_id:
            raise Wrong("the file has another format, or the genesis in it is not that of the chain it names")
        _, self.name, version, self.time_ms, cards, studies, origin = decode(genesis, "the genesis")
        # a successor's members keep the numbers under which they signed it, and it holds records of the old chain
        numbers = [consent[1] for consent in origin[4]] if origin else range(1, len(cards) + 1)
        self.carried: dict[bytes, bytes] = dict(origin[5]) if origin else {}
        self.versions: tuple[Any, ...] = (((version, 1),), None, ())
        self.params = PARAMS[version]
        self.founded = {tagged("study", encode(terms), spec) for terms, spec in studies}
        self.founded |= {key[6:] for key in self.carried if key.startswith(b"study/")}
        self.members = Members((tuple((number, card[2]) for number, card in zip(numbers, cards, strict=True)),))
        self.signed_by = self.members
        self.founders, self.names = len(cards), {n: card[1] for n, card in zip(numbers, cards, strict=True)}
        self.height, self.hash, self.certificate = 0, NO_HASH, None
        self.is_compared, self.is_finished, self.state_root = False, False, b""
        self.now_ms, self.order = time.time_ns() // 1_000_000, list[int]()  # proposers of the last block's height
        self.skipped: set[int] = set()
        self.missed: dict[int, int] = {}
        self.nonces: dict[int, int] = {}
        self.offences: set[tuple[int, int]] = set()
        self.items: list[tuple[int, bytes, bytes]] = []  # the records of the state: kind, key, value
        self.records: dict[bytes, bytes] = {}
        self.place = (-1, b"")
        self.blocks: dict[int, tuple[int, int]] = {}  # time and quorum
        self.signed = {"blocks": 0, "votes": 0, "transactions": 0, "of them refused by the rules": 0}
        self.posted: dict[tuple[int, bytes, int, int], dict[int, tuple[tuple[Any, ...], int]]] = {}
        # proposals in order of their numbers: the member, its key if it would come in, and who voted for it
        self.proposals: list[tuple[int, bytes | None, set[int]]] = []
        self.candidates: dict[int, bytes] = {}
        # of the block at hand: who replaced its key, and which candidates said that they are there
        self.rotated: list[dict[int, bytes]] = []
        self.here: set[int] = set()

    def fail(self, level: str, text: str) -> None:
        """Note what is wrong, and go on: other levels may still hold."""
        self.problems[level].append(text)

    def verdict(self, level: str) -> str:
        """Return what to say of a level."""
        if self.problems[level]:
            return "FAILED"
        if level == "chain":
            return "PASSED" if self.is_compared else "NOT COMPARED: give --chain-id, from a source of your own"
        done = f"PASSED from block {self.first} on" if level == "rounds" and self.first > 1 else "PASSED"
        return done if self.is_finished or not self.problems["file"] else "NOT FINISHED"

    def step(self, block: tuple[Any, ...]) -> None:
        """Follow a certificate to a later block: a quorum of its members, among them a quorum of those known."""
        header, certificate, members, after = block[0], block[1], Members(block[2]), Members(block[3])
        block_hash = tagged("block", b"header", encode(header))
        try:
            self._version(header[0], PARAMS[header[0]] if header[2] > self.height + 1 else self.params)
            keys = {members.keys[member] for member in members.signers(certificate, self.chain_id)}
            known = keys.intersection(self.members.keys.values())
            if len(known) < self.members.quorum or header[2] <= self.height or header[3] <= self.time_ms:
                raise Wrong("too few of the members known before signed it, or it is not later")
            if header[3] >= self.now_ms + CLOCK_DRIFT_MS:
                raise Wrong("it comes from the future; look at the clock of this machine")
            named = (header[9], header[10], header[1], certificate[0], certificate[2])
            if named != (members.hash, after.hash, self.chain_id, header[2], block_hash):
                raise Wrong("it names other members or another chain, or its certificate is of another block")
            if header[2] == self.height + 1 and (header[4] != self.hash or members.hash != self.members.hash):
                raise Wrong("it does not follow the block before")
        except Wrong as wrong:
            self.fail("certificates", f"step to block {header[2]}: {wrong}")
        self.height, self.time_ms, self.hash = header[2], header[3], block_hash
        self.signed_by, self.members, self.params = members, after, header[11]

    def item(self, kind: int, key: bytes, value: bytes) -> None:
        """Keep a record of the state; raise `Wrong` where it is not in its place by bucket and key."""
        place = (int.from_bytes(sha256(key).digest()[:2], "big") >> 4, key)
        if place <= self.place:
            raise Wrong("the records of the state are out of order, or one is there twice")
        self.place = place
        self.items.append((kind, key, value))

    def block(self, data: bytes, certificate_data: bytes, receipts: tuple[bytes, ...], after: Any) -> None:
        """Check a block against everything before it."""
        header, transactions, evidence, parent = decode(data, f"block {self.height + 1}")
        what = f"the certificate of block {self.height + 1}"
        certificate = numbers_only(decode(certificate_data, what), what)
        block_hash, self.rotated, self.here = tagged("block", b"header", encode(header)), [], set()
        for level, check in (
            ("links", lambda: self._links(header, transactions, evidence, parent)),
            ("certificates", lambda: self._certificates(header, block_hash, certificate, parent, evidence)),
            ("transactions", lambda: self._transactions(header, transactions, receipts)),
        ):
            try:
                check()
            except (Wrong, *MALFORMED) as wrong:
                self.fail(level, f"block {header[2]}: {wrong}")
        self._take_turn(header, parent, certificate)
        self.signed_by, members = self.members, self.members if after is None else Members(after)
        if after is not None and members.hash == self.members.hash:
            self.fail("certificates", f"block {header[2]}: new members come with it, and it changes none")
        if header[10] != members.hash:
            self.fail("certificates", f"block {header[2]}: it names other members for the next height")
        if self.first == 1 and members.keys != self.signed_by.keys and not self._is_change_carried(members.keys):
            self.fail("certificates", f"block {header[2]}: nobody voted for the members it names for the next height")
        self.blocks[header[2]] = header[3], min(self.members.quorum, members.quorum)
        self.height, self.time_ms, self.hash, self.members = header[2], header[3], block_hash, members
        self.certificate, self.state_root, self.params = certificate, header[8], header[11]
        self.signed["blocks"] += 1

    def _take_turn(self, header: Any, parent: Any, certificate: Any) -> None:
        """Follow who proposes when, which only an export from block 1 on tells; fail if the proposer had no turn."""
        with suppress(Wrong, *MALFORMED):  # told elsewhere
            before, ids = self.order, self.members.ids
            turn = int.from_bytes(sha256(self.chain_id).digest()[:8], "big") + self.height + 1
            away = self.skipped | {m for m, count in self.missed.items() if count >= ABSENT_AFTER_SETS * len(ids)}
            groups = [m for m in ids if m not in away], [m for m in ids if m in away]
            starts = [turn % max(1, len(group)) for group in groups]
            self.order = [m for group, at in zip(groups, starts, strict=True) for m in group[at:] + group[:at]]
            if parent is not None and before:  # the certificate in a block counts from the next block on
                ids, signers, view = self.signed_by.ids, self.signed_by.signers(parent, self.chain_id), parent[1]
                passed = set(before[:view]) - {before[view % len(before)]}
                self.skipped = {m for m in ids if m in passed or (m in self.skipped and m not in signers)}
                counts = {m: min(self.missed.get(m, 0) + 1, ABSENT_AFTER_SETS * len(ids)) for m in ids}
                self.missed = {m: 0 if m in signers else count for m, count in counts.items()}
            if self.first == 1 and header[13] not in self.order[: certificate[1] + 1]:
                self.fail("certificates", f"block {header[2]}: member {header[13]} had no turn to propose it")

    def _links(self, header: Any, transactions: Any, evidence: Any, parent: Any) -> None:
        if header[3] >= self.now_ms + CLOCK_DRIFT_MS:
            raise Wrong("it comes from the future; look at the clock of this machine")
        if header[1:3] != (self.chain_id, self.height + 1) or header[4] != self.hash or header[3] <= self.time_ms:
            raise Wrong("it does not follow the block before")
        self._version(header[0], self.params)
        if header[6] != root_of(transactions) or header[14] != len(transactions):
            raise Wrong("its transactions are not those its header names")
        if header[12] != root_of(encode(piece) for piece in evidence):
            raise Wrong("its evidence is not that its header names")
        named = NO_HASH if parent is None else tagged("block", b"certificate", encode(parent))
        place = (0, NO_HASH) if parent is None else (parent[0], parent[2])
        if header[5] != named or place != (self.height, self.hash):
            raise Wrong("its parent certificate is not the one its header names, or not its parent's")

    def _version(self, version: int, params: bytes) -> None:
        if version != 1:
            raise Wrong(f"it is of protocol version {version}, this program knows 1: use that of a newer release")
        if PARAMS[version] != params:
            raise Wrong("it is not of the protocol version that the block before names")

    def _certificates(self, header: Any, block_hash: bytes, certificate: Any, parent: Any, evidence: Any) -> None:
        if header[9] != self.members.hash:
            raise Wrong("it names other members than those who decide this height")
        if parent is not None and parent != self.certificate:
            self.signed_by.signers(parent, self.chain_id)
        if (certificate[0], certificate[2]) != (header[2], block_hash):
            raise Wrong("its certificate is of another block")
        self.signed["votes"] += len(self.members.signers(certificate, self.chain_id))
        if header[13] not in self.members.keys:
            raise Wrong(f"a stranger ({header[13]}) proposed it")
        for first, second in evidence:  # a double vote: one member, one place, two statements, both signed
            offence = (first[1], first[5])
            if first[:3] != second[:3] or first[5] != second[5] or (first[4], first[3]) >= (second[4], second[3]):
                raise Wrong("its evidence is of no double vote")
            if offence in self.offences or not header[2] - MAX_EVIDENCE_AGE < first[1] <= header[2]:
                raise Wrong("its evidence is of an offence that is too old, to come, or on the chain already")
            self.offences.add(offence)
            for kind, at, view, valid_view, value, sender, signature in (first, second):
                message = VOTE_LAYOUT.pack(kind, self.chain_id, at, view, valid_view, value)
                if not is_signed(self.members.keys.get(sender, b""), VOTE_TAGS[kind], message, signature):
                    raise Wrong(f"its evidence against member {sender} has a signature that does not hold")

    def _transactions(self, header: Any, transactions: Any, receipts: Any) -> None:
        if header[7] != root_of(receipts) or len(receipts) != len(transactions):
            raise Wrong("its receipts are not those its header names")
        for data, receipt in zip(transactions, receipts, strict=True):
            sender, nonce, valid_until, body, signature = decode(data, "a transaction")
            message, key = self.chain_id + b"\x94" + data[1:-66], self.members.keys.get(sender, b"")
            if body[0] == REPORT and not key:  # all a hospital signs before it is a member; it names its key itself
                key = self.candidates.get(sender, b"") if self.first == 1 else body[1]
            if not is_signed(key, TAGS["transaction"], message, signature):
                raise Wrong(f"the signature of a transaction of member {sender} does not hold")
            if nonce <= self.nonces.get(sender, 0):
                raise Wrong(f"a nonce of member {sender} does not grow")
            if not header[2] <= valid_until <= header[2] + MAX_VALIDITY_BLOCKS:
                raise Wrong(f"a transaction of member {sender} is out of its time")
            self.nonces[sender] = nonce
            txid, is_accepted, _ = decode(receipt, "a receipt")
            if txid != sha256(data).digest():
                raise Wrong("a receipt is that of another transaction")
            self.signed["transactions"] += 1
            self.signed["of them refused by the rules"] += not is_accepted
            if is_accepted and body[0] in (COMMIT, SUM_ACK, RESULT):
                self.posted.setdefault(body[:4], {})[sender] = (body[4:], header[2])
            elif is_accepted and PROPOSE <= body[0] <= ROTATE:
                self._member_vote(sender, body[0], body[1])

    def _member_vote(self, sender: int, kind: int, about: Any) -> None:
        """Take note of what leads to other members: a proposal, a vote for one, a member's new key."""
        if kind == PROPOSE:
            number = self.founders + len(self.candidates) + 1
            self.candidates[number] = about[2]
            self.proposals.append((number, about[2], set()))
        elif kind == REMOVE:
            self.proposals.append((about, None, {sender}))
        elif kind == APPROVE and self.first == 1:
            self.proposals[about - 1][2].add(sender)
        elif kind == REPORT:
            self.here.add(sender)
        elif kind == ROTATE:
            self.rotated.append({sender: about[2]})

    def _is_change_carried(self, new: dict[int, bytes]) -> bool:
        """Whether a quorum of the members until now voted for this change, or one of them replaced its own key.

        Who comes in says so in this very block.
        """
        old = self.signed_by.keys
        for member, key, voters in self.proposals:
            carried = {**old, member: key} if key else {m: k for m, k in old.items() if m != member}
            is_there = key is None or member in self.here
            if carried == new and is_there and len(voters.intersection(old)) >= self.signed_by.quorum:
                voters.clear()
                return True
        return any({**old, **own} == new for own in self.rotated)

    # --- the state and what it says ------------------------------------------------------------------------------

    def finish(self) -> None:
        """Check what can only be checked at the end: the last block, the state, its reports and members."""
        if (self.hash, self.height - self.signed["blocks"] + 1) != (self.last_hash, self.first):
            self.fail("links", f"block {self.height} or the first is not the one the head of the file names")
        buckets: list[list[bytes]] = [[] for _ in range(BUCKETS)]
        for kind, key, value in sorted(self.items, key=lambda item: item[1]):
            parts = [bytes([kind]), len(key).to_bytes(4, "big"), key, len(value).to_bytes(4, "big"), value]
            buckets[int.from_bytes(sha256(key).digest()[:2], "big") >> 4] += parts
            self.records[key] = value
        if root_of(tagged("state", *parts) for parts in buckets) != self.state_root:
            self.fail("state", f"the records of the state are not those block {self.height} names")
        listed = decode(self.records.get(b"members", b""), "the record of the members")[0]
        if Members((tuple((record[0], record[2]) for record in listed),)).hash != self.members.hash:
            self.fail("state", "the members in the state are not those the last block names for the next height")
        spans, plan, *_ = decode(self.records[b"versions"], "it") if b"versions" in self.records else self.versions
        if PARAMS[plan[0] if plan and self.height + 1 >= plan[1] else spans[-1][0]] != self.params:
            self.fail("state", "the protocol version in the state is not the one the last block names for the next")
        self.names |= {record[0]: record[1] for record in listed}
        for study in self.studies():
            self._study(study)
        self.is_finished = True

    def studies(self) -> list[tuple[Any, ...]]:
        """Return the records of all studies in order of creation."""
        listed = decode(self.records[b"studies"], "the list of studies")[0] if b"studies" in self.records else ()
        return [decode(self.records.get(b"study/" + study, b""), "the record of a study") for study in listed]

    def reports(self, study: bytes) -> list[tuple[Any, ...]]:
        """Return the reports of a study's rounds in order."""
        keys = sorted(key for key in self.records if key.startswith(b"report/" + study))
        return [decode(self.records[key], "the report of a round") for key in keys]

    def votes(self, report: tuple[Any, ...]) -> list[int]:
        """Return who voted for exactly the result a report names."""
        cast = self.posted.get((RESULT, report[0], report[1], report[10] - 1), {})
        wanted = (report[3], report[4], report[15], report[14], report[16], report[17])
        same = [member for member, (vote, height) in cast.items() if vote[:6] == wanted and height <= report[22]]
        return sorted(same)  # whether training is done is each member's own word

    def _study(self, record: tuple[Any, ...]) -> None:
        study, terms, reports = record[0], record[1], self.reports(record[0])
        name = f"study {study.hex()[:12]}"
        spec = decode(self.records.get(b"spec/" + study, b""), "the specification of a study")[0]
        if tagged("study", encode(terms), spec) != study:
            self.fail("rounds", f"{name}: its id is not the hash of its terms and specification")
        numbers = list(range(0 if terms[1] else 1, record[13]))
        if [report[1] for report in reports] != numbers:
            self.fail("rounds", f"{name}: a report of its {len(numbers)} rounds is missing")
        model = NO_HASH
        for report in reports:
            for problem in self._report(report, model):
                self.fail("rounds", f"{name}, round {report[1]}: {problem}")
            model = report[14]
        if model != record[14]:
            self.fail("rounds", f"{name}: its model is not that of its last round")

    def _report(self, report: tuple[Any, ...], model: bytes) -> Iterator[str]:
        """Yield what in a report disagrees with what members signed in the blocks. Hidden weights are posted as 0."""
        study, number, _, outcome = report[:4]
        counted, attempts, start_model, model_hash, weight = report[6], report[10], report[13], report[14], report[16]
        opened, opened_ms, closed, closed_ms = report[20:24]
        if start_model != model:
            yield "it starts from another model than the round before it ended with"
        key = b"report/" + study + number.to_bytes(4, "big")
        if self.records[key] == self.carried.get(key):
            return  # a round of the old chain: the chain id covers what is said of it, its votes are in that chain
        for height, time_ms in ((opened, opened_ms), (closed, closed_ms)):
            if self.blocks.get(height, (time_ms, 0))[0] != time_ms or not height <= self.last:
                yield f"block {height} has another time"
        if outcome != 1 and model_hash != start_model:
            yield "it failed and yet names a new model"
        if outcome != 1 or opened < self.first:
            return
        needed, votes = self.blocks[opened][1], self.votes(report)
        if len(votes) < needed:
            yield f"{len(votes)} members voted for its result, {needed} are needed"
        commits = self.posted.get((COMMIT, study, number, attempts - 1), {})
        if not set(counted) <= set(commits):
            yield f"members {sorted(set(counted) - set(commits))} are counted and never committed"
        elif sum(commits[member][0][1] for member in counted) != weight:
            yield "its weight is not the sum of the weights that those counted committed"
        if len(self.holders(report)) < needed:
            yield f"{len(self.holders(report))} members confirmed that they hold the sum, {needed} are needed"

    def holders(self, report: tuple[Any, ...]) -> list[int]:
        """Return who confirmed to hold one and the same masked sum: more than any other."""
        acks = self.posted.get((SUM_ACK, report[0], report[1], report[10] - 1), {})
        digests = [ack[0] for ack, _ in acks.values() if ack[0] is not None]
        most = max(set(digests), key=lambda digest: (digests.count(digest), digest), default=None)
        return sorted(member for member, (ack, _) in acks.items() if most is not None and ack[0] == most)


def lineage(check: Check, prefix: str | None) -> dict[str, Any] | None:
    """Return how a model came about, latest round last; None if no round made it."""
    for record in reversed(check.studies()):
        reports = check.reports(record[0])
        made = [at for at, report in enumerate(reports) if report[3] == 1 and (
            any(report[14]) if prefix is None else report[14].hex().startswith(prefix.lower()))]
        if not made:
            continue
        try:
            name = str(decode(decode(check.records[b"spec/" + record[0]], "it")[0], "it")[0])
        except (Wrong, *MALFORMED):
            name = "?"  # of a kind that a later version knows; what was approved is its hash
        approvals = "the genesis" if record[0] in check.founded else list(record[6])
        first = made[0] if prefix else made[-1]
        return {
            "model": reports[first][14].hex(), "study": record[0].hex(), "name": name, "approved_by": approvals,
            "plan_hash": record[0].hex(),  # what was approved: the hash of terms and specification is the study's id
            "rounds": [_round(check, report) for report in reports[: first + 1]],
        }
    if prefix is not None:
        raise Wrong(f"no round in this file made a model whose hash begins with {prefix}")
    return None


def _round(check: Check, report: tuple[Any, ...]) -> dict[str, Any]:
    rows = report[17]
    return {
        "round": report[1], "kind": ROUND_KINDS.get(report[2], str(report[2])),
        "outcome": "ok" if report[3] == 1 else "failed", "reason": report[4], "expected": list(report[5]),
        "counted": list(report[6]), "absent": sorted({absence[0] for absence in report[7]}),
        "faulty": list(report[9]), "attempts": report[10], "votes": check.votes(report),
        "sum_held_by": check.holders(report), "weight": report[16], "sum_digest": report[15].hex(),
        "start_model": report[13].hex(), "model": report[14].hex(), "blocks": [report[20], report[22]],
        "closed_ms": report[23],
        "metrics": None if rows is None else {"hospitals": rows[0], "accuracy": rows[1] / (rows[0] * SHARE_UNIT)},
    }


def verify(path: str) -> Check:
    """Check a whole file; raise `Wrong` if it cannot even be read as one."""
    with open(path, "rb") as file:
        records = read_records(file)
        check = Check(next(records))
        take = {STEP: check.step, ITEM: check.item, BLOCK: check.block}
        try:
            for record in records:
                take[record[0]](*record[1:])
        except Wrong as wrong:
            check.fail("file", str(wrong))
    if check.height == check.last:
        try:
            check.finish()
        except (Wrong, *MALFORMED) as wrong:
            check.fail("state", f"its records cannot be read: {wrong}")
    elif not check.problems["file"]:
        check.fail("file", f"it ends at block {check.height}, its head says block {check.last}")
    return check


def main() -> int:
    """Check the file named on the command line, print the verdicts, return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may lack letters of a name
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("file", help="an export made by 'fednode chain export'")
    parser.add_argument("--chain-id", help="the chain it must be of, from a source of your own")
    parser.add_argument("--model", help="show how this model came about (hash or its beginning; default: the latest)")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    options = parser.parse_args()
    try:
        check = verify(options.file)
        check.is_compared = options.chain_id is not None
        if check.is_compared and options.chain_id.lower() != check.chain_id.hex():
            check.fail("chain", "this is not the chain you named")
        story = None if any(check.problems.values()) else lineage(check, options.model)
    except (Wrong, OSError, *MALFORMED) as error:
        sys.stderr.write(f"{options.file}: {error}\n")
        return 2 if isinstance(error, OSError) else 12
    sys.stdout.write(story_text(check, story) if not options.json else json.dumps({
        "ok": not any(check.problems.values()), "chain_id": check.chain_id.hex(), "chain_name": check.name,
        "is_chain_id_compared": check.is_compared, "first": check.first, "last": check.height,
        "last_hash": check.hash.hex(), "checked": check.signed, "state_records": len(check.items),
        "levels": {level: check.verdict(level) for level in LEVELS}, "problems": check.problems, "lineage": story,
    }, indent=1) + "\n")
    return 12 if any(check.problems.values()) else 0


def story_text(check: Check, story: dict[str, Any] | None) -> str:
    """Return verdicts and lineage for people."""
    counts = ", ".join(f"{count} {what}" for what, count in check.signed.items())
    latest = datetime.fromtimestamp(min(check.time_ms, 2**47) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    lines = [
        f"chain '{check.name}' {check.chain_id.hex()}",
        f"  blocks {check.first} to {check.height}, the last of {latest}: {check.hash.hex()}",
        f"  {counts}, {len(check.items)} records in the state",
    ]
    for level, problems in check.problems.items():
        lines.append(f"{level:<13} {check.verdict(level)}")
        lines += [f"    {problem}" for problem in problems[:5]]
    lines += story_lines(check, story) if story is not None else []
    return "".join("".join(c if c.isprintable() else "?" for c in line) + "\n" for line in lines)


def story_lines(check: Check, story: dict[str, Any]) -> list[str]:
    """Return the lineage of a model as lines of a table."""
    approved = story["approved_by"]
    by = approved if isinstance(approved, str) else "members " + " ".join(map(str, approved))
    row = "  {:>5} {:<10} {:<7} {:<15} {:<12} {:<10} {:<10} {:<10} {:<13} {}"
    table = [("round", "kind", "outcome", "blocks", "counted", "absent", "faulty", "votes", "sum", "model")]
    for item in story["rounds"]:
        lists = [" ".join(map(str, item[key])) or "-" for key in ("counted", "absent", "faulty", "votes")]
        first = (item["round"], item["kind"], item["outcome"], "{} to {}".format(*item["blocks"]))
        table.append((*first, *lists, item["sum_digest"][:12], item["model"][:12]))
    return [
        f"model {story['model']}", f"  of study '{story['name']}', approved by {by}",
        f"  the plan approved, terms and specification, has the hash {story['plan_hash']}",
        "  members: " + ", ".join(f"{number} {name}" for number, name in check.names.items()),
        *(row.format(*cells) for cells in table),
    ]


if __name__ == "__main__":
    sys.exit(main())
