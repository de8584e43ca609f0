"""The genesis: which hospitals found the chain, and the studies they have approved by doing so.

Security assumption: the chain id is the hash of the canonical form, so members with different files are on different
chains and refuse each other at the first message. Whoever starts with a genesis has to have compared its chain id, or
the fingerprints of its members, with the other hospitals: the file cannot vouch for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from fednode.chain.state import Draft, RecordTable, State
from fednode.chain.vote import Certificate, Member, MemberSet
from fednode.codec import U16, U64, Name, Size, decode, encode
from fednode.crypto import Domain, tagged_hash
from fednode.errors import GenesisError, Rejected
from fednode.ids import PROTOCOL_VERSION, Hash, Height, MemberId, StudyId, fault_bound, quorum
from fednode.ledger.members.identity import (
    IdentityCard,
    card_from_table,
    card_lines,
    check_card,
    check_keys,
    parse_toml,
    read_hex,
    toml_string,
    why_no_name,
)
from fednode.ledger.members.names import skeletons
from fednode.ledger.members.reading import CHAIN_KEY, MEMBERS_KEY, ORIGIN_KEY
from fednode.ledger.members.records import ChainRecord, MemberList, MemberRecord, OriginRecord
from fednode.ledger.record_table import RECORD_TABLE
from fednode.ledger.studies.bodies import MAX_SPEC_BYTES, StudyTerms, Weights, compute_study_id
from fednode.ledger.studies.records import GENESIS_CREATOR, Beginning, StudyStatus
from fednode.ledger.studies.rules import new_study, write_new_study
from fednode.ledger.succession import Consent, Origin, check_origin
from fednode.sums.bounds import MIN_INCLUDED

GENESIS_FORMAT = 1
MAX_GENESIS_MEMBERS = 100
MAX_GENESIS_STUDIES = 16
MAX_GENESIS_FILE_BYTES = 64 * 1024 * 1024
"""A founding file has some kilobytes; a successor's holds the closed rounds of the old chain."""
MAX_CONSENT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class GenesisStudy:
    """A study that counts as approved."""

    terms: StudyTerms
    spec: Annotated[bytes, Size(0, MAX_SPEC_BYTES)]

    @property
    def study(self) -> StudyId:
        """The study's name."""
        return compute_study_id(self.terms, self.spec)


@dataclass(frozen=True)
class Genesis:
    """Members are in order of their sign keys, which makes them MemberId 1 to n; those of a successor keep the numbers
    of the old chain (`origin`) and are in order of them. `time_ms` is UTC since 1970."""

    format: U16
    name: Name
    protocol_version: U16
    time_ms: U64
    members: Annotated[tuple[IdentityCard, ...], Size(1, MAX_GENESIS_MEMBERS)]
    studies: Annotated[tuple[GenesisStudy, ...], Size(0, MAX_GENESIS_STUDIES)]
    origin: Origin | None = None

    @property
    def numbered(self) -> tuple[tuple[MemberId, IdentityCard], ...]:
        """Every member with its number, ascending."""
        numbers = range(1, len(self.members) + 1) if self.origin is None else self.origin.numbers
        return tuple((MemberId(number), card) for number, card in zip(numbers, self.members, strict=True))

    @cached_property
    def chain_id(self) -> Hash:
        """Hash of the canonical form: the chain's only name."""
        return tagged_hash(Domain.GENESIS, encode(self))

    def member_of(self, sign_key: bytes) -> MemberId:
        """Return a member's number; raise `GenesisError` if it is not in this genesis."""
        for number, card in self.numbered:
            if card.sign_key == sign_key:
                return number
        raise GenesisError(
            f"this hospital's key is not among the {len(self.members)} members of chain '{self.name}'; "
            "get the genesis file that was made with its identity card"
        )

    @cached_property
    def member_set(self) -> MemberSet:
        """The voters of the first block."""
        return MemberSet(tuple(Member(number, card.sign_key) for number, card in self.numbered))

    @property
    def records(self) -> RecordTable:
        """The kinds of records in the ledger's state."""
        return RECORD_TABLE

    def first_state(self) -> State:
        """Return the state before the first block: members, and studies that wait for members to be ready."""
        draft = Draft(State.empty(RECORD_TABLE))
        draft.write(CHAIN_KEY, ChainRecord(self.chain_id, self.name, self.protocol_version, self.time_ms))
        members = tuple(
            MemberRecord(number, card.name, card.sign_key, card.network_key, card.addresses)
            for number, card in self.numbered
        )
        draft.write(MEMBERS_KEY, MemberList(members))
        if (origin := self.origin) is not None:
            draft.write(ORIGIN_KEY, OriginRecord(origin.chain_id, origin.height, origin.block_hash))
            for key, data in origin.carried:
                draft.write(key, RECORD_TABLE.decode(key, data))
        for study in self.studies:
            record = new_study(study.terms, study.spec, GENESIS_CREATOR, 0, StudyStatus.WAITING)
            founders = tuple(member.member for member in members)
            record = replace(record, hospitals=founders, beginning=Beginning(0, self.time_ms))
            write_new_study(draft, record, study.spec)
        return draft.freeze()[0]


