"""What the ledger must know of a study, taken from its specification.

Security assumption: a study's name on the ledger hashes terms and specification together, but the ledger cannot read
the specification. So every member derives the terms itself and takes part only if they are the ones proposed:
otherwise a proposer could show people one timeout, weight bound or number of rounds and have the ledger run another.
"""

from __future__ import annotations

from fednode.errors import Rejected
from fednode.ids import StudyId
from fednode.learn.layout import vector_plan
from fednode.learn.measures import QUALITY_PLAN, closing_plan
from fednode.learn.study import StudySpec, decode_study, study_bytes
from fednode.ledger.studies.bodies import ProofTerms, StudyCreate, StudyTerms, Weights, compute_study_id
from fednode.sums.measures import count_words

_WEIGHTS = {"equal": Weights.EQUAL, "public": Weights.PUBLIC, "hidden": Weights.HIDDEN}


def terms_from_spec(spec: StudySpec) -> StudyTerms:
    """Return the terms of a study. A table study begins with a round of statistics, and every study here is one."""
    return StudyTerms(
        rounds=spec.rounds,
        has_statistics=True,
        weights=_WEIGHTS[spec.weights],
        weight_bound=spec.max_weight,
        start_after_ms=1000 * spec.timeouts.start_after_s,
        train_timeout_ms=1000 * spec.timeouts.train_timeout_s,
        phase_timeout_ms=1000 * spec.timeouts.phase_timeout_s,
        target_accuracy_permyriad=spec.stop.accuracy_permyriad,
        proofs=ProofTerms(
            vector_plan(spec).length, count_words(spec.data.statistics_plan()), count_words(QUALITY_PLAN),
            count_words(closing_plan(spec)),
        ),
    )


def study_proposal(spec: StudySpec) -> StudyCreate:
    """Return the body that proposes a study on the ledger."""
    return StudyCreate(terms_from_spec(spec), study_bytes(spec))


def proposal_id(proposal: StudyCreate) -> StudyId:
    """Return the name the study has on the ledger."""
    return compute_study_id(proposal.terms, proposal.spec)


def read_study(terms: StudyTerms, spec_bytes: bytes) -> StudySpec:
    """Decode a proposed specification; raise `Rejected` if it is not one, or its terms are not those proposed."""
    spec = decode_study(spec_bytes)
    if terms_from_spec(spec) != terms:
        raise Rejected("the study's terms on the ledger are not those of its specification")
    return spec
