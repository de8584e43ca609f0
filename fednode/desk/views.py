"""What people and programs are shown of the ledger: blocks, transactions, studies and rounds as read models.

Hashes are whole here; whoever prints a table shortens them. Nothing in here is secret: it all stands on the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from fednode.chain.block import Block, Receipt
from fednode.chain.state import State
from fednode.chain.vote import Certificate, MemberSet
from fednode.core.taking_part import Names, count_text, member_names, missing_members, part_text
from fednode.desk.naming import named
from fednode.desk.read_models import (
    AbsenceView,
    BeginningView,
    BlockView,
    Measures,
    Numbers,
    PhaseView,
    ProposalView,
    ReportView,
    RoleView,
    RoundView,
    SpanView,
    StudyView,
    TransactionLine,
    TransactionView,
    VoidView,
    WithoutView,
)
from fednode.errors import FednodeError, Refused
from fednode.home.keystore import PublicKeys
from fednode.ids import MAX_TIME_MS, MemberId, StudyId, fault_bound, quorum
from fednode.json_form import to_json
from fednode.learn.metrics import METRICS
from fednode.ledger.bodies import Body
from fednode.ledger.members.bodies import Role
from fednode.ledger.members.reading import get_members, get_membership, get_roles
from fednode.ledger.members.records import Change, ProposalRecord, RoleRecord
from fednode.ledger.studies.bodies import Figure, Metrics, Outcome
from fednode.ledger.studies.records import (
    Beginning,
    RoundReport,
    StudyRecord,
    StudyStatus,
    get_report,
    get_round,
    get_spec,
    get_study,
)
from fednode.ledger.studies.round_life import pinned_members
from fednode.ledger.sums.records import OpenPhase, PhaseSpan, RoundKind, RoundRecord
from fednode.ledger.transactions import Transaction, decode_transaction
from fednode.sums.bounds import MAX_ROW_LOSS, min_included
from fednode.sums.phase import Phase


def utc_text(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC with milliseconds; one beyond the calendar as it is."""
    if not 0 <= time_ms <= MAX_TIME_MS:
        return f"{time_ms} ms"
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def choose_study(names: Mapping[StudyId, str], text: str, refusal: type[FednodeError]) -> StudyId:
    """Return the study of this name, or the only one whose name or id begins so; else raise `refusal`."""
    found = named(names, text)
    if not any(names[study] == text for study in found) and len(text) >= 4:
        found += [study for study in names if study not in found and study.hex().startswith(text.lower())]
    if len(found) != 1:
        problem = "no study is" if not found else f"{len(found)} studies are"
        raise refusal(f"{problem} called '{text}'; 'fednode study list' shows all with their ids")
    return found[0]


def block_view(
    block: Block, certificate: Certificate, receipts: Sequence[Receipt], members: MemberSet
) -> BlockView:
    """Return a block with its proof of finality and a line for each transaction."""
    transactions = [decode_transaction(data) for data in block.transactions]
    header = block.header
    return BlockView(
        height=header.height,
        version=header.version,
        hash=block.hash.hex(),
        time_ms=header.time_ms,
        time=utc_text(header.time_ms),
        proposer=header.proposer,
        view=certificate.view,
        signers=numbers(certificate.signers(members)),
        tx_count=header.tx_count,
        evidence=tuple(to_json(piece) for piece in block.evidence),
        parent_hash=header.parent_hash.hex(),
        tx_root=header.tx_root.hex(),
        receipts_root=header.receipts_root.hex(),
        state_root=header.state_root.hex(),
        members_hash=header.members_hash.hex(),
        next_members_hash=header.next_members_hash.hex(),
        params_hash=header.params_hash.hex(),
        transactions=tuple(
            TransactionLine(
                id=tx.txid.hex(), kind=kind_name(tx.body), sender=int(tx.sender), ok=receipt.ok, reason=receipt.reason
            )
            for tx, receipt in zip(transactions, receipts, strict=True)
        ),
    )


