"""One height's transition table: Tendermint's Algorithm 1 (arXiv 1807.04938), one function per rule.

Lnn in a docstring is the line of the paper's pseudo-code. A rule looks at the state of the height and at the facts
(votes, proposals, blocks) and returns what to do, or None. `next_action` asks the rules in order; the replica performs
the action through `apply` and asks again until no rule has anything to say. Every rule's own condition is false after
its action was applied, so each fires once per view and the loop ends.

Where this differs from the paper: prevotes echo the valid view; q precommits for nil end a view at once; a block whose
q votes are known counts with its body alone, whatever way that body came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from fednode.chain.block import Block
from fednode.chain.consensus.events import Timer
from fednode.chain.consensus.messages import Proposal
from fednode.chain.consensus.recovery import Valid
from fednode.chain.consensus.votes import VoteBook
from fednode.chain.vote import NIL, NO_VIEW, PRECOMMIT, PREVOTE
from fednode.ids import View

# --- how long each step waits
#
# Linear in the view: a node cut off from a quorum cannot leave its view, so an outage does not inflate its timers; the
# price is that healing rests on sending one's votes again every `resend_ms`.


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Delays in milliseconds; every member of a network uses the same. `gone_ms` is for a leader that is gone."""

    propose_ms: int = 3_000
    gone_ms: int = 300
    vote_ms: int = 1_000
    growth_ms: int = 500
    limit_ms: int = 60_000

    def get_propose_ms(self, view: int) -> int:
        """Wait this long for the leader's block."""
        return min(self.propose_ms + self.growth_ms * view, self.limit_ms)

    def get_vote_ms(self, view: int) -> int:
        """Wait this long for more prevotes, or more precommits, once there are q."""
        return min(self.vote_ms + self.growth_ms * view, self.limit_ms)

    def get_resend_ms(self, view: int) -> int:
        """Send one's own votes again after this long without a decision."""
        return self.get_propose_ms(view) + 2 * self.get_vote_ms(view)


class Step(IntEnum):
    """Where a member stands within a view. Prevote and Precommit mean: has cast that vote."""

    IDLE = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3


class HeightState:
    """What a member remembers of the height under decision besides votes: the variables of the pseudo-code."""

    __slots__ = (
        "is_precommit_timer_started", "is_prevote_timer_started", "locked_value", "locked_view", "step", "valid", "view"
    )

    def __init__(self) -> None:
        self.view = View(0)
        self.step = Step.IDLE
        self.locked_view = NO_VIEW
        self.locked_value: bytes = NIL
        self.valid: Valid | None = None
        self.is_prevote_timer_started = False
        self.is_precommit_timer_started = False


class Facts(Protocol):
    """What the rules may ask about messages."""

    @property
    def book(self) -> VoteBook:
        """Votes of this height."""
        ...

    def get_proposal(self, view: int) -> Proposal | None:
        """Return the proposal of `view` that came from its proposer."""
        ...

    def get_block(self, value: bytes) -> Block | None:
        """Return the body of a block, if it is here."""
        ...

    def is_valid(self, value: bytes) -> bool:
        """Whether the block is here and executing it gives what its header says."""
        ...

    def is_timely(self, view: int) -> bool:
        """Whether the new block proposed in `view` carried a time close to this node's clock when it came."""
        ...


@dataclass(frozen=True, slots=True)
class EnterView:
    """Begin `view`."""

    view: View


@dataclass(frozen=True, slots=True)
class Cast:
    """Vote. `lock` is set if the vote locks this member on the block, which then is its valid value as well."""

    kind: int
    value: bytes
    valid_view: View = NO_VIEW
    lock: Valid | None = None


@dataclass(frozen=True, slots=True)
class SetValid:
    """Remember the newest block with q prevotes."""

    valid: Valid


