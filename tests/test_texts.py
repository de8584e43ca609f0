"""All members judge a text alike, whatever Python they run: nothing hashed asks the Unicode of the running one."""

from __future__ import annotations

import ast
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fednode
from fednode.codec import decode, encode
from fednode.errors import Rejected
from fednode.ledger.bodies import Body, Memo
from fednode.ledger.members.bodies import MemberRemove, VersionVote
from fednode.ledger.members.identity import why_no_name
from fednode.ledger.studies.bodies import StudyPause
from fednode.texts import does_show, is_plain

NEW = "\U0001fae0"
"""Unicode 14, 2021: the oldest Python that runs this program knows it, and its `isprintable` is true."""

_OF_THE_RUNNING_PYTHON = {
    "isprintable", "isalnum", "isalpha", "isdecimal", "isdigit", "isidentifier", "isnumeric", "isspace", "istitle",
    "title", "swapcase", "capitalize", "casefold",
}
_JUDGES = ("chain", "audit", "ledger", "smpc", "sums", "codec.py", "fence.py", "ids.py", "learn/study.py")
_ALLOWED = {("ledger/members/names.py", "casefold")}
"""Case folding never changes once a character exists (Unicode stability policy), and only old ones are left."""


def test_only_what_every_python_knows_shows() -> None:
    shown = [sign for sign in map(chr, range(sys.maxunicode + 1)) if does_show(sign)]
    assert all(unicodedata.ucd_3_2_0.category(sign) != "Cn" for sign in shown)
    assert all(sign.isprintable() for sign in shown), "nothing that a terminal obeys"
    assert is_plain("Zürich, µmol/l, ×10⁹, 東京, Больница") and is_plain("") and not is_plain(NEW)
    for odd in "\n\r\t\x00\x7f\u00a0\u00ad\u200b\u202e\u2028\u2066\ufe0f\ufeff\ud800\ue000":
        assert not is_plain(f"a{odd}b")


@pytest.mark.parametrize("make", [
    lambda text: MemberRemove(3, text), lambda text: VersionVote(2, 100, text), Memo,
    lambda text: StudyPause(bytes(32), text),
])
def test_bodies_hold_nothing_that_a_later_unicode_brought(make: Callable[[str], Body]) -> None:
    plain = make("ab  ")
    assert decode(Body, encode(plain, Body), 1000) == plain
    with pytest.raises(ValueError, match="printable"):
        make(NEW)
    forged = encode(plain, Body).replace(b"ab  ", NEW.encode())
    with pytest.raises(Rejected):
        decode(Body, forged, 1000)


def test_names_hold_nothing_that_a_later_unicode_brought() -> None:
    assert why_no_name("St. Anna") == "" and "U+1FAE0" in why_no_name(f"St. Anna {NEW}")


def test_no_rule_asks_the_unicode_of_the_running_python() -> None:
    asked = {(path, name) for path, name in _asked(Path(fednode.__file__).parent)}
    assert asked == _ALLOWED


def _asked(root: Path) -> Iterator[tuple[str, str]]:
    for part in _JUDGES:
        for path in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in _OF_THE_RUNNING_PYTHON:
                    yield path.relative_to(root).as_posix(), node.attr
                if isinstance(node, ast.Import) and any(alias.name == "unicodedata" for alias in node.names):
                    yield path.relative_to(root).as_posix(), "unicodedata"