def kind_name(body: Body) -> str:
    """Return the kind of a transaction in words: `SumAck` is `sum-ack`."""
    name = type(body).__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def transaction_view(transaction: Transaction, height: int, receipt: Receipt) -> TransactionView:
    """Return a transaction with its place on the chain and its receipt."""
    body = to_json(transaction.body)
    assert isinstance(body, dict)
    return TransactionView(
        id=transaction.txid.hex(),
        kind=kind_name(transaction.body),
        sender=int(transaction.sender),
        nonce=transaction.nonce,
        valid_until=int(transaction.valid_until),
        size_bytes=len(transaction.data),
        height=int(height),
        ok=receipt.ok,
        reason=receipt.reason,
        body=body,
    )


# --- members and roles -----------------------------------------------------------------------------------------

def proposal_view(open_: ProposalRecord, members: list[MemberId], quorum: int) -> ProposalView:
    """Return an open proposal; the fingerprint is what people compare before they approve."""
    card = open_.card
    public = None if card is None else PublicKeys(card.sign_key, card.network_key)
    return ProposalView(
        proposal=open_.number,
        change=Change(open_.change).name.lower(),
        member=int(open_.member),
        name=card.name if card is not None else None,
        proposer=int(open_.proposer),
        height=open_.height,
        reason=open_.reason,
        approvals=numbers(vote for vote in open_.approvals if vote in members),
        needed=quorum,
        is_observing=open_.report is not None if card is not None else None,
        reported_height=open_.report.height if open_.report is not None else None,
        approved_height=open_.approved.height if open_.approved is not None else None,
        fingerprint=public.fingerprint if public is not None else None,
        sign_key=card.sign_key.hex() if card is not None else None,
        addresses=tuple(card.addresses) if card is not None else (),
    )


def proposals_view(state: State) -> tuple[ProposalView, ...]:
    """Return the open votes on members."""
    members = [record.member for record in get_members(state)]
    return tuple(proposal_view(open_, members, quorum(len(members))) for open_ in get_membership(state).proposals)


def roles_view(state: State) -> tuple[RoleView, ...]:
    """Return the roles and the votes on them."""
    members = [record.member for record in get_members(state)]
    return tuple(role_view(record, members) for record in get_roles(state))


def role_view(record: RoleRecord, members: list[MemberId]) -> RoleView:
    """Return a role and the votes for changing it."""
    return RoleView(
        role=Role(record.role).name.lower(), holder=record.holder.hex(), is_granted=record.is_granted,
        since_height=record.height, votes_to_change=numbers(vote for vote in record.votes if vote in members),
    )


# --- studies ---------------------------------------------------------------------------------------------------

def study_view(state: State, study: StudyId, name: str) -> StudyView:
    """Return where a study stands; raise `KeyError` if the ledger does not know it."""
    record = get_study(state, study)
    if record is None:
        raise KeyError(study)
    current = get_round(state, study)
    everybody = tuple(found.member for found in get_members(state))
    members = len(everybody)
    return StudyView(
        id=study.hex(),
        name=name,
        status=StudyStatus(record.status).name.lower(),
        reason=record.reason,
        creator=int(record.creator),
        approvals=numbers(record.approvals),
        rejects=numbers(record.rejects),
        resume_votes=numbers(record.resume_votes),
        stop_votes=numbers(record.stop_votes),
        quorum=quorum(members),
        fault_bound=fault_bound(members),
        ready=numbers(record.ready_members),
        rounds_done=record.rounds_done,
        rounds=record.terms.rounds,
        next_round=record.next_round,
        model_hash=record.model_hash.hex() if any(record.model_hash) else None,
        metrics=metrics_view(record.metrics, fault_bound(members)),
        pinned=None if record.pin is None else numbers(record.pin),
        faulty=numbers(record.faulty_members),
        readmit_votes=numbers(() if record.kept_out is None else record.kept_out.readmit_votes),
        stuck=why_stuck(record, everybody),
        round=round_view(current) if current is not None else None,
        waiting_for=waiting_for(record, current, everybody),
        hospitals=numbers(record.hospitals),
        not_ready=numbers(missing_members(record, current, everybody)),
        taking_part=part_text(record, current, state),
        beginning=beginning_view(record.beginning),
    )


