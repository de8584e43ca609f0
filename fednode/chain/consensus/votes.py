"""Votes of one height turned into thresholds, and double votes into evidence. The machine itself never counts.

Security assumption: every vote given to `add` carries a checked signature of a member of the set.

A sender counts toward each value it signed (a quorum may contain a double voter, that is what q is made for), but
once toward "any" thresholds. For these a sender counts wherever it has signed something at that place *or later*:
whoever voted in view 3 is done with view 2, even if its vote of view 2 was lost with a crashed disk buffer.

Bounds: views up to current + 1 in full, `MAX_VALUES` values per sender and kind in each; of later views only each
sender's newest; of views long past only precommits for a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fednode.chain.block import Block, Execution, Tip, check_link, check_outcome, context_of
from fednode.chain.consensus.application import Application
from fednode.chain.consensus.messages import MAX_VALUES, Polka, Proposal
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    Evidence,
    MemberSet,
    SignatureCheck,
    Vote,
    make_evidence,
    verify_certificate,
    verify_evidence,
)
from fednode.errors import Rejected
from fednode.ids import Height, MemberId

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


# --- what is known about one height: votes, proposals, bodies of blocks and whether they are valid
#
# Bounds: one proposal per view, views from current - 1 to current + 1; bodies of those, of the valid value and of
# blocks with f + 1 precommits. Any other body can be fetched by its hash.


MAX_FUTURE_MS = 5_000
"""A new block may be this far ahead of this node's clock."""
MAX_PAST_MS = 60_000
PAST_PER_VIEW_MS = 10_000
"""... and this far behind, plus some for every view that was needed."""


class HeightFacts:
    """Everything received about the height after `tip`."""

    __slots__ = (
        "_application", "_blocks", "_check", "_done", "_known", "_proposals", "_refused", "_timely",
        "book", "height", "tip",
    )

    def __init__(
        self, tip: Tip, application: Application, check: SignatureCheck, known: Mapping[MemberId, bytes]
    ) -> None:
        self.tip = tip
        self.height = Height(tip.height + 1)
        self.book = VoteBook(tip.members)
        self._application = application
        self._check = check
        self._known = known
        self._proposals: dict[int, Proposal] = {}
        self._timely: dict[int, bool] = {}
        self._blocks: dict[bytes, Block] = {}
        self._done: dict[bytes, Execution] = {}
        self._refused: dict[bytes, str] = {}

    def add_proposal(self, proposal: Proposal, now_ms: int) -> Evidence | None:
        """Take a proposal of a view up to the next; return evidence if its proposer has proposed otherwise before.

        Raises `Rejected` if the proposal is not its signer's to make.
        """
        vote, header = proposal.vote, proposal.block.header
        if vote.sender != self.tip.proposer(vote.view):
            raise Rejected("proposal out of turn")
        if vote.valid_view == NO_VIEW and header.proposer != vote.sender:
            raise Rejected("new block built by another member")
        earlier = self._proposals.get(vote.view)
        if earlier is not None:
            return make_evidence(earlier.vote, vote) if earlier.vote.contradicts(vote) else None
        self._proposals[vote.view] = proposal
        self._timely[vote.view] = vote.valid_view != NO_VIEW or self._is_near(header.time_ms, vote.view, now_ms)
        self._blocks.setdefault(vote.value, proposal.block)
        return None

    def _is_near(self, time_ms: int, view: int, now_ms: int) -> bool:
        """Whether a new block's time is acceptable. One millisecond after the parent always is: a parent stamped by a
        clock that ran ahead must not stop the chain until the others' clocks get there.
        """
        if time_ms == self.tip.time_ms + 1:
            return True
        return now_ms - MAX_PAST_MS - PAST_PER_VIEW_MS * view <= time_ms <= now_ms + MAX_FUTURE_MS

    def add_block(self, block: Block) -> None:
        """Keep a body that was asked for, or that a certificate names."""
        self._blocks.setdefault(block.hash, block)

    def add_own(self, block: Block, done: Execution) -> None:
        """Keep a block that was built, and so executed, here."""
        self._blocks[block.hash] = block
        self._done[block.hash] = done

    def get_proposal(self, view: int) -> Proposal | None:
        """Return the proposal of `view` that came from its proposer."""
        return self._proposals.get(view)

    def get_block(self, value: bytes) -> Block | None:
        """Return the body of a block, if it is here."""
        return self._blocks.get(value)

    def is_timely(self, view: int) -> bool:
        """Whether the new block proposed in `view` carried a time close to this node's clock when it came."""
        return self._timely[view]

    def is_valid(self, value: bytes) -> bool:
        """Whether the block is here and executing it gives what its header says. Executed once."""
        return value in self._done or (value not in self._refused and self._validate(value))

    def get_execution(self, value: bytes) -> Execution:
        """Return the outcome of executing a block that is here; raise `Rejected` with the reason if it is invalid."""
        if not self.is_valid(value):
            raise Rejected(self._refused.get(value, "block not here"))
        return self._done[value]

    def _validate(self, value: bytes) -> bool:
        block = self._blocks.get(value)
        if block is None:
            return False
        try:
            self._done[value] = self._execute(block)
        except Rejected as error:
            self._refused[value] = error.reason
            return False
        return True

    def _execute(self, block: Block) -> Execution:
        tip = self.tip
        check_link(tip, block)
        if block.parent_certificate is not None:
            verify_certificate(block.parent_certificate, tip.signed_by, tip.chain_id, self._check, self._known)
        for piece in block.evidence:
            verify_evidence(piece, tip.members, tip.chain_id, self._check)
        done = self._application.execute(context_of(block), block.transactions)
        check_outcome(block, done)
        return done

    def enter(self, view: int, valid: Block | None) -> None:
        """Move to `view` and forget proposals and bodies that no rule can ask for without fetching them again."""
        self.book.enter(view)
        if len(self._proposals) <= 2:
            return
        for old in [old for old in self._proposals if old < view - 1]:
            del self._proposals[old], self._timely[old]
        kept = {proposal.vote.value for proposal in self._proposals.values()}
        kept.update(value for _, value in self.book.certified)
        if valid is not None:
            kept.add(valid.hash)
        kept.update(self.book.find_supported())
        for value in [value for value in self._blocks if value not in kept]:
            del self._blocks[value]
            self._done.pop(value, None)
            self._refused.pop(value, None)

    def find_missing(self, view: int) -> list[tuple[bytes, list[MemberId]]]:
        """Return blocks that have a quorum but no body here, each with the members that voted for it."""
        missing: list[tuple[bytes, list[MemberId]]] = []
        for certified_view, value in self.book.certified:
            if value not in self._blocks:
                missing.append((value, sorted(self.book.voters(certified_view, PRECOMMIT, value))))
        value_of_view = self.book.polka_value(view)
        if value_of_view not in (None, NIL) and value_of_view not in self._blocks:
            polka = self.book.polkas[view]
            missing.append((polka.votes[0].value, [vote.sender for vote in polka.votes]))
        return missing
