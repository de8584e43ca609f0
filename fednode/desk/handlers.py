"""What may be asked of a running daemon, by name and role."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from fednode.desk import chain_query, status
from fednode.desk import questions as ask
from fednode.desk.audit_calls import AuditCalls
from fednode.desk.calls import (
    AUDITORS,
    CLINICIANS,
    EVERYBODY,
    HOSPITAL,
    STAFF,
    Arguments,
    Emit,
    Handlers,
    Offer,
    build,
    once,
)
from fednode.desk.control_client import FINAL_TIMEOUT_S
from fednode.desk.member_calls import find_member, member_offers
from fednode.desk.models import choose_model, hash_of
from fednode.desk.outcomes import (
    Final,
    MemoDone,
    ModelExported,
    StatisticsAllowed,
    Stopping,
    StudyBegun,
    StudyCreated,
    StudyVoted,
)
from fednode.desk.read_models import (
    BlockView,
    ChainView,
    MemoryView,
    ModelShown,
    ModelView,
    ReportView,
    ShownStudy,
    StatusView,
    StudySummary,
    TransactionView,
    WholeBlock,
)
from fednode.desk.record import extended
from fednode.desk.status import Node
from fednode.desk.views import round_report
from fednode.errors import DataError, Refused, Unavailable, UsageError
from fednode.ids import StudyId
from fednode.learn.form import parse_study
from fednode.ledger.bodies import Body, Memo
from fednode.ledger.refusals import describe_refusal
from fednode.ledger.studies.bodies import StudyAction, StudyBegin, StudyPause, StudyVote
from fednode.ledger.studies.records import get_studies
from fednode.rounds.terms import proposal_id, study_proposal

COUNTED = {
    StudyAction.APPROVE: "approvals", StudyAction.REJECT: "rejects", StudyAction.RESUME: "resume_votes",
    StudyAction.STOP: "stop_votes", StudyAction.READMIT: "readmit_votes",
}
"""Which votes of a study an action adds to."""

ACTIONS = {action.name.lower(): action for action in StudyAction}


def make_handlers(node: Node, stop: Callable[[], None]) -> Handlers:
    """Return everything that can be asked of `node`, and who may; `stop` ends the daemon."""
    calls = _Calls(node, stop)
    return Handlers({
        ask.STATUS.name: once(calls.status, EVERYBODY),
        ask.FOLLOW.name: Offer(calls.follow, EVERYBODY),
        ask.MEMORY.name: once(calls.memory, STAFF),
        ask.STOP.name: once(calls.stop, STAFF, acts=True),
        ask.CHAIN_STATUS.name: once(calls.chain_status, EVERYBODY),
        ask.CHAIN_SHOW.name: once(calls.chain_show, AUDITORS),
        ask.CHAIN_BLOCKS.name: once(calls.chain_blocks, AUDITORS),
        ask.CHAIN_TX.name: once(calls.chain_tx, AUDITORS),
        **AuditCalls(node).offers(),
        ask.SUBMIT_MEMO.name: once(calls.submit_memo, HOSPITAL, acts=True),
        ask.SUBMIT_MEMOS.name: once(calls.submit_memos, HOSPITAL, acts=True),
        **member_offers(node, calls.final),
        ask.STUDY_LIST.name: once(calls.study_list, EVERYBODY),
        ask.STUDY_SHOW.name: once(calls.study_show, EVERYBODY),
        ask.STUDY_CREATE.name: once(calls.study_create, HOSPITAL, acts=True),
        ask.STUDY_VOTE.name: once(calls.study_vote, HOSPITAL, acts=True),
        ask.STUDY_PAUSE.name: once(calls.study_pause, HOSPITAL, acts=True),
        ask.STUDY_BEGIN.name: once(calls.study_begin, HOSPITAL, acts=True),
        ask.STUDY_ALLOW_STATISTICS.name: once(calls.study_allow_statistics, HOSPITAL, acts=True),
        ask.ROUND_LIST.name: once(calls.round_list, EVERYBODY),
        ask.ROUND_SHOW.name: once(calls.round_show, EVERYBODY),
        ask.MODEL_LIST.name: once(calls.model_list, CLINICIANS),
        ask.MODEL_SHOW.name: once(calls.model_show, CLINICIANS),
        ask.MODEL_EXPORT.name: once(calls.model_export, STAFF, acts=True),
    })


class _Calls:
    """One method per name; arguments are checked in `Arguments`, answers are read models."""

    def __init__(self, node: Node, stop: Callable[[], None]) -> None:
        self._node = node
        self._stop = stop

    # --- the daemon ---------------------------------------------------------------------------------------------

    async def status(self, args: Arguments) -> StatusView:
        return status.status_view(self._node)

    async def memory(self, args: Arguments) -> MemoryView:
        return status.memory_view()

    async def stop(self, args: Arguments) -> Stopping:
        self._stop()
        return Stopping(pid=self._node.pid)

    async def follow(self, args: Arguments, emit: Emit) -> None:
        """Say the status now and after every block, until the caller hangs up."""
        while True:
            await emit(status.status_view(self._node))
            await self._node.reactor.wait_block()

    # --- chain --------------------------------------------------------------------------------------------------

    async def chain_status(self, args: Arguments) -> ChainView:
        return status.chain_view(self._node)

    async def chain_show(self, args: Arguments) -> tuple[BlockView, ...]:
        return chain_query.chain_show(self._node.reactor.parts.store, args.text("at", "latest"))

    async def chain_blocks(self, args: Arguments) -> list[WholeBlock]:
        return chain_query.chain_blocks(self._node.reactor.parts.store, args.number("first", 1))

    async def chain_tx(self, args: Arguments) -> TransactionView:
        return chain_query.chain_transaction(self._node.reactor.parts.store, args.text("id"))

    async def submit_memo(self, args: Arguments) -> MemoDone:
        """Put a line for auditors on the ledger; `ms` is the time from here to its block being stored."""
        start = time.perf_counter()
        done = await self.final(build(Memo, args.text("text")))
        return extended(MemoDone, done, ms=round(1000 * (time.perf_counter() - start), 3))

    async def submit_memos(self, args: Arguments) -> list[Final]:
        """Put several lines on the ledger, each a transaction of its own; answer when all of them are final."""
        memos = [build(Memo, text) for text in args.texts("texts")]
        if len(set(memos)) != len(memos):
            raise UsageError("a line stands there twice; leave one out")
        return await self._all_final(memos)

    # --- studies ------------------------------------------------------------------------------------------------

    async def final(self, body: Body) -> Final:
        """Bring a body onto the ledger and tell where it stands."""
        return (await self._all_final([body]))[0]

    async def _all_final(self, bodies: Sequence[Body]) -> list[Final]:
        with trio.move_on_after(FINAL_TIMEOUT_S):
            done = await self._node.reactor.submit_all(bodies)
            refused = next((final.receipt.reason for final in done if not final.receipt.ok), None)
            if refused is not None:
                raise Refused(f"the ledger refused this: {describe_refusal(refused)}")
            return [Final(id=final.transaction.txid.hex(), height=final.height) for final in done]
        raise Unavailable(
            f"no block carried the request within {FINAL_TIMEOUT_S:g} s; it stays on its way: check with "
            "'fednode status' that enough members can be reached"
        )

    async def study_list(self, args: Arguments) -> list[StudySummary]:
        node = self._node
        return [status.study_summary(node, study) for study in get_studies(node.state)]

    async def study_show(self, args: Arguments) -> ShownStudy:
        return status.shown_study(self._node, self._study(args))

    async def study_create(self, args: Arguments) -> StudyCreated:
        proposal = study_proposal(parse_study(args.text("toml"), "the study file"))
        done = await self.final(proposal)
        return extended(StudyCreated, done, study=proposal_id(proposal).hex())

    async def study_vote(self, args: Arguments) -> StudyVoted:
        action = ACTIONS.get(args.text("action"))
        if action is None:
            raise UsageError(f"a vote is one of {', '.join(ACTIONS)}")
        study = self._study(args)
        stuck = status.study_summary(self._node, study).stuck
        if action is StudyAction.RESUME and stuck is not None:
            raise Refused(stuck)
        done = await self.final(StudyVote(study, action))
        now = status.study_summary(self._node, study)
        needed = now.quorum
        if action is StudyAction.REJECT:
            needed = now.fault_bound + 1  # so many put a quorum out of reach
        return self._voted(done, study, len(getattr(now, COUNTED[action])), needed)

    async def study_pause(self, args: Arguments) -> StudyVoted:
        study = self._study(args)
        done = await self.final(build(StudyPause, study, args.text("reason", "")))
        return self._voted(done, study, 1, 1)

    async def study_allow_statistics(self, args: Arguments) -> StatisticsAllowed:
        """Let this hospital's data set enter a study's statistics although it entered another's."""
        study = self._study(args)
        reactor = self._node.reactor
        reactor.core.studies.allow_statistics(study)
        machine = reactor.core.studies.get(study)
        if machine is not None:
            reactor.look_at_table(study, machine.data)  # it says that it is ready at once
        return StatisticsAllowed(study=study.hex(), allowed=True)

    async def study_begin(self, args: Arguments) -> StudyBegun:
        """Vote that a study begins without the hospitals that are named; all votes are cast, or none."""
        study = self._study(args)
        votes = [build(StudyBegin, study, find_member(self._node, text)) for text in args.texts("without")]
        (*_, done) = await self._all_final(votes)
        summary = status.study_summary(self._node, study)
        open_votes = () if summary.beginning is None else summary.beginning.without
        least = min((len(vote.voters) for vote in open_votes), default=0)
        voted = self._voted(done, study, least, summary.quorum)
        return extended(
            StudyBegun, voted, taking_part=summary.taking_part, beginning=summary.beginning
        )

    def _voted(self, done: Final, study: StudyId, votes: int, needed: int) -> StudyVoted:
        """Tell what a vote led to. Votes that have carried are cleared from the ledger: then they were enough."""
        now = status.study_summary(self._node, study).status
        return extended(StudyVoted, done, study=study.hex(), status=now, votes=votes or needed, needed=needed)

    def _study(self, args: Arguments) -> StudyId:
        return status.find_study(self._node, args.optional_text("study"))

    # --- rounds and models --------------------------------------------------------------------------------------

    async def round_list(self, args: Arguments) -> tuple[ReportView, ...]:
        return status.shown_rounds(self._node, self._study(args))

    async def round_show(self, args: Arguments) -> ReportView:
        return round_report(self._node.state, self._study(args), args.optional_number("round"))

    async def model_list(self, args: Arguments) -> tuple[ModelView, ...]:
        return status.shown_models(self._node)

    async def model_show(self, args: Arguments) -> ModelShown:
        found = self._model(args)
        return extended(ModelShown, found, path=str(self._node.reactor.parts.models.path(hash_of(found))))

    async def model_export(self, args: Arguments) -> ModelExported:
        wanted, models = hash_of(self._model(args)), self._node.reactor.parts.models
        if await trio.to_thread.run_sync(models.load, wanted) is None:
            raise DataError(f"model {wanted.hex()[:16]} is not here yet; it is fetched from the members, try again")
        path = Path(args.text("path"))
        size_bytes = await trio.to_thread.run_sync(models.export, wanted, path)
        return ModelExported(hash=wanted.hex(), path=str(path), bytes=size_bytes)

    def _model(self, args: Arguments) -> ModelView:
        """Return the model a person named; without a name, the newest."""
        return choose_model(status.shown_models(self._node), args.text("hash", "latest"))
