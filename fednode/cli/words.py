"""What the phases of a round are in words, for people who watch one."""

from __future__ import annotations

from collections.abc import Mapping

DOING: Mapping[str, str] = {
    "join": "hospitals say that they are ready",
    "keys": "hospitals train, and make keys for this round",
    "ack": "hospitals confirm each other's keys",
    "answer": "a key that was doubted is shown",
    "commit": "each hospital fixes its masked update by a hash",
    "roster": "masked pieces cross; each hospital says what arrived",
    "digest": "the masked pieces are added up",
    "sumack": "hospitals confirm that they hold the same masked sum",
    "coin": "a random number is drawn that nobody could know",
    "share": "hospitals share a sketch of their updates",
    "proof": "hospitals prove that no update is too large",
    "recheck": "a share that was doubted is looked at again",
    "redeal": "a share that was missing is dealt again",
    "confirm": "hospitals confirm the shares",
    "expose": "a share that was wrong is shown",
    "reveal": "the masks of the sum are opened",
    "reveal2": "masks of hospitals that have gone are opened",
    "result": "hospitals compute the next model and vote on it",
}
"""What happens in a phase."""

MISSED: Mapping[str, str] = {
    "join": "was not ready", "keys": "sent no keys", "ack": "did not confirm keys", "commit": "sent no update",
    "roster": "did not say what arrived", "digest": "sent no sum", "sumack": "did not confirm the sum",
    "coin": "sent no random number", "share": "sent no sketch", "proof": "sent no proof", "reveal": "opened no masks",
    "reveal2": "opened no masks", "result": "did not vote on the model",
}
"""What a hospital did not do that was left out in a phase."""


def doing(phase: str) -> str:
    """Return what happens in a phase; its name where there are no words for it."""
    return DOING.get(phase, phase)


def missed(phase: str) -> str:
    """Return what a hospital did not do in a phase."""
    return MISSED.get(phase, f"did not answer in phase {phase}")
