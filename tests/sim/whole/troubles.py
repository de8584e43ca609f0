"""Every kind of trouble by its name."""

from __future__ import annotations

from tests.sim.whole.recovery import LostSignStates
from tests.sim.whole.trouble import BadWorker, MembersChange, Trouble, Twin, VersionChange
from tests.sim.whole.wrong import DeadCandidates, LateHospital, WrongClock, WrongGenesis

TROUBLES: dict[str, type[Trouble]] = {
    "": Trouble, "members": MembersChange, "version": VersionChange, "twin": Twin, "worker": BadWorker,
    "lost": LostSignStates, "candidates": DeadCandidates, "late": LateHospital, "clock": WrongClock,
    "genesis": WrongGenesis,
}
