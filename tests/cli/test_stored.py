"""Without a daemon every list and show reads the store, with the same columns; the Tab key reads names there too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from fednode.cli.main import cli
from fednode.cli.reading import read_study
from fednode.cli.site import Site
from fednode.desk import read_models
from fednode.desk.models import choose_model
from fednode.documents import Json
from fednode.errors import Refused
from fednode.learn.form import to_toml
from tests.audit.chain import RoundWorld, play
from tests.cli.conftest import Fednode, cards, filled
from tests.cli.test_audit import make_home
from tests.cli.test_tables import _answers

HEART = Path(__file__).resolve().parents[2] / "genesis" / "heart.toml"
READS = ("study list", "round list", "member list", "member proposals", "role list", "model list")


@pytest.fixture(scope="module")
def world() -> RoundWorld:
    return play(2)


@pytest.fixture(scope="module")
def stopped(world: RoundWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("stored") / "home", world, world.blocks)


@pytest.mark.parametrize("command", READS)
def test_a_list_reads_the_store(
    command: str, fednode: Fednode, stopped: Path, tmp_path: Path,
    daemon_answers: Callable[[Path, Mapping[str, Json]], None],
) -> None:
    shown = fednode("--home", stopped, *command.split())
    assert shown.code == 0, shown.err
    assert "from the stored chain up to block" in shown.err
    found = json.loads(fednode("--home", stopped, *command.split(), "--format", "json").out)
    if not found:
        return
    daemon_answers(tmp_path / "home", _answers(4))
    asked = json.loads(fednode("--home", tmp_path / "home", *command.split(), "--format", "json").out)
    assert found[0].keys() == asked[0].keys()
    told = fednode("--home", tmp_path / "home", *command.split()).out
    assert shown.out.splitlines()[1].split() == told.splitlines()[1].split(), "the same columns"


def test_a_study_and_its_rounds_read_the_store(fednode: Fednode, stopped: Path) -> None:
    study = json.loads(fednode("--home", stopped, "study", "list", "--format", "json").out)[0]
    assert study["rounds_done"] == 2
    assert json.loads(fednode("--home", stopped, "study", "show", "--format", "json").out)["id"] == study["id"]
    report = json.loads(fednode("--home", stopped, "round", "show", "1", "--format", "json").out)
    assert (report["number"], report["study"]) == (1, study["id"])
    models = json.loads(fednode("--home", stopped, "model", "list", "--format", "json").out)
    assert models[-1]["hash"] == study["model_hash"]
    last = json.loads(fednode("--home", stopped, "model", "show", "last", "--format", "json").out)
    assert last["hash"] == study["model_hash"]


@pytest.fixture
def founded(fednode: Fednode, homes: Path) -> Path:
    """A home that was never started, with a genesis that holds a study."""
    out = homes / "anna" / "etc" / "genesis.toml"
    done = fednode("genesis", "create", *cards(homes, "anna", "berta", "clara", "dora"), "--study", HEART, "-o", out)
    assert done.code == 0, done.err
    return homes / "anna"


def test_before_the_first_start_the_genesis_is_read(fednode: Fednode, founded: Path) -> None:
    shown = fednode("--home", founded, "member", "list")
    assert shown.code == 0, shown.err
    assert "from the genesis file" in shown.err
    assert fednode("--home", founded, "study", "show", "heart", "--toml").out == to_toml(read_study(HEART))
    members = json.loads(fednode("--home", founded, "member", "list", "--format", "json").out)
    assert [member["name"] for member in members if member["is_me"]] == ["anna"]


def test_without_a_home_it_is_said_that_none_runs(fednode: Fednode, tmp_path: Path) -> None:
    result = fednode("--home", tmp_path / "nowhere", "study", "list")
    assert result.code == 8
    assert "no daemon runs on the home" in result.err


def test_the_tab_key_knows_names_of_the_home(founded: Path) -> None:
    for words, begin, wanted in (
        (["study", "show"], "he", "heart-disease"), (["member", "revoke"], "be", "berta"),
        (["model", "show"], "be", "best"),
    ):
        completer = ShellComplete(cli, {"obj": Site()}, "fednode", "_FEDNODE_COMPLETE")
        found = completer.get_completions(["--home", str(founded), *words], begin)
        assert wanted in [item.value for item in found], words


def test_the_tab_key_is_silent_where_nothing_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    completer = ShellComplete(cli, {"obj": Site()}, "fednode", "_FEDNODE_COMPLETE")
    assert completer.get_completions(["--home", str(tmp_path), "study", "show"], "") == []
    assert capsys.readouterr() == ("", "")


def _model(name: str, accuracy: float | None) -> read_models.ModelView:
    metrics = None if accuracy is None else {"accuracy": accuracy}
    values = filled(read_models.ModelView, {"hash": name * 32})
    return read_models.ModelView(**{**values, "counted": (), "metrics": metrics})


def test_best_is_by_accuracy_and_the_later_of_equals() -> None:
    found = [_model("a1", 0.5), _model("b2", 0.9), _model("c3", 0.9), _model("d4", 0.8), _model("e5", None)]
    assert choose_model(found, "best").hash == "c3" * 32
    assert choose_model(found, "last").hash == "e5" * 32
    assert choose_model(found, "A1a1").hash == "a1" * 32
    for text, models in (("best", found[-1:]), ("last", []), ("ffff", found), ("a1", found)):
        with pytest.raises(Refused, match="model list"):
            choose_model(models, text)


def test_every_study_argument_completes() -> None:
    """Found by walking the commands: a place where a study, member or model is named has names to offer."""
    ctx = click.Context(cli)
    for topic in ("study", "round"):
        group = cli.get_command(ctx, topic)
        assert isinstance(group, click.Group)
        for name, command in group.commands.items():
            for param in command.params:
                if param.name == "study":
                    assert param._custom_shell_complete is not None, (topic, name)
