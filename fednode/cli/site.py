"""Which home and configuration a command is about, and how commands are declared.

    --home DIR      else FEDNODE_HOME, else the home that the configuration names, else ~/.fednode
    --config FILE   else etc/hospital.toml of the home
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fednode.errors import UsageError

if TYPE_CHECKING:
    from fednode.home.config import HospitalConfig, LoadedConfig
    from fednode.home.files import Home

HOME_VARIABLE = "FEDNODE_HOME"
DEFAULT_HOME = "~/.fednode"

F = TypeVar("F", bound=Callable[..., Any])


class Figure(click.FloatRange):
    """A number of the command line between bounds. NaN is between any two, and JSON has neither it nor infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not isfinite(found):
            self.fail(f"{value} is no number to compute with", param, ctx)
        return found


class Site:
    """The hospital a command is about, resolved when it is needed."""

    def __init__(self) -> None:
        self.home_option: Path | None = None
        self.config_option: Path | None = None
        self._loaded: LoadedConfig | None = None

    @property
    def given_home(self) -> Path | None:
        """The home as named by --home or the environment, None if neither does."""
        if self.home_option is not None:
            return self.home_option
        text = os.environ.get(HOME_VARIABLE)
        return Path(text).expanduser().absolute() if text else None

    @property
    def home(self) -> Home:
        """The home directory; reads the configuration only if nothing else names it."""
        from fednode.home.files import Home

        if self.given_home is not None:
            return Home(self.given_home)
        if self.config_option is not None:
            return self.load().values.home
        return Home(Path(DEFAULT_HOME).expanduser())

    @property
    def config_path(self) -> Path:
        """Where the configuration lies."""
        return self.config_option if self.config_option is not None else self.home.config

    def load(self) -> LoadedConfig:
        """Read the configuration, once."""
        if self._loaded is None:
            from fednode.home.config import load_config

            self._loaded = load_config(self.config_path, os.environ, self.given_home)
        return self._loaded

    def read(self) -> HospitalConfig:
        """Read the configuration as it is now."""
        from fednode.home.config import load_config

        return load_config(self.config_path, os.environ, self.given_home).values


pass_site = click.make_pass_decorator(Site)


def _keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    site = ctx.find_object(Site)
    assert site is not None
    path = Path(value).expanduser().absolute()
    if param.name == "home":
        site.home_option = path
    else:
        site.config_option = path


def site_options(function: F) -> F:
    """Add --home and --config, which may stand before or after the command."""
    add_config = click.option(
        "-c", "--config", metavar="FILE", expose_value=False, callback=_keep, help="Configuration, hospital.toml."
    )
    add_home = click.option(
        "--home", metavar="DIR", expose_value=False, callback=_keep, help="Home of the daemon (default ~/.fednode)."
    )
    return add_home(add_config(function))


def format_option(function: F) -> F:
    """Add --format table|json; the command gets it as `as_json`."""
    return click.option(
        "--format", "as_json", type=click.Choice(["table", "json"]), default="table", show_default=True,
        callback=lambda ctx, param, value: value == "json", help="What to print.",
    )(function)


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")

passphrase_option = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE",
    help="File with the passphrase of the keystore; else FEDNODE_PASSPHRASE_FILE, FEDNODE_PASSPHRASE, or a prompt.",
)


class Command(click.Command):
    """A command whose help ends with an example."""

    def __init__(self, *args: Any, example: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example, one command a line, as it is typed."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(click.Group):
    """Commands of one topic, in the order they were written; `ls` is another word for `list`."""

    command_class = Command

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name."""
        return super().get_command(ctx, "list" if cmd_name == "ls" else cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the source."""
        return list(self.commands)


def command(name: str, *, example: str) -> Callable[[Callable[..., None]], Command]:
    """Declare a top-level command; it takes --home and --config like every other."""

    def declare(function: Callable[..., None]) -> Command:
        return click.command(name, cls=Command, example=example)(site_options(function))

    return declare


def group(name: str) -> Callable[[Callable[..., None]], Group]:
    """Declare a topic; --home and --config may stand behind its name too."""

    def declare(function: Callable[..., None]) -> Group:
        return click.group(name, cls=Group)(site_options(function))

    return declare


def confirm(question: str, yes: bool) -> None:
    """Ask before something that cannot be taken back; without a terminal --yes is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask '{question}'; add --yes if you are sure")
    click.confirm(question, abort=True)
