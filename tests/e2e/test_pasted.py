"""What README, pages and help tell people to type: typed in a fresh shell, and at four hospitals with a heart study."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fednode.cli.main import run
from fednode.demo.federation import free_ports, run_demo_data
from tests.e2e.federation import PASSPHRASE, Federation, Hospital, found_chain, make_home, running
from tests.support.pasted import CHECKOUT, PAGES, Found, calls_of, commands_of, examples, parse, scripts_of

pytestmark = pytest.mark.slow

README = CHECKOUT / "README.md"


def bench(root: Path) -> Path:
    """Return a folder that looks like the checkout to somebody who pastes commands."""
    root.mkdir()
    (root / ".venv").symlink_to(Path(sys.prefix))
    for name in ("genesis", "scripts"):
        (root / name).symlink_to(CHECKOUT / name)
    return root


def paste(script: str, place: Path) -> str:
    """Give a script to a shell that knows nothing of fednode; return what it printed. Each line must succeed."""
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place / "person"), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["bash", "-e"], input=script, cwd=place, env=environment, capture_output=True, text=True, timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def with_ports(script: str, ports: list[int]) -> str:
    """Replace the ports of the example: another test may use them now."""
    for number, port in enumerate(ports, 7701):
        script = script.replace(f"127.0.0.1:{number}", f"127.0.0.1:{port}")
    return script


def advised(told: str) -> str:
    """Return the commands that stand after "Next:", up to an empty line, one a line."""
    found, is_next = [], False
    for line in told.splitlines():
        is_next = line.startswith("Next:") or (is_next and line != "")
        if is_next and line.startswith(("  fednode ", "  for ")):
            found.append(line + "\n")
    return "".join(found)


def end_daemons(place: Path) -> None:
    """Stop whatever runs on homes in this folder, however the test ended."""
    for home in sorted((place / "practice").glob("*/etc")):
        subprocess.run(
            [sys.executable, "-m", "fednode.cli.main", "--home", home.parent, "stop", "--kill"], check=False,
            capture_output=True,
        )


def test_the_seven_steps_of_the_readme_end_with_a_model(tmp_path: Path) -> None:
    """The tables are those that `fednode demo --home demo` keeps; the demo itself has tests of its own."""
    place, ports = bench(tmp_path / "checkout"), free_ports(4)
    run_demo_data("split", "--seed", "1", "--out", place / "demo/data", "--dataset", "breast-cancer", "--members", "4")
    steps = [with_ports(script, ports) for script in scripts_of(README) if "fednode demo" not in script]
    assert len(steps) == 8
    try:
        told = paste("\n".join(steps), place)
        assert advised(told).count("doctor") == 4
        paste(f". .venv/bin/activate\n{advised(told)}", place)
    finally:
        end_daemons(place)
    assert "the study is finished: all rounds done" in told
    assert len((place / "practice/risks.csv").read_text().splitlines()) == 1 + 142
    (accuracy,) = re.findall(r"accuracy ([0-9.]+): [0-9]+ of 142 rows right", told)
    assert float(accuracy) > 0.85


@pytest.mark.soak
def test_the_demos_of_the_readme_run_as_pasted(tmp_path: Path) -> None:
    place = bench(tmp_path / "checkout")
    demos = [script for script in scripts_of(README) if "fednode demo" in script]
    told = paste("\n".join([". .venv/bin/activate", *demos]), place)
    assert told.count("the federation's model") == 2
    kept = told[:told.index("the question", told.index("Next:"))]
    paste(f". .venv/bin/activate\n{advised(kept)}", place)


# --- pages and help, on four hospitals whose study is called heart --------------------------------------------------

ELSEWHERE = {
    "demo": "trains a federation of its own: tests/e2e/test_demo.py",
    "bench": "measures for minutes: tests/cli/test_bench.py and its neighbours",
    "plan": "measures this machine first: tests/cli/test_plan.py",
    "federation succeed": "ends a chain: tests/e2e/test_succession.py",
    "keys rotate": "ends the daemon: tests/e2e/test_member_changes.py",
    "keys restore": "wants a home without keys: tests/cli/test_keys.py",
    "start": "runs until it is stopped, or a daemon runs already: tests/cli/test_daemon.py",
    "stop": "ends the daemon: test_the_seven_steps_of_the_readme_end_with_a_model",
    "chain version": "is answered by the others: tests/e2e/test_versions.py",
}
"""Commands whose examples are only read here, by their first words, and where they are run."""

REFUSED = {
    "study approve", "study reject", "study start", "study pause", "study resume", "study readmit", "study stop",
    "study allow-statistics",  # the study of this test is over, or there is no second one
    "member approve", "member revoke",  # nobody has asked to join yet, and four members are the fewest
    "role revoke",             # nobody has the role
    "init",                    # the home holds keys already, or its table is elsewhere
}
"""Commands whose examples need another state of the federation: the answer is one sentence that says so."""

FOUNDERS = ("St. Anna", "St. Berta", "St. Clara", "St. Dora")
AGREED = ("Cleveland Clinic", "Budapest Institute of Cardiology", "University Hospitals Zurich and Basel",
          "Long Beach VA Medical Center")


def heart_table(seed: int, rows: int) -> str:
    """Rows of the study genesis/heart.toml, with a column that names the patient."""
    drawn = random.Random(seed)
    columns = ("patient,age,sex,chest_pain,resting_pressure,cholesterol,fasting_sugar,resting_ecg,highest_rate,"
               "exercise_angina,st_depression,st_slope,coloured_vessels,thallium,disease")
    lines = [columns]
    for number in range(rows):
        ill = number % 2
        cells = (
            drawn.randint(35, 70) + 5 * ill, drawn.randint(0, 1), 4 if ill else drawn.randint(1, 3),
            drawn.randint(100, 170), drawn.randint(150, 350), drawn.randint(0, 1), drawn.randint(0, 2),
            drawn.randint(100, 190) - 20 * ill, ill, drawn.randint(0, 2) + ill, drawn.randint(1, 3),
            drawn.randint(0, 1) + 2 * ill, 7 if ill else 3, ill,
        )
        lines.append(f"p{seed}-{number}," + ",".join(map(str, cells)))
    return "\n".join(lines) + "\n"


@dataclass
class Desk:
    """Four hospitals after their study, and the folder in which somebody at St. Anna types."""

    place: Path
    federation: Federation
    values: dict[str, str]

    def words(self, found: Found) -> list[str]:
        """Return the words of a command, with this federation's values and with places inside the test's folder."""
        words = found.words
        for option, name in {"--chain-id": "chain", "--tx": "transaction", "tx": "transaction"}.items():
            if option in words[:-1]:
                words[words.index(option) + 1] = self.values[name]
        words = [self.values["model"][:8] if word == "9f86d081" else word for word in words]
        if words[:2] == ["role", "grant"]:
            words[-1] = hashlib.sha256(found.where.encode()).hexdigest()
        for place in ("/srv/", "/media/safe/", "/run/secrets/"):
            words = [word.replace(place, f"{self.place}{place}") for word in words]
        return words


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("heart")
    place = bench(root / "checkout")
    hospitals: list[Hospital] = []
    for number, (name, port) in enumerate(zip(FOUNDERS, free_ports(4), strict=True)):
        table = root / f"table-{number}.csv"
        table.write_text(heart_table(number, 40))
        hospitals.append(make_home(root / f"home-{number}", name, port, None, table))
    for name, file in zip(AGREED, ("cleveland", "budapest", "zurich", "long-beach"), strict=True):
        made = make_home(root / file, name, 7700 + len(file))
        shutil.copy(made.home.card, place / f"{file}.toml")
    study = (CHECKOUT / "genesis/heart.toml").read_text().replace("rounds = 10", "rounds = 12")
    genesis = found_chain(hospitals, study)
    for hospital, file in zip(hospitals, ("anna", "berta", "clara", "dora"), strict=True):
        shutil.copy(hospital.home.card, place / f"{file}.toml")
        (place / f"{file}.csv").write_text(heart_table(7, 40))
    anna = hospitals[0].home
    shutil.copy(anna.genesis, place / "genesis.toml")
    shutil.copy(anna.config, place / "hospital.toml")
    (place / "hospital.toml").write_text(anna.config.read_text().replace('home = ".."', f'home = "{anna.root}"'))
    emma = make_home(root / "home-4", "St. Emma", 7700)
    shutil.copy(CHECKOUT / "genesis/heart.toml", place / "heart.toml")
    for name, seed in (("patients.csv", 8), ("test.csv", 9)):
        (place / name).write_text(heart_table(seed, 40))
    for folder in ("srv/fednode", "media/safe", "run/secrets", "person"):
        (place / folder).mkdir(parents=True)
    (place / "person/.fednode").symlink_to(anna.root)
    for name in ("fednode", "backup"):
        (place / "run/secrets" / name).touch(mode=0o600)
        (place / "run/secrets" / name).write_text(PASSPHRASE + "\n")
    numbers = [FOUNDERS.index(card.name) for card in genesis.members]
    hospitals = [hospitals[number] for number in numbers]
    with running(Federation(genesis, hospitals)) as federation:
        at = next(hospital for hospital in federation if hospital.home == anna)
        at.wait(lambda status: status["studies"][0]["status"] == "finished", 300, "the study's end")
        found = at.call("model_list")[-1]["hash"]
        transaction = at.cli("chain", "find", "--kind", "ready", "--format", "json")
        ids = re.findall(r'"id": "([0-9a-f]{64})"', transaction.stdout)
        values = {"chain": genesis.chain_id.hex(), "model": found, "transaction": ids[0],
                  "anna": str(anna.root), "emma": str(emma.home.root)}
        yield Desk(place, federation, values)


def starts_with(words: list[str], first: str) -> bool:
    plain = [word for word in words if not word.startswith("-")]
    while plain and "/" in plain[0]:
        plain = plain[1:]  # the value of --home
    return plain[:len(first.split())] == first.split()


def type_in(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command in a folder without its output files, and say yes where it asks; return code, output and errors."""
    for option, name in itertools.pairwise(words):
        if option in ("-o", "--output") and name.endswith(".csv"):
            Path(name).unlink(missing_ok=True)
    for answer in ([], ["--yes"]):
        capsys.readouterr()
        code = run([*words, *answer])
        told = capsys.readouterr()
        if "there is no terminal to ask" not in told.err:
            break
    return code, told.out, told.err


