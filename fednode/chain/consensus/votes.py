"""Votes of one height turned into thresholds, and double votes into evidence. The machine itself never counts.

Security assumption: every vote given to `add` carries a checked signature of a member of the set.

A sender counts toward each value it signed (a quorum may contain a double voter, that is what q is made for), but
once toward "any" thresholds. For these a sender counts wherever it has signed something at that place *or later*:
whoever voted in view 3 is done with view 2, even if its vote of view 2 was lost with a crashed disk buffer.

Bounds: views up to current + 1 in full, `MAX_VALUES` values per sender and kind in each; of later views only each
sender's newest; of views long past only precommits for a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fednode.chain.consensus.messages import MAX_VALUES, Polka
from fednode.chain.members import MemberSet
from fednode.chain.vote import NIL, PRECOMMIT, PREVOTE, Evidence, Vote, make_evidence
from fednode.ids import MemberId

KEPT_VIEWS = 4
"""Views before the current one whose votes are kept in full."""

Votes = dict[MemberId, Vote]


@dataclass(frozen=True, slots=True)
class Added:
    """What adding a vote did: `is_new` if it was not known before, `evidence` if it contradicts an earlier one."""

    is_new: bool
    evidence: Evidence | None = None


_NEW: Final = Added(True)
_KNOWN: Final = Added(False)


class Ballot:
    """Votes of one kind in one view."""

    __slots__ = ("by_value", "first", "quorum", "won")

    def __init__(self, quorum: int) -> None:
        self.quorum = quorum
        self.by_value: dict[bytes, Votes] = {}
        self.first: Votes = {}
        self.won: bytes | None = None
        """The value with a quorum; with at most f double voters there is never a second."""

    def add(self, vote: Vote) -> Added:
        """Count a vote of this view and kind."""
        votes = self.by_value.get(vote.value)
        if votes is None:
            votes = self.by_value[vote.value] = {}
        elif vote.sender in votes:
            known = votes[vote.sender]
            return Added(False, make_evidence(known, vote)) if known.contradicts(vote) else _KNOWN
        earlier = self.first.setdefault(vote.sender, vote)
        if earlier is vote:
            added = _NEW
        else:
            if sum(vote.sender in others for others in self.by_value.values()) >= MAX_VALUES:
                return _KNOWN
            added = Added(True, make_evidence(earlier, vote))
        votes[vote.sender] = vote
        if self.won is None and len(votes) >= self.quorum:
            self.won = vote.value
        return added

    def count(self, value: bytes) -> int:
        """Number of members that voted for `value`."""
        return len(self.by_value.get(value, ()))

    def all_votes(self) -> list[Vote]:
        """Every vote kept, in no promised order."""
        return [vote for votes in self.by_value.values() for vote in votes.values()]


class VoteBook:
    """All votes of one height."""

    __slots__ = ("_ballots", "_later", "certified", "latest", "members", "polkas", "view")

    def __init__(self, members: MemberSet) -> None:
        self.members = members
        self.view = 0
        self._ballots: dict[tuple[int, int], Ballot] = {}
        self._later: dict[MemberId, dict[int, Vote]] = {}
        self.latest: dict[MemberId, tuple[int, int]] = {}
        """Last place (view, kind) at which a member is known to have voted."""
        self.polkas: dict[int, Polka] = {}
        """Proof of q prevotes for a block, per view."""
        self.certified: list[tuple[int, bytes]] = []
        """(view, value) with q precommits for a block."""

    def add(self, vote: Vote) -> Added:
        """Count a prevote or precommit."""
        place = (vote.view, vote.kind)
        if self.latest.get(vote.sender, (-1, 0)) < place:
            self.latest[vote.sender] = place
        if vote.view > self.view + 1:
            return self._add_later(vote)
        ballot = self._ballots.get(place)
        if ballot is None:
            ballot = self._ballots[place] = Ballot(self.members.quorum)
        won_before = ballot.won
        added = ballot.add(vote)
        if ballot.won is not won_before and ballot.won is not None and ballot.won != NIL:
            if vote.kind == PRECOMMIT:
                self.certified.append((vote.view, vote.value))
            elif vote.view not in self.polkas:
                votes = sorted(ballot.by_value[vote.value].values(), key=_sender)
                self.polkas[vote.view] = Polka(tuple(votes))
        return added

    def _add_later(self, vote: Vote) -> Added:
        kept = self._later.setdefault(vote.sender, {})
        known = next(iter(kept.values()), None)
        if known is not None and known.view != vote.view:
            if known.view > vote.view:
                return _KNOWN
            kept.clear()
        if vote.kind in kept:
            same = kept[vote.kind]
            return Added(False, make_evidence(same, vote)) if same.contradicts(vote) else _KNOWN
        kept[vote.kind] = vote
        return _NEW

    def add_polka(self, polka: Polka) -> None:
        """Take a verified polka as a whole: some of its votes may exceed the bounds of single votes."""
        vote = polka.votes[0]
        if vote.value != NIL and vote.view <= self.view + 1 and vote.view not in self.polkas:
            self.polkas[vote.view] = polka

    def enter(self, view: int) -> None:
        """Move to `view`: count what waited for it, forget what no rule reads any more."""
        self.view = view
        for sender in [s for s, kept in self._later.items() if next(iter(kept.values())).view <= view + 1]:
            for vote in self._later.pop(sender).values():
                self.add(vote)
        for place in [place for place in self._ballots if place[0] < view - KEPT_VIEWS]:
            ballot = self._ballots[place]
            if place[1] == PREVOTE or (ballot.by_value.pop(NIL, None) is not None and not ballot.by_value):
                del self._ballots[place]

    def polka_value(self, view: int) -> bytes | None:
        """Return the value (block hash or nil) with q prevotes in `view`."""
        polka = self.polkas.get(view)
        if polka is not None:
            return polka.votes[0].value
        ballot = self._ballots.get((view, PREVOTE))
        return None if ballot is None else ballot.won

    def has_polka(self, view: int, value: bytes) -> bool:
        """Whether q prevotes for this block in `view` were seen here."""
        return self.polka_value(view) == value

    def has_nil_precommits(self, view: int) -> bool:
        """Whether q members precommitted nil in `view`."""
        ballot = self._ballots.get((view, PRECOMMIT))
        return ballot is not None and ballot.won == NIL

    def has_any_quorum(self, view: int, kind: int) -> bool:
        """Whether q members signed a vote of this kind in `view`, or anything later."""
        place = (view, kind)
        return sum(1 for latest in self.latest.values() if latest >= place) >= self.members.quorum

    def skip_target(self) -> int:
        """Return the highest view that f + 1 members have reached, or -1: one of them is honest."""
        needed = self.members.fault_bound + 1
        if len(self.latest) < needed:
            return -1
        return sorted((place[0] for place in self.latest.values()), reverse=True)[needed - 1]

    def voters(self, view: int, kind: int, value: bytes) -> Votes:
        """Return the votes for one value, by sender."""
        ballot = self._ballots.get((view, kind))
        return {} if ballot is None else ballot.by_value.get(value, {})

    def find_supported(self) -> set[bytes]:
        """Return the blocks that f + 1 members precommitted in some view: an honest one is locked on them."""
        needed = self.members.fault_bound + 1
        return {
            value
            for (_, kind), ballot in self._ballots.items() if kind == PRECOMMIT
            for value, votes in ballot.by_value.items() if value != NIL and len(votes) >= needed
        }

    def votes_of(self, view: int, kind: int) -> list[Vote]:
        """Return the votes of one kind in one view, in member order."""
        ballot = self._ballots.get((view, kind))
        return [] if ballot is None else sorted(ballot.all_votes(), key=_sender)

    def bitmap(self, view: int, kind: int) -> bytes:
        """Return which members' votes are known, one bit each in member order."""
        ballot = self._ballots.get((view, kind))
        senders = () if ballot is None else ballot.first
        bits = sum(1 << self.members.positions[sender] for sender in senders)
        return bits.to_bytes((len(self.members) + 7) // 8, "little")

    def reasons_for(self, view: int) -> tuple[Vote, ...]:
        """Return the votes that justify being in `view`: precommits of the view before, and votes of this one."""
        votes = self.votes_of(view - 1, PRECOMMIT) + self.votes_of(view, PREVOTE) + self.votes_of(view, PRECOMMIT)
        return tuple(votes)

    def has(self, vote: Vote) -> bool:
        """Whether this very vote was added, its signature included: it need not be checked again."""
        polka = self.polkas.get(vote.view) if vote.kind == PREVOTE else None
        return (
            self.voters(vote.view, vote.kind, vote.value).get(vote.sender) == vote
            or self._later.get(vote.sender, {}).get(vote.kind) == vote
            or (polka is not None and vote in polka.votes)
        )


def _sender(vote: Vote) -> int:
    return vote.sender
