"""The counter of code: what is a line of code, a function's length and a public function."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "scripts" / "count"
_loader = importlib.machinery.SourceFileLoader("count_script", str(PATH))
_spec = importlib.util.spec_from_loader("count_script", _loader)
assert _spec is not None
count = importlib.util.module_from_spec(_spec)
sys.modules["count_script"] = count
_loader.exec_module(count)

TEXT = '''"""Module."""

# A comment.
LIMIT = 3
"""A note on a constant."""

class _Hidden:
    def shown(self) -> None:
        """Not public: the class is hidden."""
        return None


def public(
    first: int,
) -> str:
    """Two lines

    and a blank one between."""

    text = """kept:
    this is data"""
    return text  # both
'''


def test_comments_blanks_and_docstrings_are_no_code() -> None:
    found = count.count_text(TEXT)
    assert found.code == 10
    assert sorted(found.lengths) == [1, 3]


def test_only_public_functions_are_asked_for_an_explanation() -> None:
    found = count.count_text(TEXT)
    assert (found.public, found.explained) == (1, 3)
