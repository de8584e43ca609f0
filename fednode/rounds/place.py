"""The place of one study's machine: what a hospital lends to it, and what it keeps there from round to round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fednode.crypto import Entropy, Secret, unseal, x25519_public
from fednode.effects import Persist
from fednode.errors import StorageError
from fednode.ids import MemberId, StudyId
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import Draft
from fednode.learn.study import StudySpec
from fednode.ledger.studies.bodies import Outcome
from fednode.ledger.studies.records import RoundReport
from fednode.rounds.ledger_view import Snapshot
from fednode.smpc.messages import KeptPart, RecordPart
from fednode.smpc.record import LongPart, RecordParts
from fednode.smpc.vectors import Buffer
from fednode.sums.coin import Chain


class StatisticsList(Protocol):
    """Which data sets of this hospital entered the statistics of which studies; every change is durable on return."""

    def refusal(self, study: StudyId, name: str, data: str) -> str | None:
        """Return why the file `data` must not enter the statistics of a study yet, None if it may."""
        ...

    def enter(self, study: StudyId, name: str, data: str) -> None:
        """Note that the file `data` enters the statistics of a study."""
        ...

    def allow(self, study: StudyId) -> None:
        """Let any file enter the statistics of a study."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """What a hospital lends to all of its studies.

    `data_of(name, study)` is None where it has no data for the study; `is_auto_approved(study)` says whether its
    administrator agreed beforehand;
    `load_part(study, round, part)` returns a part of that round's record in clear, None if there is none;
    `keep_part(study, round, part, pieces)` writes one, joined from `pieces`, and returns when it is on the disk;
    `load_chain(study)` returns this member's hash chain of the study, always the same one;
    `new_draft()` begins a model file. The last three are called from threads.
    `own_states(study)` is where this hospital keeps a state of its own, for algorithms that need one.
    """

    entropy: Entropy = field(repr=False)
    data_of: Callable[[str, StudyId], DataAt | None] = field(repr=False)
    is_auto_approved: Callable[[StudyId], bool] = field(repr=False)
    load_part: Callable[[StudyId, int, str], bytes | LongPart | None] = field(repr=False)
    keep_part: Callable[[StudyId, int, str, Sequence[Buffer]], None] = field(repr=False)
    load_chain: Callable[[StudyId], Chain] = field(repr=False)
    new_draft: Callable[[], Draft] = field(repr=False)
    statistics: StatisticsList | None = field(repr=False, default=None)
    own_states: Callable[[StudyId], OwnStates] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Place:
    """What one study's machine is told about itself. `data` is None where this hospital has no data for the study.

    `holds_message(study)` says whether this node's pool holds a valid message of the study's open phase.
    """

    chain_id: bytes
    me: MemberId
    study: StudyId
    spec: StudySpec
    data: DataAt | None
    ports: Ports = field(repr=False)
    holds_message: Callable[[StudyId], bool] = field(repr=False)

    @property
    def entropy(self) -> Entropy:
        """Where secrets come from."""
        return self.ports.entropy

    def load_record(self, round_number: int) -> RecordParts:
        """Return the decrypted parts of a round's record, none if there is none."""
        found = {part: self.ports.load_part(self.study, round_number, part.value) for part in RecordPart}
        return {part: data for part, data in found.items() if data is not None}

    def keep_input(self, round_number: int, pieces: Sequence[Buffer]) -> None:
        """Write the part INPUT; from a thread."""
        self.ports.keep_part(self.study, round_number, RecordPart.INPUT.value, pieces)

    def load_chain(self) -> Chain:
        """Return this member's hash chain of the study; from a thread."""
        return self.ports.load_chain(self.study)

    @property
    def own_states(self) -> OwnStates | None:
        """Where this hospital keeps a state of its own for the study."""
        return None if self.ports.own_states is None else self.ports.own_states(self.study)

    def new_draft(self) -> Draft:
        """Begin a model file; from a thread."""
        return self.ports.new_draft()

    def refuses_statistics(self) -> str | None:
        """Return why this hospital's data set must not enter the study's statistics yet, None if it may."""
        if self.data is None or self.ports.statistics is None:
            return None
        return self.ports.statistics.refusal(self.study, self.spec.name, self.data.path)

    def enter_statistics(self) -> None:
        """Note, durably, that this hospital's data set enters the study's statistics."""
        if self.data is not None and self.ports.statistics is not None:
            self.ports.statistics.enter(self.study, self.spec.name, self.data.path)


# --- what a hospital keeps of its own from round to round, for algorithms that need it ----------------------------
# A round gives a new state before it is known whether the round counts: the attempt may be void, or this hospital
# left out. So each state is kept under the round that made it, durably, before anything of that round's update is
# posted, and a later round starts from the newest whose round the ledger says counted with this hospital in the sum.


