"""hospital.toml: every mistake is one sentence, every value knows where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from fednode.errors import ConfigError
from fednode.home.config import config_template, load_config

GOOD = 'format = 1\n[node]\nname = "Anna"\nhome = ".."\n'


def _write(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir(exist_ok=True)
    path = folder / "hospital.toml"
    path.write_text(text)
    return path


def test_the_template_loads_as_it_is_and_with_every_example_in_force(tmp_path: Path) -> None:
    text = config_template('St. "Anna"\\', ("/ip4/0.0.0.0/tcp/7700",), (), None)
    config = load_config(_write(tmp_path, text), {}).values
    assert config.node.name == 'St. "Anna"\\'
    assert config.home.root == tmp_path
    assert config.genesis_path == tmp_path / "etc" / "genesis.toml"
    everything = "\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in text.splitlines())
    config = load_config(_write(tmp_path, everything), {}).values
    assert config.keys.passphrase_file == tmp_path / "keys" / "passphrase"
    assert config.data.studies == {"heart": tmp_path / "data" / "heart.csv"}


def test_the_home_may_be_given_on_the_command_line(tmp_path: Path) -> None:
    loaded = load_config(_write(tmp_path, GOOD), {"FEDNODE_NODE__HOME": "/nowhere"}, home=tmp_path / "other")
    assert loaded.values.home.root == tmp_path / "other"
    assert {s.key: s.source for s in loaded.settings}["node.home"] == "option --home"


def test_paths_are_relative_to_the_file_and_data_is_found_by_id_then_name_then_default(tmp_path: Path) -> None:
    study = bytes(range(32))
    text = f'{GOOD}[data]\ndefault = "all.csv"\n[data.studies]\nheart = "heart.csv"\n{study.hex()} = "exact.csv"\n'
    config = load_config(_write(tmp_path, text), {}).values
    assert config.data_path("other", bytes(32)) == tmp_path / "etc" / "all.csv"
    assert config.data_path("heart", bytes(32)) == tmp_path / "etc" / "heart.csv"
    assert config.data_path("heart", study) == tmp_path / "etc" / "exact.csv"
    assert load_config(_write(tmp_path, GOOD), {}).values.data_path("heart", study) is None


def test_the_environment_wins_over_the_file_and_both_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path, f"{GOOD}[limits]\nworker_memory_mb = 2048\nmin_free_disk_mb = 7\n")
    loaded = load_config(
        path,
        {
            "FEDNODE_LIMITS__WORKER_MEMORY_MB": "3072",
            "FEDNODE_NETWORK__LISTEN": "/ip4/127.0.0.1/tcp/1, /ip6/::1/tcp/2",
            "FEDNODE_NODE__NAME": "Berta 2",
            "FEDNODE_DATA__STUDIES": '{ heart = "h.csv" }',
            "FEDNODE_PASSPHRASE_FILE": "not an override",
            "PATH": "/bin",
        },
    )
    assert loaded.values.limits.worker_memory_mb == 3072
    assert loaded.values.network.listen == ("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/2")
    assert loaded.values.node.name == "Berta 2"
    assert loaded.values.data.studies == {"heart": tmp_path / "etc" / "h.csv"}
    sources = {setting.key: setting.source for setting in loaded.settings}
    assert sources["limits.worker_memory_mb"] == "environment FEDNODE_LIMITS__WORKER_MEMORY_MB"
    assert sources["limits.min_free_disk_mb"] == str(path)
    assert sources["log.journal"] == "default"


def test_a_study_is_approved_beforehand_by_its_id_or_all_are(tmp_path: Path) -> None:
    study = bytes(range(32))
    for listed, answer in (("", False), (study.hex(), True), ("*", True)):
        text = f'{GOOD}[study]\nauto_approve = ["{listed}"]\n' if listed else GOOD
        assert load_config(_write(tmp_path, text), {}).values.is_auto_approved(study) is answer


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'format' is missing; add the line format = 1 at the top"),
        ("format = 2\n", "format 2 is not known, this version reads format = 1"),
        ("format = 1\n", r"\[node\] is missing; add it"),
        ("format = 1\nname = 'x'\n", r"key 'name' belongs into the section \[node\]"),
        ("format = 1\n[nod]\n", r"unknown section \[nod\]; did you mean 'node'\?"),
        ("format = 1\nnode = 3\n", r"'node' is a section; write \[node\]"),
        (f"{GOOD}hom = '.'\n", r"unknown key 'hom' in \[node\]; did you mean 'home'\?"),
        (f"{GOOD}[data]\nxyz = 1\n", r"unknown key 'xyz' in \[data\]; known are: default, studies"),
        ("format = 1\n[node]\nname = 3\nhome = '.'\n", r"\[node\] name: must be a text in quotes, not '3'"),
        (f"{GOOD}[network]\nlisten = ['/ip4/x']\n", r"\[network\] listen.0: '/ip4/x' cannot be listened on: it is no"),
        (f"{GOOD}[network]\nlisten = 'x'\n", r"\[network\] listen: must be a list in brackets"),
        (f"{GOOD}[network]\nlisten = []\n", r"\[network\] listen"),
        (f"{GOOD}[limits]\nworker_memory_mb = 0\n", "must be greater than or equal to 1024, not '0'"),
        (f"{GOOD}[limits]\nworker_memory_mb = 1.5\n", "must be a whole number|must be a valid integer"),
        (f"{GOOD}[data]\ndefault = 4\n", r"\[data\] default: must be a path in quotes, not '4'"),
        (f"{GOOD}[data]\ndefault = ''\n", "a path is needed"),
        (f"{GOOD}[data.studies]\nx = 3\n", r"\[data\] studies.x: must be a path"),
        (f"{GOOD}[study]\nauto_approve = ['zz']\n", "neither .* nor the id of a study"),
        (f"{GOOD}[log]\njournal = 'yes'\n", "must be true or false, not 'yes'"),
        ("x = = 1", r"not valid TOML: .*line 1.*; correct it there"),
    ],
)
def test_a_mistake_is_one_sentence_with_place_and_fix(tmp_path: Path, text: str, says: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_config(path, {})
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("FEDNODE_NETWRK__LISTEN", "x", "did you mean 'FEDNODE_NETWORK__LISTEN'"),
        ("FEDNODE_LIMITS__WORKER_MEMORY_MB", "many", "is no TOML value"),
        ("FEDNODE_LIMITS_WORKER_MEMORY_MB", "4000", "one underscore; write FEDNODE_LIMITS__WORKER_MEMORY_MB"),
        ("FEDNODE_LIMITS__WORKER_MEMORY_MB", "0", "environment FEDNODE_LIMITS__WORKER_MEMORY_MB: .*greater than"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path, variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(_write(tmp_path, GOOD), {variable: value})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*no such file or directory; check the path"):
        load_config(tmp_path / "none.toml", {})
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe4"')
    with pytest.raises(ConfigError, match="not UTF-8 text .line 1.; save it as UTF-8"):
        load_config(tmp_path / "latin.toml", {})
