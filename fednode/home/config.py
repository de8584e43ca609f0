"""hospital.toml: one file per site, every key checked, overridable and traceable to where it was set.

Security assumption: the file is written by the hospital's own administrator and holds no secret; the passphrase is
only ever named by the file it lies in.

A key is looked up in the environment (FEDNODE_SECTION__KEY), then in the file, then among the defaults below.
Relative paths are relative to the folder of the file, wherever they were set.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fednode.documents import Unreadable, read_toml, toml_of
from fednode.errors import ConfigError
from fednode.home.config_values import Allowed, Approval, Dialled, FilePath, Listening
from fednode.home.data_map import DataMap, pick
from fednode.home.files import Home, read_bounded
from fednode.learn.tables.site_map import PLAIN, SiteMap

if TYPE_CHECKING:
    from fednode.learn.jobs import DataAt

FILE_FORMAT = 1
MAX_FILE_BYTES = 1 << 20
PREFIX = "FEDNODE_"


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class NodeSection(_Section):
    """[node]: who this site is and where its home lies."""

    name: str = Field(min_length=1, max_length=64, description="name of the hospital, as the others will see it")
    home: FilePath = Field(description="folder with etc/ var/ keys/ log/")


class KeysSection(_Section):
    """[keys]: how a daemon that nobody types for gets its passphrase."""

    passphrase_file: FilePath | None = Field(
        default=None, description="file with the passphrase of the keystore, for start-up without a person"
    )


class NetworkSection(_Section):
    """[network]: where this daemon listens and where the others reach it."""

    listen: tuple[Listening, ...] = Field(
        default=("/ip4/0.0.0.0/tcp/7700",), min_length=1, max_length=8, strict=False,
        description="addresses to listen on",
    )
    advertise: Dialled = Field(
        default=(), max_length=8, strict=False,
        description="addresses the other hospitals dial, as they go into the identity card",
    )
    allow: tuple[Allowed, ...] = Field(
        default=(), max_length=256, strict=False,
        description="addresses, networks and names that may be dialled, and nothing else; empty: what is public, and "
        "private ranges that the genesis or this hospital is on",
    )


class LedgerSection(_Section):
    """[ledger]: which federation this daemon belongs to."""

    genesis: FilePath | None = Field(default=None, description="genesis file; etc/genesis.toml of the home by default")


class DataSection(_Section):
    """[data]: the hospital's own tables. Only the worker process opens them."""

    default: FilePath | None = Field(default=None, description="CSV used by every study not named in [data.studies]")
    studies: dict[str, FilePath] = Field(default={}, description="CSV by name or id of a study")
    map: dict[str, DataMap] = Field(
        default={}, description="how this hospital writes columns, by name or id of a study, or default"
    )


class StudySection(_Section):
    """[study]: what this hospital agrees to without asking a person each time."""

    auto_approve: tuple[Approval, ...] = Field(
        default=(), strict=False, description='ids of studies to approve as they appear, or "*" for every one'
    )


class LimitsSection(_Section):
    """[limits]: what the daemon and its worker may use of this machine."""

    worker_memory_mb: int = Field(
        default=8192, ge=1024, le=10**7,
        description="address space of the training process, and of a second one that checks tables during a training; "
        "torch itself takes 1 GB",
    )
    min_free_disk_mb: int = Field(default=500, ge=0, le=10**9, description="free disk below which 'doctor' complains")


class LogSection(_Section):
    """[log]: what is written to log/ of the home."""

    journal: bool = Field(default=True, description="one JSON line per event and effect in log/journal.jsonl")


