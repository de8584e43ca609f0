"""What the machine of a study is told about itself, and what it may ask of the node without waiting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fednode.crypto import Entropy
from fednode.ids import MemberId, StudyId
from fednode.learn.jobs import DataAt
from fednode.learn.model_file import Draft
from fednode.learn.study import StudySpec
from fednode.smpc.record import RecordParts
from fednode.smpc.ring import Buffer
from fednode.sums.coin import Chain


@dataclass(frozen=True, slots=True)
class Place:
    """What a machine is told about itself once. `data` is None where this hospital has no data for the study.

    `load_record(round)` returns the decrypted parts of that round's record (empty if there is none);
    `keep_input(round, parts)` writes the part INPUT, joined from `parts`, and returns when it is on the disk; it is
    called from a thread, as is `new_draft()`, which begins a model file;
    `load_chain()` returns this member's hash chain of the study, always the same one, from a thread;
    `refuses_statistics()` says why this hospital's data set must not enter the study's statistics yet, None if it may;
    `enter_statistics()` notes, durably, that it does;
    `holds_message(study)` says whether this node's pool holds a valid message of the study's open phase.
    """

    chain_id: bytes
    me: MemberId
    study: StudyId
    spec: StudySpec
    data: DataAt | None
    entropy: Entropy = field(repr=False)
    load_record: Callable[[int], RecordParts] = field(repr=False)
    holds_message: Callable[[StudyId], bool] = field(repr=False)
    load_chain: Callable[[], Chain] = field(repr=False)
    keep_input: Callable[[int, Sequence[Buffer]], None] = field(repr=False)
    new_draft: Callable[[], Draft] = field(repr=False)
    refuses_statistics: Callable[[], str | None] = field(repr=False, default=lambda: None)
    enter_statistics: Callable[[], None] = field(repr=False, default=lambda: None)
