"""What members of a sum read from the hidden opening on the ledger."""

from __future__ import annotations

from fednode.smpc import messages as m
from fednode.smpc.masks import SumKey
from fednode.sums.field import centre
from tests.smpc.sim.world import World


def key_of_sum(world: World, view: m.SumView) -> SumKey:
    """The key that everybody has who holds the masked sum of the world's last attempt."""
    for node in world.nodes.values():
        if node.session is not None and (chunks := node.session._exchange.get_sums(view)) is not None:
            context = world.params(node.member).context(view.number)
            return SumKey(context, node.session._exchange.layout(view).salts(chunks))
    raise AssertionError("nobody holds the sum")


def shown(world: World, view: m.SumView) -> tuple[list[int], int]:
    """The summed sketch and the summed weight, as proven."""
    assert view.sum_opened is not None
    values = key_of_sum(world, view).show(view.sum_opened)
    assert values is not None
    numbers = centre(values).tolist()
    return numbers[:256], numbers[256]
