"""`fednode data`: does this hospital's table fit a study, before anything trains?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.ask import ask_for
from fednode.cli.reading import read_genesis, read_study
from fednode.cli.show import print_json, print_table
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.cli.worker_job import run_job
from fednode.desk.control_client import NotRunning
from fednode.desk.questions import STUDY_SHOW
from fednode.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from fednode.ids import StudyId
    from fednode.learn.jobs import DataAt, DataChecked
    from fednode.learn.study import StudySpec
    from fednode.learn.tables.site_map import SiteMap
    from fednode.learn.tables.verdicts import Fault


@group("data")
def data() -> None:
    """Check this hospital's table against a study."""


@data.command(
    "check",
    example="fednode data check\nfednode data check --study genesis/heart.toml --input patients.csv\n"
    "fednode data check --study heart --format json",
)
@click.option("--study", metavar="NAME|ID|FILE", help="A study file, or a study of the federation (default: the only).")
@click.option("--input", "source", type=click.Path(path_type=Path), metavar="CSV",
              help="Table to check (default: the one the configuration names for the study).")
@format_option
@site_options
@pass_site
def check(site: Site, study: str | None, source: Path | None, as_json: bool) -> None:
    """Compare a table with a study, column by column. Nothing leaves this machine.

    Cells are shown here, on your own terminal, and nowhere else. What is offered for [data.map] in hospital.toml says
    how this hospital writes its columns; it stays here and never becomes part of the study.
    """
    from fednode.home.data_map import map_toml
    from fednode.learn.jobs import DataAt

    spec, study_id = find_study(site, study)
    path = source.expanduser().absolute() if source is not None else _configured(site, spec, study_id)
    site_map = local_map(site, spec.name, study_id)
    checked = check_table(spec, DataAt(str(path), site_map), shows_cells=True)
    fix = [] if checked.fix is None else map_toml(spec.name, checked.fix)
    rows = [
        {"column": v.column, "status": v.status, "note": v.with_cells(), "missing": v.missing, "outside": v.outside,
         "faults": [_fault(fault) for fault in v.faults]}
        for v in checked.verdicts
    ]
    if as_json:
        print_json({
            "ok": checked.is_ok, "study": spec.name, "file": str(path), "rows": checked.rows,
            "train_rows": checked.train_rows,
            "class_rows": dict(zip(spec.data.classes, checked.class_rows, strict=False)), "columns": rows,
            "fix": "\n".join(fix) or None,
        })
    else:
        table = [
            (v.column or "-", _shown(v.status), str(v.missing), str(v.outside), v.with_cells())
            for v in checked.verdicts
        ]
        print_table(["column", "verdict", "missing", "outside", "note"], table)
        _show_fix(fix, checked)
    if not checked.is_ok:
        raise DataError(f"{path} does not fit study '{spec.name}': {checked.complaint}")
    if not as_json:
        click.echo(f"{checked.rows} rows fit study '{spec.name}', {checked.train_rows} of them to train on")


def _shown(status: str) -> str:
    return status.upper() if status == "error" else status


def _show_fix(fix: list[str], checked: DataChecked) -> None:
    """Print what hospital.toml may say, and what a person has to decide."""
    if fix:
        click.echo("hospital.toml could say this; look at every line, values beyond a limit are set to half of it:")
        click.echo()
    for line in (*fix, *_open_questions(checked)):
        click.echo(f"  {line}")
    if fix:
        click.echo()


def _open_questions(checked: DataChecked) -> list[str]:
    asked = {
        "level": "values", "text": "values", "limit": "values", "point": "values", "unit": "units", "comma": "decimal",
    }
    lines = []
    for verdict in checked.verdicts:
        for fault in verdict.faults:
            if fault.kind in asked and fault.cells:
                cells = ", ".join(f"'{found.cell}'" for found in fault.cells[:8])
                lines.append(f"# to decide for {asked[fault.kind]}.{verdict.column}: {cells}")
    return lines


def _fault(fault: Fault) -> dict[str, object]:
    cells = [{"cell": c.cell, "count": c.count, "line": c.line, "may_mean": c.hint or None} for c in fault.cells]
    return {"kind": fault.kind, "count": fault.count, "line": fault.line, "cells": cells}


def local_map(site: Site, study_name: str, study_id: bytes) -> SiteMap:
    """Return how this hospital writes the columns of a study; without a home they are as the study has them."""
    from fednode.home.data_map import pick
    from fednode.learn.tables.site_map import PLAIN

    if not site.config_path.is_file():
        return PLAIN
    values = site.load().values
    if values.data.map and pick(values.data.map, study_name, study_id) is None:
        names = ", ".join(f"[data.map.{name}]" for name in values.data.map)
        click.echo(f"note: none of the maps in {site.config_path} is for study '{study_name}': {names}", err=True)
    return values.site_map(study_name, study_id)


def check_table(spec: StudySpec, data: DataAt, shows_cells: bool = False) -> DataChecked:
    """Let a worker process compare a table with a schema; cells are shown on the terminal of the caller alone."""
    from fednode.learn.jobs import CheckData, DataChecked

    answer = run_job(CheckData(spec, data, shows_cells))
    assert isinstance(answer, DataChecked)
    return answer


def _configured(site: Site, spec: StudySpec, study_id: bytes) -> Path:
    loaded = site.load()
    path = loaded.values.data_path(spec.name, study_id)
    if path is None:
        text = f"{loaded.path} names no table for study '{spec.name}'"
        raise ConfigError(f"{text}; set default in [data], or give --input CSV")
    return path


def find_study(site: Site, wanted: str | None) -> tuple[StudySpec, bytes]:
    """Return specification and id of a study file, a study of the genesis, or one the running daemon knows."""
    from fednode.learn.form import parse_study
    from fednode.learn.study import decode_study
    from fednode.rounds.terms import proposal_id, study_proposal

    if wanted is not None and ("/" in wanted or wanted.endswith(".toml") or Path(wanted).is_file()):
        spec = read_study(Path(wanted).expanduser())
        return spec, proposal_id(study_proposal(spec))
    founded = [(decode_study(s.spec), s.study) for s in read_genesis(site.load().values.genesis_path).studies]
    found = [(spec, name) for spec, name in founded if wanted is None or wanted in (spec.name, name.hex())]
    if len(found) == 1:
        return found[0]
    try:
        answer = ask_for(site, STUDY_SHOW, study=wanted)
    except NotRunning:
        return _founded(founded, wanted)
    spec = parse_study(answer.toml or "", f"study {answer.name}")
    return spec, bytes.fromhex(answer.id)


def _founded(founded: Sequence[tuple[StudySpec, StudyId]], wanted: str | None) -> tuple[StudySpec, bytes]:
    """Return what the genesis alone can say, where no daemon runs: the study whose name or id begins so."""
    from fednode.desk.views import choose_study

    names = {name: spec.name for spec, name in founded}
    if wanted is None:
        every = ", ".join(f"'{name}'" for name in names.values()) or "none"
        raise UsageError(f"the genesis holds {len(names)} studies ({every}); name one with --study, or give its file")
    chosen = choose_study(names, wanted, UsageError)
    return next((spec, bytes(name)) for spec, name in founded if name == chosen)
