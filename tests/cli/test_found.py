"""From nothing to a federation: init, cards, genesis, configuration, keys."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from fednode.cli.network_file import read_network
from fednode.home.keystore import read_public_keys
from tests.cli.conftest import Fednode, cards, write_private

STUDY = Path(__file__).resolve().parents[2] / "genesis" / "breast_cancer.toml"
FOUR = ("anna", "berta", "clara", "dora")


def test_init_makes_everything_private_and_says_what_to_do(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    home = tmp_path / "new"
    result = fednode(
        "init", "--home", home, "--name", 'St. "Anna"', "--advertise", "/dns4/anna.example/tcp/7700",
        "--data", "patients.csv", "--passphrase-file", homes / "passphrase",
    )
    assert result.code == 0, result.err
    public = read_public_keys(home / "keys" / "keystore.toml")
    groups = public.fingerprint.split(" ")
    assert " ".join(groups[:6]) in result.out
    assert " ".join(groups[6:]) in result.out
    assert f"fednode --home {home} doctor" in result.out
    assert stat.S_IMODE((home / "keys" / "keystore.toml").stat().st_mode) == 0o600
    card = (home / "etc" / "identity-card.toml").read_text()
    assert "/dns4/anna.example/tcp/7700" in card
    shown = json.loads(fednode("--home", home, "config", "show", "--format", "json").out)
    values = {row["key"]: row["value"] for row in shown["settings"]}
    assert values["node.name"] == 'St. "Anna"'
    assert values["data.default"] == str(Path.cwd() / "patients.csv")


def test_init_never_replaces_keys(fednode: Fednode, homes: Path) -> None:
    before = (homes / "anna" / "keys" / "keystore.toml").read_bytes()
    result = fednode("init", "--home", homes / "anna", "--name", "x", "--passphrase-file", homes / "passphrase")
    assert result.code == 4
    assert "already holds a hospital's keys; choose another --home" in result.err
    assert (homes / "anna" / "keys" / "keystore.toml").read_bytes() == before


def test_init_needs_a_name_a_passphrase_and_a_home(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    home = tmp_path / "new"
    unnamed = fednode("init", "--home", home, "--passphrase-file", homes / "passphrase")
    assert (unnamed.code, "add --name TEXT" in unnamed.err) == (2, True)
    unlocked = fednode("init", "--home", home, "--name", "x")
    assert (unlocked.code, "give --passphrase-file" in unlocked.err) == (4, True)
    write_private(homes / "short", "short\n")
    weak = fednode("init", "--home", home, "--name", "x", "--passphrase-file", homes / "short")
    assert (weak.code, "at least 8 characters" in weak.err) == (4, True)
    elsewhere = fednode("init", "-c", tmp_path / "x.toml", "--name", "x", "--passphrase-file", homes / "passphrase")
    assert (elsewhere.code, "give --home DIR instead" in elsewhere.err) == (2, True)
    assert not home.exists()


def test_init_into_a_folder_that_cannot_be_written(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = fednode(
        "init", "--home", tmp_path / "file" / "home", "--name", "x", "--passphrase-file", homes / "passphrase"
    )
    assert result.code in (4, 8)
    assert result.err.startswith("error: cannot ")
    assert result.err.count("\n") == 1


def test_a_new_card_follows_the_configuration(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    config = homes / "anna" / "etc" / "hospital.toml"
    config.write_text(config.read_text().replace("/ip4/127.0.0.1/tcp/7790", "/ip4/127.0.0.1/tcp/9999"))
    out = tmp_path / "card.toml"
    result = fednode("--home", homes / "anna", "keys", "card", "-o", out, "--passphrase-file", homes / "passphrase")
    assert result.code == 0, result.err
    assert "tcp/9999" in out.read_text()
    write_private(homes / "wrong", "wrong horse battery\n")
    refused = fednode("--home", homes / "anna", "keys", "card", "-o", out, "--passphrase-file", homes / "wrong")
    assert refused.code == 4
    assert "wrong passphrase for the keystore" in refused.err


def test_keys_show_needs_no_passphrase_and_tells_no_secret(fednode: Fednode, homes: Path) -> None:
    shown = json.loads(fednode("--home", homes / "anna", "keys", "show", "--format", "json").out)
    assert set(shown) == {"sign", "network", "peer_id", "fingerprint"}
    assert shown["peer_id"].startswith("12D3KooW")


def test_four_hospitals_found_a_federation(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    made = fednode("genesis", "create", *cards(homes, *FOUR), "--study", STUDY, "-o", file, "--name", "heart")
    assert made.code == 0, made.err
    assert made.err.count("warning") == 1 and "every machine to itself" in made.err  # they are on loopback
    assert "n = 4, f = 1, quorum = 3" in made.out
    shown = json.loads(fednode("genesis", "show", file, "--format", "json").out)
    assert (shown["n"], shown["f"], shown["quorum"]) == (4, 1, 3)
    assert sorted(member["name"] for member in shown["members"]) == list(FOUR)
    assert [study["name"] for study in shown["studies"]] == ["breast-cancer"]
    assert shown["chain_id"] in made.out
    (homes / "anna" / "etc" / "genesis.toml").write_bytes(file.read_bytes())
    own = fednode("--home", homes / "anna", "genesis", "show", "--format", "json")
    assert json.loads(own.out)["chain_id"] == shown["chain_id"]
    listed = json.loads(fednode("--home", homes / "anna", "member", "list", "--format", "json").out)
    assert [member["id"] for member in listed] == [1, 2, 3, 4]


def network_of(tmp_path: Path, hospitals: tuple[str, ...], more: str = "") -> Path:
    file = tmp_path / "network.toml"
    names = ", ".join(f'"{name}"' for name in hospitals)
    file.write_text(f'format = 1\nname = "agreed"\nhospitals = [{names}]\nstudies = ["study.toml"]\n{more}')
    (tmp_path / "study.toml").write_bytes(STUDY.read_bytes())
    return file


def test_a_network_definition_names_hospitals_and_studies(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    network = network_of(tmp_path, FOUR)
    made = fednode("genesis", "create", "--network", network, *cards(homes, *FOUR), "-o", file, "--format", "json")
    assert made.code == 0, made.err
    shown = json.loads(made.out)
    assert (shown["name"], [study["name"] for study in shown["studies"]]) == ("agreed", ["breast-cancer"])
    few = fednode("genesis", "create", "--network", network, *cards(homes, *FOUR[:3]), "-o", tmp_path / "few.toml")
    assert few.code == 5
    assert f"names {FOUR[3]}, whose card is missing" in few.err
    network_of(tmp_path, FOUR[:3])
    many = fednode("genesis", "create", "--network", network, *cards(homes, *FOUR), "-o", tmp_path / "many.toml")
    assert many.code == 5
    assert f"does not name {FOUR[3]}" in many.err
    assert not (tmp_path / "few.toml").exists()
    assert not (tmp_path / "many.toml").exists()


@pytest.mark.parametrize(("more", "text"), [
    ("speed = 1\n", "speed"), ("[name]\n", "not valid TOML"), ("hospitals = 3\n", "not valid TOML"),
])
def test_a_network_definition_with_a_slip_is_named(
    fednode: Fednode, homes: Path, tmp_path: Path, more: str, text: str
) -> None:
    network = network_of(tmp_path, FOUR, more)
    result = fednode("genesis", "create", "--network", network, *cards(homes, *FOUR), "-o", tmp_path / "genesis.toml")
    assert result.code == 5
    assert str(network) in result.err
    assert text in result.err


@pytest.mark.parametrize("name", ["heart", "breast_cancer", "digits"])
def test_network_definitions_that_come_along_are_whole(name: str) -> None:
    network = read_network(STUDY.parent / f"{name}_network.toml")
    assert len(network.hospitals) >= 4
    assert network.studies == (STUDY.parent / f"{name}.toml",)
    assert network.studies[0].is_file()


def test_few_members_are_warned_and_too_few_do_not_train(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    three = fednode("genesis", "create", *cards(homes, *FOUR[:3]), "--study", STUDY, "-o", file)
    assert three.code == 0
    assert "warning: with 3 members every loss voids the round" in three.err
    two = fednode("genesis", "create", *cards(homes, *FOUR[:2]), "--study", STUDY, "-o", tmp_path / "two.toml")
    assert two.code in (3, 5)
    assert "2 members" in two.err or "with 2" in two.err
    assert not (tmp_path / "two.toml").exists()
    idle = fednode("genesis", "create", *cards(homes, *FOUR[:2]), "-o", tmp_path / "two.toml")
    assert idle.code == 0
    assert "warning: with 2 members nobody may fail" in idle.err


def test_an_existing_genesis_is_replaced_only_when_asked(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    file = tmp_path / "genesis.toml"
    file.write_text("precious")
    refused = fednode("genesis", "create", *cards(homes, *FOUR), "-o", file)
    assert (refused.code, file.read_text()) == (2, "precious")
    assert "add --yes if you are sure" in refused.err
    assert fednode("genesis", "create", *cards(homes, *FOUR), "-o", file, "--yes").code == 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace('name = "anna"', 'name = "Anna"'), "not signed by its sign key"),
        (lambda text: text.replace("sign_key", "sing_key"), "'sign_key' is missing"),
        (lambda text: text[:100], "not valid TOML|is missing"),
        (lambda text: "", "is missing"),
    ],
)
def test_a_changed_card_is_refused_by_file_name(
    fednode: Fednode, homes: Path, tmp_path: Path, spoil: object, says: str
) -> None:
    assert callable(spoil)
    card = homes / "anna" / "etc" / "identity-card.toml"
    card.write_text(spoil(card.read_text()))
    result = fednode("genesis", "create", *cards(homes, *FOUR), "-o", tmp_path / "genesis.toml")
    assert result.code == 5
    assert str(card) in result.err
    assert any(part in result.err for part in says.split("|"))


def test_one_card_twice_is_refused(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    result = fednode("genesis", "create", *cards(homes, "anna", "anna", "berta"), "-o", tmp_path / "genesis.toml")
    assert result.code == 5
    assert "use every identity card once" in result.err


def test_config_check_finds_what_is_not_there(fednode: Fednode, homes: Path) -> None:
    config = homes / "anna" / "etc" / "hospital.toml"
    assert fednode("--home", homes / "anna", "config", "check").code == 0
    config.write_text(config.read_text().replace('#default = "../data/patients.csv"', 'default = "missing.csv"'))
    result = fednode("--home", homes / "anna", "config", "check")
    assert result.code == 3
    assert "data.default names" in result.err