def make_genesis(
    name: str, cards: Sequence[IdentityCard], studies: Sequence[GenesisStudy], time_ms: int
) -> Genesis:
    """Return the genesis of these members and studies; raise `GenesisError` if they cannot found a chain."""
    members = tuple(sorted(cards, key=lambda card: card.sign_key))
    genesis = Genesis(GENESIS_FORMAT, name, PROTOCOL_VERSION, time_ms, members, tuple(studies))
    check_genesis(genesis)
    return genesis


def make_successor(name: str, origin: Origin, time_ms: int) -> Genesis:
    """Return the genesis of the chain that succeeds another; raise `GenesisError` if it cannot begin."""
    cards = tuple(consent.card for consent in origin.consents)
    genesis = Genesis(GENESIS_FORMAT, name, PROTOCOL_VERSION, time_ms, cards, (), origin)
    check_genesis(genesis)
    return genesis


def check_genesis(genesis: Genesis) -> None:
    """Raise `GenesisError` unless a chain can start from this genesis with this version."""
    if genesis.format != GENESIS_FORMAT:
        raise GenesisError(f"genesis format {genesis.format} is not known, this version reads {GENESIS_FORMAT}")
    if genesis.protocol_version != PROTOCOL_VERSION:
        raise GenesisError(
            f"the genesis is for protocol version {genesis.protocol_version}, this program speaks {PROTOCOL_VERSION}; "
            "install the version the other members run"
        )
    if problem := why_no_name(genesis.name, "chain"):
        raise GenesisError(f"{problem}; choose another name")
    if not 1 <= len(genesis.members) <= MAX_GENESIS_MEMBERS:
        raise GenesisError(f"a chain has 1 to {MAX_GENESIS_MEMBERS} members, not {len(genesis.members)}")
    for card in genesis.members:
        check_card(card)
    _check_distinct(genesis.members, genesis.origin is None)
    _check_studies(genesis)
    if genesis.origin is not None:
        check_origin(genesis.origin, genesis.members, bool(genesis.studies))
    try:
        encode(genesis)
    except Rejected as error:
        raise GenesisError(f"the genesis breaks a bound ({error.reason}); make it again") from None


def _check_distinct(members: tuple[IdentityCard, ...], is_founding: bool) -> None:
    name, count = Counter(seen for card in members for seen in skeletons(card.name)).most_common(1)[0]
    if count > 1:
        shown = ", ".join(card.name for card in members if name in skeletons(card.name))
        raise GenesisError(f"names look alike ({shown}); use every identity card once, and names people can tell apart")
    used = Counter(key for card in members for key in (card.sign_key, card.network_key))
    value, count = used.most_common(1)[0]
    if count > 1:
        owners = [card.name for card in members if value in (card.sign_key, card.network_key)]
        raise GenesisError(f"the same key appears twice ({', '.join(owners)}); use every identity card once")
    keys = [card.sign_key for card in members]
    if is_founding and keys != sorted(keys):
        raise GenesisError("the members are not in order of their sign keys; the file was edited, make it again")


def _check_studies(genesis: Genesis) -> None:
    names = [study.study for study in genesis.studies]
    if len(names) > MAX_GENESIS_STUDIES:
        raise GenesisError(f"at most {MAX_GENESIS_STUDIES} studies fit a genesis; create the others later")
    if len(set(names)) != len(names):
        raise GenesisError("the same study is given twice; give it once")
    if names and len(genesis.members) < MIN_INCLUDED:
        raise GenesisError(
            f"a study needs at least {MIN_INCLUDED} members, with {len(genesis.members)} each would learn another's "
            "update; add identity cards or leave the study out"
        )


def describe_members(count: int) -> tuple[str, ...]:
    """Return, in words, what a number of members means for the chain and for training."""
    faults, needed = fault_bound(count), quorum(count)
    if count < MIN_INCLUDED:
        return (
            f"{count} member{'s' * (count != 1)}: the chain runs only while all are up and honest (q = {needed}).",
            "No training: a sum of fewer than 3 updates would show one hospital another's.",
        )
    if count == MIN_INCLUDED:
        return (
            "3 members: the chain runs only while all 3 are up and honest (q = 3, f = 0).",
            "Training works, but every loss voids the round, and each sum shows a member the sum of the other two.",
        )
    return (
        f"{count} members: the chain tolerates f = {faults} that {'is' if faults == 1 else 'are'} away, broken or "
        f"hostile; q = {needed} must agree on every block.",
        f"Opening anything of a member that vanished takes T = {needed} members; at least {needed} updates enter every "
        f"sum. With {faults} of {count} away no slack is left.",
    )


# --- TOML --------------------------------------------------------------------------------------------------------

