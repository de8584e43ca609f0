"""Broken variants of what brings a chain back, each with the trouble whose seeds have to notice it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fednode.chain.consensus import recovery
from fednode.core.attendance import Attendance
from fednode.desk import health
from fednode.home import succession
from fednode.ids import MemberId
from fednode.ledger.members import rules as member_rules
from fednode.ledger.members.records import ProposalRecord
from fednode.ledger.studies import rules as study_rules
from fednode.ledger.studies.records import Beginning
from fednode.ledger.sums.leash import left_out
from fednode.ledger.sums.records import Leashes, OpenPhase
from tests.limits import limited
from tests.sim.mutants import LIMITS, NOTICED
from tests.sim.whole.world import World, draw_plan
from tests.support.patches import Patch, applied


@dataclass(frozen=True)
class WholeMutant:
    """A broken rule, the patches that make it, and the trouble that shows it."""

    name: str
    trouble: str
    patches: tuple[Patch, ...]


_find_refusal = recovery._find_refusal
_clocks = health._clocks
_with_approval = member_rules._with_approval


def _signs_after_consent(*args: object) -> str | None:
    return _find_refusal(*args[:4], False)  # type: ignore[arg-type]


def _counts_connections(core: health.Core, now_ms: int) -> tuple[MemberId, ...]:
    return tuple(member for member in core.replica.tip.members.ids if member in {*core.up, core.identity.member})


def _blames_whoever_differs(core: health.Core, name_of: health.NameOf, now_ms: int) -> list[str]:
    """The old way: blocks from ahead of this clock mean that this clock is behind."""
    if core.replica.tip.time_ms > now_ms + health.MAX_FUTURE_MS:
        return ["this machine's clock is behind the other members'"]
    return _clocks(core, name_of, now_ms)


def _lets_approved_in(proposal: ProposalRecord, *args: object) -> ProposalRecord:
    """The old way: the q-th vote makes a member."""
    counted = _with_approval(proposal, *args)  # type: ignore[arg-type]
    return replace(counted, is_here=counted.approved is not None)


def _by_one_voice(phase: OpenPhase, quorum: int, leashes: Leashes) -> frozenset[MemberId]:
    return left_out(phase, 1, leashes)


MUTANTS = (
    WholeMutant("votes make members", "candidates", ((member_rules, "_with_approval", _lets_approved_in),)),
    WholeMutant("q are enough to begin", "late", ((Beginning, "is_left_out", lambda self, member, count: True),)),
    WholeMutant("signs on after its consent", "lost", ((recovery, "_find_refusal", _signs_after_consent),)),
    WholeMutant("signs two consents", "lost", ((succession, "load_consent", lambda home, chain_id: None),)),
    WholeMutant("joins two successors", "lost", ((succession, "check_may_join", lambda home, successor: None),)),
    WholeMutant("connections count as signers", "lost", ((health, "signing_members", _counts_connections),)),
    WholeMutant("the copy is told to nobody", "twin", ((Attendance, "_twins", lambda self, member, now_ms: []),)),
    WholeMutant("an own copy is overlooked", "twin", ((Attendance, "_hear_own", lambda self, said, now_ms: None),)),
    WholeMutant("whoever differs is blamed", "genesis", ((health, "_clocks", _blames_whoever_differs),)),
    WholeMutant("one voice leaves a member out", "", ((study_rules, "left_out", _by_one_voice),)),
    WholeMutant("clocks are not compared", "clock", ((Attendance, "clocks", lambda self, now_ms, tolerance_ms: None),)),
)


def find_killer(mutant: WholeMutant, seeds: range) -> str | None:
    """Return which seed noticed, and what; None if none did."""
    with applied(mutant.patches):
        for seed in seeds:
            try:
                with limited(LIMITS):
                    World(draw_plan(seed, trouble=mutant.trouble)).run()
            except NOTICED as error:
                return f"seed {seed}: {str(error)[:120] or type(error).__name__}"
    return None
