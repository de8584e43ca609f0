"""The studies of one node: a machine for each that the ledger knows and this program understands; and their models."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from fednode.chain.state import State
from fednode.core import effects as do
from fednode.core import traffic
from fednode.core.membership import MAX_REPORT_LAG, due_report
from fednode.core.taking_part import MissedRounds
from fednode.effects import Asked, DropPeer, Note, StartTimer
from fednode.errors import Rejected
from fednode.fence import Unforeseen, judge
from fednode.ids import Hash, MemberId, StudyId
from fednode.learn.model_file import MAX_FILE_BYTES
from fednode.learn.study import StudySpec
from fednode.ledger.members.reading import get_members, is_voted_out
from fednode.ledger.studies.bodies import StudyAction, StudyVote
from fednode.ledger.studies.records import GENESIS_CREATOR, StudyRecord, StudyStatus, get_spec, get_studies, get_study
from fednode.rounds.events import (
    LAST_ROUND,
    Effect,
    Event,
    ForgetRound,
    LedgerChanged,
    MembersGone,
    OfStudy,
    OfSum,
    Submit,
    SumEffect,
    SumHappened,
)
from fednode.rounds.ledger_view import SnapshotReader
from fednode.rounds.machine import StudyMachine
from fednode.rounds.place import Place, Ports
from fednode.rounds.terms import read_study
from fednode.smpc.messages import ChunkArrived, WantArrived

NO_STUDY = StudyId(bytes(32))
"""Beside what a node submits for no study."""

"""No round has a higher number."""

StudyEffect = Asked[OfStudy, Effect] | Asked[OfSum, SumEffect]


@dataclass(frozen=True, slots=True)
class Site:
    """Who this hospital is, what it lends to its studies, and what they may ask of its chain.

    `holds_message(study)` says whether the pool holds a valid message of the study's open phase, `lag()` how many
    blocks this node knows to be behind the others.
    """

    chain_id: bytes
    me: MemberId
    ports: Ports = field(repr=False)
    holds_message: Callable[[StudyId], bool] = field(repr=False)
    lag: Callable[[], int] = field(repr=False)


@dataclass(slots=True)
class Known:
    """A study this node follows."""

    spec: StudySpec
    machine: StudyMachine
    reader: SnapshotReader
    told: int | None = None
    """The status that the machine was told of last."""


class Studies:
    """Creates machines as studies appear and tells them what the ledger says after every block."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._known: dict[StudyId, Known] = {}
        self._unreadable: dict[StudyId, str] = {}
        self._left: set[StudyId] = set()
        self.missed = MissedRounds(site.me)
        self._gone = frozenset[MemberId]()

    def get(self, study: StudyId) -> StudyMachine | None:
        """Return a study's machine."""
        known = self._known.get(study)
        return None if known is None else known.machine

    def running(self) -> list[tuple[StudyId, StudyMachine]]:
        """Return every study this node follows with its machine."""
        return [(study, known.machine) for study, known in self._known.items()]

    def spec_of(self, study: StudyId) -> StudySpec | None:
        """Return a study's specification, if this program can read it."""
        known = self._known.get(study)
        return None if known is None else known.spec

    def problem_of(self, study: StudyId) -> str | None:
        """Return what keeps this hospital from taking part, for the status."""
        if study in self._unreadable:
            return f"this program cannot read the study: {self._unreadable[study]}"
        known = self._known.get(study)
        return None if known is None else known.machine.problem or known.machine.refusal

    def allow_statistics(self, study: StudyId) -> None:
        """Let this hospital's data set enter a study's statistics although it entered another's; durable on return."""
        if self._site.ports.statistics is not None:
            self._site.ports.statistics.allow(study)

    def why_not_ready(self, study: StudyId) -> str | None:
        """Return why this hospital has not said that it is ready for a study; None if nothing is known."""
        known = self._known.get(study)
        if known is None or self.problem_of(study) is not None:
            return self.problem_of(study)
        if known.machine.data is None:
            return "no table is configured for it here"
        return "its daemon is still reading the table" if known.machine.data_check is None else None

    def on_state(self, state: State) -> list[StudyEffect]:
        """Look at the ledger after a block, or at the start."""
        effects: list[StudyEffect] = []
        is_member = any(record.member == self._site.me for record in get_members(state))
        if not is_member and self._site.lag() <= MAX_REPORT_LAG:
            report = due_report(state, self._site.me)
            effects += [] if report is None else [Asked(OfStudy(NO_STUDY), Submit(report))]
        is_gone = not is_member and is_voted_out(state, self._site.me)
        for study in get_studies(state):
            if study not in self._known and study not in self._unreadable:
                effects += self._meet(state, study)
            if is_gone and study not in self._left:
                effects += self._leave(state, study)
            if is_member and (known := self._known.get(study)) is not None:
                effects += self._look(state, study, known)
        return effects

    def _look(self, state: State, study: StudyId, known: Known) -> list[StudyEffect]:
        """Approve a study, or tell its machine where it stands. One that is not approved, or at its end, is told once:
        nothing is owed there."""
        record = get_study(state, study)
        if record is None:
            return []
        effects = _addressed(study, self._approve(record))
        if record.status == known.told and not record.is_active:
            return effects
        try:
            snapshot = judge("a study", partial(known.reader.read, state))
        except Unforeseen as error:
            return self._shelve(study, error.reason)
        known.told = record.status
        return effects if snapshot is None else effects + self.tell(study, LedgerChanged(snapshot))

    def tell(self, study: StudyId, event: Event) -> list[StudyEffect]:
        """Tell a study's machine what happened. One that breaks on what is on the ledger is not asked again.

        What breaks on a member's chunk or request is that member's doing and passes through.
        """
        known = self._known.get(study)
        if known is None:
            return []
        ask = partial(known.machine.handle, event)
        if isinstance(event, SumHappened) and isinstance(event.event, ChunkArrived | WantArrived):
            return _addressed(study, ask())
        try:
            return _addressed(study, judge("a study", ask))
        except Unforeseen as error:
            return self._shelve(study, error.reason)

    def _shelve(self, study: StudyId, reason: str) -> list[StudyEffect]:
        """Follow a study no further. Nobody looks any more when its rounds close, so what is kept of them goes now."""
        self._known.pop(study, None)
        self._unreadable[study] = reason
        note = Note(f"study {study.hex()[:16]} cannot be read: {reason}", True)
        return _addressed(study, [ForgetRound(LAST_ROUND), note])

    def _leave(self, state: State, study: StudyId) -> list[StudyEffect]:
        """Delete what is kept of a study's rounds and begin anew with nothing: the others go on alone."""
        self._left.add(study)
        if self._known.pop(study, None) is None:
            return []
        return [*_addressed(study, [ForgetRound(LAST_ROUND)]), *self._meet(state, study)]

    def _meet(self, state: State, study: StudyId) -> list[StudyEffect]:
        record, spec_bytes = get_study(state, study), get_spec(state, study)
        assert record is not None and spec_bytes is not None, "a listed study has a record and a specification"
        try:
            spec = judge("a study", lambda: read_study(record.terms, spec_bytes))
        except Rejected as error:
            return self._shelve(study, error.reason)
        site = self._site
        data = site.ports.data_of(spec.name, study)
        place = Place(site.chain_id, site.me, study, spec, data, site.ports, site.holds_message)
        self._known[study] = Known(spec, StudyMachine(place), SnapshotReader(study))
        return self.tell(study, MembersGone(self._gone))

    def note_gone(self, members: frozenset[MemberId]) -> list[StudyEffect]:
        """Tell every study which members no way was found to."""
        self._gone = members
        return [effect for study in list(self._known) for effect in self.tell(study, MembersGone(members))]

    def _approve(self, record: StudyRecord) -> list[Effect]:
        """Approve what the administrator agreed to beforehand."""
        study = StudyId(record.study)
        if record.status != StudyStatus.CREATED and record.beginning is None:
            return []
        if record.creator == GENESIS_CREATOR or record.status not in (StudyStatus.CREATED, StudyStatus.WAITING):
            return []
        if self._site.me in (*record.approvals, *record.rejects) or not self._site.ports.is_auto_approved(study):
            return []
        return [Submit(StudyVote(study, StudyAction.APPROVE))]


