"""`fednode demo`: a federation of local hospitals trains together, one of them loses its power, all of it real."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.genesis import warnings_of
from fednode.cli.reading import read_genesis, read_study
from fednode.cli.show import print_json, ratio, short
from fednode.cli.site import Command, Site, format_option, pass_site
from fednode.errors import FednodeError, UsageError, VerificationFailed

if TYPE_CHECKING:
    from fednode.cli.screen import Screen
    from fednode.demo.federation import LocalFederation
    from fednode.demo.run import Ending, Story
    from fednode.learn.study import StudySpec

DATASETS = ("breast-cancer", "digits")
LEAST_MEMBERS, LEAST_TO_KILL, MOST_MEMBERS = 3, 4, 16
TRAIN_TIMEOUT_S = 5
"""What a hospital that is killed while it trains costs. Of tables given with --data nobody knows how long they take."""

ASK_AFTER_S = 30
"""All hospitals of a demo start together: a study that waits so long has one whose daemon or data are not right."""
OWN_TRAIN_TIMEOUT_S = 30

LEAST_GAP = 0.002
"""Of accuracy: half a case in the demo's test set."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for. `tables` are the given CSVs, none for a bundled `dataset`."""

    members: int
    rounds: int | None
    dataset: str
    tables: tuple[Path, ...]
    schema: Path | None
    seed: int
    is_killing: bool


@dataclass(frozen=True, slots=True)
class Split:
    """The demo's data: a table for each hospital, and one that no daemon ever sees."""

    tables: tuple[Path, ...]
    rows: tuple[int, ...]
    test: Path
    test_rows: int


@click.command(
    "demo",
    cls=Command,
    example="fednode demo\nfednode demo --home demo            keep everything, to look around afterwards\n"
    "fednode demo --dataset digits --members 7\n"
    "fednode demo --schema heart.toml --data anna.csv --data berta.csv --data clara.csv --data dora.csv",
)
@click.option("--members", type=click.IntRange(1, MOST_MEMBERS), help="Number of hospitals.  [default: 4]")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Training rounds.  [default: 10, as the study says]")
@click.option("--dataset", type=click.Choice(DATASETS), help="Bundled data.  [default: breast-cancer]")
@click.option("--data", "tables", multiple=True, type=click.Path(path_type=Path), metavar="CSV",
              help="A hospital's own table, once for each; a quarter is held out as test set.")
@click.option("--schema", type=click.Path(path_type=Path), metavar="FILE", help="Study file that describes --data.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Of the data's split.")
@click.option("--kill/--no-kill", default=None, help="Kill a daemon on the way and bring it back.  [default: kill]")
@click.option("--home", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="New folder to keep everything in; without it nothing is left.")
@format_option
@pass_site
def demo(site: Site, /, folder: Path | None, as_json: bool, **asked: Any) -> None:
    """Train four local hospitals together and watch.

    Each hospital is a daemon of its own with its own keys, ledger and table, and no two of them have seen the same
    row. One is killed on the way and comes back.
    """
    begin = time.monotonic()
    plan = make_plan(**asked)
    from fednode.cli.screen import Screen
    from fednode.demo.federation import ending_on_signals

    screen = Screen(is_error=as_json)
    kept = folder or site.home_option
    with ending_on_signals(), _folder(kept, screen) as place:
        result = _run(plan, place, screen)
        result["seconds_total"] = round(time.monotonic() - begin, 1)
        if as_json:
            print_json(result)
        else:
            _tell_result(result, screen)
            screen.line("\nWhat it means:")
            for sentence in meaning_of(result):
                screen.sentence(f"- {sentence}")
            _tell_next(place, kept is not None, plan.members, screen)
    if not (result["chain_verified"] and result["hashes_equal"]) or result["killed_and_rejoined"] is False:
        raise VerificationFailed("the demo did not end as it must, see above; run it with --home DIR and read the logs")