def is_last(found: Found) -> bool:
    """Whether a command makes a second study, after which 'heart' names two, or the genesis of another chain."""
    return any(starts_with(found.words, first) for first in ("study create", "genesis create"))


def test_every_example_of_pages_and_help_does_what_it_says(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command ends with success, or with one sentence where it is listed as needing another state."""
    monkeypatch.chdir(desk.place)
    monkeypatch.setenv("HOME", str(desk.place / "person"))
    monkeypatch.setenv("FEDNODE_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("FEDNODE_BACKUP_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("FEDNODE_HOME", desk.values["anna"])
    monkeypatch.delenv("COLUMNS", raising=False)
    for name in ("chain", "mine", "theirs", "st-anna", "st-berta"):
        assert run(["chain", "export", "-o", f"{name}.fnx"]) == 0
    for name in ("file", "model.safetensors", "heart.safetensors"):
        assert run(["model", "export", "-o", name]) == 0
    for name in ("old", "trusted"):
        assert run(["chain", "checkpoint", "--at", "10", "-o", f"{name}.json"]) == 0
    pages = [found for page in PAGES if page != README for found in commands_of(page)]
    lines = {found.line: found for found in sorted([*examples(), *pages], key=is_last)}
    wrong, ran = [], 0
    for found in lines.values():
        words = desk.words(found)
        if any(starts_with(words, first) for first in ELSEWHERE) or {"--follow", "-f"} & set(words):
            continue
        if found.where.endswith(".md") and not is_complete(words):
            continue  # running text that names a command
        if any("/srv/" in word for word in words) and not starts_with(words, "init"):
            continue  # on another machine, after a loss: tests/e2e/test_storage.py
        monkeypatch.setenv("FEDNODE_HOME", desk.values["emma" if starts_with(words, "member request") else "anna"])
        code, out, err = type_in(words, capsys)
        ran += 1
        may_refuse = any(starts_with(words, first) for first in REFUSED)
        is_sentence = err.rstrip().endswith(f"(exit code {code})") or f'"exit_code": {code}' in err
        if code != 0 and not (may_refuse and is_sentence and "Traceback" not in err):
            wrong.append(f"{found.where}: {found.line}: exit code {code}: {err[-300:]}{out[-200:]}")
    assert not wrong, "\n".join(wrong)
    assert ran > 80


def is_complete(words: list[str]) -> bool:
    try:
        parse(words)
    except Exception:  # noqa: BLE001  click says in many ways that something is missing
        return False
    return True


def test_what_is_run_elsewhere_is_still_in_a_text() -> None:
    """A row of the tables above that no text needs any more is taken out."""
    every = [found.words for found in [*examples(), *(found for page in PAGES for found in commands_of(page))]]
    for first in [*ELSEWHERE, *REFUSED]:
        assert any(starts_with(words, first) for words in every), first
    assert calls_of("a; for x in y; do fednode status | cat; done") == [["fednode", "status"]]
