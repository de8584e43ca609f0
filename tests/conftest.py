"""What several test packages need: reference files beside the checkout, and a fixed hypothesis profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parent.parent

# No deadline: two cores shared with other work make single examples slow now and then, which proves nothing.
# The examples are the same in every run: a verdict on a change must not depend on what else was drawn.
settings.register_profile("fednode", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("fednode"), max_examples=20)  # scripts/test --fast asks for it
settings.load_profile("fednode")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with published vectors and real data; it lies beside the checkout and is not part of it."""
    folder = CHECKOUT.parent / "shared"
    if not (folder / "vectors").is_dir():
        pytest.skip(f"the reference files are not there: expected {folder} beside the checkout")
    return folder
