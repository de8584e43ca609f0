"""What consensus needs from the rules: choose transactions, execute them, adopt the result."""

from __future__ import annotations

from typing import Protocol

from fednode.chain.block import Block, BlockContext, Execution


class Application(Protocol):
    """The state machine that the members replicate. All calls refer to the state after the last `commit`."""

    def has_work(self) -> bool:
        """Whether the pool holds a transaction that could go into the next block. Cheap: asked often."""
        ...

    def pick(self, context: BlockContext, may_be_empty: bool) -> Execution | None:
        """Choose transactions for a block and execute them; None if there are none and the block may not be empty."""
        ...

    def execute(self, context: BlockContext, transactions: tuple[bytes, ...]) -> Execution:
        """Execute another member's block; raise `Rejected` if one of the transactions may not be in a block."""
        ...

    def commit(self, block: Block, done: Execution) -> None:
        """Adopt the state that executing `block` led to, and forget its transactions. In memory: `Decide` stores."""
        ...
