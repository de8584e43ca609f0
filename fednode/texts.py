"""Which characters may stand in a text that one member writes and all members judge.

Security assumption: a body whose text is refused cannot be decoded, and a block that holds it is no block: a verdict
that differs between two versions of Python stops or splits a chain. `str.isprintable` asks the Unicode of the Python
that runs, which grows with every release; here everything is read from Unicode 3.2, which every Python carries
unchanged. Characters that came later are in no such text.
"""

from __future__ import annotations

import unicodedata
from typing import Final

UNICODE: Final = unicodedata.ucd_3_2_0

_INVISIBLE = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that show nothing."""


def does_show(sign: str) -> bool:
    """Whether one character is a space, or shows as something, by Unicode 3.2."""
    kind = UNICODE.category(sign)
    return sign == " " or not (kind[0] in "CZ" or sign in _INVISIBLE or "\ufe00" <= sign <= "\ufe0f")


def is_plain(text: str) -> bool:
    """Whether a text is one line of characters that show: what may reach other people's terminals. Total over texts."""
    return all(map(does_show, text))


def check_plain(what: str, *texts: str) -> None:
    """Raise `ValueError` unless `is_plain`: texts of one member are shown in the terminals of others."""
    if not all(map(is_plain, texts)):
        raise ValueError(f"{what} must be printable, on one line")
