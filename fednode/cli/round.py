"""`fednode round`: what each round did, from the reports on the ledger."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fednode.cli.ask import ask_for
from fednode.cli.names import complete_studies
from fednode.cli.show import Node, members, print_json, print_table, print_tree, ratio, seconds, short, utc
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.cli.stored import ask_or_read, read_stored
from fednode.desk import questions
from fednode.desk.control_client import NotRunning
from fednode.desk.read_models import AbsenceView, Measures, ReportView, SpanView


@group("round")
def round_group() -> None:
    """What each round did, as the ledger has it."""


@round_group.command("list", example="fednode round list\nfednode round list heart --format json")
@click.argument("study", required=False, shell_complete=complete_studies)
@format_option
@site_options
@pass_site
def list_rounds(site: Site, study: str | None, as_json: bool) -> None:
    """Show a line for each round.

    Show a line for each round: outcome, who counted, who was absent, time, metrics, model.
    """
    try:
        reports = ask_for(site, questions.ROUND_LIST, study=study)
        found = ask_for(site, questions.STUDY_SHOW, study=study)
    except NotRunning as error:
        reports, found = read_stored(site, lambda node: (node.round_list(study), node.study_show(study)), error)
    if as_json:
        print_json(reports)
        return
    current = found.round
    rows = [_row(report) for report in reports]
    if current is not None:
        doing, part = f"running: {current.phase.name}", f"- of {_missed(found.taking_part)}"
        rows.append((str(current.number), current.kind, doing, part, _absent(current.absent), "-", "-", "-"))
    if rows:
        print_table(["round", "kind", "outcome", "counted", "absent", "time", "accuracy", "model"], rows)
    else:
        told = f"; ready: {found.taking_part}" if found.taking_part else ""
        click.echo(f"no round has opened yet{told}")


def _row(report: ReportView) -> tuple[str, ...]:
    text = "ok" if report.outcome == "ok" else f"FAILED: {report.reason}"
    counted = f"{len(report.counted)} of {_missed(report.taking_part)}"
    accuracy = ratio((report.metrics or {}).get("accuracy"))
    return (
        str(report.number), report.kind, text, counted, _absent(report.absent), seconds(report.seconds), accuracy,
        short(report.model_hash),
    )


def _missed(taking_part: str | None) -> str:
    """Return how many hospitals the study has, and who was not ready: "4, not ready: Dora"."""
    return (taking_part or "").partition(" of ")[2]


def _absent(absent: Sequence[AbsenceView]) -> str:
    return ", ".join(f"{a.member} ({a.phase})" for a in absent) or "-"


@round_group.command("show", example="fednode round show 3\nfednode round show 3 --study heart --format json")
@click.argument("number", required=False, type=int)
@click.option("--study", metavar="STUDY", shell_complete=complete_studies,
              help="Name or id; not needed while there is one study.")
@format_option
@site_options
@pass_site
def show(site: Site, number: int | None, study: str | None, as_json: bool) -> None:
    """Show a round's report as a tree.

    Show a round's report as a tree: who counted, who did not and why, each phase's time. Default: the last."""
    report = ask_or_read(
        site, questions.ROUND_SHOW, lambda node: node.round_show(study, number), study=study, round=number
    )
    if as_json:
        print_json(report)
    else:
        print_tree(*report_tree(report))


def report_tree(report: ReportView) -> tuple[str, list[Node]]:
    """Return title and branches of a round report."""
    is_ok = report.outcome == "ok"
    outcome = click.style("ok", fg="green") if is_ok else click.style("FAILED", fg="red", bold=True)
    title = f"round {report.number} ({report.kind}) of study {short(report.study)}: {outcome}"
    blocks = f"blocks {report.opened_height} to {report.closed_height}"
    children: list[Node] = []
    if not is_ok:
        children.append((f"reason: {report.reason}; the model stays as it was", ()))
    children.append((f"{utc(report.opened_ms)}, {seconds(report.seconds)}, {blocks}", ()))
    children.append((_who(report), [(text, ()) for text in _missing(report)]))
    children += [_attempt(report, attempt) for attempt in range(report.attempts)]
    if report.metrics is not None:
        children.append(_measured(report.kind, report.metrics))
    coin = f", coin {short(report.coin)}" if report.coin else ""
    children.append((f"model {short(report.model_hash)}, sum {short(report.sum_digest)}{coin}", ()))
    return title, children


def _measured(kind: str, metrics: Measures) -> Node:
    measured = "the model the round started from" if kind == "training" else "the model"
    names = [name.removesuffix("_within") for name in metrics if name.endswith("_within")]
    named = [f"{name} {ratio(metrics[name])} (+- {ratio(metrics[f'{name}_within'])})" for name in names]
    hospitals = f"mean of {metrics['hospitals']} hospitals, and how far those that may lie can have moved it"
    return f"{measured}: {', '.join(named)}", ((hospitals, ()),)


def _who(report: ReportView) -> str:
    weight = f", weight {report.weight}" if report.weight else ""
    return f"counted: members {members(report.counted)}, of {members(report.expected)} expected{weight}"


def _missing(report: ReportView) -> list[str]:
    told = report.taking_part.partition(", not ready: ")[2]
    lines = [f"not ready when the round opened, so not in it: {told}"] if told else []
    lines += [f"absent: member {a.member} in {a.phase}, attempt {a.attempt}" for a in report.absent]
    if report.barred:
        lines.append(f"barred from later attempts: members {members(report.barred)}")
    if report.faulty:
        named = click.style(f"FAULTY: members {members(report.faulty)}", fg="red", bold=True)
        lines.append(f"{named}; kept out of later rounds until a quorum votes 'fednode study readmit'")
    return lines


def _attempt(report: ReportView, number: int) -> Node:
    void = next((void for void in report.voids if void.attempt == number), None)
    title = f"attempt {number}"
    if void is not None:
        dropped = f"; goes on without {members(void.dropped)}" if void.dropped else ""
        title += click.style(f": void in {void.phase}, {void.reason}{dropped}", fg="yellow")
    return title, [(_phase(span), ()) for span in report.phases if span.attempt == number]


def _phase(span: SpanView) -> str:
    name = span.phase + (f" {span.step}" if span.step else "")
    expired = click.style("  ended by votes", fg="yellow") if span.expired else ""
    return f"{name:<9} {seconds(span.seconds):>8}  blocks {span.opened_height} to {span.closed_height}{expired}"