def make_plan(
    members: int | None, rounds: int | None, dataset: str | None, tables: tuple[Path, ...], schema: Path | None,
    seed: int, kill: bool | None,
) -> Plan:
    """Return what the options mean together; raise `UsageError` where they contradict each other."""
    if tables and schema is None:
        raise UsageError("--data needs --schema FILE, the study that describes the columns; genesis/heart.toml is one")
    if schema is not None and not tables:
        raise UsageError("--schema describes tables; give each hospital's with --data CSV")
    if tables and dataset is not None:
        raise UsageError("--dataset and --data exclude each other; leave one out")
    if tables and members not in (None, len(tables)):
        raise UsageError(f"--members {members} does not fit {len(tables)} times --data; leave --members out")
    count = len(tables) or members or 4
    if count < LEAST_MEMBERS:
        raise UsageError(f"{count} hospitals cannot train: a sum of fewer than {LEAST_MEMBERS} tells what each put in; "
                         f"take at least {LEAST_MEMBERS}")
    if kill and count < LEAST_TO_KILL:
        raise UsageError(f"with {count} members nobody may fail: the chain stands still until the killed one is back; "
                         f"take at least {LEAST_TO_KILL} members, or --no-kill")
    is_killing = count >= LEAST_TO_KILL if kill is None else kill
    return Plan(count, rounds, dataset or DATASETS[0], tables, schema, seed, is_killing)


@contextlib.contextmanager
def _folder(kept: Path | None, screen: Screen) -> Iterator[Path]:
    """Yield the folder for everything. A temporary one is left behind only if something went wrong in its homes."""
    from fednode.home.files import environment

    if kept is not None:
        place = kept.expanduser().absolute()
        with environment("create the folder", place):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_empty = not any(place.iterdir())
        if not is_empty:
            raise UsageError(f"{place} is not empty; --home wants a new folder")
        yield place
        return
    place = Path(tempfile.mkdtemp(prefix="fednode-demo-"))
    is_kept = False
    try:
        yield place
    except FednodeError:
        is_kept = (place / "genesis.toml").exists()
        if is_kept:
            screen.line(f"homes and logs of this attempt are kept in {place}")
        raise
    finally:
        if not is_kept:
            shutil.rmtree(place, ignore_errors=True)


# --- running --------------------------------------------------------------------------------------------------

def _run(plan: Plan, place: Path, screen: Screen) -> dict[str, Any]:
    from fednode.demo.federation import found_federation
    from fednode.demo.run import Story

    study, spec = _write_study(plan, place)
    screen.say(question_of(spec))
    screen.say("splitting the data: a quarter is held out as test set, no daemon ever sees it")
    split = _split(plan, study, place / "data")
    screen.say(f"{plan.members} hospitals with {', '.join(map(str, split.rows))} rows; {split.test_rows} test rows")
    for warning in warnings_of(plan.members):
        screen.say(warning)
    federation = found_federation(place, "demo", split.tables, [spec])
    genesis = read_genesis(federation.genesis_path)
    screen.say(f"keys and genesis file made: chain {short(genesis.chain_id.hex())}; starting {plan.members} daemons")
    with federation:
        federation.start(federation.hospitals)
        federation.wait_ready(federation.hospitals)
        screen.say("all daemons are up; the study begins when every hospital's data fits its schema")
        victim = federation.hospitals[-1] if plan.is_killing else None
        story = Story(federation, spec.rounds, victim, screen)
        with screen.rounds():
            story.follow()
        ending = story.settle()
        model = place / "model.safetensors"
        federation.hospitals[0].ask("model_export", hash=ending.model_hash, path=str(model))
    screen.say("training is over and the daemons have stopped; verifying every chain, comparing with hospitals alone")
    with ThreadPoolExecutor(1) as side:
        compared = side.submit(_compare, study, split, model)
        is_verified = _verify(federation, ending, screen)
        measured = compared.result()
    return _result(plan, spec, split, story, ending, is_verified, measured)


