"""Scenario files: what happens to a few replicas, line by line, and what they must have done.

    members A B C scripted D         honest members run real replicas, scripted ones say what the script says
    work A V                         a transaction reaches A; the block that will hold it is called V
    forge D 3 W valid 2 to B C       D proposes block W in view 3, naming view 2 for its prevotes
    prevote 0 V from A B D to C      prevotes of view 0 for V (or nil) arrive at C; honest ones must have been cast
    precommit 0 nil from A B to C    likewise
    proposal 0 from A to B C         the proposal that A made in view 0 arrives
    polka 0 U from A B D to C        the three prevotes arrive in one bundle
    timeout propose 0 B C            a timer of view 0 runs out (propose, prevote or precommit)
    pass B C with D to 3             B and C get through all views before 3 without ever hearing a proposal
    settle B C with D 3 W            B, C exchange all votes of view 3, D votes W throughout
    forge D 3 W framing B to C       W carries evidence against B that B never signed; a block called bad...
                                     holds a transaction that may not be in it
    restart B                        B loses all it did not persist
    rewind B                         B's machine is restored from a copy made before it ever signed
    expect B locked V 0              also: unlocked, undecided, decided V, view 3, prevoted V 0, precommitted nil 0,
                                     not-prevoted W 3, silent 3 (no vote in view 3), refusing (signs nothing any more)

Anything after # is a comment.
"""

from __future__ import annotations

from fednode.chain.consensus.events import Timer
from fednode.chain.consensus.messages import Polka, Proposal
from fednode.chain.consensus.recovery import initial_record
from fednode.chain.vote import NIL, PRECOMMIT, PREVOTE, PROPOSAL
from fednode.ids import View
from tests.sim.keys import CHAIN_ID
from tests.sim.stage import KINDS, Stage

TIMERS = {"propose": Timer.PROPOSE, "prevote": Timer.PREVOTE, "precommit": Timer.PRECOMMIT}


class ScenarioFailed(AssertionError):
    """An expectation of a scenario does not hold."""


def play(text: str, name: str) -> Stage:
    """Play a scenario; raise `ScenarioFailed`, or the checker's `Violation`, where it goes wrong."""
    player = Player()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#")[0].split()
        if words:
            try:
                player.do(words)
            except AssertionError as error:
                raise ScenarioFailed(f"{name}:{number}: {line.strip()}: {error}") from error
    return player.stage


