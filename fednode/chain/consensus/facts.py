"""What is known about one height: votes, proposals, bodies of blocks and whether they are valid.

Bounds: one proposal per view, views from current - 1 to current + 1; bodies of those, of the valid value and of blocks
with f + 1 precommits. Any other body can be fetched by its hash.
"""

from __future__ import annotations

from collections.abc import Mapping

from fednode.chain.block import Block, Execution, Tip, check_link, check_outcome, context_of
from fednode.chain.consensus.application import Application
from fednode.chain.consensus.messages import Proposal
from fednode.chain.consensus.votes import VoteBook
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    Evidence,
    SignatureCheck,
    make_evidence,
    verify_certificate,
    verify_evidence,
)
from fednode.errors import Rejected
from fednode.ids import Height, MemberId

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
