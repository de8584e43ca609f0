"""`fednode model`: the models on the ledger, and files of them that any program opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.ask import ask_for
from fednode.cli.names import complete_models
from fednode.cli.show import members, print_json, print_pairs, print_table, print_value, ratio, short
from fednode.cli.site import Site, confirm, format_option, group, pass_site, site_options, yes_option
from fednode.cli.stored import ask_or_read
from fednode.desk import questions
from fednode.desk.control_client import NotRunning
from fednode.desk.outcomes import ModelExported
from fednode.desk.read_models import ModelShown
from fednode.errors import Rejected, StorageError, UsageError
from fednode.json_form import to_json

if TYPE_CHECKING:
    from fednode.home.blobs import ModelStore
    from fednode.learn.model_file import StoredModel


@group("model")
def model() -> None:
    """Trained models: list, show, export."""


@model.command("list", example="fednode model list\nfednode model list --format json")
@format_option
@site_options
@pass_site
def list_models(site: Site, as_json: bool) -> None:
    """Show every model and how good it is.

    What was measured is a mean over hospitals, each by rows that it kept out of training; every figure is that of the
    model itself, measured in a later round.
    """
    found = ask_or_read(site, questions.MODEL_LIST, lambda node: node.model_list())
    if as_json:
        print_json(found)
        return
    names = list(dict.fromkeys(name for m in found for name in m.metrics or () if _is_shown(name)))
    rows = [
        (short(m.hash), m.study_name or "-", str(m.round), members(m.counted),
         *(ratio((m.metrics or {}).get(name)) for name in names), "here" if m.is_here else "with the others")
        for m in found
    ]
    if rows:
        print_table(["model", "study", "round", "trained by", *names, "file"], rows)
    else:
        click.echo("no model yet; the first one comes with the first finished round")


def _is_shown(metric: str) -> bool:
    return metric not in ("hospitals", "loss") and not metric.endswith("_within")


@model.command("show", example="fednode model show best\nfednode model show heart.safetensors --format json")
@click.argument("model", metavar="[last|best|HASH|FILE]", default="last", shell_complete=complete_models)
@format_option
@site_options
@pass_site
def show(site: Site, model: str, as_json: bool) -> None:
    """Show what a model is, and its hash.

    A HASH may be its first digits. Of a FILE the hash is computed from its content: it is the one with which
    'verify_export.py' and 'chain verify' end, if the file is that model.
    """
    if Path(model).is_file() or "/" in model or model.endswith(".safetensors"):
        found: dict[str, Any] = {**describe(model_file(site, model)), "path": model}
    else:
        shown = _named(site, model)
        found = to_record(shown)
        if shown.is_here:
            found = {**describe(_read(_store(site), shown.hash)), **found}
    if as_json:
        print_json(found)
    else:
        print_value(found)


def _named(site: Site, wanted: str) -> ModelShown:
    """Return the model a person named, from the daemon or the store."""
    return ask_or_read(
        site, questions.MODEL_SHOW, lambda node: node.model_show(wanted, _store(site).path), hash=wanted
    )


def to_record(shown: ModelShown) -> dict[str, Any]:
    """Return an answer as JSON."""
    found = to_json(shown)
    assert isinstance(found, dict)
    return found


@model.command("export", example="fednode model export best -o model.safetensors")
@click.argument("model", metavar="[last|best|HASH]", default="last", shell_complete=complete_models)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write.")
@yes_option
@format_option
@site_options
@pass_site
def export(site: Site, model: str, output: Path, yes: bool, as_json: bool) -> None:
    """Write a model as a safetensors file.

    'fednode predict' needs nothing but this file. Any program that reads safetensors reads it too: what the study is,
    its columns and how they are scaled stands in the header as JSON.
    """
    path = output.expanduser().absolute()
    if path.exists():
        confirm(f"{path} exists; replace it?", yes)
    try:
        done = ask_for(site, questions.MODEL_EXPORT, hash=model, path=str(path))
    except NotRunning:
        store, name = _store(site), _named(site, model).hash
        _read(store, name)
        done = ModelExported(hash=name, path=str(path), bytes=store.export(_digest(name), path))
    if as_json:
        print_json(done)
    else:
        print_pairs([("model", done.hash), ("file", str(path))])
        click.echo(f"next: fednode predict --model {output} --input CSV")


def model_file(site: Site, wanted: str) -> StoredModel:
    """Return a model file, checked: `wanted` is a path, or a hash (or its first digits, or latest) of a file here."""
    from fednode.home.files import environment
    from fednode.learn.model_file import check_model

    path = Path(wanted).expanduser().absolute()
    if path.is_file():
        try:
            with environment("read the model", path, StorageError):
                return check_model(lambda: path.open("rb"), str(path))
        except Rejected as error:
            raise StorageError(f"{wanted} is no usable model: {error.reason}; export it again") from None
    if "/" in wanted or path.suffix:
        raise UsageError(f"there is no model file {wanted}; 'fednode model export' writes one")
    store = _store(site)
    if wanted in ("last", "latest", "best"):
        wanted = _named(site, wanted).hash
    return _read(store, _pick(store, wanted))


def describe(found: StoredModel) -> dict[str, Any]:
    """Return what a model file says of itself."""
    from fednode.learn.layout import Layout

    layout = Layout.of(found.spec)
    return {
        "hash": found.hash.hex(), "study": found.study.hex(), "study_name": found.spec.name,
        "round": found.round_number, "features": found.spec.data.features, "parameters": layout.size,
        "classes": list(found.spec.data.classes),
        "tensors": [{"name": t.name, "shape": list(t.shape)} for t in layout.tensors],
    }


def _store(site: Site) -> ModelStore:
    from fednode.home.blobs import ModelStore

    return ModelStore(site.home.blobs)


def _names(store: ModelStore) -> list[str]:
    return [name.hex() for name in store.list()]


def _digest(name: str) -> Any:
    from fednode.ids import Hash

    return Hash(bytes.fromhex(name))


def _pick(store: ModelStore, wanted: str) -> str:
    found = [name for name in _names(store) if len(wanted) >= 4 and name.startswith(wanted.lower())]
    if len(found) != 1:
        text = f"{len(found)} models here start with '{wanted}'" if found else f"no model '{wanted}' lies in this home"
        raise UsageError(f"{text}; 'fednode model list' shows those that do")
    return found[0]


def _read(store: ModelStore, name: str) -> StoredModel:
    from fednode.home.files import environment
    from fednode.learn.model_file import check_model

    path = store.path(_digest(name))
    try:
        with environment("read the model", path, StorageError):
            found = check_model(lambda: path.open("rb"), str(path))
    except Rejected:
        found = None
    if found is None or found.hash.hex() != name:
        raise StorageError(f"the file of model {name[:16]} is damaged; delete it, the daemon fetches it again")
    return found
