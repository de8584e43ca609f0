"""The models that the ledger names: where each came from, how good it is, and whether its file is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fednode.chain.state import State
from fednode.desk.read_models import ModelView
from fednode.desk.views import metrics_view, numbers, reports_of
from fednode.errors import Refused
from fednode.ids import Hash, StudyId, fault_bound
from fednode.ledger.members.reading import get_members
from fednode.ledger.studies.bodies import Metrics
from fednode.ledger.studies.records import RoundReport, get_studies
from fednode.ledger.sums.records import RoundKind

LAST = ("latest", "last")
BEST = "best"


class ModelStoreLike(Protocol):
    """Where model files lie."""

    def has(self, name: Hash) -> bool:
        """Whether the model is here."""
        ...


def models_view(state: State, models: ModelStoreLike, name_of: Callable[[StudyId], str]) -> tuple[ModelView, ...]:
    """Return every model the ledger names, in the order they were made."""
    found: dict[bytes, ModelView] = {}
    liars = fault_bound(len(get_members(state)))
    for study in get_studies(state):
        reports = reports_of(state, study)
        for report in reports:
            if any(report.model_hash) and report.model_hash not in found:
                found[report.model_hash] = ModelView(
                    hash=report.model_hash.hex(), study=study.hex(), study_name=name_of(study), round=report.number,
                    counted=numbers(report.counted), is_here=models.has(Hash(report.model_hash)),
                    height=report.closed_height, metrics=metrics_view(_measured(report, reports), liars),
                )
    return tuple(found.values())


def _measured(made: RoundReport, reports: Sequence[RoundReport]) -> Metrics | None:
    """Return what was measured of the model that a round made: by a later round that began with it, or by the closing
    round, which makes none of its own."""
    for report in reports:
        measures = report.model_hash if report.kind == RoundKind.CLOSING else report.start_model
        if report.number > made.number and measures == made.model_hash and report.metrics is not None:
            return report.metrics
    return None


def choose_model(found: Sequence[ModelView], text: str) -> ModelView:
    """Return the model a person named: `last`, `best` (by accuracy; the later of equals), or the start of a hash."""
    if text in LAST:
        chosen = list(found[-1:])
    elif text == BEST:
        known = [model for model in found if model.metrics is not None]
        chosen = sorted(known, key=lambda model: (model.metrics or {}).get("accuracy") or 0.0)[-1:]
    else:
        chosen = [model for model in found if len(text) >= 4 and model.hash.startswith(text.lower())]
    if len(chosen) != 1:
        problem = "no model" if not chosen else f"{len(chosen)} models"
        what = "that was measured yet" if text == BEST else f"on the ledger with hash '{text}'"
        raise Refused(f"{problem} {what}; 'fednode model list' shows them")
    return chosen[0]


def hash_of(model: ModelView) -> Hash:
    """Return a model's hash as bytes."""
    return Hash(bytes.fromhex(model.hash))
