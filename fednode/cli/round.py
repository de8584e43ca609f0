"""`fednode round`: what each round did, from the reports on the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from fednode.cli.ask import as_record, as_records, ask, optional_record
from fednode.cli.show import Node, members, print_json, print_table, print_tree, ratio, seconds, short, utc
from fednode.cli.site import Site, format_option, group, pass_site, site_options


@group("round")
def round_group() -> None:
    """What each round did, as the ledger has it."""


@round_group.command("list", example="fednode round list\nfednode round list heart --format json")
@click.argument("study", required=False)
@format_option
@site_options
@pass_site
def list_rounds(site: Site, study: str | None, as_json: bool) -> None:
    """Show a line for each round: outcome, who counted, who was absent, time, metrics, model."""
    reports = as_records(ask(site, "round_list", study=study))
    if as_json:
        print_json(reports)
        return
    found = as_record(ask(site, "study_show", study=study))
    current = optional_record(found.get("round"))
    rows = [_row(report) for report in reports]
    if current:
        phase = optional_record(current.get("phase"))
        doing = f"running: {phase.get('name')}"
        number, kind, part = str(current.get("number")), str(current.get("kind")), f"- of {_missed(found)}"
        rows.append((number, kind, doing, part, _absent(current), "-", "-", "-"))
    if rows:
        print_table(["round", "kind", "outcome", "counted", "absent", "time", "accuracy", "model"], rows)
    else:
        told = f"; ready: {found['taking_part']}" if found.get("taking_part") else ""
        click.echo(f"no round has opened yet{told}")


def _row(report: Mapping[str, Any]) -> tuple[str, ...]:
    outcome = str(report.get("outcome"))
    text = outcome if outcome == "ok" else f"FAILED: {report.get('reason')}"
    counted = f"{len(report.get('counted') or [])} of {_missed(report)}"
    accuracy = ratio(optional_record(report.get("metrics")).get("accuracy"))
    model = short(report.get("model_hash"))
    number, kind = str(report.get("number")), str(report.get("kind"))
    return number, kind, text, counted, _absent(report), seconds(report.get("seconds")), accuracy, model


def _missed(report: Mapping[str, Any]) -> str:
    """Return how many hospitals the study has, and who was not ready: "4, not ready: Dora"."""
    return str(report.get("taking_part") or f"- of {len(report.get('expected') or [])}").partition(" of ")[2]


def _absent(report: Mapping[str, Any]) -> str:
    return ", ".join(f"{a.get('member')} ({a.get('phase')})" for a in as_records(report.get("absent"))) or "-"


@round_group.command("show", example="fednode round show 3\nfednode round show 3 --study heart --format json")
@click.argument("number", required=False, type=int)
@click.option("--study", metavar="STUDY", help="Name or id; not needed while there is one study.")
@format_option
@site_options
@pass_site
def show(site: Site, number: int | None, study: str | None, as_json: bool) -> None:
    """Show a round's report as a tree: who counted, who did not and why, each phase's time. Default: the last."""
    report = as_record(ask(site, "round_show", study=study, round=number))
    if as_json:
        print_json(report)
    else:
        print_tree(*report_tree(report))


def report_tree(report: Mapping[str, Any]) -> tuple[str, list[Node]]:
    """Return title and branches of a round report."""
    is_ok = report.get("outcome") == "ok"
    outcome = click.style("ok", fg="green") if is_ok else click.style("FAILED", fg="red", bold=True)
    title = f"round {report.get('number')} ({report.get('kind')}) of study {short(report.get('study'))}: {outcome}"
    blocks = f"blocks {report.get('opened_height')} to {report.get('closed_height')}"
    children: list[Node] = []
    if not is_ok:
        children.append((f"reason: {report.get('reason')}; the model stays as it was", ()))
    children.append((f"{utc(report.get('opened_ms'))}, {seconds(report.get('seconds'))}, {blocks}", ()))
    children.append((_who(report), [(text, ()) for text in _missing(report)]))
    children += [_attempt(report, attempt) for attempt in range(int(report.get("attempts") or 0))]
    metrics = optional_record(report.get("metrics"))
    if metrics:
        measured = "the model the round started from" if report.get("kind") == "training" else "the model"
        names = [name.removesuffix("_within") for name in metrics if name.endswith("_within")]
        named = [f"{name} {ratio(metrics[name])} (+- {ratio(metrics[f'{name}_within'])})" for name in names]
        hospitals = f"mean of {metrics.get('hospitals')} hospitals, and how far those that may lie can have moved it"
        children.append((f"{measured}: {', '.join(named)}", ((hospitals, ()),)))
    coin = f", coin {short(report['coin'])}" if report.get("coin") else ""
    children.append((f"model {short(report.get('model_hash'))}, sum {short(report.get('sum_digest'))}{coin}", ()))
    return title, children


def _who(report: Mapping[str, Any]) -> str:
    counted, expected = report.get("counted"), report.get("expected")
    weight = f", weight {report.get('weight')}" if report.get("weight") else ""
    return f"counted: members {members(counted)}, of {members(expected)} expected{weight}"


def _missing(report: Mapping[str, Any]) -> list[str]:
    told = str(report.get("taking_part") or "").partition(", not ready: ")[2]
    lines = [f"not ready when the round opened, so not in it: {told}"] if told else []
    lines += [
        f"absent: member {a.get('member')} in {a.get('phase')}, attempt {a.get('attempt')}"
        for a in as_records(report.get("absent"))
    ]
    if report.get("barred"):
        lines.append(f"barred from later attempts: members {members(report['barred'])}")
    if report.get("faulty"):
        named = click.style(f"FAULTY: members {members(report['faulty'])}", fg="red", bold=True)
        lines.append(f"{named}; kept out of later rounds until a quorum votes 'fednode study readmit'")
    return lines


def _attempt(report: Mapping[str, Any], number: int) -> Node:
    void = next((v for v in as_records(report.get("voids")) if v.get("attempt") == number), None)
    title = f"attempt {number}"
    if void is not None:
        dropped = f"; goes on without {members(void.get('dropped'))}" if void.get("dropped") else ""
        title += click.style(f": void in {void.get('phase')}, {void.get('reason')}{dropped}", fg="yellow")
    return title, [
        (_phase(phase), ()) for phase in as_records(report.get("phases")) if phase.get("attempt") == number
    ]


def _phase(phase: Mapping[str, Any]) -> str:
    name = f"{phase.get('name', phase.get('phase'))}" + (f" {phase['step']}" if phase.get("step") else "")
    heights = f"{phase.get('opened_height')} to {phase.get('closed_height')}"
    expired = click.style("  ended by votes", fg="yellow") if phase.get("expired") else ""
    return f"{name:<9} {seconds(phase.get('seconds')):>8}  blocks {heights}{expired}"
