"""A hospital whose clock jumps while its daemon runs: told, and nothing stops; set right, it goes on as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.federation import make_federation, running

pytestmark = pytest.mark.slow

SHIFTED = """
import sys, time
path, real = sys.argv.pop(1), time.time_ns
time.time_ns = lambda: real() + int(open(path).read()) * 10**9
from fednode.cli.main import main
main(sys.argv[1:])
"""


def set_clock(shift: Path, jump_s: int) -> None:
    """Let the odd daemon's clock be off by this; it reads the file at any moment, so a new one takes its place."""
    draft = shift.with_suffix(".new")
    draft.write_text(str(jump_s))
    draft.replace(shift)


@pytest.mark.parametrize(("jump_s", "says"), [(-86_400, "behind"), (86_400, "ahead of")])
def test_clock_that_jumps_by_a_day(tmp_path: Path, jump_s: int, says: str) -> None:
    shift = tmp_path / "shift"
    set_clock(shift, 0)
    federation = make_federation(tmp_path, None)
    federation[2].program = ("-c", SHIFTED, str(shift))
    with running(federation):
        victim, others = federation[2], federation.others(2)
        for hospital in federation:
            hospital.poll(lambda s: s["connected"] == 3, 30)
        victim.call("submit_memo", text="before")
        set_clock(shift, jump_s)
        for number in range(4):
            victim.call("submit_memo", text=f"from the odd one {number}")
            others[number % 3].call("submit_memo", text=f"from another {number}")
        victim.poll(lambda s: any(f"clock is {says} the other" in text for text in s["problems"]), 30, "the problem")
        named = f"the clock of Hospital {victim.home.root.name.removeprefix('home-')} (member 2)"
        for hospital in others:
            hospital.poll(lambda s: any(text.startswith(named) for text in s["problems"]), 30, "who is wrong")
            assert not any("this machine's clock" in text for text in hospital.status()["problems"])
        assert victim.stop() == 0
        victim.start()  # with the wrong clock from the beginning
        victim.poll(lambda s: s["connected"] == 3, 30)
        victim.call("submit_memo", text="again")
        set_clock(shift, 0)
        victim.call("submit_memo", text="set right")
        federation.await_equal_chains()
        assert victim.status()["chain"]["is_signing"] is True
        for hospital in federation:
            hospital.poll(lambda s: not any("clock" in text for text in s["problems"]), 30, "nobody's clock is wrong")