class HospitalConfig(_Section):
    """The whole file."""

    format: Literal[1] = Field(description="version of this file's layout")
    node: NodeSection
    keys: KeysSection = KeysSection()
    network: NetworkSection = NetworkSection()
    ledger: LedgerSection = LedgerSection()
    data: DataSection = DataSection()
    study: StudySection = StudySection()
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()

    @property
    def home(self) -> Home:
        """The home of this daemon."""
        return Home(self.node.home)

    @property
    def genesis_path(self) -> Path:
        """Where the genesis file lies."""
        return self.ledger.genesis or self.home.genesis

    def data_path(self, study_name: str, study_id: bytes) -> Path | None:
        """Return the table for a study: by its id, else by its name, else the default, else None."""
        return self.data.studies.get(study_id.hex()) or self.data.studies.get(study_name) or self.data.default

    def data_at(self, study_name: str, study_id: bytes) -> DataAt | None:
        """Return the table for a study and how its cells are to be read, None where there is no table."""
        from fednode.learn.jobs import DataAt  # numpy comes with it, and most commands need none

        path = self.data_path(study_name, study_id)
        return None if path is None else DataAt(str(path), self.site_map(study_name, study_id))

    def site_map(self, study_name: str, study_id: bytes) -> SiteMap:
        """Return how this hospital writes the columns of a study."""
        found = pick(self.data.map, study_name, study_id)
        return PLAIN if found is None else found[1]

    def is_auto_approved(self, study_id: bytes) -> bool:
        """Whether the administrator has agreed beforehand to this study."""
        return "*" in self.study.auto_approve or study_id.hex() in self.study.auto_approve


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as it is in force: dotted `key`, `value` as JSON-able data, `source` for people."""

    key: str
    value: object
    source: str


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration and where each of its values came from."""

    path: Path
    values: HospitalConfig
    settings: tuple[Setting, ...]


def load_config(path: Path, environ: Mapping[str, str], home: Path | None = None) -> LoadedConfig:
    """Read `path` and the overrides in `environ`; `home` (from --home) wins over both.

    Raises `ConfigError`: one sentence with file, key, cause and fix.
    """
    data = read_bounded(path, MAX_FILE_BYTES, "configuration", ConfigError)
    document = toml_of(data, str(path), ConfigError, "correct it there")
    _check_format(path, document)
    _check_names(path, document)
    sources = {key: str(path) for key in _leaves(document)}
    for name, section, key, text in _overrides(environ):
        table = document.setdefault(section, {})
        table[key] = _parse_override(name, section, key, text)
        sources[f"{section}.{key}"] = f"environment {name}"
    if home is not None:
        document.setdefault("node", {})["home"] = str(home.absolute())
        sources["node.home"] = "option --home"
    try:
        values = HospitalConfig.model_validate(document, context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(_sentence(path, error, sources)) from None
    return LoadedConfig(path, values, tuple(_settings(values, sources)))


def _check_format(path: Path, document: Mapping[str, object]) -> None:
    found = document.get("format")
    if found is None:
        raise ConfigError(f"{path}: 'format' is missing; add the line format = {FILE_FORMAT} at the top")
    if found != FILE_FORMAT or isinstance(found, bool):
        text = f"{path}: format {found!r} is not known, this version reads format = {FILE_FORMAT}"
        raise ConfigError(f"{text}; use the fednode that the file was made for")


def _sections() -> dict[str, type[_Section]]:
    fields = HospitalConfig.model_fields.items()
    return {name: field.annotation for name, field in fields if isinstance(field.annotation, type)}


def _check_names(path: Path, document: Mapping[str, object]) -> None:
    """Refuse unknown sections and keys here, because pydantic does not know which name is near."""
    sections = _sections()
    for name, table in document.items():
        if name == "format":
            continue
        if name not in sections:
            home_of = next((section for section, kind in sections.items() if name in kind.model_fields), None)
            if home_of and not isinstance(table, dict):
                raise ConfigError(f"{path}: key '{name}' belongs into the section [{home_of}]; move it there")
            raise ConfigError(f"{path}: unknown section [{name}]; {_hint(name, sections)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: '{name}' is a section; write [{name}] and its keys below")
        for key in table:
            if key not in sections[name].model_fields:
                raise ConfigError(f"{path}: unknown key '{key}' in [{name}]; {_hint(key, sections[name].model_fields)}")


def _hint(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known)}"


