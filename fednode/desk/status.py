"""What one running node knows, as read models: its own side of `status`, chain, studies, rounds and models."""

from __future__ import annotations

import gc
import os
import resource
import time
from dataclasses import dataclass

from fednode import __version__
from fednode.chain.state import State
from fednode.core.taking_part import member_names, own_part, who_to_ask
from fednode.desk import chain_query
from fednode.desk.health import health_problems, signing_members, why_not_signing
from fednode.desk.models import models_view
from fednode.desk.read_models import (
    ChainView,
    MemberView,
    MemoryView,
    ModelView,
    OwnView,
    PoolView,
    ReportView,
    ShownStudy,
    StatusView,
    StudySummary,
    TableView,
)
from fednode.desk.record import extended
from fednode.desk.study_page import page_of
from fednode.desk.todo import backup_wanted, todo_of
from fednode.desk.views import choose_study, numbers, report_view, reports_of, study_view
from fednode.errors import Refused, UsageError
from fednode.home.config import HospitalConfig
from fednode.ids import PROTOCOL_VERSION, Hash, MemberId, StudyId
from fednode.ledger.genesis import Genesis
from fednode.ledger.members.reading import get_followers, get_members
from fednode.ledger.studies.records import get_studies
from fednode.node.reactor import Reactor, now_ms
from fednode.node.tables import Watched


@dataclass(frozen=True, slots=True)
class Node:
    """A running daemon, for those who ask about it."""

    name: str
    genesis: Genesis
    reactor: Reactor
    config: HospitalConfig
    started: float
    pid: int

    @property
    def state(self) -> State:
        """The state after the tip."""
        return self.reactor.core.chain.state

    @property
    def me(self) -> MemberId:
        """This hospital's number."""
        return self.reactor.core.identity.member


def status_view(node: Node) -> StatusView:
    """Return everything at a glance."""
    core = node.reactor.core
    card = next((record for record in get_followers(node.state) if record.member == node.me), None)
    return StatusView(
        version=__version__,
        protocol_version=PROTOCOL_VERSION,
        pid=node.pid,
        uptime_s=round(time.monotonic() - node.started, 1),
        rss_mb=round(_rss_bytes() / 2**20, 1),
        cpu_s=round(time.process_time(), 3),
        worker_pid=node.reactor.parts.trainer.pid,
        worker_pid_beside=node.reactor.parts.trainer.pid_beside,
        member=OwnView(
            id=int(node.me) or None, name=card.name if card is not None else node.config.node.name,
            peer_id=str(node.reactor.parts.own_peer), is_member=is_member(node),
        ),
        chain=chain_view(node),
        members=members_view(node),
        connected=len(core.up),
        studies=tuple(study_summary(node, study) for study in get_studies(node.state)),
        pool=PoolView(
            transactions=len(core.chain.pool), bytes=core.chain.pool.size_bytes, own=len(core.traffic.outbox)
        ),
        problems=tuple(problems_of(node)),
        todo=(
            *todo_of(node.state, node.me, lambda study: study_name(node, study)),
            *backup_wanted(node.config.home.var, core.identity.signer.public_key),
        ),
        network=dict(node.reactor.network.counters()) if node.reactor.network is not None else {},
    )


def problems_of(node: Node) -> list[str]:
    """Return what somebody has to look at, the most urgent first."""
    warning = chain_query.version_warning(node.state)
    names = {record.member: record.name for record in get_members(node.state)}
    health = health_problems(node.reactor.core, lambda member: names.get(member, "?"), now_ms())
    tables = [
        text for study, machine in node.reactor.core.studies.running() if machine.needs_worker
        for text in node.reactor.parts.trainer.problems(study, study_name(node, study))
    ]
    studies = [
        f"study '{study_name(node, study) or study.hex()[:12]}': {problem}"
        for study in get_studies(node.state)
        if (problem := node.reactor.core.studies.problem_of(study)) is not None
    ]
    found = [
        *health, *([] if warning is None else [warning]), *studies, *taking_part_problems(node), *tables,
        *node.reactor.problems.texts(),
    ]
    refusal = node.reactor.core.replica.refusal
    return [*found, *([refusal] if refusal is not None and not any(refusal in str(text) for text in found) else [])]


def taking_part_problems(node: Node) -> list[str]:
    """Return what people should know of studies: which wait for this hospital, or for others for long, or miss it."""
    found: list[str] = []
    studies = node.reactor.core.studies
    for study in get_studies(node.state):
        name = study_name(node, study)
        own = own_part(node.state, study, node.me, studies.missed, studies.why_not_ready(study))
        asked = who_to_ask(node.state, study, name, now_ms())
        found += [f"study '{name}': {own}"] if own is not None else []
        found += [asked] if asked is not None else []
    return found


