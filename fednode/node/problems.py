"""What somebody has to look at now: raised under a key, and gone once whoever raised it sees it mended.

A problem is a state, not an event: one sentence for each key, as long as it lasts. What only happened (a member was cut
off, a job met values of no use) has no end that could be seen and lapses after an hour. The journal keeps everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

MAX_PROBLEMS = 40
"""Kept at the same time; the oldest of the kind that has most gives way: whoever can cause many hides no others."""

EVENT_MS = 60 * 60 * 1000
"""How long something that only happened is shown."""


@dataclass(frozen=True, slots=True)
class _Problem:
    text: str
    lapses_ms: int | None


class Problems:
    """The problems of one running node. `clock_ms`: UTC."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._found: dict[Hashable, _Problem] = {}

    def begin(self, key: Hashable, text: str) -> None:
        """Show a problem until `end` is called with its key; a new sentence takes the place of the old one."""
        self._put(key, _Problem(text, None))

    def keep(self, group: str, texts: Iterable[str]) -> None:
        """Show exactly these of a group from now on; those that were shown before and are not among them are over."""
        new = list(texts)
        self.end(*[key for key in self._found if isinstance(key, tuple) and key[0] == group and key[1] not in new])
        for text in new:
            self.begin((group, text), text)

    def tell(self, text: str) -> None:
        """Show what has happened, for an hour."""
        self._put(("event", text), _Problem(text, self._clock_ms() + EVENT_MS))

    def end(self, *keys: Hashable) -> None:
        """The problems under these keys are mended, if there were any."""
        for key in keys:
            self._found.pop(key, None)

    def texts(self) -> list[str]:
        """Return what is wrong now, the oldest first, each sentence once."""
        now_ms = self._clock_ms()
        lapsed = [
            key for key, found in self._found.items()
            if found.lapses_ms is not None and not found.lapses_ms - EVENT_MS <= now_ms < found.lapses_ms
        ]
        self.end(*lapsed)
        return list(dict.fromkeys(found.text for found in self._found.values()))

    def _put(self, key: Hashable, found: _Problem) -> None:
        self._found.pop(key, None)
        while len(self._found) >= MAX_PROBLEMS:
            kinds = Counter(map(_kind, self._found))
            del self._found[max(self._found, key=lambda other: kinds[_kind(other)])]
        self._found[key] = found


def _kind(key: Hashable) -> Hashable:
    return key[0] if isinstance(key, tuple) else key
