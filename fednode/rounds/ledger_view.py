"""From the ledger's records to what the secure sum is told.

The ledger and the secure sum do not know each other; this is the one place where they meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial

from fednode.chain.state import State
from fednode.ids import MemberId, StudyId
from fednode.ledger.studies.records import RoundReport, StudyRecord, get_report, get_round, get_study
from fednode.ledger.sums.records import OpenPhase, RoundKind, RoundRecord, get_keys, get_redeal, get_share_root
from fednode.smpc import messages as sm
from fednode.sums.bodies import Keys, ShareRoot
from fednode.sums.phase import Phase


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the ledger says of one study after a block."""

    record: StudyRecord
    round: RoundRecord | None
    keys: dict[MemberId, Keys] = field(repr=False)
    share_roots: dict[MemberId, ShareRoot] = field(default_factory=dict, repr=False)
    boxes: dict[tuple[MemberId, MemberId], bytes] = field(default_factory=dict, repr=False)
    find_report: Callable[[int], RoundReport | None] = field(default=lambda number: None, repr=False, compare=False)

    @property
    def open_phase(self) -> OpenPhase | None:
        """The phase whose clock runs now: of the round, or JOIN before one."""
        return self.round.phase if self.round is not None else self.record.join

    @property
    def owes_statistics(self) -> bool:
        """Whether the study has still to sum statistics of the hospitals' columns."""
        return self.record.terms.has_statistics and not self.record.has_statistics_sum

    @property
    def next_round(self) -> int:
        """The number of the round that opens next."""
        return self.record.next_round + (self.round is not None)


@dataclass(slots=True)
class SnapshotReader:
    """Reads snapshots of one study; keeps what was posted in the current attempt, which every block needs again."""

    study: StudyId
    _attempt: tuple[int, int] = (-1, -1)
    _keys: dict[MemberId, Keys] = field(default_factory=dict)
    _share_roots: dict[MemberId, ShareRoot] = field(default_factory=dict)
    _boxes: dict[tuple[MemberId, MemberId], bytes] = field(default_factory=dict)

    def read(self, state: State) -> Snapshot | None:
        """Return the study's snapshot, or None while the ledger does not know it."""
        record = get_study(state, self.study)
        if record is None:
            return None
        current = get_round(state, self.study)
        if current is None:
            self._forget((-1, -1))
            return Snapshot(record, None, {}, find_report=partial(get_report, state, self.study))
        place = (current.number, current.attempt.number)
        if place != self._attempt:
            self._forget(place)
        for dealer in current.attempt.dealers:
            if dealer not in self._keys:
                body = get_keys(state, self.study, current.number, current.attempt.number, dealer)
                if body is None:
                    raise AssertionError("the ledger lists a dealer whose keys it does not hold")
                self._keys[dealer] = body
        for dealer in current.attempt.shared:
            if dealer not in self._share_roots:
                posted = get_share_root(state, self.study, current.number, current.attempt.number, dealer)
                if posted is None:
                    raise AssertionError("the ledger lists a dealer whose roots it does not hold")
                self._share_roots[dealer] = posted
        for pair in current.attempt.redealt:
            if pair not in self._boxes:
                redealt = get_redeal(state, self.study, current.number, current.attempt.number, *pair)
                if redealt is None:
                    raise AssertionError("the ledger lists a share dealt again that it does not hold")
                self._boxes[pair] = redealt.box
        return Snapshot(
            record, current, dict(self._keys), dict(self._share_roots), dict(self._boxes),
            partial(get_report, state, self.study),
        )

    def _forget(self, attempt: tuple[int, int]) -> None:
        self._attempt = attempt
        self._keys, self._share_roots, self._boxes = {}, {}, {}


def sum_view(snapshot: Snapshot, current: RoundRecord) -> sm.SumView:
    """Return what the secure sum is told about the current attempt."""
    attempt, phase = current.attempt, current.phase
    return sm.SumView(
        **{field.name: getattr(attempt, field.name) for field in fields(attempt)},
        phase=Phase(phase.kind), phase_no=phase.number, step=phase.step, phase_timeout_ms=phase.timeout_ms,
        seal_keys=dict(current.seal_keys), posted=phase.posted, is_unmasked=current.is_unmasked, pinned=current.pinned,
        keys=snapshot.keys, share_roots=snapshot.share_roots, boxes=snapshot.boxes,
    )


def may_join(record: StudyRecord, me: MemberId) -> bool:
    """Whether the study would take this member in: people decide about one that was named faulty."""
    return record.is_active and me not in record.faulty_members


def owes_result(current: RoundRecord, me: MemberId) -> bool:
    """Whether this member's vote on the round's result is due."""
    return (
        current.phase.kind == Phase.RESULT
        and me in current.attempt.present
        and me not in (member for member, _ in current.ballots)
    )


def kind_of(current: RoundRecord) -> RoundKind:
    """Return what the round sums."""
    return RoundKind(current.kind)
