"""`fednode data check` and `fednode doctor` on tables as hospitals have them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.cli.conftest import Fednode, cards
from tests.cli.test_predict import STUDY

FOUR = ("anna", "berta", "clara", "dora")


def rows(count: int = 40, factor: float = 1.0) -> str:
    drawn = random.Random(1)
    lines = [
        f"{drawn.randint(20, 90)},{drawn.uniform(1, 30) * factor:.1f},{drawn.choice(['alive', 'died'])}"
        for _ in range(count)
    ]
    return "age,bilirubin,outcome\n" + "\n".join(lines) + "\n"


@pytest.mark.slow
def test_doctor_shows_the_verdicts_of_data_check(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    home, study, table = homes / "anna", tmp_path / "study.toml", tmp_path / "t.csv"
    study.write_text(STUDY)
    made = fednode("genesis", "create", *cards(homes, *FOUR), "--study", study, "-o", home / "etc" / "genesis.toml")
    assert made.code == 0, made.err
    config = home / "etc" / "hospital.toml"
    config.write_text(config.read_text().replace("[data]", f'[data]\ndefault = "{table}"'))

    def looked() -> dict[str, object]:
        done = fednode("--home", home, "doctor", "--format", "json")
        return next(row for row in json.loads(done.out) if row["check"] == "data")

    table.write_text(rows())
    good = looked()
    assert good["result"] == "passed" and "alive" in str(good["detail"])
    table.write_text(rows(factor=17.1).replace("died", "alive"))
    found = looked()
    assert (found["ok"], found["result"]) == (True, "warning")
    checked = fednode("--home", home, "data", "check", "--format", "json")
    assert checked.code == 0
    for words in ("values lie outside [0, 40] mg/dl", "no row of class died"):
        assert words in str(found["detail"]) and words in checked.out
    table.write_text(rows().replace("age,", "age,age,", 1).replace("\n", "\n1,").removesuffix("1,"))
    found = looked()
    assert found["ok"] is False and "names it 2 times" in str(found["detail"])


@pytest.mark.slow
def test_a_map_for_another_study_is_told(fednode: Fednode, homes: Path, tmp_path: Path) -> None:
    study, table, config = tmp_path / "study.toml", tmp_path / "t.csv", homes / "anna" / "etc" / "hospital.toml"
    study.write_text(STUDY)
    table.write_text(rows())
    config.write_text(config.read_text() + '\n[data.map.lever]\nmissing = ["x"]\n')
    done = fednode("--home", homes / "anna", "data", "check", "--study", study, "--input", table)
    assert done.code == 0 and "[data.map.lever]" in done.err and "'liver'" in done.err
    config.write_text(config.read_text().replace("lever", "liver"))
    assert "[data.map" not in fednode("--home", homes / "anna", "data", "check", "--study", study, "--input", table).err
