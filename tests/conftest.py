"""What several test packages need: trio for async tests, files beside the checkout, fixed hypothesis profiles."""

from __future__ import annotations

import inspect
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parent.parent

# No deadline: two cores shared with other work make single examples slow now and then, which proves nothing.
# The examples are the same in every run: a verdict on a change must not depend on what else was drawn.
settings.register_profile("fednode", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("fednode"), max_examples=20)  # scripts/test --fast asks for it
settings.load_profile("fednode")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test under trio; of a fixture that is an asynchronous context it gets what that one yields."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None

    async def run() -> None:
        given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        async with AsyncExitStack() as stack:
            for name, value in given.items():
                if isinstance(value, AbstractAsyncContextManager):
                    given[name] = await stack.enter_async_context(value)
            await pyfuncitem.obj(**given)

    trio.run(run)
    return True


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with published vectors and real data; it lies beside the checkout and is not part of it."""
    folder = CHECKOUT.parent / "shared"
    if not (folder / "vectors").is_dir():
        pytest.skip(f"the reference files are not there: expected {folder} beside the checkout")
    return folder
