"""The first hour with the command line: slips, files from Windows, names with any letters, terminals without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fednode.cli.main import run
from fednode.cli.reading import read_card, read_genesis, read_study
from fednode.home.config import HospitalConfig, load_config
from tests.cli.conftest import PASSPHRASE, Fednode, cards, write_private
from tests.support.folders import contents_of

MARK = b"\xef\xbb\xbf"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write_private(tmp_path / "secret", PASSPHRASE + "\n")


# --- init ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slip", "says"),
    [
        (("--advertise", "fednode.anna.example"), "no address of a TCP socket"),
        (("--advertise", "/ip4/0.0.0.0/tcp/7700"), "every interface"),
        (("--advertise", "/ip4/192.0.2.1/tcp/0"), "port 0"),
        (("--advertise", "/ip4/192.0.2.1/tcp/1", "--advertise", "/ip4/192.0.2.1/tcp/1"), "there twice"),
        (("--listen", "/ip4/192.0.2.999/tcp/7700"), "cannot be listened on"),
        (("--listen", "/ip4/0.0.0.0/tcp/0"), "port 0"),
        (("--name", "x" * 65), "at most 64 characters"),
        (("--name", "tab\there"), "U+0009"),
        (("--passphrase-file", "/nowhere"), "cannot read the passphrase file"),
    ],
)
def test_a_slip_leaves_nothing_behind_and_the_next_try_works(
    fednode: Fednode, secret: Path, tmp_path: Path, slip: tuple[str, ...], says: str
) -> None:
    home = tmp_path / "home"
    good = {"--name": "Anna", "--advertise": "/dns4/fednode.anna.example/tcp/7700", "--passphrase-file": str(secret)}
    words = [part for name, value in good.items() if name not in slip for part in (name, value)]
    failed = fednode("init", "--home", home, *words, *slip)
    assert failed.code in (2, 3, 4) and says in failed.err, failed
    assert not home.exists() or contents_of(home) == {}
    assert fednode("init", "--home", home, *[part for pair in good.items() for part in pair]).code == 0


def test_init_goes_on_after_a_crash_with_the_options_it_is_given_now(
    fednode: Fednode, secret: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert (
        fednode(
            "init",
            "--home",
            home,
            "--name",
            "A",
            "--advertise",
            "/dns4/a.example/tcp/1",
            "--data",
            "a.csv",
            "--passphrase-file",
            secret,
        ).code
        == 0
    )
    (home / "keys" / "keystore.toml").unlink()  # as after a power cut between the two files
    again = ("init", "--home", home, "--name", "B", "--passphrase-file", secret, "--advertise")
    assert fednode(*again, "/dns4/b.example/tcp/2").code == 0
    values = load_config(home / "etc" / "hospital.toml", {}).values
    assert (values.node.name, values.network.advertise) == ("B", ("/dns4/b.example/tcp/2",))
    assert read_card(home / "etc" / "identity-card.toml").addresses == ("/dns4/b.example/tcp/2",)


def test_init_keeps_what_a_person_wrote_and_names_what_differs(fednode: Fednode, secret: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert (
        fednode(
            "init", "--home", home, "--name", "A", "--advertise", "/dns4/a.example/tcp/1", "--passphrase-file", secret
        ).code
        == 0
    )
    (home / "keys" / "keystore.toml").unlink()
    config = home / "etc" / "hospital.toml"
    config.write_text(config.read_text() + "# ours\n")
    before = config.read_text()
    again = ("init", "--home", home, "--passphrase-file", secret, "--name", "A", "--advertise")
    refused = fednode(*again, "/dns4/other.example/tcp/1")
    assert refused.code == 2 and "[network] advertise" in refused.err
    assert fednode(*again, "/dns4/a.example/tcp/1").code == 0
    assert config.read_text() == before


# --- addresses -------------------------------------------------------------------------------------------------


def test_loopback_is_warned_about_once(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    made = fednode("genesis", "create", *cards(homes, "anna", "berta", "clara", "dora"), "-o", tmp_path / "g.toml")
    assert made.code == 0 and made.err.count("every machine to itself") == 1
    card = fednode("--home", homes / "anna", "keys", "card", "--passphrase-file", homes / "passphrase")
    assert card.err.count("every machine to itself") == 1


def test_two_members_at_one_address_make_no_genesis(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    config = homes / "berta" / "etc" / "hospital.toml"
    config.write_text(config.read_text().replace("/tcp/7791", "/tcp/7790"))
    assert fednode("--home", homes / "berta", "keys", "card", "--passphrase-file", homes / "passphrase").code == 0
    made = fednode("genesis", "create", *cards(homes, "anna", "berta", "clara", "dora"), "-o", tmp_path / "g.toml")
    assert made.code != 0 and "'anna', 'berta'" in made.err and not (tmp_path / "g.toml").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('advertise = ["/ip4/0.0.0.0/tcp/7700"]', "every interface"),
        ('advertise = ["/dns4/a/tcp/0"]', "port 0"),
        ('advertise = ["/dns4/a/tcp/1", "/dns4/a/tcp/1"]', "there twice"),
        ('listen = ["/ip4/0.0.0.0/tcp/0"]', "port 0"),
        ('advertise = ["/dns4/a b/tcp/1"]', "no host name"),
        ('listen = ["/ip4/1.2.3/tcp/1"]', "no IP address"),
    ],
)
def test_a_configuration_with_such_an_address_is_refused(fednode: Fednode, homes: Path, line: str, says: str) -> None:
    config = homes / "anna" / "etc" / "hospital.toml"
    kept = [old for old in config.read_text().splitlines() if not old.startswith(line.split()[0])]
    config.write_text("\n".join(kept).replace("[network]", f"[network]\n{line}"))
    checked = fednode("--home", homes / "anna", "config", "check")
    assert checked.code != 0 and says in checked.out + checked.err


# --- the environment -------------------------------------------------------------------------------------------


def test_every_key_can_be_overridden_unquoted(homes: Path) -> None:
    """What the head of hospital.toml promises, for every key there is: texts and paths as they are, lists by commas."""
    config = homes / "anna" / "etc" / "hospital.toml"
    texts = {
        "node": {"name": "Other"},
        "network": {
            "listen": "/ip4/0.0.0.0/tcp/1,/ip6/::/tcp/1",
            "advertise": "/dns4/a.example/tcp/1",
            "allow": "10.1.0.0/16, *.clinic.example",
        },
        "study": {"auto_approve": "*"},
        "data": {"map": '{default = {decimal = ","}}', "studies": '{heart = "/srv/heart.csv"}'},
    }
    numbers = {"bool": "false", "int": "5000"}
    for section, field in HospitalConfig.model_fields.items():
        for key, inner in getattr(field.annotation, "model_fields", {}).items():
            kind = getattr(inner.annotation, "__name__", "")
            text = texts.get(section, {}).get(key) or numbers.get(kind) or "/run/secrets/a file, with = signs"
            variable = f"FEDNODE_{section}__{key}".upper()
            loaded = load_config(config, {variable: text})
            setting = next(s for s in loaded.settings if s.key == f"{section}.{key}")
            assert setting.source == f"environment {variable}"
            if text.startswith("/run"):
                assert setting.value == text


# --- files from Windows ----------------------------------------------------------------------------------------


def test_files_with_a_mark_at_their_start_are_read(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    genesis, study = tmp_path / "g.toml", tmp_path / "study.toml"
    study.write_bytes(MARK + Path("genesis/breast_cancer.toml").read_bytes())
    assert read_study(study).name
    for name in ("anna", "berta"):
        for path in (homes / name / "etc").glob("*.toml"):
            path.write_bytes(MARK + path.read_bytes().replace(b"\n", b"\r\n"))
    passphrase = homes / "passphrase"
    passphrase.write_bytes(MARK + passphrase.read_bytes())
    keystore = homes / "anna" / "keys" / "keystore.toml"
    keystore.write_bytes(MARK + keystore.read_bytes())
    made = fednode(
        "genesis", "create", *cards(homes, "anna", "berta", "clara", "dora"), "--study", study, "-o", genesis
    )
    assert made.code == 0, made.err
    genesis.write_bytes(MARK + genesis.read_bytes())
    assert len(read_genesis(genesis).members) == 4
    assert fednode("--home", homes / "anna", "keys", "card", "--passphrase-file", passphrase).code == 0


# --- names and terminals ---------------------------------------------------------------------------------------

NAME = "病院" * 32
"""64 characters, 192 bytes."""


def test_names_are_counted_in_characters_and_shown_whole(fednode: Fednode, secret: Path, tmp_path: Path) -> None:
    homes = []
    for number in range(4):
        homes.append(tmp_path / f"h{number}")
        name = f"{NAME[:63]}{number}" if number else "ab" * 32  # the last looks like a hash, which tables shorten
        done = fednode(
            "init",
            "--home",
            homes[-1],
            "--name",
            name,
            "--advertise",
            f"/dns4/h{number}.example/tcp/1",
            "--passphrase-file",
            secret,
        )
        assert done.code == 0, done.err
    options = [part for home in homes for part in ("--member", home / "etc" / "identity-card.toml")]
    assert fednode("genesis", "create", *options, "-o", tmp_path / "g.toml").code == 0
    shown = fednode("genesis", "show", tmp_path / "g.toml").out
    assert all(f"{NAME[:63]}{number}" in shown for number in (1, 2, 3)) and "ab" * 32 in shown
    too_long = fednode("init", "--home", tmp_path / "x", "--name", NAME + "x", "--passphrase-file", secret)
    assert too_long.code == 2 and "at most 64 characters, this one has 65" in too_long.err


@pytest.fixture(scope="module")
def genesis_with_letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genesis file whose names hold letters that most encodings lack, made once: Argon2id is slow on purpose."""
    folder = tmp_path_factory.mktemp("letters")
    secret, genesis = write_private(folder / "secret", PASSPHRASE + "\n"), folder / "g.toml"
    options: list[str] = []
    for number in range(4):
        home = folder / f"h{number}"
        code = run([
            "init", "--home", str(home), "--name", f"病院 é {number}",
            "--advertise", f"/dns4/h{number}.example/tcp/1", "--passphrase-file", str(secret),
        ])
        assert code == 0
        options += ["--member", str(home / "etc" / "identity-card.toml")]
    assert run(["genesis", "create", *options, "-o", str(genesis)]) == 0
    return genesis


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "cp437"])
def test_a_terminal_that_lacks_letters_shows_others(
    genesis_with_letters: Path, tmp_path: Path, encoding: str
) -> None:
    genesis = genesis_with_letters
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    for arguments in (("show", genesis), ("show", genesis, "--format", "json"), ("show", tmp_path / "無い.toml")):
        done = subprocess.run(
            [sys.executable, "-m", "fednode.cli.main", "genesis", *arguments],
            env=environ,
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr
        if "json" in arguments:  # in ASCII, so that a program gets every name whole
            assert json.loads(done.stdout.decode(encoding))["members"][0]["name"].startswith("病院 é ")
        elif arguments[1] == genesis:
            assert done.returncode == 0 and b"?" in done.stdout


def test_doctor_looks_at_a_passphrase_file_that_it_does_not_need(
    fednode: Fednode, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon of the next start would read it, and until then every account may."""
    secret = homes / "passphrase"
    secret.chmod(0o644)
    config = homes / "anna" / "etc" / "hospital.toml"
    config.write_text(
        config.read_text().replace('#passphrase_file = "../keys/passphrase"', f'passphrase_file = "{secret}"')
    )
    monkeypatch.setenv("FEDNODE_PASSPHRASE", PASSPHRASE)
    checked = fednode("--home", homes / "anna", "doctor", "--no-data")
    assert checked.code == 1 and "other accounts may open the passphrase file" in " ".join(checked.out.split())
