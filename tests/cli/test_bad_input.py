"""Bad input at the door: one sentence naming cause and fix, the documented exit code, no traceback, nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fednode.home.files import Home, HomeLock
from tests.cli.conftest import Fednode, cards, write_private

FOUR = ("anna", "berta", "clara", "dora")
STUDIES = Path(__file__).resolve().parents[2] / "genesis"


def _is_one_sentence(text: str, code: int) -> bool:
    return (
        text.startswith("error: ") and text.endswith(f"(exit code {code})\n") and text.count("\n") == 1
        and "Traceback" not in text
    )


@pytest.fixture
def founded(fednode: Fednode, homes: Path) -> Path:
    """The home of anna, with a genesis file of all four."""
    file = homes / "anna" / "etc" / "genesis.toml"
    assert fednode("genesis", "create", *cards(homes, *FOUR), "-o", file).code == 0
    return homes / "anna"


def _config(home: Path) -> Path:
    return home / "etc" / "hospital.toml"


def _no_config(home: Path) -> None:
    _config(home).unlink()


def _not_toml(home: Path) -> None:
    _config(home).write_text("format = = 1")


def _unknown_key(home: Path) -> None:
    _config(home).write_text(_config(home).read_text().replace("[network]\n", "[network]\nlisen = []\n"))


def _unknown_section(home: Path) -> None:
    _config(home).write_text(_config(home).read_text() + "\n[netwrok]\n")


def _no_keystore(home: Path) -> None:
    (home / "keys" / "keystore.toml").unlink()


def _damaged_keystore(home: Path) -> None:
    path = home / "keys" / "keystore.toml"
    path.write_text(path.read_text()[:200])


def _open_keystore(home: Path) -> None:
    (home / "keys" / "keystore.toml").chmod(0o644)


def _no_genesis(home: Path) -> None:
    (home / "etc" / "genesis.toml").unlink()


def _changed_genesis(home: Path) -> None:
    path = home / "etc" / "genesis.toml"
    path.write_text(path.read_text().replace('name = "fednode"', 'name = "other"'))


def _half_genesis(home: Path) -> None:
    path = home / "etc" / "genesis.toml"
    path.write_text(path.read_text()[:300])


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (_no_config, 3, "cannot read the configuration"),
        (_not_toml, 3, "not valid TOML"),
        (_unknown_key, 3, "unknown key 'lisen' in [network]; did you mean 'listen'?"),
        (_unknown_section, 3, "unknown section [netwrok]; did you mean 'network'?"),
        (_no_keystore, 4, "make one with 'fednode init'"),
        (_damaged_keystore, 4, "is damaged; restore it from your copy"),
        (_open_keystore, 4, "run: chmod 600"),
        (_no_genesis, 5, "cannot read the genesis file"),
        (_changed_genesis, 5, "was changed after it was made"),
        (_half_genesis, 5, "genesis"),
    ],
)
def test_start_refuses_what_it_cannot_use(
    fednode: Fednode, founded: Path, spoil: Callable[[Path], None], code: int, says: str
) -> None:
    spoil(founded)
    kept = {path: path.read_bytes() for path in founded.rglob("*") if path.is_file()}
    result = fednode("--home", founded, "start", "--passphrase-file", founded.parent / "passphrase")
    assert (result.code, result.out) == (code, "")
    assert says in result.err
    assert _is_one_sentence(result.err, code)
    assert {path: path.read_bytes() for path in founded.rglob("*") if path.is_file()} == kept


def test_a_wrong_passphrase(fednode: Fednode, founded: Path) -> None:
    write_private(founded.parent / "wrong", "wrong horse battery\n")
    result = fednode("--home", founded, "start", "--passphrase-file", founded.parent / "wrong")
    assert result.code == 4
    assert "wrong passphrase for the keystore" in result.err
    assert _is_one_sentence(result.err, 4)
    assert "wrong horse" not in result.err


def test_a_foreign_genesis(fednode: Fednode, homes: Path) -> None:
    file = homes / "anna" / "etc" / "genesis.toml"
    assert fednode("genesis", "create", *cards(homes, *FOUR[1:]), "-o", file).code == 0
    result = fednode("--home", homes / "anna", "start", "--passphrase-file", homes / "passphrase")
    assert result.code == 5
    assert "this hospital's key is not among the 3 members" in result.err
    assert _is_one_sentence(result.err, 5)


def test_a_second_daemon_on_one_home(fednode: Fednode, founded: Path) -> None:
    lock = HomeLock.acquire(Home(founded))
    try:
        result = fednode("--home", founded, "start", "--passphrase-file", founded.parent / "passphrase")
    finally:
        lock.release()
    assert result.code == 10
    assert "already runs on the home" in result.err
    assert _is_one_sentence(result.err, 10)


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("study", "approve"), ("study", "pause"), ("stop",)],
)
def test_no_daemon(fednode: Fednode, founded: Path, arguments: tuple[str, ...]) -> None:
    result = fednode("--home", founded, *arguments)
    assert result.code == 8
    assert "no daemon runs on the home" in result.err
    assert _is_one_sentence(result.err, 8)


def test_chain_of_a_home_that_never_ran(fednode: Fednode, founded: Path) -> None:
    for command in ("status", "show", "verify"):
        result = fednode("--home", founded, "chain", command)
        assert result.code == 8
        assert "run 'fednode start' first" in result.err
    assert not (founded / "var" / "chain").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read the study file"),
        ("format = = 1", "not valid TOML"),
        ("format = 9\n", "format 9 is not known"),
        ("\xff", "study file|not valid TOML"),
    ],
)
def test_a_bad_study_file(fednode: Fednode, founded: Path, tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "study.toml"
    if content is not None:
        file.write_text(content)
    result = fednode("--home", founded, "study", "create", file)
    assert result.code == 3
    assert str(file) in result.err
    assert any(part in result.err for part in says.split("|"))
    assert _is_one_sentence(result.err, 3)


@pytest.mark.slow
def test_bad_tables(fednode: Fednode, founded: Path, tmp_path: Path) -> None:
    tables = {
        "missing": None,
        "empty": "",
        "header": "a,b\n",
        "ragged": "63,1,1\n63,1\n",
        "binary": "\x00\x01",
    }
    for name, content in tables.items():
        file = tmp_path / f"{name}.csv"
        if content is not None:
            file.write_text(content)
        result = fednode("--home", founded, "data", "check", "--study", STUDIES / "heart.toml", "--input", file)
        assert result.code == 7, (name, result.err)
        assert _is_one_sentence(result.err, 7), result.err
        assert str(file) in result.err


def test_a_study_that_is_not_there(fednode: Fednode, founded: Path) -> None:
    result = fednode("--home", founded, "data", "check", "--study", "nothing")
    assert result.code == 2
    assert "'fednode study list' shows" in result.err


def test_models_that_are_not_there(fednode: Fednode, founded: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"nothing like it")
    unusable = fednode("predict", "--model", tmp_path / "bad.safetensors", "--input", "x.csv")
    assert (unusable.code, "is no usable model" in unusable.err) == (6, True)
    absent = fednode("--home", founded, "predict", "--model", "abcd1234", "--input", "x.csv")
    assert (absent.code, "'fednode model list' shows" in absent.err) == (2, True)
    no_file = fednode("--home", founded, "predict", "--model", tmp_path / "none.safetensors", "--input", "x.csv")
    assert (no_file.code, "'fednode model export' writes one" in no_file.err) == (2, True)
    export = fednode("--home", founded, "model", "export", "abcd1234", "-o", tmp_path / "m.safetensors")
    assert export.code == 11
