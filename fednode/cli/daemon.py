"""`fednode start`, `stop`, `status`: the daemon of this home."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fednode.cli.ask import ask_for
from fednode.cli.show import (
    can_show_everything,
    members,
    print_json,
    print_pairs,
    print_table,
    print_text,
    ratio,
    short,
)
from fednode.cli.site import Figure, Site, command, format_option, pass_site, passphrase_option
from fednode.desk.control_client import NotRunning, read_answer, stream_daemon
from fednode.desk.questions import FOLLOW, STATUS
from fednode.desk.read_models import MemberView, StatusView, StudySummary
from fednode.errors import GenesisError, HomeInUse, Unavailable
from fednode.home.files import PRIVATE_FILE, STOP_TIMEOUT_S, daemon_pid, end_daemon, environment

if TYPE_CHECKING:
    from fednode.crypto import Secret
    from fednode.home.files import Home
    from fednode.ledger.genesis import Genesis

START_TIMEOUT_S = 120.0
"""A daemon checks store and state before it is ready; that takes a second for each 100 000 blocks or so."""


@command(
    "start",
    example="fednode start --config hospital.toml\n"
    "fednode start --resync\n"
    "fednode start --home /srv/fednode --background --passphrase-file /run/secrets/fednode",
)
@click.option("--background", is_flag=True, help="Return once the daemon is ready, and let it run on.")
@click.option("--join", is_flag=True, help="Follow a chain this hospital did not found, until it is a member of it.")
@click.option(
    "--resync", is_flag=True,
    help="If the store is damaged, keep it under another name and fetch the chain anew; a whole store is left alone.",
)
@click.option("--ready-fd", type=int, hidden=True)
@passphrase_option
@pass_site
def start(
    site: Site, background: bool, join: bool, resync: bool, ready_fd: int | None, passphrase_file: Path | None
) -> None:
    """Run the daemon: vote, train, keep the chain.

    Runs in the foreground until 'fednode stop' or Ctrl-C, as service managers like it.
    """
    with _loading():
        from fednode.cli.passphrase import ask_passphrase
        from fednode.cli.reading import read_genesis
        from fednode.home.keystore import read_public_keys, unlock_keystore

        values = site.load().values
        home = values.home
        if (pid := daemon_pid(home)) is not None:
            text = f"process {pid} already runs on the home {home.root}"
            raise HomeInUse(f"{text}; stop it first with 'fednode --home {home.root} stop'")
        genesis = read_genesis(values.genesis_path)
    if not join and not home.chain.exists():  # later starts find on the chain who this hospital is
        _check_founder(genesis, read_public_keys(home.keystore).sign)
    passphrase = ask_passphrase(site, passphrase_file)
    if background:
        _start_background(site, passphrase, ["--join"] * join + ["--resync"] * resync)
        return
    with _loading():
        from fednode.daemon.daemon import run_daemon

    keys = unlock_keystore(home.keystore, passphrase)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the daemon listens to it
    run_daemon(
        values, genesis, keys, lambda: _tell_ready(ready_fd), may_resync=resync,
        warn=lambda text: click.echo(f"warning: {text}", err=True), read_config=site.read,
    )


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Modules that are loaded stay: to look through them for garbage on the way is a tenth of a daemon's start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_founder(genesis: Genesis, sign_key: bytes) -> None:
    """A key that is not in the genesis is usually the wrong file; a hospital that joins later says so."""
    try:
        genesis.member_of(sign_key)
    except GenesisError as error:
        raise GenesisError(f"{error}; a hospital that joins a running federation starts with --join") from None


def _tell_ready(descriptor: int | None) -> None:
    if descriptor is None:
        click.echo("ready; 'fednode status' shows more, Ctrl-C stops the daemon", err=True)
    else:
        with contextlib.suppress(BrokenPipeError):  # whoever started the daemon has gone; it runs on
            os.write(descriptor, b"ready\n")
        os.close(descriptor)


def _start_background(site: Site, passphrase: Secret[bytes], options: list[str]) -> None:
    """Run `fednode start` in a session of its own; return when it is ready, relay its error if it is not.

    The passphrase goes through a pipe: arguments and environment of a process can be read by others.
    """
    home = site.load().values.home
    home.create()
    ready_read, ready_write = os.pipe()
    secret_read, secret_write = os.pipe()
    os.write(secret_write, passphrase.reveal())
    os.close(secret_write)
    arguments = ["--home", str(home.root), "--config", str(site.config_path), "start", "--ready-fd", str(ready_write)]
    arguments += options
    with environment("write", home.output):
        log = os.open(home.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
    begin = os.fstat(log).st_size
    for descriptor in (ready_write, secret_read):
        os.set_inheritable(descriptor, True)
    pid = os.posix_spawn(  # not subprocess: nobody here waits for this child, it outlives us
        sys.executable,
        [sys.executable, "-m", "fednode.cli.main", *arguments, "--passphrase-file", f"/dev/fd/{secret_read}"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )
    for descriptor in (ready_write, secret_read, log):
        os.close(descriptor)
    readable, _, _ = select.select([ready_read], [], [], START_TIMEOUT_S)
    if readable and os.read(ready_read, 16):
        _relay(home, begin)
        click.echo(f"the daemon runs as process {pid} on {home.root}")
        os.close(ready_read)
        return
    if not readable:
        text = f"the daemon (process {pid}) is not ready after {START_TIMEOUT_S:g} s and still trying"
        raise Unavailable(f"{text}; see 'fednode logs', stop it with 'fednode stop'")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _relay(home, begin)
    raise click.exceptions.Exit(code if code > 0 else 1)


def _relay(home: Home, begin: int) -> None:
    """Show what the daemon has written since it was started: its warnings, or why it ended."""
    with home.output.open("rb") as written:
        written.seek(begin)
        text = written.read().decode(errors="replace").rstrip()
    if text:
        click.echo(text, err=True)


@command("stop", example="fednode stop\nfednode --home /srv/fednode stop --kill")
@click.option("--kill", is_flag=True, help="End it at once; like a power cut, it loses nothing.")
@click.option("--timeout", "timeout_s", type=Figure(0, 24 * 3600), default=STOP_TIMEOUT_S, show_default=True,
              help="Seconds to wait.")
@pass_site
def stop(site: Site, kill: bool, timeout_s: float) -> None:
    """Stop the daemon of this home.

    Waits until it has ended. The others go on without it."""
    home = site.home
    if not daemon_pid(home):
        raise NotRunning(f"no daemon runs on the home {home.root}; nothing to stop")
    end_daemon(home, kill, timeout_s)
    click.echo(f"the daemon of {home.root} has stopped")


@command("status", example="fednode status\nfednode status --format json\nfednode status --follow")
@click.option("--follow", is_flag=True, help="Show it again after every block, until Ctrl-C.")
@format_option
@pass_site
def status(site: Site, follow: bool, as_json: bool) -> None:
    """Show chain, members and studies at a glance."""
    if not follow:
        found = ask_for(site, STATUS)
        print_json(found) if as_json else _print_status(found)
        return
    for answer in stream_daemon(site.home, FOLLOW.name):
        found = read_answer(FOLLOW.form, answer)
        if as_json:
            click.echo(json.dumps(answer, ensure_ascii=not can_show_everything()))
        else:
            click.clear()
            _print_status(found)


def _print_status(found: StatusView) -> None:
    me, chain = found.member, found.chain
    verdict = click.style("has a quorum", fg="green") if chain.has_quorum else click.style(
        f"NO QUORUM: no block until {chain.quorum} members sign", fg="red", bold=True
    )
    signers = f"{len(chain.signing)} of {chain.members}, q = {chain.quorum}, f = {chain.fault_bound}"
    workers = [pid for pid in (found.worker_pid, found.worker_pid_beside) if pid is not None]
    print_pairs([
        ("hospital", f"{me.name} (member {'-' if me.id is None else me.id})"),
        ("federation", f"{chain.name}, chain {short(chain.id)}"),
        ("height", f"{chain.height}  {short(chain.hash)}  {chain.time}"),
        ("reachable", f"{chain.reachable} of {chain.members}"),
        ("signing", f"{signers}: {verdict}"),
        ("daemon", f"process {found.pid}, up {found.uptime_s} s, {found.rss_mb} MB"),
        ("training", ", and short jobs in ".join(f"process {pid}" for pid in workers) or "no process"),
    ])
    if not chain.is_signing:
        print_text(click.style(f"NOT SIGNING: {chain.not_signing_reason}", fg="red", bold=True))
    if chain.fault_bound == 0:
        alone = f"with {chain.members} members nobody may fail: the chain stops when one is away"
        print_text(click.style(alone, fg="yellow"))
    for problem in found.problems:
        print_text(click.style(f"problem: {problem}", fg="yellow"))
    print_members(found.members)
    print_studies(found.studies)
    print_tables(found.studies)
    click.echo()
    for text in found.todo or ("nothing to do",):
        print_text(click.style(text, bold=bool(found.todo)), prefix="to do: " if found.todo else "")


def print_members(found: Sequence[MemberView]) -> None:
    """Print a line for each hospital and whether it can be reached from here."""
    rows = [(str(m.id), m.name, _reach(m), _signs(m), m.address or " ".join(m.addresses) or "-") for m in found]
    print_table(["member", "name", "reachable", "signs", "address"], rows)
    warn_of_double_votes((m.id, m.double_votes) for m in found)


def warn_of_double_votes(found: Iterable[tuple[int, int]]) -> None:
    """Print a line for each member that the chain holds double votes of; takes members and numbers of heights."""
    for member, heights in found:
        if heights:
            text = f"member {member} signed twice at {heights} heights; 'fednode chain evidence' shows "
            print_text(f"WARNING: {text}both signatures: a double vote, mostly one key in use on two machines")


def _reach(member: MemberView) -> str:
    if member.is_me:
        return "this hospital"
    if member.refused:
        return f"refused: {member.refused}"
    return _known(member.is_connected)


def _signs(member: MemberView) -> str:
    if member.is_twice:
        return "NO: its key runs twice"
    return _known(member.is_signing)


def _known(value: bool | None) -> str:
    """Return what a running daemon knows; "-" where none runs."""
    return "-" if value is None else "yes" if value else "NO"


def print_tables(studies: Sequence[StudySummary]) -> None:
    """Print what the training process found in this hospital's table of each study."""
    for study in studies:
        table = study.table
        if table is None:
            continue
        counts = ", ".join(f"{rows} {name}" for name, rows in table.class_rows.items())
        print_text(f"table of '{study.name}': {table.rows} rows ({counts}), used by {table.used_by}")
        for texts, word in ((table.warnings, "warning"), (table.changes, "changed")):
            for text in texts:
                print_text(click.style(f"{word}: {text}", fg="yellow"), prefix="  ")


def print_studies(studies: Sequence[StudySummary]) -> None:
    """Print a line for each study: where it stands and whom it waits for."""
    if not studies:
        click.echo("no studies; 'fednode study create FILE' proposes one")
        return
    rows = []
    for study in studies:
        current = study.round
        doing = "-" if current is None else f"{current.number} {current.kind}: {current.phase.name}"
        notes = (study.reason, study.problem, study.own_part)
        rows.append((
            study.name or "-", short(study.id), study.status, f"{study.rounds_done}/{study.rounds}", doing,
            _waits_for(study), ratio((study.metrics or {}).get("accuracy")), "; ".join(note for note in notes if note),
        ))
    print_table(["study", "id", "status", "rounds", "now", "waits for", "accuracy", "note"], rows)


def _waits_for(study: StudySummary) -> str:
    """Return "3 of 4, not ready: St. Dora" where a hospital is missing, else who is awaited."""
    awaited = members(study.waiting_for or ())
    if not study.taking_part or (study.round is not None and not study.not_ready):
        return awaited
    return study.taking_part if study.round is None else f"{study.taking_part}; awaited: {awaited}"
