"""A network definition: which hospitals found a federation, and with which studies; agreed before anybody has keys.

Security assumption: none is needed. The file holds names only; who a hospital is follows from its identity card and
from the fingerprint compared by voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fednode.cli.reading import naming_file
from fednode.errors import GenesisError

NETWORK_FORMAT = 1
MAX_NETWORK_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """`hospitals` are the names on the identity cards; `studies` are paths, made absolute."""

    name: str
    hospitals: tuple[str, ...]
    studies: tuple[Path, ...]

    def check_cards(self, names: Sequence[str], path: Path) -> None:
        """Raise `GenesisError` unless exactly the named hospitals have handed in a card."""
        missing = [name for name in self.hospitals if name not in names]
        foreign = [name for name in names if name not in self.hospitals]
        if missing:
            raise GenesisError(f"{path} names {', '.join(missing)}, whose card is missing; add --member CARD")
        if foreign:
            raise GenesisError(f"{path} does not name {', '.join(foreign)}; add it there or leave its card out")


def read_network(path: Path) -> NetworkFile:
    """Read and check a network definition; errors name the file and the key."""
    from fednode.home.files import read_bounded
    from fednode.ledger.members.identity import check_keys, parse_toml

    data = read_bounded(path, MAX_NETWORK_FILE_BYTES, "network definition", GenesisError)
    table = naming_file(path, lambda: parse_toml(data, "network definition"))
    naming_file(path, lambda: check_keys(table, {"format", "name", "hospitals", "studies"}, "network definition"))
    if table["format"] != NETWORK_FORMAT:
        number = table["format"]
        raise GenesisError(f"{path}: network format {number} is not known; this version reads {NETWORK_FORMAT}")
    name = table["name"]
    if not isinstance(name, str) or not name.strip():
        raise GenesisError(f"{path}: 'name' must be a text; name the federation")
    hospitals, studies = _texts(table["hospitals"], "hospitals", path), _texts(table["studies"], "studies", path)
    if len(set(hospitals)) != len(hospitals) or not hospitals:
        raise GenesisError(f"{path}: 'hospitals' must hold at least one name, and each once")
    return NetworkFile(name, hospitals, tuple(path.parent / study for study in studies))


def _texts(value: object, key: str, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise GenesisError(f"{path}: '{key}' must be a list of texts")
    return tuple(value)
