"""Names for the shell's Tab key: studies, members and models of the home, from its daemon or its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

import click

from fednode.cli.ask import ask_for
from fednode.cli.site import Site
from fednode.desk.control_client import NotRunning
from fednode.errors import FednodeError, Rejected

if TYPE_CHECKING:
    from fednode.desk.questions import Question
    from fednode.desk.stored import StoredNode

T = TypeVar("T")


def complete_studies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return names of studies that begin so."""
    from fednode.desk.questions import STUDY_LIST

    return _fitting(incomplete, (s.name for s in _ask(ctx, STUDY_LIST, lambda node: node.study_list()) or ()))


def complete_members(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return names of members that begin so."""
    from fednode.desk.questions import MEMBER_LIST

    return _fitting(incomplete, (m.name for m in _ask(ctx, MEMBER_LIST, lambda node: node.member_list()) or ()))


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return words and hashes of models that begin so."""
    from fednode.desk.questions import MODEL_LIST

    found = _ask(ctx, MODEL_LIST, lambda node: node.model_list()) or ()
    return _fitting(incomplete, ("last", "best", *(m.hash[:12] for m in found)))


def _fitting(begin: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name and name.startswith(begin)})


def _ask(ctx: click.Context, question: Question[T], from_store: Callable[[StoredNode], T]) -> T | None:
    """Return an answer, or None: whatever is wrong, the Tab key says nothing about it."""
    from fednode.cli.stored import read_stored

    site = ctx.find_object(Site)
    if site is None:
        return None
    try:
        try:
            return ask_for(site, question)
        except NotRunning as error:
            return read_stored(site, from_store, error, is_quiet=True)
    except (FednodeError, Rejected, OSError):
        return None
