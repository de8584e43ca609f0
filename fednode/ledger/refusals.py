"""What a rule is, and why one refuses a transaction: a code that receipts carry, and the sentence people read."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from fednode.chain.state import Draft
from fednode.errors import Rejected
from fednode.ids import MemberId
from fednode.ledger.sums.course import BlockTime

Rule = Callable[[Draft, BlockTime, MemberId, Any], bytes | None]
"""Applies a body of its sender to the draft and returns the study it is about, None if it is about none. Raises
`Rejected` with a `Refusal` code where the transaction is refused: what was written by then is undone.
"""


class Refusal(StrEnum):
    """Codes in receipts. They are hashed with the receipts: never change the text of one."""

    ALREADY_POSTED = "already-posted"
    ALREADY_READY = "already-ready"
    ALREADY_VOTED = "already-voted"
    ANSWERS_DIFFER = "answers-differ"
    BAD_CARD = "bad-card"
    BAD_POINT = "bad-point"
    BAD_PROOF = "bad-proof"
    BAD_SEAL_KEY = "bad-seal-key"
    BEFORE_APPROVAL = "before-approval"
    BOX_SIZE = "box-size"
    COIN_HEAD_SEEN = "coin-head-seen"
    FEW_MEMBERS_LEFT = "few-members-left"
    KEY_USED = "key-used"
    LIST_DIGEST_DIFFERS = "list-digest-differs"
    MEMBERS_CHANGE_DUE = "members-change-due"
    NAME_ALIKE = "name-alike"
    NAMED_FAULTY = "named-faulty"
    NOTHING_CHANGES = "nothing-changes"
    NOT_A_MEMBER = "not-a-member"
    NOT_APPROVED = "not-approved"
    NOT_AWAITED = "not-awaited"
    NOT_IN_PHASE = "not-in-phase"
    NOTHING_OWED = "nothing-owed"
    NOT_OBSERVED = "not-observed"
    NO_SUCH_PROPOSAL = "no-such-proposal"
    NO_SUCH_ROOT = "no-such-root"
    NO_SUCH_STUDY = "no-such-study"
    OPENING_FORM = "opening-form"
    OWN_B_MISSING = "own-b-missing"
    OWN_B_NOT_INCLUDED = "own-b-not-included"
    OWN_B_WRONG = "own-b-wrong"
    PHASE_CLOSED = "phase-closed"
    POINT_COUNT = "point-count"
    POINT_SEEN = "point-seen"
    STUDY_EXISTS = "study-exists"
    STUDY_STATUS = "study-status"
    TOO_FEW_MEMBERS = "too-few-members"
    TOO_MANY_MEMBERS = "too-many-members"
    TOO_MANY_PROPOSALS = "too-many-proposals"
    TOO_MANY_ROLES = "too-many-roles"
    TOO_MANY_STUDIES = "too-many-studies"
    TOO_MANY_UNDECIDED = "too-many-undecided"
    UNFORESEEN = "unforeseen"
    UNKNOWN_DEALER = "unknown-dealer"
    VERSION_NOT_NEWER = "version-not-newer"
    VERSION_TOO_SOON = "version-too-soon"
    WEIGHT_RANGE = "weight-range"
    WEIGHT_SUM = "weight-sum"
    WRONG_ACCUSATION = "wrong-accusation"
    WRONG_ANSWERS = "wrong-answers"
    WRONG_CHUNKS = "wrong-chunks"
    WRONG_HOLDERS = "wrong-holders"
    WRONG_LINK = "wrong-link"
    WRONG_MODEL = "wrong-model"
    WRONG_OPENINGS = "wrong-openings"
    WRONG_ROOT = "wrong-root"
    WRONG_SHARE = "wrong-share"


_SENTENCES = {
    Refusal.ALREADY_POSTED: "this member has already posted its message of the phase",
    Refusal.ALREADY_READY: "this member is already ready, with the same key",
    Refusal.ALREADY_VOTED: "this member has already cast this vote",
    Refusal.ANSWERS_DIFFER: "the parts of a member's answers say different things of the sum",
    Refusal.BAD_CARD: "the identity card or the signature with it does not prove that its maker holds the keys",
    Refusal.BAD_POINT: "a commitment is no canonical point, or a key point is outside the prime-order group",
    Refusal.BAD_PROOF: "the proof that the dealer knows its scalar, or that a box opens like this, does not hold",
    Refusal.BAD_SEAL_KEY: "the seal key is of low order, or that of the round before",
    Refusal.BEFORE_APPROVAL: "the state root is from before the approval; the candidate's daemon sends another",
    Refusal.BOX_SIZE: "the box has not the size of what a holder keeps of a dealer",
    Refusal.COIN_HEAD_SEEN: "this member has used this hash chain before and then another",
    Refusal.FEW_MEMBERS_LEFT: "a vote never leaves fewer than four members",
    Refusal.KEY_USED: "a key on the card is or was another's on this chain; keys and numbers are never reused",
    Refusal.LIST_DIGEST_DIFFERS: "the digest is not that of the list of chunk digests on the ledger",
    Refusal.MEMBERS_CHANGE_DUE: "the members change at the next height already, at most once per block",
    Refusal.NAME_ALIKE: "the name is another member's, or looks like it; choose one that people can tell apart",
    Refusal.NAMED_FAULTY: (
        "this member was named faulty in the study and takes no part in its rounds until a quorum readmits it: "
        "'fednode study readmit'"
    ),
    Refusal.NOTHING_CHANGES: "this is so already",
    Refusal.NOT_A_MEMBER: "there is no such member",
    Refusal.NOT_APPROVED: "fewer than q of the present members approve of this candidate; more votes are needed",
    Refusal.NOT_AWAITED: "the study does not wait for this member",
    Refusal.NOT_IN_PHASE: "this member has no part in the phase",
    Refusal.NOTHING_OWED: "this member has nothing to open",
    Refusal.NOT_OBSERVED: "the candidate has not yet shown that it follows the chain; its daemon reports by itself",
    Refusal.NO_SUCH_PROPOSAL: "there is no open proposal of this number",
    Refusal.NO_SUCH_ROOT: "the study asks for no root of this name",
    Refusal.NO_SUCH_STUDY: "the ledger knows no study of this name",
    Refusal.OPENING_FORM: "the share of the summed sketch is not made of field elements",
    Refusal.OWN_B_MISSING: "a member of the sum must open its own b",
    Refusal.OWN_B_NOT_INCLUDED: "a member that is not in the sum must never open its own b",
    Refusal.OWN_B_WRONG: "the opened scalar does not belong to the member's key point",
    Refusal.PHASE_CLOSED: "the message is for a round, attempt, phase or step that is not open",
    Refusal.POINT_COUNT: "the dealing has not T commitments each for a and b, or not the dispute key the rule asks for",
    Refusal.POINT_SEEN: "a key point was used before on this chain",
    Refusal.STUDY_EXISTS: "this study is on the ledger already",
    Refusal.STUDY_STATUS: "the study is not at a point of its life where this is possible",
    Refusal.TOO_FEW_MEMBERS: "training needs at least three members: with two, each would learn the other's update",
    Refusal.TOO_MANY_MEMBERS: "the federation has as many members as it can",
    Refusal.TOO_MANY_PROPOSALS: "too many proposals are open; vote on them, or wait until they lapse",
    Refusal.TOO_MANY_ROLES: "the ledger holds as many roles and votes on roles as it can",
    Refusal.TOO_MANY_STUDIES: "the ledger holds as many studies as it can",
    Refusal.TOO_MANY_UNDECIDED: "too many studies this hospital has proposed still wait for approval or rejection",
    Refusal.UNFORESEEN: "the rules have no answer to this, a fault of the program: please report it",
    Refusal.UNKNOWN_DEALER: "the message names a member that is not a dealer here",
    Refusal.VERSION_NOT_NEWER: "the rules never go back to an older protocol version",
    Refusal.VERSION_TOO_SOON: "a version needs notice: its first block must be at least 10 blocks away",
    Refusal.WEIGHT_RANGE: "the weight is outside what the study allows",
    Refusal.WEIGHT_SUM: "the weight is not the sum of the weights committed by the members of the sum",
    Refusal.WRONG_ACCUSATION: (
        "the message finds what was posted or was dealt rightly, or names itself or who has no part in the sum"
    ),
    Refusal.WRONG_ANSWERS: "the message does not hold one answer for each of its dealers",
    Refusal.WRONG_CHUNKS: "the message names other chunks than those the member owns or may name",
    Refusal.WRONG_HOLDERS: "the shares are not for exactly the holders they must be for",
    Refusal.WRONG_LINK: "the link is not the one of the member's hash chain that this coin asks for",
    Refusal.WRONG_MODEL: "a closing round measures a model and leaves it as it is",
    Refusal.WRONG_OPENINGS: "the opened shares are not exactly those the one Unmask asks this member for",
    Refusal.WRONG_ROOT: "the reported state root is not that of a recent block",
    Refusal.WRONG_SHARE: "a share does not lie on its dealer's committed polynomial",
}


def refuse(code: Refusal) -> Rejected:
    """Return the exception a rule raises."""
    return Rejected(code.value)


def describe_refusal(code: str) -> str:
    """Return the sentence for a code found in a receipt, or the code itself if it is not one of ours."""
    try:
        return _SENTENCES[Refusal(code)]
    except ValueError:
        return code