def _rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def memory_view() -> MemoryView:
    """Return this process's memory and processor time, after a collection."""
    gc.collect()
    return MemoryView(rss_mb=round(_rss_bytes() / 2**20, 2), cpu_s=round(time.process_time(), 4), pid=os.getpid())


def is_member(node: Node) -> bool:
    """Whether this hospital votes at the next height."""
    return node.me in node.reactor.core.replica.tip.members.positions


def chain_view(node: Node) -> ChainView:
    """Return where the chain ends and what that takes."""
    core = node.reactor.core
    members = core.replica.tip.members.positions
    reachable = sum(member in members for member in (*core.up, node.me))
    signing, reason = signing_members(core, now_ms()), why_not_signing(core, now_ms())
    return extended(
        ChainView, chain_query.describe_chain(core.replica.tip, node.state, node.genesis, "daemon"),
        reachable=reachable,
        signing=numbers(signing),
        has_quorum=len(signing) >= core.replica.tip.members.quorum,
        is_signing=reason is None,
        not_signing_reason=reason,
        view=int(core.replica.state.view),
        leader=int(core.replica.tip.proposer(core.replica.state.view)),
        catching_up_to=core.catch_up.target,
    )


def members_view(node: Node) -> tuple[MemberView, ...]:
    """Return all hospitals and whether they can be reached from here."""
    core, reactor = node.reactor.core, node.reactor
    signing, twins = signing_members(core, now_ms()), core.attendance.twins(now_ms())
    return tuple(
        extended(
            MemberView, known,
            is_me=number == node.me,
            is_connected=number in core.up or number == node.me,
            is_signing=number in signing,
            is_twice=number in twins or (number == node.me and core.attendance.is_twin(now_ms())),
            address=reactor.addresses.get(number),
            refused=reactor.refused.get(number),
            dropped_messages=reactor.dropped[number],
        )
        for known in chain_query.stored_members(node.state) if (number := MemberId(known.id))
    )


# --- studies, rounds, models -----------------------------------------------------------------------------------

def find_study(node: Node, text: str | None) -> StudyId:
    """Return the study a person named: by id, the beginning of its id, or its name; without a name the only one."""
    studies = get_studies(node.state)
    if text is None:
        if len(studies) == 1:
            return studies[0]
        raise UsageError(f"there are {len(studies)} studies; name one, 'fednode study list' shows them")
    return choose_study({study: study_name(node, study) for study in studies}, text, Refused)


def study_name(node: Node, study: StudyId) -> str:
    """Return a study's name, or an empty text if this program cannot read it."""
    spec = node.reactor.core.studies.spec_of(study)
    return "" if spec is None else spec.name


NAMED_FAULTY = (
    "this hospital was named faulty in this study and is kept out of its rounds: find out why ('fednode round list'), "
    "and ask the others to vote 'fednode study readmit'"
)


def study_summary(node: Node, study: StudyId) -> StudySummary:
    """Return where a study stands, seen from this hospital."""
    studies = node.reactor.core.studies
    view = study_view(node.state, study, study_name(node, study))
    machine, table = studies.get(study), node.reactor.parts.trainer.of(study)
    models = node.reactor.parts.models
    return extended(
        StudySummary, view,
        table=None if table is None else table_view(table),
        has_data=machine is not None and machine.data is not None,
        problem=NAMED_FAULTY if node.me in view.faulty else studies.problem_of(study),
        took_no_part_in=tuple(studies.missed.of(node.state, study)),
        own_part=own_part(node.state, study, node.me, studies.missed, studies.why_not_ready(study)),
        has_model=view.model_hash is not None and models.has(Hash(bytes.fromhex(view.model_hash))),
    )


def table_view(found: Watched) -> TableView:
    """Return what the training process found in a table."""
    return TableView(
        rows=found.seen.rows, class_rows=dict(zip(found.classes, found.seen.class_rows, strict=False)),
        used_by=found.when, warnings=tuple(found.seen.warnings), changes=tuple(found.changes),
    )


def shown_study(node: Node, study: StudyId) -> ShownStudy:
    """Return a study with its terms and its file."""
    return page_of(node.state, study, study_summary(node, study), node.me)


def shown_rounds(node: Node, study: StudyId) -> tuple[ReportView, ...]:
    """Return the reports of all closed rounds of a study."""
    names = member_names(node.state)
    return tuple(report_view(report, names) for report in reports_of(node.state, study))


def shown_models(node: Node) -> tuple[ModelView, ...]:
    """Return every model the ledger names, and whether it is here."""
    return models_view(node.state, node.reactor.parts.models, lambda study: study_name(node, study))
