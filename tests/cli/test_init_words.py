"""`fednode init` at a terminal: the rule before the question, another try after a slip, addresses as written."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fednode.cli.init import _usable_name
from fednode.cli.passphrase import new_passphrase
from fednode.dialling import as_multiaddr, why_undialable
from tests.cli.conftest import PASSPHRASE, Fednode, write_private


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("fednode.anna.example:7700", "/dns/fednode.anna.example/tcp/7700"),
        ("192.0.2.7:7700", "/ip4/192.0.2.7/tcp/7700"), ("[2001:db8::1]:7700", "/ip6/2001:db8::1/tcp/7700"),
        ("/dns4/anna.example/tcp/7700", "/dns4/anna.example/tcp/7700"), ("anna", "anna"), (":7700", ":7700"),
    ],
)
def test_an_address_is_taken_as_people_write_it(written: str, meant: str) -> None:
    assert as_multiaddr(written) == meant
    assert not why_undialable(meant) or meant == written


def _prompted(ask: object, typed: str) -> str:
    @click.command()
    def ask_it() -> None:
        click.echo(f"got {ask()}")  # type: ignore[operator]

    return CliRunner().invoke(ask_it, input=typed).output


def test_the_rule_is_said_first_and_a_slip_is_asked_again() -> None:
    out = _prompted(new_passphrase, f"short\n{PASSPHRASE}\n{PASSPHRASE} \n{PASSPHRASE}\n{PASSPHRASE}\n")
    assert out.index("at least") < out.index("Passphrase for the keystore")
    assert "the passphrase is too short" in out
    assert "do not match" in out
    assert out.endswith(f"got {PASSPHRASE}\n")


def test_a_name_nobody_may_have_is_asked_again() -> None:
    def ask() -> str:
        return str(click.prompt("Name of the hospital", value_proc=_usable_name))

    out = _prompted(ask, f"{'x' * 100}\nSt. Anna\n")
    assert "Error" in out and out.endswith("got St. Anna\n")


def test_a_port_nobody_listens_on_is_told(fednode: Fednode, tmp_path: Path) -> None:
    secret = write_private(tmp_path / "secret", PASSPHRASE)
    options = ("--name", "Anna", "--passphrase-file", secret)
    made = fednode("--home", tmp_path / "a", "init", *options, "--advertise", "anna.example:7711")
    assert made.code == 0, made.err
    assert "the others dial port 7711, this daemon listens on 7700" in made.err
    assert "/dns/anna.example/tcp/7711" in (tmp_path / "a" / "etc" / "identity-card.toml").read_text()
    assert "send the card to whoever founds" in made.out
    same = fednode("--home", tmp_path / "b", "init", *options, "--advertise", "anna.example:7700")
    assert "listens on" not in same.err