class Player:
    """Performs one line after the other on a stage."""

    stage: Stage

    def do(self, words: list[str]) -> None:
        """Perform one line."""
        command, args = words[0], words[1:]
        match command:
            case "members":
                split = args.index("scripted") if "scripted" in args else len(args)
                self.stage = Stage("".join(args[:split]), split + len(args[split + 1 :]))
            case "work":
                self._work(args[0], args[1])
            case "forge":
                self._forge(args)
            case "proposal":
                self._proposal(int(args[0]), args[2], args[args.index("to") + 1 :])
            case "prevote" | "precommit" | "polka":
                senders = args[args.index("from") + 1 : args.index("to")]
                self._votes(command, int(args[0]), args[1], senders, args[args.index("to") + 1 :])
            case "timeout":
                for name in args[2:]:
                    self.stage.fire(name, TIMERS[args[0]], int(args[1]))
            case "pass":
                split = args.index("with")
                self._pass(args[:split], args[split + 1 : args.index("to")], int(args[-1]))
            case "settle":
                split = args.index("with")
                self._settle(args[:split], args[split + 1 : -2], int(args[-2]), args[-1])
            case "restart":
                self.stage.restart(args[0])
            case "rewind":
                key = self.stage.signers[self.stage.names[args[0]]].public_key
                self.stage.restart(args[0], initial_record(CHAIN_ID, key))
            case "expect":
                self._expect(args[0], args[1], args[2:])
            case _:
                raise ValueError(f"unknown command {command}")

    def _work(self, name: str, label: str) -> None:
        self.stage.give_work(name, b"tx " + label.encode())

    def _forge(self, args: list[str]) -> None:
        name, view, label = args[0], int(args[1]), args[2]
        valid_view = int(args[args.index("valid") + 1]) if "valid" in args else -1
        try:
            block = self.stage.get_block(label)
        except StopIteration:
            transaction = label.encode() if label.startswith("bad") else b"tx " + label.encode()
            framed = (self.stage.forge_evidence(args[args.index("framing") + 1]),) if "framing" in args else ()
            block = self.stage.blocks[label] = self.stage.forge_block(name, (transaction,), framed)
        vote = self.stage.forge_vote(name, PROPOSAL, view, block.hash, valid_view)
        for receiver in args[args.index("to") + 1 :]:
            self.stage.deliver(name, Proposal(vote, block), receiver)

    def _proposal(self, view: int, sender: str, receivers: list[str]) -> None:
        proposal = self.stage.actors[sender].find_proposal(view)
        assert proposal is not None, f"{sender} made no proposal in view {view}"
        for receiver in receivers:
            if receiver != sender:
                self.stage.deliver(sender, proposal, receiver)

    def _votes(self, kind: str, view: int, label: str, senders: list[str], receivers: list[str]) -> None:
        value = self.stage.get_value(label)
        votes = {s: self.stage.get_vote(s, KINDS.get(kind, PREVOTE), view, value) for s in senders}
        for receiver in receivers:
            if kind == "polka":
                bundle = Polka(tuple(sorted(votes.values(), key=lambda vote: vote.sender)))
                self.stage.deliver(senders[0], bundle, receiver)
                continue
            for sender, vote in votes.items():
                if sender != receiver:
                    self.stage.deliver(sender, vote, receiver)

    def _pass(self, names: list[str], scripted: list[str], goal: int) -> None:
        stage = self.stage
        for view in range(goal):
            behind = [name for name in names if stage.actors[name].replica.state.view == view]
            if not behind:
                continue
            for name in behind:
                stage.fire(name, Timer.PROPOSE, view)
            self._exchange(behind, scripted, PREVOTE, view, NIL)
            for name in behind:
                stage.fire(name, Timer.PREVOTE, view)
            self._exchange(behind, scripted, PRECOMMIT, view, NIL)
            for name in behind:
                stage.fire(name, Timer.PRECOMMIT, view)

    def _settle(self, names: list[str], scripted: list[str], view: int, label: str) -> None:
        value = self.stage.get_value(label)
        self._exchange(names, scripted, PREVOTE, view, value)
        self._exchange(names, scripted, PRECOMMIT, view, value)

    def _exchange(self, names: list[str], scripted: list[str], kind: int, view: int, value: bytes) -> None:
        """Bring every vote of one kind and view to all; scripted members vote `value`."""
        stage = self.stage
        votes = {name: stage.actors[name].find_vote(kind, view) for name in names}
        for receiver in names:
            for name in scripted:
                stage.deliver(name, stage.forge_vote(name, kind, view, value), receiver)
            for name, vote in votes.items():
                if name != receiver and vote is not None:
                    stage.deliver(name, vote, receiver)

    def _expect(self, name: str, what: str, args: list[str]) -> None:
        stage, actor = self.stage, self.stage.actors[name]
        state = actor.replica.state
        label = args[0] if args else "nil"
        view = int(args[-1]) if args and args[-1].isdigit() else 0
        kind = PRECOMMIT if "precommitted" in what else PREVOTE
        vote = actor.find_vote(kind, view)
        match what:
            case "locked":
                assert (state.locked_value, state.locked_view) == (stage.get_value(label), view), "another lock"
            case "unlocked":
                assert state.locked_view == View(-1), "it is locked"
            case "decided":
                assert [block.hash for block in actor.decided] == [stage.get_value(label)], "it decided otherwise"
            case "undecided":
                assert not actor.decided, "it has decided"
            case "view":
                assert state.view == view, f"it is in view {state.view}"
            case "prevoted" | "precommitted":
                assert vote is not None and vote.value == stage.get_value(label), "it voted otherwise"
            case "not-prevoted" | "not-precommitted":
                assert vote is None or vote.value != stage.get_value(label), "it did"
            case "refusing":
                assert actor.replica.refusal is not None, "it signs"
            case "silent":
                votes = [actor.find_vote(PREVOTE, view), actor.find_vote(PRECOMMIT, view)]
                assert votes == [None, None], "it voted"
            case _:
                raise ValueError(f"unknown expectation {what}")


