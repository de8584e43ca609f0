"""What a hospital lends to its studies, and the place of one study's machine: what it may ask of the node at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fednode.crypto import Entropy
from fednode.ids import MemberId, StudyId
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import Draft
from fednode.learn.study import StudySpec
from fednode.rounds.own_state import OwnStates
from fednode.smpc.messages import RecordPart
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