@dataclass(frozen=True, slots=True)
class StartTimeout:
    """Give the rest of the members time for this step."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class Decided:
    """q precommits for a block that is here."""

    view: View
    value: bytes


Action = EnterView | Cast | SetValid | StartTimeout | Decided
Rule = Callable[[HeightState, Facts], Action | None]


def decide(state: HeightState, facts: Facts) -> Action | None:
    """L49-L54: q precommits for one block in *any* view of the height, and its body."""
    for view, value in facts.book.certified:
        if facts.get_block(value) is not None:
            return Decided(View(view), value)
    return None


def skip_views(state: HeightState, facts: Facts) -> Action | None:
    """L55-L56: f + 1 members are in later views, one of them honest. An idle member is woken by f + 1 in any view."""
    target = facts.book.skip_target()
    reached = -1 if state.step is Step.IDLE else state.view
    return EnterView(View(target)) if target > reached else None


def prevote_new(state: HeightState, facts: Facts) -> Action | None:
    """L22-L27: a block proposed for the first time is prevoted unless this member is locked on another."""
    if state.step is not Step.PROPOSE:
        return None
    proposal = facts.get_proposal(state.view)
    if proposal is None or proposal.vote.valid_view != NO_VIEW:
        return None
    value = proposal.vote.value
    if may_unlock(state, NO_VIEW, value) and facts.is_timely(state.view) and facts.is_valid(value):
        return Cast(PREVOTE, value)
    return Cast(PREVOTE, NIL)


def prevote_again(state: HeightState, facts: Facts) -> Action | None:
    """L28-L33: a block proposed again counts only once its q prevotes of the named view were seen *here*.

    They unlock this member if they are not older than its own lock.
    """
    if state.step is not Step.PROPOSE:
        return None
    proposal = facts.get_proposal(state.view)
    if proposal is None or proposal.vote.valid_view == NO_VIEW:
        return None
    value, valid_view = proposal.vote.value, proposal.vote.valid_view
    if not is_justified(facts, valid_view, value):
        return None
    if may_unlock(state, valid_view, value) and facts.is_valid(value):
        return Cast(PREVOTE, value, valid_view)
    return Cast(PREVOTE, NIL, valid_view)


def is_justified(facts: Facts, valid_view: int, value: bytes) -> bool:
    """Whether the q prevotes that a repeated proposal names were seen here."""
    return facts.book.has_polka(valid_view, value)


def may_unlock(state: HeightState, valid_view: int, value: bytes) -> bool:
    """Whether the lock, if any, allows a prevote for `value`, whose newest q prevotes are those of `valid_view`."""
    return state.locked_view <= valid_view or state.locked_value == value


def lock(state: HeightState, facts: Facts) -> Action | None:
    """L36-L43: q prevotes for a valid block lock a member that has prevoted; later they are only noted."""
    if state.step not in (Step.PREVOTE, Step.PRECOMMIT):
        return None
    if state.valid is not None and state.valid.view >= state.view:
        return None
    value = facts.book.polka_value(state.view)
    if value is None or value == NIL or not facts.is_valid(value):
        return None
    block = facts.get_block(value)
    assert block is not None, "a valid block is here"
    valid = Valid(state.view, block, facts.book.polkas[state.view])
    return Cast(PRECOMMIT, value, lock=valid) if state.step is Step.PREVOTE else SetValid(valid)


def precommit_nil(state: HeightState, facts: Facts) -> Action | None:
    """L44-L46: q prevotes for nil."""
    if state.step is Step.PREVOTE and facts.book.polka_value(state.view) == NIL:
        return Cast(PRECOMMIT, NIL)
    return None


def end_view(state: HeightState, facts: Facts) -> Action | None:
    """q precommits for nil: no block can have q in this view any more (2q - n >= f + 1), so waiting gains nothing."""
    if state.step is not Step.IDLE and facts.book.has_nil_precommits(state.view):
        return EnterView(View(state.view + 1))
    return None


def start_prevote_timer(state: HeightState, facts: Facts) -> Action | None:
    """L34-L35: q prevotes, whatever for."""
    if state.step is not Step.PREVOTE or state.is_prevote_timer_started:
        return None
    return StartTimeout(Timer.PREVOTE) if facts.book.has_any_quorum(state.view, PREVOTE) else None


def start_precommit_timer(state: HeightState, facts: Facts) -> Action | None:
    """L47-L48: q precommits, whatever for."""
    if state.step is Step.IDLE or state.is_precommit_timer_started:
        return None
    return StartTimeout(Timer.PRECOMMIT) if facts.book.has_any_quorum(state.view, PRECOMMIT) else None


RULES: tuple[Rule, ...] = (
    decide, skip_views, prevote_new, prevote_again, lock, precommit_nil, end_view, start_prevote_timer,
    start_precommit_timer,
)


def next_action(state: HeightState, facts: Facts) -> Action | None:
    """Return what the first rule that applies asks for."""
    for rule in RULES:
        action = rule(state, facts)
        if action is not None:
            return action
    return None


def on_timeout(state: HeightState, timer: Timer, view: int) -> Action | None:
    """L57-L67: what a timer that ran out asks for; nothing if the member has moved on since it was started."""
    if state.view != view:
        return None
    if timer is Timer.PROPOSE and state.step is Step.PROPOSE:
        return Cast(PREVOTE, NIL)
    if timer is Timer.PREVOTE and state.step is Step.PREVOTE:
        return Cast(PRECOMMIT, NIL)
    if timer is Timer.PRECOMMIT and state.step is not Step.IDLE:
        return EnterView(View(state.view + 1))
    return None


def apply(state: HeightState, action: Action) -> None:
    """Change the state of the height as the action says; a decision ends the height and changes nothing here."""
    match action:
        case EnterView():
            state.view = action.view
            state.step = Step.PROPOSE
            state.is_prevote_timer_started = state.is_precommit_timer_started = False
        case Cast():
            state.step = Step(action.kind)
            if action.lock is not None:
                state.locked_view, state.locked_value = action.lock.view, action.value
                state.valid = action.lock
        case SetValid():
            state.valid = action.valid
        case StartTimeout():
            if action.timer is Timer.PREVOTE:
                state.is_prevote_timer_started = True
            else:
                state.is_precommit_timer_started = True
        case Decided():
            pass
