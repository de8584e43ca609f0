"""What a person should know about this node's part in the chain, in sentences: who votes, what is missing, whose fault.

Security assumption: none; it only tells people. The cause is looked for before anybody is named: a clock is wrong if
most of the others agree on another time, not because one of them differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fednode.chain.consensus.votes import MAX_FUTURE_MS
from fednode.core.attendance import MISSED_BLOCKS
from fednode.core.core import Core
from fednode.ids import MemberId
from fednode.ledger.members.reading import get_chain

BEHIND_MS = 15_000
"""Behind the others for so long without a block: catch-up, or a busy machine, takes less from one block to the next."""
NO_BLOCK_MS = 60_000
"""Something waits and enough members vote: a view takes a few seconds."""

NameOf = Callable[[MemberId], str]


def signing_members(core: Core, now_ms: int) -> tuple[MemberId, ...]:
    """Return the members that vote, as far as is known here: connected, and they say so; this one if it does."""
    tip, found = core.replica.tip, core.attendance.voting(now_ms) & core.up
    is_voting = core.replica.refusal is None and not core.attendance.is_twin(now_ms)
    own = {core.identity.member} if is_voting else set()
    return tuple(member for member in tip.members.ids if member in found | own)


def why_not_signing(core: Core, now_ms: int) -> str | None:
    """Return why this node signs nothing; None if it does."""
    if core.replica.refusal is not None:
        return core.replica.refusal
    return TWIN if core.attendance.is_twin(now_ms) else None


TWIN = (
    "the key of this hospital is in use on another machine as well: this home was copied. While both run, neither "
    "votes. Stop one of the two for good; if you do not know of the other, stop both and replace the keys"
)


def health_problems(core: Core, name_of: NameOf, now_ms: int) -> list[str]:
    """Return what is wrong with the chain as seen from here, the cause before what follows from it."""
    own = [TWIN] if core.attendance.is_twin(now_ms) else []
    return [
        *own, *_clocks(core, name_of, now_ms), *_twins(core, name_of, now_ms), *_unheard(core, name_of, now_ms),
        *_quorum(core, name_of, now_ms), *_lag(core, now_ms),
    ]


def _names(members: Iterable[MemberId], name_of: NameOf) -> str:
    return ", ".join(f"{name_of(member)} (member {member})" for member in members)


def _twins(core: Core, name_of: NameOf, now_ms: int) -> list[str]:
    twins = core.attendance.twins(now_ms)
    return [
        f"the key of {_names((member,), name_of)} is in use on two machines: that hospital must stop one of them"
        for member in twins
    ]


def _unheard(core: Core, name_of: NameOf, now_ms: int) -> list[str]:
    return [
        f"{_names((member,), name_of)} says that it signs, but none of the last {MISSED_BLOCKS} blocks has its "
        "signature: it is too slow, or its votes do not get through"
        for member in sorted(core.attendance.unheard(now_ms) & core.up)
    ]


def _quorum(core: Core, name_of: NameOf, now_ms: int) -> list[str]:
    tip, signing = core.replica.tip, signing_members(core, now_ms)
    if len(signing) >= tip.members.quorum:
        return []
    others = [member for member in tip.members.ids if member != core.identity.member and member not in signing]
    silent = [member for member in others if member in core.up & core.attendance.heard(now_ms)]
    away = [member for member in others if member not in core.up]
    parts = [f"{len(signing)} of {len(tip.members)} members sign and {tip.members.quorum} are needed: no block is made"]
    if silent:
        parts.append(f"Connected, but not signing: {_names(silent, name_of)}; 'fednode status' there says why")
    if away:
        parts.append(f"Not connected: {_names(away, name_of)}")
    return [". ".join(parts)]


def _lag(core: Core, now_ms: int) -> list[str]:
    tip, attendance = core.replica.tip, core.attendance
    if attendance.behind_ms(now_ms) >= BEHIND_MS:
        height = attendance.height_of_others(tip, now_ms)
        return [
            f"this node is behind the others: it has block {tip.height}, they have block {height}, and for "
            f"{attendance.behind_ms(now_ms) // 1000} s no block has come; restart it, and look at the journal if "
            "that does not help"
        ]
    is_able = len(signing_members(core, now_ms)) >= tip.members.quorum
    waited_ms = attendance.stalled_ms(now_ms)
    if is_able and waited_ms >= NO_BLOCK_MS:
        return [
            f"for {waited_ms // 1000} s no block has come although transactions wait and enough members say that they "
            "sign; look whether their machines are overloaded or a firewall cuts some connections"
        ]
    return []


def _clocks(core: Core, name_of: NameOf, now_ms: int) -> list[str]:
    """Name the clock that is wrong: this one, another one, or that of whoever made the genesis."""
    found = core.attendance.clocks(now_ms, MAX_FUTURE_MS)
    tip = core.replica.tip
    if found is not None and abs(found.offset_ms) > MAX_FUTURE_MS:
        side = "ahead of" if found.offset_ms > 0 else "behind"
        apart_s = round(abs(found.offset_ms) / 1000)
        if found.agreeing > 1:
            return [
                f"this machine's clock is {side} the other members' by some {apart_s} s ({found.agreeing} of "
                f"{found.others} agree); set it, best by an NTP service: until then this hospital's votes and the "
                "others' blocks do not fit together"
            ]
        return [
            f"this machine's clock is {side} the only other clock that is known here by some {apart_s} s; one of "
            "the two is wrong: set it, best by an NTP service"
        ]
    problems = [
        f"the clock of {_names((member,), name_of)} is {'ahead of' if offset > 0 else 'behind'} the other members' by "
        f"some {round(abs(offset) / 1000)} s; it must be set there"
        for member, offset in (found.astray if found is not None else ())
    ]
    ahead_s = (tip.time_ms - now_ms) // 1000
    if tip.time_ms > now_ms + MAX_FUTURE_MS:
        is_old = get_chain(core.chain.state).genesis_ms > now_ms + MAX_FUTURE_MS
        what = "the genesis was" if is_old else "the latest blocks were"
        known = f", and {found.agreeing} other clocks agree with this one" if found is not None else ""
        problems.append(
            f"{what} made with a clock that was ahead by some {ahead_s} s{known}: nobody's clock here is the cause. "
            "Deadlines stand still until that time has come; if it is far away, make a new genesis with a right clock"
        )
    return problems
