"""Every scenario file, and the published attack on the locking rule."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.sim.mutants import SCENARIOS
from tests.sim.replay import play_path
from tests.sim.script import Player


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.txt")), ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    play_path(path)


def translate(step: dict[str, Any]) -> list[str]:
    """Turn a step of the published format into lines of ours. D is scripted, A to C are honest."""
    kind = next(iter(step))
    body = step[kind]
    receivers = " ".join(step.get("to", ()))
    if kind == "proposal" and body["from"] in "ABC":
        return [f"work {body['from']} {body['value']}", f"proposal {body['round']} from {body['from']} to {receivers}"]
    if kind == "proposal":
        valid = f" valid {body['validRound']}" if body["validRound"] >= 0 else ""
        return [f"forge {body['from']} {body['round']} {body['value']}{valid} to {receivers}"]
    if kind in ("prevote", "precommit"):
        return [f"{kind} {body['round']} {body['value']} from {' '.join(body['from'])} to {receivers}"]
    if kind == "advance":
        names = " ".join(re.findall(r"\b[ABC]\b", body))
        goal = re.search(r"enter round (\d+)", body)
        return [f"pass {names} with D to {goal[1]}"]
    assert kind == "expect", f"unknown step {kind}"
    lines = []
    for name, what in ((name, what) for name, what in body.items() if name in "ABC"):
        if what.startswith("no prevote for "):
            lines.append(f"expect {name} not-prevoted {what.split()[3]} 3")
        else:
            lines.append(f"expect {name} {what.replace('@', ' ')}")
    return lines


def test_published_scenarios(shared_dir: Path) -> None:
    """Each ends with all that remains being voted and delivered: even then there is no fork, the checker sees to it."""
    path = shared_dir / "vectors" / "tendermint-directed-scenarios" / "scenarios.json"
    for scenario in json.loads(path.read_text())["scenarios"]:
        player = Player()
        player.do(["members", *"ABC", "scripted", "D"])
        lines = [line for step in scenario["steps"] for line in translate(step)]
        lines += ["timeout propose 3 B C", "settle B C with D 3 W", "expect B undecided", "expect C undecided"]
        for line in lines:
            player.do(line.split())
