"""Two honest replicas and two members that say whatever the bytes tell them to.

Every byte string is a script: what is delivered to whom, which timers run out, who is restarted. Whatever comes of it,
no exception leaves a replica, no honest member signs twice at one place, and no two blocks are decided at one height.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from fednode.chain.consensus import messages as m
from fednode.chain.consensus.events import PeerUp, Timer, WorkArrived
from fednode.chain.vote import NIL, PRECOMMIT, PREVOTE, PROPOSAL, Vote, make_certificate, make_evidence
from fednode.errors import Rejected
from fednode.ids import Height
from tests.sim.stage import Stage

T = TypeVar("T")
MAX_STEPS = 120
HONEST, LIARS = "AB", "CD"
TIMERS = tuple(Timer)
KINDS = (PROPOSAL, PREVOTE, PRECOMMIT)


def build(make: Callable[..., T], *fields: object) -> T:
    """Make a record, or end this step of the script: no such record can exist, so nobody can send it."""
    try:
        return make(*fields)
    except ValueError as error:
        raise Rejected(str(error)) from None


class Script:
    """Bytes as a supply of small choices; zeros when they run out."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    @property
    def is_over(self) -> bool:
        return self._place >= len(self._data)

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        byte = self._data[self._place] if not self.is_over else 0
        self._place += 1
        return byte % count

    def piece(self) -> bytes:
        """Some bytes, as long as their first one says."""
        size = self.below(256)
        piece = self._data[self._place : self._place + size]
        self._place += size
        return piece


class Play:
    """One script on one stage."""

    def __init__(self, data: bytes) -> None:
        self.script, self.stage = Script(data), Stage(HONEST)
        self.votes: list[Vote] = []
        self.blocks = [self.stage.forge_block("C", (b"tx c",)), self.stage.forge_block("D", (b"tx d", b"tx e"))]
        self._seen = dict.fromkeys(HONEST, 0)

    def run(self) -> None:
        """Play it to its end."""
        steps = (
            self.vote, self.vote, self.propose, self.timer, self.work, self.exchange, self.exchange, self.bundle,
            self.decide, self.restart, self.anything, self.reach, self.evidence, self.bodies,
        )
        for _ in range(MAX_STEPS):
            if self.script.is_over:
                return
            self.stage.now_ms += 100 * self.script.below(16)
            with contextlib.suppress(Rejected):
                steps[self.script.below(len(steps))]()

    # --- choices

    def honest(self) -> str:
        return HONEST[self.script.below(len(HONEST))]

    def liar(self) -> str:
        return LIARS[self.script.below(len(LIARS))]

    def value(self) -> bytes:
        values = [NIL, *(block.hash for block in self.blocks), b"x" * 32]
        return values[self.script.below(len(values))]

    def forged(self) -> Vote:
        kind, view = KINDS[self.script.below(3)], self.script.below(6)
        valid_view = self.script.below(5) - 1
        height = Height(1 + (self.script.below(8) == 7))
        vote = build(self.stage.forge_vote, self.liar(), kind, view, self.value(), valid_view, height)
        self.votes.append(vote)
        return vote

    def tell(self, message: m.ConsensusMessage) -> None:
        self.stage.deliver(self.liar(), message, self.honest())

    def learn(self) -> None:
        """The liars hear everything that the honest members say."""
        for name, actor in self.stage.actors.items():
            for message in actor.sent[self._seen[name] :]:
                if isinstance(message, Vote):
                    self.votes.append(message)
                elif isinstance(message, m.Proposal):
                    self.blocks.append(message.block)
            self._seen[name] = len(actor.sent)

    # --- steps

    def vote(self) -> None:
        self.tell(self.forged())

    def propose(self) -> None:
        view, valid_view = self.script.below(6), self.script.below(4) - 1
        block, liar = self.blocks[self.script.below(len(self.blocks))], self.liar()
        vote = build(self.stage.forge_vote, liar, PROPOSAL, view, block.hash, valid_view)
        self.stage.deliver(liar, build(m.Proposal, vote, block), self.honest())

    def timer(self) -> None:
        self.stage.fire(self.honest(), TIMERS[self.script.below(len(TIMERS))], self.script.below(6))

    def work(self) -> None:
        name = self.honest()
        self.stage.give_work(name, b"tx %d" % self.script.below(4))
        self.stage.feed(self.stage.actors[name], WorkArrived(self.stage.now_ms))

    def exchange(self) -> None:
        """One honest member hears some of what the other has said."""
        self.learn()
        name = self.honest()
        other = HONEST[1 - HONEST.index(name)]
        sent = self.stage.actors[name].sent
        for message in sent[-1 - self.script.below(6) :]:
            self.stage.deliver(name, message, other)

    def bundle(self) -> None:
        """A polka or a view certificate of votes that exist."""
        self.learn()
        kind, view = KINDS[1 + self.script.below(2)], self.script.below(6)
        chosen = {vote.sender: vote for vote in self.votes if (vote.kind, vote.view) == (kind, view)}
        votes = tuple(chosen[sender] for sender in sorted(chosen))
        if votes:
            self.tell(build(m.Polka if self.script.below(2) else m.ViewCertificate, votes))

    def decide(self) -> None:
        """A decision, where the liars can show enough precommits for it."""
        self.learn()
        block, view = self.blocks[self.script.below(len(self.blocks))], self.script.below(6)
        votes = [v for v in self.votes if (v.kind, v.view, v.value, v.height) == (PRECOMMIT, view, block.hash, 1)]
        senders = {vote.sender: vote for vote in votes}
        if len(senders) >= self.stage.members.quorum:
            self.tell(build(m.Decision, block, make_certificate(self.stage.members, senders.values())))

    def restart(self) -> None:
        name = self.honest()
        self.stage.restart(name)
        self._seen[name] = 0

    def anything(self) -> None:
        self.tell(m.decode_message(self.script.piece()))

    def reach(self) -> None:
        name = self.honest()
        self.stage.feed(self.stage.actors[name], PeerUp(self.stage.names[self.liar()], self.stage.now_ms))

    def evidence(self) -> None:
        one, other = self.forged(), self.forged()
        self.tell(build(make_evidence, one, other))

    def bodies(self) -> None:
        block = self.blocks[self.script.below(len(self.blocks))]
        if self.script.below(2):
            self.tell(m.BlockResponse(block))
        else:
            self.tell(m.BlockRequest(Height(1), block.hash))


def consensus(data: bytes) -> None:
    """Play the script that `data` is."""
    Play(data).run()