def _leaves(document: Mapping[str, object]) -> Iterator[str]:
    for name, table in document.items():
        if isinstance(table, dict):
            yield from (f"{name}.{key}" for key in table)
        else:
            yield name


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (variable, section, key, text) of every override; refuse one that names no key."""
    sections = _sections()
    known = {f"{PREFIX}{s}__{k}".upper(): (s, k) for s, kind in sections.items() for k in kind.model_fields}
    by_slip = {name.replace("__", "_"): name for name in known}
    for name in sorted(environ):
        if name in by_slip:
            raise ConfigError(f"environment variable {name} is written with one underscore; write {by_slip[name]}")
        if name.startswith(PREFIX) and "__" in name:
            if name not in known:
                raise ConfigError(f"environment variable {name} names no key of hospital.toml; {_hint(name, known)}")
            yield name, *known[name], environ[name]


def _parse_override(variable: str, section: str, key: str, text: str) -> object:
    """Read an override as its key's type: texts and paths as they are, lists also separated by commas, else TOML."""
    kind = _sections()[section].model_fields[key].annotation
    if kind is str or _is_path(kind):
        return text
    is_list = get_origin(kind) is tuple
    if is_list and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return read_toml(f"value = {text}")["value"]
    except Unreadable:
        raise ConfigError(f"environment variable {variable} = {text!r} is no TOML value; quote texts in it") from None


def _is_path(kind: object) -> bool:
    """Whether a key takes a path, or one or nothing."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        return any(map(_is_path, get_args(kind)))
    return kind is Path


def _sentence(path: Path, error: ValidationError, sources: Mapping[str, str]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place[:2])
    source = sources.get(key, str(path))
    where = f"[{place[0]}] {'.'.join(place[1:])}".rstrip() if len(place) > 1 else f"[{place[0]}]"
    if first["type"] == "missing":
        return f"{path}: {where} is missing; add it, 'fednode init' shows an example"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":
        value = first["input"]
        shown = f"'{value}'" if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
        wanted = _WANTED.get(first["type"], message.replace("Input should", "must", 1))
        message = f"{wanted}, not {shown}"
    return f"{source}: {where}: {message}; correct it"


_WANTED = {
    "string_type": "must be a text in quotes",
    "is_instance_of": "must be a path in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list in brackets",
    "dict_type": "must be a table of names and paths",
}


def _settings(values: HospitalConfig, sources: Mapping[str, str]) -> Iterator[Setting]:
    plain = values.model_dump(mode="json")
    for name, section in plain.items():
        for key, value in section.items() if isinstance(section, dict) else (("", section),):
            dotted = f"{name}.{key}".rstrip(".")
            yield Setting(dotted, value, sources.get(dotted, "default"))


# --- the file that init writes --------------------------------------------------------------------------------

def config_template(name: str, listen: tuple[str, ...], advertise: tuple[str, ...], data: str | None) -> str:
    """Return a commented hospital.toml for the folder etc/ of a home: keys with a default are commented out."""
    given: dict[str, object] = {"node.name": name, "node.home": "..", "network.listen": listen}
    if advertise:
        given["network.advertise"] = advertise
    if data is not None:
        given["data.default"] = data
    lines = [
        "# Configuration of one hospital's fednode. Relative paths are relative to the folder of this file.",
        "# Every key can be overridden in the environment, for example FEDNODE_LIMITS__WORKER_MEMORY_MB=4096;",
        "# 'fednode config show' tells what is in force and why, 'fednode config check' whether it fits.",
        f"format = {FILE_FORMAT}",
    ]
    for section, kind in _sections().items():
        lines += ["", f"# {(kind.__doc__ or '').split(':', 1)[1].strip()}", f"[{section}]"]
        for key, field in kind.model_fields.items():
            lines.append(f"# {field.description}")
            dotted = f"{section}.{key}"
            is_given = dotted in given
            value = given[dotted] if is_given else _EXAMPLES.get(dotted, field.default)
            lines.append(f"{'' if is_given else '#'}{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


_EXAMPLES: dict[str, object] = {
    "keys.passphrase_file": "../keys/passphrase",
    "network.advertise": ("/dns4/fednode.hospital.example/tcp/7700",),
    "ledger.genesis": "genesis.toml",
    "data.default": "../data/patients.csv",
    "data.studies": {"heart": "../data/heart.csv"},
    "data.map": {"heart": {"decimal": ",", "missing": ("n.a.",), "names": {"age": "Alter"}}},
}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return quoted(str(value))


def quoted(text: str) -> str:
    """Return a TOML basic string."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text) + '"'
