"""Replacing a hospital's sign and network key without losing anything in between.

Security assumption: the new keys are on the disk before the ledger hears of them, and the files are exchanged only
after the daemon has ended, so no key ever signs beside another's record. The old key has signed up to some height and
the new one nothing: it begins with a sign-state of its own.
"""

from __future__ import annotations

from pathlib import Path

from fednode.cli.ask import as_record, ask_record, ask_records
from fednode.cli.daemon import end_daemon
from fednode.cli.site import Site
from fednode.crypto import Domain, Secret
from fednode.errors import Refused
from fednode.ids import MemberId
from fednode.node.control_client import Json


def rotate_keys(site: Site, passphrase: Secret[bytes]) -> dict[str, Json]:
    """Announce new keys through the running daemon, stop it, put the new keystore in place; return what was done."""
    from fednode.cli.keys import write_card
    from fednode.ledger.identity import card_to_toml, make_identity_card
    from fednode.ledger.member_rules import rotation_message
    from fednode.node.keystore import SystemEntropy, renew_keystore

    values = site.load().values
    home = values.home
    status = ask_record(site, "status")
    me = as_record(status["member"])
    member, chain_id = me.get("id"), as_record(status["chain"]).get("id")
    next_path = home.keystore.with_name("keystore-next.toml")
    if not isinstance(chain_id, str) or not (me.get("is_member") or next_path.exists()):
        raise Refused("only a member can replace its keys on the ledger; 'fednode status' shows what this hospital is")
    keys = renew_keystore(home.keystore, next_path, passphrase, SystemEntropy())
    entries = ask_records(site, "member_list")
    mine = next((e for e in entries if e["id"] == member or e["sign_key"] == keys.public.sign.hex()), None)
    if mine is None:
        raise Refused("the ledger knows neither the old nor the new keys; 'fednode member list' shows the members")
    number = MemberId(int(str(mine["id"])))
    height: Json = None
    if mine["sign_key"] != keys.public.sign.hex():
        addresses = mine["addresses"]
        card = make_identity_card(
            str(mine["name"]), tuple(map(str, addresses)) if isinstance(addresses, (list, tuple)) else (), keys.sign,
            keys.network_signer, keys.seal_key, SystemEntropy(),
        )
        message = rotation_message(bytes.fromhex(chain_id), number, card)
        signature = keys.sign.sign(Domain.IDENTITY_CARD, message)
        done = ask_record(site, "keys_rotate", card=card_to_toml(card), signature=signature.hex())
        height = done.get("height")
    end_daemon(home)
    old = mine["sign_key"] if height is not None else "earlier"
    mark = str(old)[:16]
    _move(home.sign_state, home.sign_state.with_name(f"sign-state-{mark}"))
    for joined in home.keystore.parent.glob(f"joined-{chain_id[:16]}"):
        _move(joined, joined.with_name(f"was-{joined.name}-{mark}"))
    _move(home.keystore, home.keystore.with_name(f"keystore-{mark}.toml"))
    _move(next_path, home.keystore)
    write_card(home.card, values, keys)
    return {"member": int(number), "height": height, "sign_key": keys.public.sign.hex(), "peer_id": keys.public.peer_id}


def _move(source: Path, target: Path) -> None:
    from fednode.node.files import environment

    with environment("move", source):
        if source.exists():
            source.rename(target)