def waiting_for(record: StudyRecord, current: RoundRecord | None, members: tuple[int, ...]) -> Numbers | None:
    """Return the members whose message would let the study go on, or None if it waits for nobody."""
    phase = current.phase if current is not None else record.join
    if phase is not None and current is not None:
        return numbers(member for member in phase.expected if member not in phase.posted)
    if record.status == StudyStatus.WAITING and record.beginning is not None:
        left = [m for m in record.hospitals if m not in record.ready_members]
        return numbers(m for m in left if not record.beginning.is_left_out(m, len(members)))
    if record.status == StudyStatus.WAITING:
        return numbers(m for m in members if m not in record.ready_members and m not in record.faulty_members)
    return None


def why_stuck(record: StudyRecord, members: tuple[int, ...]) -> str | None:
    """Return why no vote to resume can help a study, and what does; None if it can go on.

    A set that was unmasked may only be summed again as it is, less who is kept out as faulty, and a number that was
    voted out never comes back.
    """
    pinned = pinned_members(record)
    if record.pin is None or pinned is None:
        return None
    gone, needed = [str(int(member)) for member in record.pin if member not in members], min_included(len(members))
    if not gone and len(pinned) >= needed:
        return None
    if not gone and len(record.pin) >= needed:
        out = ", ".join(str(int(member)) for member in record.faulty_members[:20])
        return (
            f"the last round may only be repeated over the members {', '.join(map(str, record.pin[:20]))}, and without "
            f"those kept out as faulty ({out}) fewer are left than the {needed} a sum needs; let them in again with "
            "'fednode study readmit' and then resume, or end the study with 'fednode study stop' and propose it anew"
        )
    why = f"of which voted out: {', '.join(gone[:20])}" if gone else f"fewer than the {needed} a sum needs"
    return (
        f"the last round may only be repeated over the members {', '.join(map(str, record.pin[:20]))}, {why}; this "
        "study cannot go on: end it with 'fednode study stop' and propose it anew with 'fednode study create'"
    )


def numbers(members: Iterable[int]) -> Numbers:
    """Return numbers of members as plain ones."""
    return tuple(int(member) for member in members)


def beginning_view(beginning: Beginning | None) -> BeginningView | None:
    """Return since when a study waits for its hospitals, and the votes to begin without one."""
    if beginning is None:
        return None
    without = tuple(WithoutView(member=int(v.member), voters=numbers(v.voters)) for v in beginning.without)
    return BeginningView(since_height=beginning.since_height, since_ms=beginning.since_ms, without=without)


def metrics_view(metrics: Metrics | None, liars: int) -> Measures | None:
    """Return measures as the ratios people read, computed from the ledger's integers: means over hospitals, one voice
    each, and `..._within`: how far `liars`, all members that may lie, can have moved each."""
    if metrics is None:
        return None
    return {
        "hospitals": metrics.voices,
        "accuracy": metrics.accuracy_permyriad / 1e4,
        "accuracy_within": round(min(1.0, liars / metrics.voices), 4),
        "loss": metrics.loss_ppm / 1e6,
        "loss_within": round(MAX_ROW_LOSS * min(1.0, liars / max(metrics.loss_voices, 1)), 4),
        **{key: value for figure in metrics.figures for key, value in _figure_view(figure, liars).items()},
    }


def _figure_view(figure: Figure, liars: int) -> dict[str, float | None]:
    known = METRICS.get(figure.name)  # another version may know one that this does not
    within = None if known is None else known.span_ppm(figure.voices, liars) / 1e6
    return {figure.name: figure.ppm / 1e6, f"{figure.name}_within": within}


def phase_view(phase: OpenPhase) -> PhaseView:
    """Return an open phase."""
    return PhaseView(
        name=Phase(phase.kind).name.lower(),
        step=phase.step,
        number=phase.number,
        opened_height=phase.opened_height,
        opened_ms=phase.opened_ms,
        timeout_ms=phase.timeout_ms,
        expected=numbers(phase.expected),
        posted=numbers(phase.posted),
        expire_votes=numbers(phase.expire_votes),
    )


