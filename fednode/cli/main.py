"""Entry of the `fednode` command: the table of commands, and how every error is told.

Only click and the table are loaded to show help; a command's module is imported when it is called.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial

import click

from fednode import __version__
from fednode.cli.show import JSON_VERSION, replace_unknown
from fednode.cli.site import Site, site_options
from fednode.errors import FednodeError, Refused, Rejected, Unavailable
from fednode.ids import PROTOCOL_VERSION

DAILY: Mapping[str, tuple[str, str]] = {
    "init": ("fednode.cli.init:init", "Make this hospital's keys, settings and card."),
    "start": ("fednode.cli.daemon:start", "Run the daemon: vote, train, keep the chain."),
    "stop": ("fednode.cli.daemon:stop", "Stop the daemon of this home."),
    "status": ("fednode.cli.daemon:status", "Show chain, members and studies at a glance."),
    "watch": ("fednode.cli.watch:watch", "Watch a study train, round by round."),
    "doctor": ("fednode.cli.doctor:doctor", "Check what usually goes wrong, with the fix."),
    "logs": ("fednode.cli.logs:logs", "Show what the daemon did."),
    "predict": ("fednode.cli.predict:predict", "Apply a model to a table."),
    "demo": ("fednode.demo.command:demo", "Train four local hospitals together and watch."),
    "plan": ("fednode.bench.plan:plan", "Tell what a secure round will cost."),
    "bench": ("fednode.bench.command:bench", "Measure rounds, ledger and transport here."),
}
TOPICS: Mapping[str, tuple[str, str]] = {
    "federation": ("fednode.cli.federation:federation", "Let a new chain succeed one that cannot go on."),
    "genesis": ("fednode.cli.genesis:genesis", "Found a federation: create, show."),
    "study": ("fednode.cli.study:study", "What is trained: propose, vote, pause, stop."),
    "round": ("fednode.cli.round:round_group", "What each round did, as the ledger has it."),
    "model": ("fednode.cli.model:model", "Trained models: list, show, export."),
    "data": ("fednode.cli.data:data", "Check this hospital's table against a study."),
    "chain": ("fednode.cli.chain:chain", "The ledger: blocks, transactions, proofs."),
    "member": ("fednode.cli.member:member", "The hospitals, and votes on who belongs."),
    "role": ("fednode.cli.role:role", "Roles of keys, decided by votes of members."),
    "keys": ("fednode.cli.keys:keys", "This hospital's keys: show, replace, back up."),
    "config": ("fednode.cli.config:config", "The configuration and where each value comes from."),
    "help": ("fednode.cli.shell:show_help", "Show the help of a command."),
    "version": ("fednode.cli.shell:version", "Show the versions of program, protocol and JSON."),
    "completion": ("fednode.cli.shell:completion", "Print the completion of commands and names."),
}
COMMANDS = {**DAILY, **TOPICS}

INTERRUPTED_EXIT_CODE = 130
UNAVAILABLE_EXIT_CODE = Unavailable.exit_code


class LazyGroup(click.Group):
    """Knows every command's name and one line of help, and imports it when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest one for a slip of the pen."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'" if near else "all are listed"
            ctx.fail(f"there is no command '{args[0]}', {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both tables without importing anything."""
        for title, table in (("Every day", DAILY), ("Topics", TOPICS)):
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in table.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="First steps: fednode demo, or fednode init. Every command explains itself with --help.",
)
@click.version_option(__version__, "-V", "--version", message=f"fednode {__version__} (protocol {PROTOCOL_VERSION})")
@site_options
def cli() -> None:
    """Hospitals train a model together: no central server, no patient row leaves a hospital."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(list(sys.argv[1:] if argv is None else argv)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. What a person can act on is one sentence on stderr.

    Any other exception is a bug of this program and keeps its traceback.
    """
    replace_unknown()
    tell = partial(_tell, as_json=wants_json(arguments))
    for place, argument in enumerate(arguments, 1):
        if not argument.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in argument):
            return tell(f"argument {place} is not UTF-8 text; rename the file, or type it anew", 2)
    try:
        code = cli.main(arguments, prog_name="fednode", standalone_mode=False, obj=Site())
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "fednode"
        message = error.format_message()
        return tell(f"{message[:1].lower()}{message[1:].rstrip('.')}; see '{path} --help'", error.exit_code)
    except click.ClickException as error:
        return tell(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return tell("interrupted", INTERRUPTED_EXIT_CODE)
    except FednodeError as error:
        return tell(str(error), error.exit_code)
    except Rejected as error:
        return tell(error.reason, Refused.exit_code)
    except OSError as error:
        if error.filename is None:
            # Output was not taken: its reader (head, less) has gone, or the disk is full. What is still in the buffer
            # would make the interpreter complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0 if isinstance(error, BrokenPipeError) else tell(_describe(error), UNAVAILABLE_EXIT_CODE)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, however wrong it is otherwise."""
    return "--format=json" in arguments or ("--format", "json") in itertools.pairwise(arguments)


def _describe(error: OSError) -> str:
    """Tell what the system refused, where no command has said it better: files of another account, a broken disk."""
    from fednode.home.files import describe

    what = f"cannot use {error.filename}" if error.filename is not None else "cannot go on"
    return f"{what}: {describe(error)}"


def _tell(text: str, code: int, as_json: bool) -> int:
    """Tell an error on stderr: one sentence, or one JSON object for a program that asked for JSON."""
    if as_json:
        click.echo(json.dumps({"error": text, "exit_code": code, "json": JSON_VERSION}), err=True)
    else:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {text} (exit code {code})", err=True)
    return code


if __name__ == "__main__":
    main()
