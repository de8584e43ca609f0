"""`fednode help`, `version` and `completion`: about the command line itself."""

from __future__ import annotations

import platform

import click

from fednode import __version__
from fednode.cli.show import JSON_VERSION, print_json, print_pairs
from fednode.cli.site import command, format_option
from fednode.errors import UsageError
from fednode.ids import PROTOCOL_VERSION

SHELLS = ("bash", "zsh", "fish")
COMPLETE_VARIABLE = "_FEDNODE_COMPLETE"


@command("help", example="fednode help\nfednode help study show")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show the help of a command."""
    assert ctx.parent is not None
    at, found = ctx.parent, ctx.parent.command
    for word in words:
        inner = found.get_command(at, word) if isinstance(found, click.Group) else None
        if inner is None:
            raise UsageError(f"there is no command '{' '.join(words)}'; '{at.command_path} --help' lists all")
        at, found = click.Context(inner, info_name=word, parent=at), inner
    click.echo(found.get_help(at))


@command("version", example="fednode version\nfednode version --format json")
@format_option
def version(as_json: bool) -> None:
    """Show the versions of program, protocol and JSON."""
    python = platform.python_version()
    if as_json:
        print_json({
            "fednode": __version__, "protocol": int(PROTOCOL_VERSION), "json": JSON_VERSION, "python": python,
        })
        return
    print_pairs([
        ("fednode", __version__), ("protocol", f"{PROTOCOL_VERSION}, of wire and ledger"),
        ("JSON", f"{JSON_VERSION}, of what --format json prints"), ("Python", python),
    ])


@command(
    "completion",
    example="fednode completion bash > ~/.local/share/bash-completion/completions/fednode\n"
    "fednode completion zsh > ~/.zfunc/_fednode\n"
    "fednode completion fish > ~/.config/fish/completions/fednode.fish",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion of commands and names.

    The Tab key then completes commands, options, and the names of studies, members and models of the home.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "one of click's own"
    click.echo(kind(ctx.find_root().command, {}, "fednode", COMPLETE_VARIABLE).source())
