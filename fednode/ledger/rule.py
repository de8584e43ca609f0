"""What a rule is: the function behind one kind of transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fednode.chain.state import Draft
from fednode.ids import MemberId
from fednode.ledger.sums.course import BlockTime

Rule = Callable[[Draft, BlockTime, MemberId, Any], bytes | None]
"""Applies a body of its sender to the draft and returns the study it is about, None if it is about none. Raises
`Rejected` with a `Refusal` code where the transaction is refused: what was written by then is undone.
"""
