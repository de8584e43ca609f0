"""What people see of a round with proofs: its phases, its coin, and who proved something false."""

from __future__ import annotations

import click
import pytest

from fednode.cli.round import report_tree
from fednode.cli.show import print_tree
from fednode.desk.views import kind_name, report_view, round_view
from fednode.json_form import to_json
from fednode.sums.phase import Phase
from tests.ledger.sum_world import World


def make() -> World:
    world = World(liars={2})
    world.ready_all()
    return world


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of a tree is broken."""
    monkeypatch.setenv("COLUMNS", "200")


def test_a_liar_a_coin_and_the_phases_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    world = make()
    world.go_to(Phase.SHARE)
    running = round_view(world.round)
    coin = world.attempt.coin
    assert coin is not None and running.coin == coin.hex() and running.faulty == ()
    report = report_view(world.finish_round())
    assert report.coin not in (None, coin.hex()), "the coin of the last attempt"
    print_tree(*report_tree(report))
    text = click.unstyle(capsys.readouterr().out)
    assert "FAULTY: members 2" in text and f"coin {str(report.coin)[:12]}" in text
    assert "attempt 0: void in proof, a member of the sum did not prove its update; goes on without 2" in text
    for phase in ("coin", "share", "proof"):
        assert text.count(f"─ {phase} ") == 2


def test_new_messages_are_shown_as_json() -> None:
    world = make()
    world.go_to(Phase.COIN)
    shown = [world.link(1)]
    world.go_to(Phase.SHARE)
    shown.append(world.share_root(1))  # type: ignore[arg-type]
    world.go_to(Phase.PROOF)
    shown += world.proofs(1)  # type: ignore[arg-type]
    assert [kind_name(body) for body in shown] == ["coin", "share-root", "proof"]
    views = [to_json(body) for body in shown]
    assert all(isinstance(view, dict) and view["study"] == world.study.hex() for view in views)
    assert views[2]["sum_ok"] == 1 and len(views[1]["sketch"]) == 2048  # type: ignore[index,call-overload,arg-type]


def test_disputes_about_shares_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    world = World(garbled={(4, 3)}, off={(4, 3)})
    world.ready_all()
    world.go_to(Phase.REDEAL)
    assert to_json(world.round.phase)["expected"] == [4]  # type: ignore[index,call-overload]
    shown = [world.redeal(4, 3)]
    world.go()
    shown.append(world.confirm(1))  # type: ignore[arg-type]
    world.go_to(Phase.EXPOSE)
    assert round_view(world.round).phase.name == "expose"
    shown.append(world.expose(4, 3))  # type: ignore[arg-type]
    assert [kind_name(body) for body in shown] == ["redeal", "confirm", "expose"]
    print_tree(*report_tree(report_view(world.finish_round())))
    text = click.unstyle(capsys.readouterr().out)
    assert "FAULTY: members 4" in text
    assert "attempt 0: void in expose, a member dealt a wrong share, and dealt it again; goes on without 4" in text
    for phase in ("redeal", "confirm", "expose"):
        assert text.count(f"─ {phase} ") == 1