def question_of(spec: StudySpec) -> str:
    """Return what is predicted, and from what, in a sentence."""
    if spec.description:
        return f"the question: {spec.description}"
    *first, last = spec.data.classes
    return f"the question: {', '.join(first)} or {last}, from {spec.data.features} values of each case"


def _write_study(plan: Plan, place: Path) -> tuple[Path, StudySpec]:
    """Write the demo's study: the file that was named or came along, with the demo's rounds and deadline."""
    from fednode.demo.federation import shipped_study
    from fednode.home.files import PUBLIC_FILE, write_atomic
    from fednode.learn.form import to_toml

    spec = read_study(plan.schema or shipped_study(plan.dataset))
    timeout_s = TRAIN_TIMEOUT_S if plan.schema is None else min(OWN_TRAIN_TIMEOUT_S, spec.timeouts.train_timeout_s)
    timeouts = dataclasses.replace(spec.timeouts, train_timeout_s=timeout_s, start_after_s=ASK_AFTER_S)
    spec = dataclasses.replace(spec, rounds=plan.rounds or spec.rounds, timeouts=timeouts)
    path = place / "study.toml"
    write_atomic(path, to_toml(spec).encode(), PUBLIC_FILE)
    return path, spec


def _split(plan: Plan, study: Path, folder: Path) -> Split:
    from fednode.demo.federation import run_demo_data

    common = ("--seed", str(plan.seed), "--out", folder)
    if plan.tables:
        found = run_demo_data("split-files", *common, "--study", study, *plan.tables)
    else:
        found = run_demo_data("split", *common, "--dataset", plan.dataset, "--members", str(plan.members))
    tables = tuple(Path(path) for path in found["members"])
    return Split(tables, tuple(found["rows"]), Path(found["test"]), int(found["test_rows"]))


def _compare(study: Path, split: Split, model: Path) -> Mapping[str, Any]:
    from fednode.demo.federation import run_demo_data

    return run_demo_data("compare", "--study", study, "--test", split.test, "--model", model, *split.tables)


def _verify(federation: LocalFederation, ending: Ending, screen: Screen) -> bool:
    """Run every hospital's chain again from the genesis alone, trusting no store; say what does not hold."""
    from fednode.audit.verify import Level, stored_entries, verify_chain
    from fednode.chain.leveldb import open_store

    genesis = read_genesis(federation.genesis_path)
    is_whole = True
    for hospital in federation.hospitals:
        store = open_store(hospital.home.chain, genesis)
        try:
            store.audit()
            report = verify_chain(stored_entries(store), genesis, Level.EXECUTION)
        finally:
            store.close()
        if not report.is_whole or report.height < ending.height:
            is_whole = False
            screen.say(f"the chain of {hospital.name} does not hold: {report.problem or f'it ends at {report.height}'}")
    return is_whole


def _result(
    plan: Plan, spec: StudySpec, split: Split, story: Story, ending: Ending, is_verified: bool,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "members": plan.members,
        "rounds": spec.rounds,
        "accuracy": measured["accuracy"],
        "auc": measured["auc"],
        "local_only": measured["local_only"],
        "pooled": measured["pooled"],
        "seconds_total": 0.0,
        "round_seconds_p50": round(story.round_seconds, 3),
        "secure_sum_seconds_p50": round(story.secure_sum_seconds, 3),
        "height": ending.height,
        "chain_verified": is_verified,
        "killed_and_rejoined": story.has_rejoined and ending.hashes_equal if plan.is_killing else None,
        "model_hash": ending.model_hash,
        "hashes_equal": ending.hashes_equal,
        "study": spec.name,
        "seed": plan.seed,
        "rows": list(split.rows),
        "test_rows": split.test_rows,
        "pooled_auc": measured["pooled_auc"],
        "failed_rounds": sum(report["outcome"] != "ok" for report in story.reports),
        "round_seconds": [report["seconds"] for report in story.reports],
    }


# --- telling --------------------------------------------------------------------------------------------------

