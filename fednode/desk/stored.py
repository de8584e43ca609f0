"""What a stopped node's store tells: the same records as the answers of a running daemon.

What only a running daemon knows is None: who can be reached, who signs, what its training process found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fednode.chain.state import State
from fednode.core.taking_part import MissedRounds, member_names, own_part
from fednode.desk.audit import find_study, study_name
from fednode.desk.chain_query import stored_members
from fednode.desk.models import ModelStoreLike, choose_model, hash_of, models_view
from fednode.desk.read_models import (
    MemberView,
    ModelShown,
    ModelView,
    ProposalView,
    ReportView,
    RoleView,
    ShownStudy,
    StudySummary,
)
from fednode.desk.record import extended
from fednode.desk.study_page import page_of
from fednode.desk.views import proposals_view, report_view, reports_of, roles_view, round_report, study_view
from fednode.errors import UsageError
from fednode.ids import Hash, MemberId, StudyId
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.records import get_studies


@dataclass(frozen=True, slots=True)
class StoredNode:
    """The state at the end of a stored chain, the models beside it, and this hospital's key, empty if it has none."""

    state: State
    models: ModelStoreLike
    sign_key: bytes

    @property
    def me(self) -> MemberId:
        """This hospital's number; 0 where it is no member."""
        found = (record.member for record in get_members(self.state) if record.sign_key == self.sign_key)
        return next(found, MemberId(0))

    def study(self, text: str | None) -> StudyId:
        """Return the study a person named; without a name the only one."""
        studies = get_studies(self.state)
        if text is None and len(studies) == 1:
            return studies[0]
        if text is None:
            raise UsageError(f"there are {len(studies)} studies; name one, 'fednode study list' shows them")
        return find_study(self.state, text)

    def study_list(self) -> tuple[StudySummary, ...]:
        """Return where every study stands."""
        return tuple(map(self._summary, get_studies(self.state)))

    def study_show(self, text: str | None) -> ShownStudy:
        """Return a study with its terms and its file."""
        study = self.study(text)
        return page_of(self.state, study, self._summary(study), self.me)

    def _summary(self, study: StudyId) -> StudySummary:
        view, missed = study_view(self.state, study, study_name(self.state, study)), MissedRounds(self.me)
        return extended(
            StudySummary, view, table=None, has_data=False, problem=None,
            took_no_part_in=tuple(missed.of(self.state, study)),
            own_part=own_part(self.state, study, self.me, missed, None) if self.me else None,
            has_model=view.model_hash is not None and self.models.has(Hash(bytes.fromhex(view.model_hash))),
        )

    def round_list(self, text: str | None) -> tuple[ReportView, ...]:
        """Return the reports of all closed rounds of a study."""
        names = member_names(self.state)
        return tuple(report_view(report, names) for report in reports_of(self.state, self.study(text)))

    def round_show(self, text: str | None, number: int | None) -> ReportView:
        """Return the report of a closed round, the last one if none is named."""
        return round_report(self.state, self.study(text), number)

    def model_list(self) -> tuple[ModelView, ...]:
        """Return every model the ledger names."""
        return models_view(self.state, self.models, lambda study: study_name(self.state, study))

    def model_show(self, text: str, path_of: Callable[[Hash], Path]) -> ModelShown:
        """Return the model a person named; `path_of` tells where a file lies."""
        found = choose_model(self.model_list(), text)
        return extended(ModelShown, found, path=str(path_of(hash_of(found))))

    def member_list(self) -> tuple[MemberView, ...]:
        """Return all hospitals."""
        return tuple(
            extended(
                MemberView, known, is_me=known.sign_key == self.sign_key.hex(), is_connected=None, is_signing=None,
                is_twice=False, address=None, refused=None, dropped_messages=0,
            )
            for known in stored_members(self.state)
        )

    def member_proposals(self) -> tuple[ProposalView, ...]:
        """Return the open votes on members."""
        return proposals_view(self.state)

    def role_list(self) -> tuple[RoleView, ...]:
        """Return the roles and the votes on them."""
        return roles_view(self.state)
