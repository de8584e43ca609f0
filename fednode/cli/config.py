"""`fednode config`: what is in force, where it came from, whether it fits together."""

from __future__ import annotations

import click

from fednode.cli.show import cell, print_json, print_table
from fednode.cli.site import Site, format_option, group, pass_site, site_options
from fednode.errors import ConfigError


@group("config")
def config() -> None:
    """The configuration and where each value comes from."""


@config.command("show", example="fednode config show\nFEDNODE_LIMITS__WORKER_MEMORY_MB=4096 fednode config show")
@format_option
@site_options
@pass_site
def show(site: Site, as_json: bool) -> None:
    """Show every key, its value and its origin.

    Show every key, its value in force, and whether the file, the environment or a default set it.
    """
    loaded = site.load()
    if as_json:
        rows = [{"key": s.key, "value": s.value, "source": s.source} for s in loaded.settings]
        print_json({"file": str(loaded.path), "settings": rows})
        return
    print_table(["key", "value", "from"], [(s.key, cell(s.key, s.value), s.source) for s in loaded.settings])


@config.command("check", example="fednode config check --config hospital.toml")
@format_option
@site_options
@pass_site
def check(site: Site, as_json: bool) -> None:
    """Check the file and that what it names exists.

    Check the file and that everything it names exists; the first mistake is named with its fix.
    """
    loaded = site.load()
    values = loaded.values
    tables = {"data.default": values.data.default} if values.data.default else {}
    tables |= {f"data.studies.{name}": path for name, path in values.data.studies.items()}
    for key, path in tables.items():
        if not path.is_file():
            raise ConfigError(f"{loaded.path}: {key} names {path}, which is no file; correct the path")
    secret = values.keys.passphrase_file
    if secret is not None and not secret.is_file():
        raise ConfigError(f"{loaded.path}: keys.passphrase_file names {secret}, which is no file; correct the path")
    if as_json:
        print_json({"file": str(loaded.path), "ok": True})
    else:
        click.echo(f"{loaded.path} is in order; 'fednode doctor' checks everything around it")