def _tell_result(result: Mapping[str, Any], screen: Screen) -> None:
    def score(name: str, accuracy: object, auc: object = None) -> str:
        return f"  {name:<34} {ratio(accuracy)}" + (f"   AUC {ratio(auc)}" if auc is not None else "")

    rejoined, killed = result["killed_and_rejoined"], result["members"]
    screen.line(f"\naccuracy on {result['test_rows']} test rows that no daemon has seen")
    screen.line(score("the federation's model", result["accuracy"], result["auc"]))
    for number, (accuracy, rows) in enumerate(zip(result["local_only"], result["rows"], strict=True), 1):
        screen.line(score(f"hospital {number} alone ({rows} rows)", accuracy))
    screen.line(score("all data pooled in one place", result["pooled"], result["pooled_auc"]))
    verified = "verified from the genesis on, in every home" if result["chain_verified"] else "NOT WHOLE"
    equal = "the same in every hospital" if result["hashes_equal"] else "NOT THE SAME in every hospital"
    screen.line(f"\nchain      {result['height']} blocks, {verified}")
    screen.line(f"model      {short(result['model_hash'])}, {equal}")
    if rejoined is not None:
        returned = "killed, returned and counted again" if rejoined else "killed and NOT counted again"
        screen.line(f"failure    hospital {killed} was {returned}")
    screen.line(
        f"time       {result['seconds_total']:.0f} s; a round {result['round_seconds_p50']:.2f} s, "
        f"of which the secure sum {result['secure_sum_seconds_p50']:.2f} s (medians)"
    )


def meaning_of(result: Mapping[str, Any]) -> list[str]:
    """Return what a result says, in sentences: against hospitals alone, and against all data in one place."""
    together, pooled = float(result["accuracy"]), float(result["pooled"])
    alone = sorted(map(float, result["local_only"]))
    cases = f"of {result['test_rows']} cases that no daemon had seen"
    told = [f"the model of all is right in {_percent(together)} {cases}; hospitals alone in {_percent(alone[0])} to "
            f"{_percent(alone[-1])}"]
    if together < alone[-1]:
        told.append("the best hospital alone does better: its data are like the test set, or the rounds were few")
    behind = pooled - together
    price = f"{_percent(behind)} more, the price of keeping rows at home" if behind >= LEAST_GAP else "no more"
    told.append(f"one database with everybody's rows would reach {_percent(pooled)}: {price}")
    told.append("no row left its hospital, and none saw the update of another: what crossed were masked pieces")
    if result["killed_and_rejoined"]:
        told.append(f"hospital {result['members']} lost its power in mid-round; nobody waited for it longer than a "
                    "deadline, and it was counted again after its return")
    return told


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _tell_next(place: Path, is_kept: bool, members: int, screen: Screen) -> None:
    screen.line("\nNext:")
    if not is_kept:
        _tell_commands(screen, [
            ("fednode demo --home demo", "the same, keeping homes, chain and model to look around in"),
            ("fednode predict --model demo/model.safetensors --input demo/data/test.csv --score",
             "then: what the model says of every case, and how often it is right"),
            ("fednode init --help", "the first step of a federation of your own"),
        ])
        return
    first, model, table = (_quoted(place / name) for name in ("hospital-1", "model.safetensors", "data/test.csv"))
    numbers = " ".join(str(number) for number in range(1, members + 1))
    _tell_commands(screen, [
        (f"fednode --home {first} chain verify", "check the ledger yourself"),
        (f"fednode --home {first} chain show latest", "its last block"),
        (f"fednode predict --model {model} --input {table} --score", "use the model"),
        (f"for i in {numbers}; do fednode --home {_quoted(place)}/hospital-$i start --background; done",
         "start the hospitals again"),
        (f"fednode --home {first} round list", "then: what every round did"),
    ])


def _tell_commands(screen: Screen, commands: Sequence[tuple[str, str]]) -> None:
    for command, purpose in commands:
        screen.line(f"  {command}\n      {purpose}")


def _quoted(path: Path) -> str:
    import shlex

    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
