"""Bookkeeping for members that are not in step: messages of the next height, late votes, answers to laggards.

Everything kept here is bounded per member, and every heavy answer is given at most once per peer and `ANSWER_GAP_MS`.
"""

from __future__ import annotations

from fednode.chain.block import Block, Tip
from fednode.chain.consensus.messages import (
    ConsensusMessage,
    Decision,
    Proposal,
    Status,
    VoteSummary,
    make_bundles,
)
from fednode.chain.consensus.signing import SignRecord
from fednode.chain.consensus.votes import HeightFacts, VoteBook
from fednode.chain.vote import (
    NIL,
    NO_VIEW,
    PRECOMMIT,
    PREVOTE,
    Certificate,
    Evidence,
    Vote,
    make_certificate,
    read_sign_bytes,
)
from fednode.ids import PROTOCOL_VERSION, Height, MemberId, View

ANSWER_GAP_MS = 200
"""A peer gets each kind of heavy answer (decision, block, missing votes) at most once in this time."""

MAX_ASKS = 4
"""Holders asked for one missing block until `ask_again`."""


def read_vote(record: SignRecord, member: MemberId) -> Vote:
    """Return the vote whose signed bytes and signature a record holds."""
    kind, height, view, valid_view, value = read_sign_bytes(record.signed)
    return Vote(kind, Height(height), View(view), View(valid_view), value, member, record.signature)


