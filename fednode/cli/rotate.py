"""Replacing a hospital's keys without losing anything in between.

Security assumption: the new keys are on the disk before the ledger hears of them, and the files are exchanged only
after the daemon has ended, so no key ever signs beside another's record. An old sign key has signed up to some height
and a new one nothing: it begins with a sign-state of its own. With another key replaced the sign-state stays.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from fednode.cli.ask import ask_for
from fednode.cli.card import write_card
from fednode.cli.site import Site
from fednode.crypto import Domain, Secret
from fednode.desk.questions import KEYS_ROTATE, MEMBER_LIST, STATUS
from fednode.desk.read_models import MemberView, StatusView
from fednode.documents import Json
from fednode.errors import KeystoreError, Refused, Unavailable
from fednode.home.files import Home, end_daemon, environment, read_bounded, sync_folder, write_atomic
from fednode.home.keystore import KEY_NAMES, MAX_FILE_BYTES, Keys, PublicKeys
from fednode.ids import MemberId

CATCH_UP_S = 60.0
"""How long a command waits for the daemon to have the others' blocks: the others admit a new network key, and refuse
the old one, from the block on that announces it, and the daemon has to be there to see that block."""

SIGNERS_S = 6.0
"""A daemon that has just started hears of the others' votes within a second or two of their connections."""


def rotate_keys(site: Site, passphrase: Secret[bytes], which: Collection[str]) -> dict[str, Json]:
    """Announce new keys through the running daemon, stop it, put the new keystore in place; return what was done."""
    from fednode.home.keystore import SystemEntropy, read_public_keys, renew_keystore

    values = site.load().values
    home = values.home
    status = _await_caught_up(site)
    chain_id = status.chain.id
    next_path = home.keystore.with_name("keystore-next.toml")
    if not (status.member.is_member or next_path.exists()):
        raise Refused("only a member can replace its keys on the ledger; 'fednode status' shows what this hospital is")
    old = read_public_keys(home.keystore)
    keys = renew_keystore(home.keystore, next_path, passphrase, SystemEntropy(), which)
    known = ask_for(site, MEMBER_LIST)
    mine = next((m for m in known if m.id == status.member.id or m.sign_key == keys.public.sign.hex()), None)
    if mine is None:
        raise Refused("the ledger knows neither the old nor the new keys; 'fednode member list' shows the members")
    is_announced = all(getattr(mine, f"{name}_key") == getattr(keys.public, name).hex() for name in KEY_NAMES)
    height = None if is_announced else _announce(site, keys, mine, bytes.fromhex(chain_id))
    end_daemon(home)
    _exchange(home, old, next_path, chain_id, which)
    write_card(home.card, values, keys)
    return {
        "member": mine.id, "height": height, "replaced": [name for name in KEY_NAMES if name in which],
        "sign_key": keys.public.sign.hex(), "peer_id": keys.public.peer_id,
        "fingerprint": keys.public.fingerprint,
    }


def _await_caught_up(site: Site) -> StatusView:
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        status = ask_for(site, STATUS)
        if status.chain.catching_up_to is None:
            return status
        if time.monotonic() > deadline:
            raise Unavailable("the daemon still fetches blocks from the others; try again when it has them")
        time.sleep(0.2)


def _await_signers(site: Site) -> None:
    """Raise at once where no block can carry the new keys: waiting does not help, and other ways do."""
    deadline = time.monotonic() + SIGNERS_S
    while True:
        chain = ask_for(site, STATUS).chain
        if chain.has_quorum:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    raise Refused(
        f"new keys need a block, and {len(chain.signing)} of {chain.members} members sign while {chain.quorum} are "
        "needed; 'fednode status' names the others. If enough of them can sign again, start them and try "
        f"again; if more than {chain.fault_bound} have lost their sign-state, the way on is a successor: "
        "'fednode federation succeed --help'"
    )


def _announce(site: Site, keys: Keys, mine: MemberView, chain_id: bytes) -> int:
    """Bring the new keys onto the ledger, signed by the old and the new sign key; return the height."""
    from fednode.ledger.members.identity import card_to_toml, make_identity_card
    from fednode.ledger.members.rules import rotation_message

    _await_signers(site)
    card = make_identity_card(mine.name, mine.addresses, keys.sign, keys.network_signer)
    signature = keys.sign.sign(Domain.IDENTITY_CARD, rotation_message(chain_id, MemberId(mine.id), card))
    return ask_for(site, KEYS_ROTATE, card=card_to_toml(card), signature=signature.hex()).height


def _exchange(home: Home, old: PublicKeys, next_path: Path, chain_id: str, which: Collection[str]) -> None:
    """Put the new keystore in place; everything that belongs to the old keys is kept beside it."""
    name = next(name for name in KEY_NAMES if name in which)
    mark = getattr(old, name).hex()[:16]
    if "sign" in which:
        _move(home.sign_state, home.sign_state.with_name(f"sign-state-{mark}"))
        for joined in home.keystore.parent.glob(f"joined-{chain_id[:16]}"):
            _move(joined, joined.with_name(f"was-{joined.name}-{mark}"))
    copied = read_bounded(home.keystore, MAX_FILE_BYTES, "keystore", KeystoreError)
    write_atomic(home.keystore.with_name(f"keystore-{mark}.toml"), copied)
    with environment("put in place", next_path):  # at no moment is there no keystore
        next_path.replace(home.keystore)
        sync_folder(home.keystore.parent)


def _move(source: Path, target: Path) -> None:
    with environment("move", source):
        if source.exists():
            source.rename(target)
