"""The phases of a study's round clock."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """JOIN precedes a round; the others are the steps of one attempt of a secure sum, in this order. ANSWER, RECHECK,
    REDEAL, CONFIRM, EXPOSE and REVEAL2 are opened only where something has to be settled."""

    JOIN = 0
    KEYS = 1
    ACK = 2
    ANSWER = 3
    COMMIT = 4
    ROSTER = 5
    DIGEST = 6
    SUMACK = 7
    COIN = 8
    SHARE = 9
    PROOF = 10
    RECHECK = 11
    REDEAL = 12
    CONFIRM = 13
    EXPOSE = 14
    REVEAL = 15
    REVEAL2 = 16
    RESULT = 17