class Recovery:
    """The last height, the next one, and who was told or asked what."""

    __slots__ = (
        "_answered", "_asked", "_block", "_book", "_certificate", "_early", "_late", "_tip", "_told", "known"
    )

    def __init__(self, tip: Tip, certificate: Certificate | None) -> None:
        self._tip = tip
        self._certificate = certificate
        self._block: Block | None = None
        self._book: VoteBook | None = None
        self._late: dict[MemberId, Vote] = {}
        self._early: dict[tuple[MemberId, int], tuple[Vote, ConsensusMessage, MemberId]] = {}
        self._told: dict[MemberId, int] = {}
        self._asked: dict[bytes, int] = {}
        self._answered: dict[tuple[MemberId, str], int] = {}
        self.known: dict[MemberId, bytes] = {}
        """Checked signatures over the tip in the view that decided it; grows as late ones come in."""
        if certificate is not None:
            self._take_precommits(certificate)

    def finish_height(self, tip: Tip, block: Block, certificate: Certificate, book: VoteBook) -> None:
        """Remember the height just decided: its votes still come in, and its laggards still ask."""
        self._tip, self._block, self._certificate, self._book = tip, block, certificate, book
        self._asked.clear()
        self._take_precommits(certificate)
        for vote in book.voters(certificate.view, PRECOMMIT, certificate.block_hash).values():
            self._late.setdefault(vote.sender, vote)
            self.known.setdefault(vote.sender, vote.signature)

    def _take_precommits(self, certificate: Certificate) -> None:
        signers = certificate.signers(self._tip.signed_by)
        self._late = {
            signer: Vote(
                PRECOMMIT, certificate.height, certificate.view, NO_VIEW, certificate.block_hash, signer, signature
            )
            for signer, signature in zip(signers, certificate.signatures, strict=True)
        }
        self.known = dict(zip(signers, certificate.signatures, strict=True))

    # --- the height before ------------------------------------------------------------------------------------

    def get_certificate(self) -> Certificate | None:
        """Return the tip's certificate with every precommit known by now: being in it keeps a member in the rota."""
        if self._certificate is None or len(self._late) == len(self._certificate.signatures):
            return self._certificate
        self._certificate = make_certificate(self._tip.signed_by, self._late.values())
        return self._certificate

    def has(self, vote: Vote) -> bool:
        """Whether this very vote of the last height or the next one is here, its signature included."""
        if vote.height == self._tip.height:
            return self._late.get(vote.sender) == vote or (self._book is not None and self._book.has(vote))
        kept = self._early.get((vote.sender, vote.kind))
        return kept is not None and kept[0] == vote

    def take_late(
        self, vote: Vote, peer: MemberId, now_ms: int
    ) -> tuple[Evidence | None, ConsensusMessage | None]:
        """Count a vote of a decided height; return evidence, if it shows any, and what helps its sender.

        The votes that were under way when the height was decided arrive late without anybody lagging: they come for
        the first time, and for no view after the decision. Those are not answered.
        """
        certificate, book = self._certificate, self._book
        if vote.height != self._tip.height or certificate is None or book is None:
            return None, self.answer_laggard(vote.height, peer, now_ms)
        if vote.sender not in book.members.positions:
            return None, None
        added = book.add(vote)
        if (vote.kind, vote.view, vote.value) == (PRECOMMIT, certificate.view, certificate.block_hash):
            self._late.setdefault(vote.sender, vote)
            self.known.setdefault(vote.sender, vote.signature)
        is_under_way = added.is_new and vote.view <= certificate.view
        return added.evidence, None if is_under_way else self.answer_laggard(vote.height, peer, now_ms)

    def answer_laggard(self, height: int, peer: MemberId, now_ms: int) -> ConsensusMessage | None:
        """Return the decision if the peer lacks just that block, else where our chain ends."""
        if not self.may_answer(peer, "decision", now_ms):
            return None
        certificate = self.get_certificate()
        if height == self._tip.height and self._block is not None and certificate is not None:
            return Decision(self._block, certificate)
        return Status(PROTOCOL_VERSION, self._tip.chain_id, self._tip.height, self._tip.block_hash)

    # --- the height after -------------------------------------------------------------------------------------

    def keep_early(self, vote: Vote, message: ConsensusMessage, peer: MemberId) -> None:
        """Keep the newest proposal, prevote and precommit of each member for the height after the current one."""
        if vote.height != self._tip.height + 2 or (isinstance(message, Proposal) and vote.view > 1):
            return
        key = (vote.sender, vote.kind)
        kept = self._early.get(key)
        if kept is None or kept[0].view < vote.view:
            self._early[key] = (vote, message, peer)

    def take_early(self) -> list[tuple[ConsensusMessage, MemberId]]:
        """Return what waited for the height that now begins, if the member set it was verified against still holds."""
        early, self._early = self._early, {}
        if self._tip.members != self._tip.signed_by:
            return []
        return [(message, peer) for _, message, peer in early.values()]

    def is_news(self, peer: MemberId, height: int) -> bool:
        """Whether `peer` was not yet known to be at `height`."""
        if self._told.get(peer, 0) >= height:
            return False
        self._told[peer] = height
        return True

    # --- the height itself ------------------------------------------------------------------------------------

    def choose_holder(self, value: bytes, holders: list[MemberId], me: MemberId | None) -> MemberId | None:
        """Return whom to ask for a missing block: another holder each time, none until `ask_again` after one try."""
        count = self._asked.get(value, 0)
        others = [member for member in holders if member != me]
        if count % 2 or not others:
            return None
        self._asked[value] = count + 1
        return others[count // 2 % len(others)]

    def ask_again(self) -> None:
        """Allow every missing block to be asked for once more."""
        self._asked = {value: count + count % 2 for value, count in self._asked.items()}

    def is_awaited(self, value: bytes) -> bool:
        """Whether the body of this block was asked for."""
        return value in self._asked

    def may_answer(self, peer: MemberId, what: str, now_ms: int) -> bool:
        """Whether a heavy answer is due to `peer`, and note that it is given."""
        last = self._answered.get((peer, what))
        if last is not None and abs(now_ms - last) < ANSWER_GAP_MS:
            return False
        self._answered[peer, what] = now_ms
        return True

    def summarise(self, facts: HeightFacts, view: View) -> VoteSummary:
        """Return what is known of a view, so that others can send the rest."""
        book = facts.book
        return VoteSummary(
            facts.height, view, facts.get_proposal(view) is not None, book.bitmap(view, PREVOTE),
            book.bitmap(view, PRECOMMIT),
        )

    def answer_summary(
        self, summary: VoteSummary, peer: MemberId, facts: HeightFacts, view: View, now_ms: int
    ) -> list[ConsensusMessage]:
        """Return the votes and the proposal a peer lacks of its view, and what would move it to ours."""
        book, places = facts.book, facts.tip.members.positions
        votes: list[Vote] = []
        for kind, have in ((PREVOTE, summary.prevotes), (PRECOMMIT, summary.precommits)):
            bits = int.from_bytes(have, "little")
            votes += [vote for vote in book.votes_of(summary.view, kind) if not bits >> places[vote.sender] & 1]
        if summary.view < view:
            votes += book.reasons_for(view)
        proposal = None if summary.has_proposal else facts.get_proposal(summary.view)
        if not (votes or proposal) or not self.may_answer(peer, "votes", now_ms):
            return []
        answer: list[ConsensusMessage] = [*make_bundles(votes, len(places))]
        if proposal is not None:
            polka = book.polkas.get(proposal.vote.valid_view)
            if polka is not None and polka.votes[0].value != NIL:
                answer.append(polka)
            answer.append(proposal)
        return answer