def _addressed(study: StudyId, effects: Iterable[Effect]) -> list[StudyEffect]:
    """Put the study's address on what its machine asks for; what it asks on behalf of a sum has one."""
    return [effect if isinstance(effect, Asked) else Asked(OfStudy(study), effect) for effect in effects]


# --- getting a model by its hash: from the local store, else from the members, one after the other ----------------


RETRY_MS = 2_000
"""How long a member has to begin before the next is asked."""

SLOWEST_BYTES_PER_MS = 2_000
"""16 Mbit/s: a model that comes more slowly is taken from another member as well. Until then one copy is enough."""


class Models:
    """Which models are wanted, and who was asked last."""

    def __init__(self) -> None:
        self._wanted: dict[Hash, MemberId] = {}
        self._coming: dict[Hash, tuple[MemberId, int]] = {}
        self._had_turn: set[tuple[Hash, MemberId]] = set()
        self._arriving: set[Hash] = set()

    def want(self, name: Hash) -> None:
        """Remember that somebody waits for a model."""
        self._wanted.setdefault(name, MemberId(0))

    def settled(self, name: Hash) -> None:
        """The model is here."""
        self._wanted.pop(name, None)
        self._coming.pop(name, None)
        self._had_turn = {turn for turn in self._had_turn if turn[0] != name}
        self._arriving.discard(name)

    def accepts(self, sender: MemberId, name: Hash, size_bytes: int, now_ms: int) -> bool:
        """Whether to read a blob that says it is this model: from one member at a time, however large it is.

        A member keeps the others away once. What it begins again is read, but who only ever begins holds up nobody.
        """
        if not self._is_of_use(name, size_bytes) or self._is_coming(name, now_ms, sender):
            return False
        if (name, sender) in self._had_turn:
            return True
        self._had_turn.add((name, sender))
        self._coming[name] = (sender, now_ms + RETRY_MS + size_bytes // SLOWEST_BYTES_PER_MS)
        return True

    def _is_of_use(self, name: Hash, size_bytes: int) -> bool:
        return name in self._wanted and name not in self._arriving and size_bytes <= MAX_FILE_BYTES

    def _is_coming(self, name: Hash, now_ms: int, besides: MemberId | None = None) -> bool:
        sender, deadline_ms = self._coming.get(name, (besides, now_ms))
        return sender != besides and now_ms < deadline_ms

    def fetch(self, name: Hash, members: Collection[MemberId], now_ms: int) -> list[do.Effect]:
        """Ask the next connected member unless it is on its way, and another one after a while."""
        if name not in self._wanted:
            return []
        effects: list[do.Effect] = [Asked(do.Own.CORE, StartTimer(do.ModelTimer(name), RETRY_MS))]
        if self._is_coming(name, now_ms):
            return effects
        last = self._wanted[name]
        peer = min((m for m in members if m > last), default=min(members, default=None))
        if peer is not None:
            self._wanted[name] = peer
            effects.append(do.SendFrame(peer, traffic.WANT.frame(traffic.WantModel(name))))
        return effects

    def peer_up(self, member: MemberId, now_ms: int) -> list[do.Effect]:
        """Ask a member that has just come for whatever is still wanted."""
        wanted = [name for name in self._wanted if not self._is_coming(name, now_ms)]
        return [do.SendFrame(member, traffic.WANT.frame(traffic.WantModel(name))) for name in wanted]

    def peer_down(self, member: MemberId) -> None:
        """What was on its way from a member is not any more."""
        self._coming = {name: coming for name, coming in self._coming.items() if coming[0] != member}

    def arrived(self, sender: MemberId, name: Hash, data: memoryview) -> list[do.Effect]:
        """Have what a member sent looked at, and kept if it is this model; `settled` or `spoilt` follows."""
        if not self._is_of_use(name, len(data)):
            return []
        self._arriving.add(name)
        return [do.KeepModel(sender, name, data)]

    def spoilt(self, sender: MemberId, name: Hash) -> list[do.Effect]:
        """What came was another thing."""
        self._coming.pop(name, None)
        self._arriving.discard(name)
        return [DropPeer(sender, "a model file that is not what it is called")]
