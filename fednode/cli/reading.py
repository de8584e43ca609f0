"""Reading what people hand to a command: identity cards, genesis files and studies. Errors name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fednode.errors import ConfigError, GenesisError, Rejected
from fednode.fence import judge

if TYPE_CHECKING:
    from fednode.learn.study import StudySpec
    from fednode.ledger.genesis import Genesis
    from fednode.ledger.members.identity import IdentityCard

T = TypeVar("T")

MAX_CARD_BYTES = 64 * 1024
MAX_STUDY_FILE_BYTES = 1 << 20


def read_card(path: Path) -> IdentityCard:
    """Read and check an identity card; errors name the file."""
    from fednode.home.files import read_bounded
    from fednode.ledger.members.identity import parse_card

    data = read_bounded(path, MAX_CARD_BYTES, "identity card", GenesisError)
    return naming_file(path, lambda: parse_card(data))


def read_genesis(path: Path) -> Genesis:
    """Read and check a genesis file; errors name the file."""
    from fednode.home.files import read_bounded
    from fednode.ledger.genesis import MAX_GENESIS_FILE_BYTES, parse_genesis

    data = read_bounded(path, MAX_GENESIS_FILE_BYTES, "genesis file", GenesisError)
    return naming_file(path, lambda: parse_genesis(data))


def read_study(path: Path) -> StudySpec:
    """Read and check a study file; errors name the file."""
    from fednode.home.files import read_bounded
    from fednode.learn.form import parse_study

    data = read_bounded(path, MAX_STUDY_FILE_BYTES, "study file", ConfigError)
    try:
        return judge("a study", lambda: parse_study(data, str(path)))
    except Rejected as error:
        raise ConfigError(f"{path}: {error}") from None


def naming_file(path: Path, parse: Callable[[], T]) -> T:
    """Put the file's name before an error about its content."""
    try:
        return judge("a file", parse)
    except (GenesisError, Rejected) as error:
        raise GenesisError(f"{path}: {error}") from None