def genesis_to_toml(genesis: Genesis) -> str:
    """Return the text of a genesis file: the canonical values, with what they mean beside them."""
    lines = [
        "# Genesis of a fednode chain. All members must hold the same file: compare the chain id by voice.",
        *(f"# {sentence}" for sentence in describe_members(len(genesis.members))),
        f"format = {genesis.format}",
        f"name = {toml_string(genesis.name)}",
        f"protocol_version = {genesis.protocol_version}",
        f"time_ms = {genesis.time_ms}",
        f'chain_id = "{genesis.chain_id.hex()}"  # follows from the rest, checked when the file is read',
    ]
    for number, card in genesis.numbered:
        lines += ["", f"[[member]]  # member {number}", *card_lines(card)]
    for study in genesis.studies:
        terms = study.terms
        lines += [
            "", f"[[study]]  # {study.study.hex()}",
            f"# {terms.rounds} rounds, weights {Weights(terms.weights).name.lower()}, at most {terms.weight_bound}; "
            f"phases {terms.phase_timeout_ms} ms, training {terms.train_timeout_ms} ms",
            f'terms = "{encode(terms).hex()}"',
            f'spec = "{study.spec.hex()}"',
        ]
    if (origin := genesis.origin) is not None:
        lines += _origin_lines(origin)
    return "\n".join([*lines, ""])


def _origin_lines(origin: Origin) -> list[str]:
    return [
        "", f"[origin]  # succeeds chain {origin.chain_id.hex()} after block {origin.height}",
        f'chain_id = "{origin.chain_id.hex()}"', f"height = {origin.height}",
        f'block_hash = "{origin.block_hash.hex()}"',
        *([] if origin.certificate is None else [f'certificate = "{encode(origin.certificate).hex()}"']),
        "consents = [", *(f'    "{encode(consent).hex()}",' for consent in origin.consents), "]",
        "carried = [", *(f'    "{key.hex()} {data.hex()}",' for key, data in origin.carried), "]",
    ]


def parse_genesis(text: str | bytes) -> Genesis:
    """Read a genesis file and check everything in it; raise `GenesisError`."""
    table = parse_toml(text, "genesis file")
    wanted = {"format", "name", "protocol_version", "time_ms", "chain_id", "member"}
    check_keys(table, wanted.union({"study", "origin"} & set(table)), "genesis file")
    genesis = Genesis(
        _integer(table, "format"), _text(table, "name"), _integer(table, "protocol_version"),
        _integer(table, "time_ms"), tuple(card_from_table(entry) for entry in _tables(table, "member")),
        tuple(_study_from_table(entry) for entry in _tables(table, "study")),
        _origin_from_table(table["origin"]) if "origin" in table else None,
    )
    check_genesis(genesis)
    if read_hex(table, "chain_id", "genesis file", 32) != genesis.chain_id:
        raise GenesisError("the genesis file was changed after it was made: its chain id differs; get it again")
    return genesis


def _study_from_table(table: Mapping[str, object]) -> GenesisStudy:
    check_keys(table, {"terms", "spec"}, "study in the genesis file")
    try:
        terms = decode(StudyTerms, read_hex(table, "terms", "study in the genesis file"), 1024)
    except Rejected as error:
        raise GenesisError(f"a study in the genesis cannot be read ({error.reason}); make the file again") from None
    return GenesisStudy(terms, read_hex(table, "spec", "study in the genesis file"))


def _origin_from_table(value: object) -> Origin:
    if not isinstance(value, dict):
        raise GenesisError("genesis file: 'origin' must be a table; get the file again from who made it")
    what = "origin in the genesis file"
    names = {"chain_id", "height", "block_hash", "consents", "carried"}
    check_keys(value, names.union({"certificate"} & set(value)), what)
    try:
        consents = tuple(decode(Consent, data, MAX_CONSENT_BYTES) for data in _hex_list(value, "consents", 1))
        pairs = _hex_list(value, "carried", 2)
        proof = read_hex(value, "certificate", what) if "certificate" in value else None
        origin = Origin(
            read_hex(value, "chain_id", what, 32), Height(_integer(value, "height")),
            read_hex(value, "block_hash", what, 32),
            None if proof is None else decode(Certificate, proof, MAX_CONSENT_BYTES), consents,
            tuple(zip(pairs[::2], pairs[1::2], strict=True)),
        )
        encode(origin)
    except Rejected as error:
        raise GenesisError(f"the origin in the genesis cannot be read ({error.reason}); get the file again") from None
    return origin


def _hex_list(table: Mapping[str, object], key: str, words: int) -> list[bytes]:
    """Return the bytes of a list of texts, each with so many hexadecimal words."""
    value = table[key]
    found: list[bytes] = []
    for text in value if isinstance(value, list) else [None]:
        parts = text.split(" ") if isinstance(text, str) else []
        try:
            found += [bytes.fromhex(part) for part in parts]
        except ValueError:
            parts = []
        if len(parts) != words:
            raise GenesisError(f"genesis file: '{key}' must be a list of hexadecimal texts; get the file again")
    return found


def _integer(table: Mapping[str, object], key: str) -> int:
    value = table[key]
    if type(value) is not int or not 0 <= value < 2**63:
        raise GenesisError(f"genesis file: '{key}' must be a whole number; get the file again from who made it")
    return value


def _text(table: Mapping[str, object], key: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise GenesisError(f"genesis file: '{key}' must be a text; get the file again from who made it")
    return value


def _tables(table: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise GenesisError(f"genesis file: '{key}' must be a list of tables like [[{key}]]; get the file again")
    return value
