"""Making this hospital's identity card from its configuration and keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fednode.cli.show import warn
from fednode.dialling import problem_of, warning_about
from fednode.errors import UsageError

if TYPE_CHECKING:
    from fednode.home.config import HospitalConfig
    from fednode.home.keystore import Keys
    from fednode.ledger.members.identity import IdentityCard


def check_addresses(addresses: Sequence[str], fix: str, *, is_trial: bool = False) -> None:
    """Raise `UsageError`, which ends with `fix`, if nobody can dial one; warn of those that reach this machine only,
    but not in a trial, which is on one machine."""
    if problem := problem_of(addresses):
        raise UsageError(f"{problem} ({fix})")
    if not is_trial:
        warn(warning_about(addresses))


def write_card(path: Path, values: HospitalConfig, unlocked: Keys, *, is_trial: bool = False) -> None:
    """Write the identity card of these keys with the configured name and addresses."""
    from fednode.home.files import PUBLIC_FILE, write_atomic
    from fednode.ledger.members.identity import card_to_toml

    write_atomic(path, card_to_toml(make_card(values, unlocked, is_trial=is_trial)).encode(), PUBLIC_FILE)


def make_card(values: HospitalConfig, unlocked: Keys, *, is_trial: bool = False) -> IdentityCard:
    """Return the identity card of these keys with the configured name and addresses."""
    from fednode.ledger.members.identity import make_identity_card

    addresses = values.network.advertise or values.network.listen
    check_addresses(addresses, "write [network] advertise in the configuration", is_trial=is_trial)
    return make_identity_card(
        values.node.name, addresses, unlocked.sign, unlocked.network_signer
    )
