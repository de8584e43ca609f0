"""One federation that trains for ever, for every test about trouble; a smaller one for each test of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fednode.demo.federation import free_ports
from tests.e2e.federation import Federation, make_federation, study_toml
from tests.e2e.wire import Wires


class Endless:
    """A federation in the middle of a study that does not end. `heal` brings everybody back into the rounds."""

    def __init__(self, root: Path) -> None:
        advertised = free_ports(4)
        self.federation = make_federation(root, study_toml(rounds=10_000), advertised=advertised)
        ports = {
            member: (hospital.advertised, hospital.port)
            for member, hospital in enumerate(self.federation.hospitals, 1)
        }
        self.wires = Wires(ports, self._pid_of)
        self.federation.start()

    def _pid_of(self, member: int) -> int | None:
        process = self.federation[member].process
        return None if process is None else process.pid

    def heal(self) -> Federation:
        """Return the federation with all daemons up, connected and counted in the last round."""
        self.wires.heal()
        for hospital in self.federation:
            if hospital.is_alive:
                hospital.resume()
        self.federation.start()
        for hospital in self.federation:
            hospital.poll(lambda s: s["connected"] == 3, 30, "three others connected")
        await_all_counted(self.federation)
        return self.federation

    def close(self) -> None:
        """End everything."""
        self.federation.kill()
        self.wires.close()


def await_all_counted(federation: Federation, timeout_s: float = 60) -> None:
    """Wait until a round that begins from now on closes with everybody counted."""
    begin = federation[1].status()["studies"][0]["next_round"]
    federation[1].wait_counted(range(1, len(federation.hospitals) + 1), begin, timeout_s)


@pytest.fixture(scope="package")
def endless_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endless]:
    made = Endless(tmp_path_factory.mktemp("endless"))
    yield made
    made.close()


@pytest.fixture
def endless(endless_study: Endless) -> Endless:
    """The same federation for every test, whole again."""
    endless_study.heal()
    return endless_study
