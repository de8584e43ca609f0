"""Replacing a hospital's keys without losing anything in between.

Security assumption: the new keys are on the disk before the ledger hears of them, and the files are exchanged only
after the daemon has ended, so no key ever signs beside another's record. An old sign key has signed up to some height
and a new one nothing: it begins with a sign-state of its own. With another key replaced the sign-state stays.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

from fednode.cli.ask import as_record, ask_record, ask_records
from fednode.cli.card import write_card
from fednode.cli.site import Site
from fednode.crypto import Domain, Secret
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
    me = as_record(status["member"])
    member, chain_id = me.get("id"), as_record(status["chain"]).get("id")
    next_path = home.keystore.with_name("keystore-next.toml")
    if not isinstance(chain_id, str) or not (me.get("is_member") or next_path.exists()):
        raise Refused("only a member can replace its keys on the ledger; 'fednode status' shows what this hospital is")
    old = read_public_keys(home.keystore)
    keys = renew_keystore(home.keystore, next_path, passphrase, SystemEntropy(), which)
    entries = ask_records(site, "member_list")
    mine = next((e for e in entries if e["id"] == member or e["sign_key"] == keys.public.sign.hex()), None)
    if mine is None:
        raise Refused("the ledger knows neither the old nor the new keys; 'fednode member list' shows the members")
    number = MemberId(int(str(mine["id"])))
    is_announced = all(mine[f"{name}_key"] == getattr(keys.public, name).hex() for name in KEY_NAMES)
    height = None if is_announced else _announce(site, keys, number, mine, bytes.fromhex(chain_id))
    end_daemon(home)
    _exchange(home, old, next_path, chain_id, which)
    write_card(home.card, values, keys)
    return {
        "member": int(number), "height": height, "replaced": [name for name in KEY_NAMES if name in which],
        "sign_key": keys.public.sign.hex(), "seal_key": keys.public.seal.hex(), "peer_id": keys.public.peer_id,
        "fingerprint": keys.public.fingerprint,
    }


def _await_caught_up(site: Site) -> dict[str, Json]:
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        status = ask_record(site, "status")
        if as_record(status["chain"]).get("catching_up_to") is None:
            return dict(status)
        if time.monotonic() > deadline:
            raise Unavailable("the daemon still fetches blocks from the others; try again when it has them")
        time.sleep(0.2)


def _await_signers(site: Site) -> None:
    """Raise at once where no block can carry the new keys: waiting does not help, and other ways do."""
    deadline = time.monotonic() + SIGNERS_S
    while True:
        chain = as_record(ask_record(site, "status")["chain"])
        if chain.get("has_quorum"):
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    signing = chain.get("signing")
    count = len(signing) if isinstance(signing, list) else 0
    raise Refused(
        f"new keys need a block, and {count} of {chain.get('members')} members sign while {chain.get('quorum')} are "
        "needed; 'fednode status' names the others. If enough of them can sign again, start them and try "
        f"again; if more than {chain.get('fault_bound')} have lost their sign-state, the way on is a successor: "
        "'fednode federation succeed --help'"
    )


def _announce(site: Site, keys: Keys, number: MemberId, mine: Json, chain_id: bytes) -> Json:
    """Bring the new keys onto the ledger, signed by the old and the new sign key; return the height."""
    from fednode.home.keystore import SystemEntropy
    from fednode.ledger.members.identity import card_to_toml, make_identity_card
    from fednode.ledger.members.rules import rotation_message

    _await_signers(site)
    entry = as_record(mine)
    addresses = entry["addresses"]
    card = make_identity_card(
        str(entry["name"]), tuple(map(str, addresses)) if isinstance(addresses, (list, tuple)) else (), keys.sign,
        keys.network_signer, keys.seal_key, SystemEntropy(),
    )
    signature = keys.sign.sign(Domain.IDENTITY_CARD, rotation_message(chain_id, number, card))
    return ask_record(site, "keys_rotate", card=card_to_toml(card), signature=signature.hex()).get("height")


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
