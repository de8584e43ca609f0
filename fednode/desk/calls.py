"""What can be asked of a node, whoever asks and through whichever door: arguments, the table of calls, who may ask.

Security assumption: a door has found out which role its caller has. Whether that role may ask for a thing is decided
here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

import trio

from fednode.documents import Json
from fednode.errors import Refused, UsageError
from fednode.fence import foreign
from fednode.json_form import to_json
from fednode.ledger.members.bodies import Role

T = TypeVar("T")

MAX_NUMBER = 2**53
"""Heights and rounds are far below; JSON of other programs is exact up to here."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call; each getter raises `UsageError` where type or presence is wrong."""

    values: Mapping[str, Json]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        return _text(name, self.values.get(name, default))

    def texts(self, name: str) -> list[str]:
        """Return a list of texts, at least one."""
        values = self.values.get(name)
        if not isinstance(values, list) or not values:
            raise UsageError(f"argument '{name}' must be a list of texts; use the same version of fednode for both")
        return [_text(name, value) for value in values]

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number."""
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"argument '{name}' must be a number; use the same version of fednode for both sides")
        if not 0 <= value <= MAX_NUMBER:
            raise UsageError(f"'{name}' must be between 0 and {MAX_NUMBER}, not {value}")
        return value

    def flag(self, name: str) -> bool:
        """Return whether something is wished; not if it was left out."""
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            raise UsageError(f"argument '{name}' must be yes or no; use the same version of fednode for both sides")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None where it was left out."""
        return None if self.values.get(name) is None else self.text(name)

    def optional_number(self, name: str) -> int | None:
        """Return a number, or None where it was left out."""
        return None if self.values.get(name) is None else self.number(name)


def _text(name: str, value: Json) -> str:
    if not isinstance(value, str):
        raise UsageError(f"argument '{name}' must be a text; use the same version of fednode for both sides")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"argument '{name}' is no valid Unicode text; correct it")
    return value


def build(make: Callable[..., T], *fields: object) -> T:
    """Return `make(*fields)`; raise `UsageError` where a caller's values are none that such a record may hold."""
    try:
        return make(*fields)
    except ValueError as error:
        raise UsageError(f"{error}; correct it") from None


Emit = Callable[[object], Awaitable[None]]
Call = Callable[[Arguments], Awaitable[object]]
Stream = Callable[[Arguments, Emit], Awaitable[object]]
"""Answers are read models, or plain values; a door sends them as JSON."""

HOSPITAL = frozenset({Role.HOSPITAL})
"""What binds the hospital: votes, proposals, keys."""
STAFF = HOSPITAL | {Role.OPERATOR}
"""What concerns the machine: its daemon, its files."""
AUDITORS = STAFF | {Role.AUDITOR}
"""What stands on the chain, and proofs of it."""
CLINICIANS = STAFF | {Role.CLINICIAN}
"""The models."""
EVERYBODY = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be asked, and the roles that may.

    What `acts` changes something, so a fault in it ends the daemon. The others show what members wrote: a value that
    one cannot show is told to whoever asked.
    """

    run: Stream
    roles: Set[Role]
    acts: bool = False


def once(call: Call, roles: Set[Role], *, acts: bool = False) -> Offer:
    """Return the offer of a call that answers once and says nothing before."""
    async def run(args: Arguments, emit: Emit) -> object:
        return await call(args)

    return Offer(run, roles, acts)


@dataclass(frozen=True, slots=True)
class Handlers:
    """Everything that can be asked, by name."""

    offers: Mapping[str, Offer]

    async def answer(
        self, name: str, role: Role, args: Arguments, emit: Callable[[Json], Awaitable[None]]
    ) -> Json:
        """Answer a caller of this role in JSON; `emit` takes what is said before the answer.

        Raises `UsageError` for an unknown name, `Refused` if the role may not ask this, and what the handler raises.
        """
        offer = self.offers.get(name)
        if offer is None:
            raise UsageError(f"this daemon knows no call '{name}'; restart it with the installed version")
        if role not in offer.roles:
            allowed = ", ".join(sorted(known.name.lower() for known in offer.roles))
            raise Refused(f"the role {role.name.lower()} may not ask for '{name}'; these may: {allowed}")

        async def say(value: object) -> None:
            await emit(to_json(value))

        if offer.acts:
            return to_json(await offer.run(args, say))
        with foreign("a value", trio.BrokenResourceError, trio.ClosedResourceError):
            return to_json(await offer.run(args, say))