class OwnStates(Protocol):
    """The states one study keeps in this hospital's home, encrypted. Safe in a thread."""

    def rounds(self) -> tuple[int, ...]:
        """Return the rounds of which a state is kept, in ascending order."""

    def load(self, round_number: int) -> bytes:
        """Return the state that a round made; raise `StorageError` if it cannot be read."""

    def keep(self, round_number: int, state: bytes) -> None:
        """Keep the state that a round made; on return it is on the disk."""

    def forget(self, round_number: int) -> None:
        """Delete the state that a round made."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnLoaded:
    """The state, b"" if there is none."""

    state: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoOwn:
    """The state cannot be read."""

    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadOwn:
    """Find the state that round `number` starts from, and delete those that no round will start from; `find_report`
    reads the ledger."""

    states: OwnStates = field(repr=False)
    number: int
    me: MemberId
    find_report: Callable[[int], RoundReport | None] = field(repr=False)

    @property
    def is_short(self) -> bool:
        """Never: a state may be as long as a model."""
        return False

    def run(self) -> OwnLoaded | NoOwn:
        """Look at the states from the newest on."""
        try:
            return self._load()
        except StorageError as error:
            return NoOwn(str(error))

    def _load(self) -> OwnLoaded:
        chosen: int | None = None
        for made in reversed(self.states.rounds()):
            if made >= self.number:
                continue  # of an attempt at this round before a restart; it will be made again, the same
            report = self.find_report(made)
            has_counted = report is not None and report.outcome == Outcome.OK and self.me in report.counted
            if chosen is None and has_counted:
                chosen = made
            else:
                self.states.forget(made)
        return OwnLoaded(b"" if chosen is None else self.states.load(chosen))


# --- the keys that others seal a member's shares to: one a round, drawn anew, deleted when the round has closed ---
# Security assumption: a key is on the disk, encrypted, before its public half is posted, and gone once its round has
# closed. Then whoever steals everything a hospital keeps later opens no share of a round that is over: the ledger
# holds the sealed boxes for ever, and nothing opens them.


KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class RoundKey:
    """An X25519 key of one round."""

    secret: Secret[bytes] = field(repr=False)
    public: bytes

    def unseal(self, box: bytes) -> bytes:
        """Open a box sealed to this key; raise `Rejected` if it does not open."""
        return unseal(self.secret, box)


def read_key(parts: RecordParts) -> RoundKey | None:
    """Return the key among the parts of a round's record, or None if there is none."""
    data = parts.get(RecordPart.KEY)
    if not isinstance(data, bytes) or len(data) != KEY_BYTES:
        return None
    secret = Secret(data)
    return RoundKey(secret, x25519_public(secret))


class RoundKeys:
    """The keys of one study's rounds to come."""

    def __init__(self, entropy: Entropy, load_record: Callable[[int], RecordParts]) -> None:
        self._entropy = entropy
        self._load_record = load_record
        self._keys: dict[int, RoundKey] = {}

    def find(self, number: int) -> RoundKey | None:
        """Return the key of a round to come, or None if there is none, or none that can be read."""
        if number not in self._keys:
            try:
                found = read_key(self._load_record(number))
            except StorageError:
                return None
            if found is not None:
                self._keys[number] = found
        return self._keys.get(number)

    def prepare(self, number: int) -> tuple[RoundKey, list[Persist[KeptPart]]]:
        """Return the key of a round to come, and what must be on the disk before its public half is posted.

        A key that cannot be read is replaced: where the ledger has it already, its owner announces the new one.
        """
        known = self.find(number)
        if known is not None:
            return known, []
        secret = Secret(self._entropy.random_bytes(KEY_BYTES))
        self._keys[number] = RoundKey(secret, x25519_public(secret))
        return self._keys[number], [Persist(KeptPart(RecordPart.KEY, secret))]

    def is_announced(self, snapshot: Snapshot, me: MemberId) -> bool:
        """Whether the ledger has this member's key for the round that opens next, or it comes with the keys of this."""
        mine = next((entry for entry in snapshot.record.ready if entry.member == me), None)
        if mine is None or not mine.is_ready:
            return False
        if snapshot.round is not None and (me, mine.seal_key) in snapshot.round.seal_keys:
            return True
        coming = self.find(snapshot.next_round)
        return coming is not None and mine.seal_key == coming.public

    def forget(self, up_to: int) -> None:
        """Forget the keys of all rounds up to and including `up_to`."""
        self._keys = {number: key for number, key in self._keys.items() if number > up_to}