def round_view(current: RoundRecord) -> RoundView:
    """Return the running round."""
    return RoundView(
        number=current.number,
        kind=RoundKind(current.kind).name.lower(),
        attempt=current.attempt.number,
        phase=phase_view(current.phase),
        expected=numbers(current.expected),
        included=numbers(current.attempt.included),
        absent=tuple(absence_view(a.member, a.phase, a.attempt) for a in current.absent),
        barred=numbers(current.barred),
        faulty=numbers(current.faulty),
        is_unmasked=current.is_unmasked,
        coin=hex_or_none(current.attempt.coin),
        opened_height=current.opened_height,
        opened_ms=current.opened_ms,
        start_model=current.start_model.hex() if any(current.start_model) else None,
    )


def absence_view(member: int, phase: int, attempt: int) -> AbsenceView:
    """Return an absence: who, in which phase of which attempt."""
    return AbsenceView(member=int(member), phase=Phase(phase).name.lower(), attempt=attempt)


def hex_or_none(data: bytes | None) -> str | None:
    """Return bytes as a hexadecimal text."""
    return None if data is None else data.hex()


def span_view(span: PhaseSpan) -> SpanView:
    """Return when a phase was open."""
    return SpanView(
        attempt=span.attempt,
        phase=Phase(span.phase).name.lower(),
        step=span.step,
        opened_height=span.opened_height,
        closed_height=span.closed_height,
        opened_ms=span.opened_ms,
        closed_ms=span.closed_ms,
        seconds=round((span.closed_ms - span.opened_ms) / 1000, 3),
        expired=span.is_expired,
    )


def report_view(report: RoundReport, names: Names = MappingProxyType({})) -> ReportView:
    """Return the report of a closed round; `names` of members, as far as they are known."""
    return ReportView(
        study=report.study.hex(),
        number=report.number,
        kind=RoundKind(report.kind).name.lower(),
        outcome=Outcome(report.outcome).name.lower(),
        reason=report.reason,
        expected=numbers(report.expected),
        counted=numbers(report.counted),
        not_ready=numbers(report.not_ready),
        taking_part=count_text(len(report.expected), report.not_ready, names),
        absent=tuple(absence_view(a.member, a.phase, a.attempt) for a in report.absent),
        barred=numbers(report.barred),
        faulty=numbers(report.faulty),
        attempts=report.attempts,
        voids=tuple(
            VoidView(
                attempt=void.attempt, phase=Phase(void.phase).name.lower(), reason=void.reason,
                dropped=numbers(void.dropped),
            )
            for void in report.voids
        ),
        phases=tuple(span_view(span) for span in report.phases),
        start_model=report.start_model.hex() if any(report.start_model) else None,
        model_hash=report.model_hash.hex() if any(report.model_hash) else None,
        sum_digest=report.sum_digest.hex(),
        coin=hex_or_none(report.coin),
        weight=report.weight,
        metrics=metrics_view(report.metrics, report.fault_bound),
        opened_height=report.opened_height,
        closed_height=report.closed_height,
        opened_ms=report.opened_ms,
        closed_ms=report.closed_ms,
        seconds=round((report.closed_ms - report.opened_ms) / 1000, 3),
    )


def reports_of(state: State, study: StudyId) -> list[RoundReport]:
    """Return the reports of all closed rounds of a study, in order."""
    record = get_study(state, study)
    if record is None:
        return []
    found = (get_report(state, study, number) for number in range(record.next_round))
    return [report for report in found if report is not None]


def spec_bytes(state: State, study: StudyId) -> bytes:
    """Return the specification of a study the ledger knows."""
    spec = get_spec(state, study)
    if spec is None:
        raise KeyError(study)
    return spec


def round_report(state: State, study: StudyId, wanted: int | None) -> ReportView:
    """Return the report of a closed round, the last one if none is wanted; raise `Refused` if there is none."""
    found = [report for report in reports_of(state, study) if wanted is None or report.number == wanted]
    if not found:
        number = "no round" if wanted is None else f"round {wanted} has not"
        raise Refused(f"{number} closed yet; 'fednode round list' shows those that have")
    return report_view(found[-1], member_names(state))
