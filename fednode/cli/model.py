"""`fednode model`: the models on the ledger, and files of them that any program opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fednode.cli.ask import as_record, as_records, ask
from fednode.cli.show import members, print_json, print_pairs, print_table, print_value, short
from fednode.cli.site import Site, confirm, format_option, group, pass_site, site_options, yes_option
from fednode.desk.control_client import NotRunning
from fednode.errors import Rejected, StorageError, UsageError

if TYPE_CHECKING:
    from fednode.home.blobs import ModelStore
    from fednode.learn.model_file import StoredModel


@group("model")
def model() -> None:
    """Trained models: list, show, export."""


@model.command("list", example="fednode model list --format json")
@format_option
@site_options
@pass_site
def list_models(site: Site, as_json: bool) -> None:
    """Show every model, and whether its file is here. Without a daemon: the files here."""
    try:
        found: list[Mapping[str, Any]] = as_records(ask(site, "model_list"))
    except NotRunning:
        store = _store(site)
        found = [{**describe(_read(store, name)), "is_here": True} for name in _names(store)]
        found.sort(key=lambda m: (str(m["study"]), int(m["round"])))
    if as_json:
        print_json(found)
        return
    rows = [
        (short(m.get("hash")), str(m.get("study_name", "-")), str(m.get("round", "-")), members(m.get("counted", "-")),
         "here" if m.get("is_here") else "with the others")
        for m in found
    ]
    if rows:
        print_table(["model", "study", "round", "trained by", "file"], rows)
    else:
        click.echo("no model yet; the first one comes with the first finished round")


@model.command("show", example="fednode model show 9f86d081\nfednode model show latest --format json")
@click.argument("hash", default="latest")
@format_option
@site_options
@pass_site
def show(site: Site, hash: str, as_json: bool) -> None:
    """Show what a model is, and its hash.

    Show what a model is: its study, round, shape and input scaling. HASH may be the first digits, or latest."""
    try:
        found: Mapping[str, Any] = as_record(ask(site, "model_show", hash=hash))
    except NotRunning:
        store = _store(site)
        name = _pick(store, hash)
        found = {**describe(_read(store, name)), "path": str(store.path(_digest(name)))}
    if as_json:
        print_json(found)
    else:
        print_value(found)


@model.command("export", example="fednode model export latest -o model.safetensors")
@click.argument("hash", default="latest")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where to write.")
@yes_option
@format_option
@site_options
@pass_site
def export(site: Site, hash: str, output: Path, yes: bool, as_json: bool) -> None:
    """Write a model as a safetensors file.

    Write a model as a safetensors file; 'fednode predict' needs nothing but this file.
    """
    path = output.expanduser().absolute()
    if path.exists():
        confirm(f"{path} exists; replace it?", yes)
    try:
        done: Mapping[str, Any] = as_record(ask(site, "model_export", hash=hash, path=str(path)))
    except NotRunning:
        store = _store(site)
        name = _pick(store, hash)
        _read(store, name)
        done = {"hash": name, "path": str(path), "bytes": store.export(_digest(name), path)}
    if as_json:
        print_json(done)
    else:
        print_pairs([("model", str(done.get("hash"))), ("file", str(path))])
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
    if wanted == "latest":
        try:
            wanted = str(as_record(ask(site, "model_show", hash="latest")).get("hash"))
        except NotRunning:
            raise UsageError("only a running daemon knows the latest model; give a hash or a file") from None
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
