"""How one round and one transaction walk through the package, file by file, traced in a federation without faults.

    python -m tests.sim.whole.walk
"""

from __future__ import annotations

import sys
from dataclasses import replace

from fednode.ids import StudyId
from fednode.ledger.studies.bodies import StudyAction, StudyVote
from fednode.ledger.studies.records import StudyStatus, get_report, get_study
from fednode.rounds.terms import proposal_id, study_proposal
from tests.sim.whole.node import WholeNode
from tests.sim.whole.parts import tiny_study
from tests.sim.whole.trouble import Trouble
from tests.sim.whole.world import Plan, World
from tests.support.trace import FileTrace

ROUND = 1
"""The first round of training."""


class TracedRound(Trouble):
    """Traces all nodes from the block that ends the round before until the one after the block that ends the round."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.trace = FileTrace()
        self._ended: int | None = None
        self._has_begun = False

    def on_height(self, height: int) -> None:
        """Begin or end by what the longest chain says."""
        state = self.latest()
        if state is None:
            return
        if not self._has_begun and get_report(state, self.world.studies[0], ROUND - 1) is not None:
            self._has_begun = True
            self.trace.start()
        if self._ended is None and get_report(state, self.world.studies[0], ROUND) is not None:
            self._ended = height
        if self._ended is not None and height == self._ended + 1:
            self.trace.stop()

    def is_over(self) -> bool:
        return self._has_begun


class TracedVote(Trouble):
    """Once the study is finished another one is proposed; then one hospital approves it, and that is traced.

    Not before the timers of the finished study have run out: theirs is another way.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.trace = FileTrace()
        self.proposal = study_proposal(replace(tiny_study(), name="another"))
        self.study = StudyId(proposal_id(self.proposal))
        self._quiet_at_ms = 0
        self._is_proposed = self._is_submitted = self._is_over = False

    def approves(self, node: WholeNode, study: StudyId) -> bool:
        return study != self.study

    def look(self) -> None:
        state = self.latest()
        assert state is not None
        finished, proposed = get_study(state, self.world.studies[0]), get_study(state, self.study)
        node = next(iter(self.world.nodes.values()))
        if proposed is None:
            if finished is not None and finished.status == StudyStatus.FINISHED and not self._is_proposed:
                self._is_proposed = True
                self._quiet_at_ms = self.world.now_ms + 2 * finished.terms.train_timeout_ms
                node.submit(self.proposal)
        elif not self._is_submitted and self.world.now_ms > self._quiet_at_ms:
            self._is_submitted = True
            self.trace.start()
            node.submit(StudyVote(self.study, StudyAction.APPROVE))
        elif self._is_submitted and proposed.approvals:
            self.trace.stop()
            self._is_over = True

    def is_over(self) -> bool:
        return self._is_over


WALKS: dict[str, type[TracedRound] | type[TracedVote]] = {"round": TracedRound, "transaction": TracedVote}


def walk_of(name: str) -> dict[str, list[str]]:
    """Return the files that one round or one transaction passes through, and the functions that ran in each."""
    world = World(Plan(0, faults=0))
    traced = WALKS[name](world)
    world.trouble = traced
    try:
        world.run()
    finally:
        traced.trace.stop()
    return traced.trace.functions()


if __name__ == "__main__":
    for walk in WALKS:
        files = walk_of(walk)
        sys.stdout.write(f"one {walk}: {len(files)} files\n")
        for file, functions in files.items():
            sys.stdout.write(f"  {file}: {', '.join(functions[:4])}{' ...' if len(functions) > 4 else ''}\n")
