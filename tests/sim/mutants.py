"""Broken variants of the rules. A simulator that does not notice them proves nothing about the real ones.

Each mutant replaces a few functions of the protocol; `hunt` plays every scenario, then seeds, until something fails. A
play that never ends, or takes all memory, has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fednode.chain.block import Block, Tip
from fednode.chain.consensus import driver, messages, view, votes
from fednode.chain.consensus import effects as ask
from fednode.chain.consensus.driver import Driver
from fednode.chain.consensus.events import Timer
from fednode.chain.consensus.recovery import VoteSigner
from fednode.chain.consensus.replica import Replica
from fednode.chain.consensus.view import Action, HeightState
from fednode.chain.consensus.votes import Added, Ballot, HeightFacts
from fednode.chain.vote import Certificate, MemberSet, Vote
from fednode.effects import Persist
from fednode.errors import FednodeError
from fednode.ids import MemberId
from tests.limits import Limits, TimeIsUp, limited
from tests.sim.checker import Violation
from tests.sim.replay import play_path
from tests.sim.script import ScenarioFailed
from tests.sim.world import Plan, World
from tests.support.patches import Patch, applied

LIMITS = Limits(seconds=120, growth_bytes=2 << 30)
"""For one play: many times what it takes when it ends."""
NOTICED = (Violation, ScenarioFailed, FednodeError, LookupError, AssertionError, MemoryError, TimeIsUp)
"""How a play of broken rules fails."""

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"



@dataclass(frozen=True)
class Mutant:
    """A broken rule and the patches that make it."""

    name: str
    patches: tuple[Patch, ...]


@dataclass(frozen=True)
class Kill:
    """What noticed the mutant, or None if nothing did."""

    mutant: Mutant
    killer: str | None
    seconds: float


_may_unlock = view.may_unlock
_on_timeout = view.on_timeout
_add = Ballot.add


def _unlock_to_older(state: HeightState, valid_view: int, value: bytes) -> bool:
    return valid_view >= 0 or _may_unlock(state, valid_view, value)


def _persist_late(driver: Driver) -> None:
    """The record goes to the end of the effects: after what it should precede."""
    record = driver.signer.record
    assert record is not None
    driver.effects = _Reordering([effect for effect in driver.effects if not isinstance(effect, Persist)])
    driver.effects.late = Persist(record)


class _Reordering(list[ask.Effect]):
    late: Persist | None = None

    def __iter__(self) -> Iterator[ask.Effect]:
        yield from super().__iter__()
        if self.late is not None:
            yield self.late


def _count_double_voters_twice(ballot: Ballot, vote: Vote) -> Added:
    """Both votes of a double voter weigh something for either value."""
    added = _add(ballot, vote)
    if added.evidence is not None and added.is_new:
        ballot.quorum -= 1
        for value, found in ballot.by_value.items():
            if ballot.won is None and len(found) >= ballot.quorum:
                ballot.won = value
    return added


def _stale_timers(state: HeightState, timer: Timer, at_view: int) -> Action | None:
    return _on_timeout(state, timer, state.view)


def _trust_block(self: HeightFacts, value: bytes) -> bool:
    """Whatever is proposed is valid."""
    block = self.get_block(value)
    if block is not None and value not in self._done:
        self._done[value] = self._application._run(block.transactions)  # type: ignore[attr-defined]
    return block is not None


def _decide_in_own_view(state: HeightState, known: view.Facts) -> Action | None:
    action = _decide(state, known)
    return action if isinstance(action, view.Decided) and action.view == state.view else None


def _repeated_signers(self: Certificate, members: MemberSet) -> tuple[MemberId, ...]:
    """As many signers as signatures, even if the bitmap names fewer."""
    bits = int.from_bytes(self.bitmap, "little")
    named = [member for index, member in enumerate(members.ids) if bits >> index & 1]
    return tuple((named * len(self.signatures))[: len(self.signatures)])


def _advance_with(signed_by: bool) -> Callable[[Tip, Block, MemberSet], Tip]:
    """A change of members takes effect one height too early, or too late."""
    def advance(tip: Tip, block: Block, next_members: MemberSet) -> Tip:
        after = _advance(tip, block, next_members)
        return replace(after, signed_by=next_members) if signed_by else replace(after, members=tip.members)

    return advance


_advance = driver.advance
_decide = view.decide
_RULES_OWN_VIEW = (_decide_in_own_view, *view.RULES[1:])

MUTANTS = (
    Mutant("ignore locks", ((view, "may_unlock", lambda state, valid_view, value: True),)),
    Mutant("quorum minus one", ((MemberSet, "quorum", property(lambda members: 2 * len(members) // 3)),)),
    Mutant("no polka check on a re-proposal", ((view, "is_justified", lambda known, valid_view, value: True),)),
    Mutant("unlock to an older polka", ((view, "may_unlock", _unlock_to_older),)),
    Mutant("no persistence", ((Driver, "_persist", lambda driver: None),)),
    Mutant("persistence after send", ((Driver, "_persist", _persist_late),)),
    Mutant("equivocator counted twice", ((Ballot, "add", _count_double_voters_twice),)),
    Mutant("own newer votes overlooked", ((VoteSigner, "notice", lambda signer, *place: None),)),
    Mutant("validity ignored", ((HeightFacts, "is_valid", _trust_block),)),
    Mutant("stale timer accepted", ((view, "on_timeout", _stale_timers),)),
    Mutant("evidence not verified", ((votes, "verify_evidence", lambda *args: None),)),
    Mutant("votes not verified", ((messages, "verify_vote", lambda *args: None),)),
    Mutant("certificate with a repeated signer", ((Certificate, "signers", _repeated_signers),)),
    Mutant("members change effective at h", ((driver, "advance", _advance_with(signed_by=True)),)),
    Mutant("members change effective at h + 2", ((driver, "advance", _advance_with(signed_by=False)),)),
    Mutant("decide only in the current view", ((view, "RULES", _RULES_OWN_VIEW),)),
    Mutant("votes never sent again", ((Replica, "_speak_again", lambda replica, peer: None),)),
)


def hunt(mutant: Mutant, seeds: range) -> Kill:
    """Return the first scenario or seed that notices the mutant."""
    begin = time.perf_counter()
    with applied(mutant.patches):
        for name, trial in _trials(seeds):
            try:
                with limited(LIMITS):
                    trial()
            except NOTICED as error:
                return Kill(mutant, f"{name}: {str(error)[:90] or type(error).__name__}", time.perf_counter() - begin)
    return Kill(mutant, None, time.perf_counter() - begin)


def _trials(seeds: range) -> Iterator[tuple[str, Callable[[], object]]]:
    for path in sorted(SCENARIOS.glob("*.txt")):
        yield path.name, lambda path=path: play_path(path)  # type: ignore[misc]
    for seed in seeds:
        for trouble in ("", "has_twin", "has_adversary", "joins"):
            plan = Plan(seed, **{trouble: True} if trouble else {})
            yield f"seed {seed} {trouble.replace('_', ' ')}".rstrip(), World(plan).run
