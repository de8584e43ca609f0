"""The error tree, by blame.

    FednodeError                 a person can act on it: one sentence with cause and fix, and an exit code
    |- UsageError          2     the command line is wrong
    |- ConfigError         3     hospital.toml, a study file or an environment override
    |- KeystoreError       4     keys missing, wrong passphrase, damaged keystore
    |- GenesisError        5     genesis file unreadable, foreign, or without this member
    |- StorageError        6     store, sign-state or round record damaged or contradictory
    |- DataError           7     the hospital's data file does not fit the schema
    |- Unavailable         8     the environment: daemon not running, disk full, timeout
    |  |- PortInUse        9     another program listens on the address
    |  `- HomeInUse       10     another daemon runs on the same home
    |- Refused            11     the ledger or a peer refused a request, with the rule that did
    |- VerificationFailed 12     a chain, certificate or proof does not hold
    |- TrainingError      13     the worker process failed
    `- UpgradeNeeded      14     the chain goes on by rules that this program does not know
    Rejected                     a peer's fault: typed, dropped and scored, never shown as a failure of this node

Anything else that is raised is a bug of this program and ends the process: safety before liveness.
"""

from __future__ import annotations


class FednodeError(Exception):
    """Base of everything a person can act on. The text is one sentence naming the cause and the fix."""

    exit_code = 1


class UsageError(FednodeError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class ConfigError(FednodeError):
    """A configuration or study file is missing, malformed or contradictory."""

    exit_code = 3


class KeystoreError(FednodeError):
    """The keystore is missing or damaged, or the passphrase is wrong. Never carries key material."""

    exit_code = 4


class GenesisError(FednodeError):
    """The genesis file cannot be used by this member."""

    exit_code = 5


class StorageError(FednodeError):
    """Something on disk is damaged or contradicts the chain; the directory is kept as it is."""

    exit_code = 6


class DataError(FednodeError):
    """The hospital's data file does not fit the study's schema."""

    exit_code = 7


class Unavailable(FednodeError):
    """The environment does not provide what is needed right now."""

    exit_code = 8


class PortInUse(Unavailable):
    """Another program listens on the configured address."""

    exit_code = 9


class HomeInUse(Unavailable):
    """Another daemon already runs on this home directory."""

    exit_code = 10


class Refused(FednodeError):
    """The ledger's rules or a peer refused a request."""

    exit_code = 11


class VerificationFailed(FednodeError):
    """A chain, certificate or proof does not hold."""

    exit_code = 12


class TrainingError(FednodeError):
    """The worker process failed or returned something unusable."""

    exit_code = 13


class UpgradeNeeded(FednodeError):
    """The members decided a protocol version that this program does not know; it stops before its first block."""

    exit_code = 14


class Rejected(Exception):
    """Bytes or a claim from a peer that the protocol does not allow; `reason` is safe to log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
