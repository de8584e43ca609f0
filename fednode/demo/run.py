"""The demo's rounds: follow the study, take a hospital's power away, bring it back, see that it is counted again."""

from __future__ import annotations

import enum
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fednode.cli.screen import Screen
from fednode.demo.federation import POLL_S, Hospital, LocalFederation, Record, wait_until
from fednode.errors import Refused, Unavailable

STALL_S = 120.0
"""Longer than any deadline of the demo's study: after that something is wrong."""

REST_S = 30.0
AWAY_ROUNDS = 2


class Stage(enum.Enum):
    """Where the hospital that loses its power is in the story; the value is what people read."""

    UP = "running"
    DOWN = "KILLED"
    RETURNING = "catching up"
    BACK = "running again"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the chain and the model stand in every hospital at the end."""

    height: int
    model_hash: str
    hashes_equal: bool


class Story:
    """Follows the study on the first hospital's ledger. `victim` is killed in round `kill_round`, None for nobody.

    `rest` is called between two looks at the ledger.
    """

    def __init__(
        self, federation: LocalFederation, rounds: int, victim: Hospital | None, screen: Screen,
        rest: Callable[[], None] | None = None,
    ) -> None:
        self._federation = federation
        self._observer = federation.hospitals[0]
        self._rounds = rounds
        self._victim = victim
        self._screen = screen
        self._rest = rest if rest is not None else partial(time.sleep, POLL_S)
        self._names = {hospital.number: hospital.name for hospital in federation.hospitals}
        self._stage = Stage.UP
        self._has_paused = False
        self._stall: tuple[object, float] = (None, time.monotonic())
        self.kill_round = -(-rounds // 3)
        self.reports: Sequence[Record] = ()

    def follow(self) -> None:
        """Return when the study has finished; raise `Unavailable` if it cannot."""
        while True:
            self._federation.check_running()
            study = self._observer.ask_records("study_list")[0]
            if study["next_round"] != len(self.reports):
                self.reports = self._observer.ask_records("round_list")
            self._screen.update(study, self.reports, self._states(), self._names)
            status = study["status"]
            if status == "finished":
                return
            if status in ("stopped", "rejected") or (status == "paused" and not self._has_paused):
                raise Unavailable(f"the study is {status}: {study['reason']}; see 'fednode logs' of the homes kept")
            self._check_stall(study)
            if self._victim is not None:
                self._interfere(study, self._victim)
            self._rest()

    def _states(self) -> dict[int, str]:
        states = {hospital.number: Stage.UP.value for hospital in self._federation.hospitals}
        if self._victim is not None:
            states[self._victim.number] = self._stage.value
        return states

    def _check_stall(self, study: Record) -> None:
        current = study["round"]
        mark = (study["status"], study["next_round"], current and current["phase"]["number"], self._stage)
        now = time.monotonic()
        if mark != self._stall[0]:
            self._stall = (mark, now)
        elif now - self._stall[1] > STALL_S:
            waiting = ", ".join(f"hospital {number}" for number in study["waiting_for"] or ()) or "nobody"
            raise Unavailable(f"nothing happened for {STALL_S:g} s, waiting for {waiting}; read the logs in the homes")

    # --- the hospital that fails -----------------------------------------------------------------------------------

    def _interfere(self, study: Record, victim: Hospital) -> None:
        current = study["round"]
        number = current["number"] if current else 0
        match self._stage:
            case Stage.UP if number >= self.kill_round:
                self._federation.kill(victim)
                self._stage = Stage.DOWN
                self._screen.say(f"{victim.name}'s daemon is killed in round {number}, as by a power cut")
            case Stage.DOWN if number >= self.kill_round + AWAY_ROUNDS or study["status"] == "paused":
                self._federation.start([victim])
                self._stage = Stage.RETURNING
                self._screen.say(f"{victim.name}'s daemon is started again")
            case Stage.RETURNING if self._is_back(study, victim):
                self._stage = Stage.BACK
                self._screen.say(f"{victim.name} has the whole chain and is ready for the next round")
        if self._stage is Stage.BACK and study["status"] == "paused":
            self._resume(study["quorum"])
        elif self._must_wait(study, number):
            self._observer.ask("study_pause", reason=f"waiting for {victim.name} to return")
            self._has_paused = True
            self._screen.say(f"the study pauses after this round, so that {victim.name} does not miss the last one")

    def _must_wait(self, study: Record, number: int) -> bool:
        """Whether the next round would be the last and the member that was away is still not ready."""
        if self._has_paused or study["status"] != "running" or self._stage not in (Stage.DOWN, Stage.RETURNING):
            return False
        return number >= max(self._rounds - 1, self.kill_round)

    def _is_back(self, study: Record, victim: Hospital) -> bool:
        """Whether the ledger lists it as ready and its own daemon has caught up."""
        if victim.number not in study["ready"]:
            return False
        try:
            own = victim.ask_records("study_list")[0]
        except Unavailable:
            return False
        return victim.number in own["ready"] and own["next_round"] >= study["next_round"]

    def _resume(self, quorum: int) -> None:
        for hospital in self._federation.hospitals[:quorum]:
            try:
                hospital.ask("study_vote", action="resume")
            except Refused:
                return  # it runs again already
        self._screen.say("the study goes on, by vote of a quorum")

    # --- the end -------------------------------------------------------------------------------------------------

    def settle(self) -> Ending:
        """Wait until every hospital has the last block and the model; say whether they are the same."""
        hospitals = self._federation.hospitals
        last: list[tuple[int, str, str, bool]] = []

        def is_equal() -> bool | None:
            last.clear()
            for hospital in hospitals:
                chain, study = hospital.ask_record("chain_status"), hospital.ask_records("study_list")[0]
                last.append((chain["height"], chain["hash"], str(study["model_hash"]), study["has_model"]))
            return True if len(set(last)) == 1 and last[0][3] else None

        try:
            equal = wait_until(self._federation, is_equal, "the last block in every hospital", REST_S)
        except Unavailable:
            self._federation.check_running()
            if not last:
                raise
            equal = False
        return Ending(last[0][0], last[0][2], equal)

    @property
    def has_rejoined(self) -> bool:
        """Whether the hospital that was killed is counted in a later round."""
        return any(
            self._victim is not None and self._victim.number in report["counted"] and report["outcome"] == "ok"
            for report in self.reports if report["number"] > self.kill_round
        )

    @property
    def round_seconds(self) -> float:
        """Median over training rounds, from the block that opens a round to the block that closes it."""
        return statistics.median(float(report["seconds"]) for report in self._trained())

    @property
    def secure_sum_seconds(self) -> float:
        """Median over training rounds, from the first chunk sent to the sum known.

        A chunk may leave once the block that ends the phase of commitments is final, and the sum is known with the
        block that ends the last phase of openings.
        """
        return statistics.median(sum_seconds(report) for report in self._trained())

    def _trained(self) -> list[Record]:
        return [r for r in self.reports if r["kind"] == "training" and r["outcome"] == "ok"]


def sum_seconds(report: Record) -> float:
    """Return the seconds of a successful round's last attempt from commitments to openings."""
    ended = {phase["phase"]: phase["closed_ms"] for phase in report["phases"]}
    return float(ended.get("reveal2", ended["reveal"]) - ended["commit"]) / 1000
