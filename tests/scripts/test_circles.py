"""The rule against circles of imports: every kind of import counts, and a tree without a circle passes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "scripts" / "circles"

BACK = {
    "plainly": "from house.one import thing\n",
    "as a module": "from house import one\n",
    "by its dotted name": "import house.one\n",
    "inside a function": "def late():\n    from house.one import thing\n    return thing\n",
    "for types": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from house.one import thing\n",
}


def judge(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    house = folder / "house"
    house.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (house / f"{name}.py").write_text(text)
    return subprocess.run([sys.executable, str(PATH), str(house)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("back", BACK.values(), ids=BACK)
def test_a_circle_is_found(tmp_path: Path, back: str) -> None:
    done = judge(tmp_path, one="from house.two import other\n", two="from house import three\n", three=back)
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    way = line.removeprefix("files import each other in a circle: ").split(" -> ")
    assert way[0] == way[-1] and set(way) == {"house.one", "house.two", "house.three"}
    assert way[way.index("house.one") + 1] == "house.two" if way[-1] != "house.one" else way[1] == "house.two"


def test_what_goes_down_only_passes(tmp_path: Path) -> None:
    done = judge(tmp_path, one="from house import two, three\n", two="from house.three import thing\n", three="")
    assert (done.returncode, done.stdout) == (0, "")
