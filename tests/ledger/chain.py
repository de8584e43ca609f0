"""A chain for auditors: rounds of the real rules in blocks signed by all members, and the light blocks of it."""

from __future__ import annotations

from fednode.ledger.bodies import Body
from fednode.ledger.light import LightBlock
from fednode.ledger.store import DecidedBlock
from tests.contract.test_store import ChainMaker, MemoryStore
from tests.ledger.world import World


class RoundWorld(World):
    """A `World` whose blocks are decided, certified and stored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.maker = ChainMaker(self.size)
        assert self.maker.genesis == self.genesis, "both make the genesis of the same members and study"
        self.store = MemoryStore(self.genesis)
        self.blocks: list[DecidedBlock] = []

    def block(self, *messages: tuple[int, Body]):
        transactions = [self.sign(member, body) for member, body in messages]
        decided = self.maker.decide(*transactions)
        self.store.append(decided)
        self.blocks.append(decided)
        self.at = self.next_time()
        self.state = self.maker.state
        return decided.receipts

    def light(self, height: int) -> LightBlock:
        decided = self.blocks[height - 1]
        members = self.genesis.member_set
        certificate = self.store.get_certificate(height)
        return LightBlock(decided.block.header, certificate, members, members)


def play(rounds: int = 2) -> RoundWorld:
    """Return a world in which everybody joined and played so many rounds honestly."""
    world = RoundWorld()
    assert all(receipt.ok for receipt in world.block(*((member, world.ready(member)) for member in world.members)))
    for _ in range(rounds):
        world.finish_round()
    return world
