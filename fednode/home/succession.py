"""What a home keeps of a succession: the one consent per chain, durable before it leaves, and the successor it joined.

Security assumption: the home's lock is held, so no daemon signs meanwhile. Both files lie beside the keys. A consent
holds random bytes, so a home that lost it (a restored backup) and consents again cannot join with the first one: it
might have signed on the successor already.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fednode.chain.consensus.recovery import initial_record
from fednode.chain.consensus.votes import MAX_FUTURE_MS
from fednode.chain.store import LedgerStore
from fednode.codec import decode, encode
from fednode.crypto import Entropy, sha256
from fednode.errors import GenesisError, Refused, Rejected, StorageError
from fednode.home.files import PUBLIC_FILE, Home, environment, read_bounded, write_atomic
from fednode.home.keystore import Keys
from fednode.home.sign_state import SignStateFile, joined_mark, write_mark
from fednode.ledger.genesis import MAX_CONSENT_BYTES, Genesis, genesis_to_toml
from fednode.ledger.members.identity import IdentityCard
from fednode.ledger.members.reading import find_member, get_member_set
from fednode.ledger.succession import NONCE_BYTES, Consent, make_consent

_MAGIC = b"fednode consent\n"


def consent_path(home: Home, chain_id: bytes) -> Path:
    """Beside the keys: this hospital has signed the succession of that chain."""
    return home.keystore.parent / f"succession-{chain_id.hex()[:16]}"


def joined_path(home: Home, chain_id: bytes) -> Path:
    """Beside the keys: which successor of that chain this home has joined."""
    return home.keystore.parent / f"successor-of-{chain_id.hex()[:16]}"


def has_consented(home: Home, chain_id: bytes) -> bool:
    """Whether nothing more may be signed on a chain; a damaged consent counts."""
    path = consent_path(home, chain_id)
    with environment("look for", path):
        return path.exists()


def load_consent(home: Home, chain_id: bytes) -> Consent | None:
    """Return the consent of this home; raise `StorageError` if it is damaged."""
    path = consent_path(home, chain_id)
    if not has_consented(home, chain_id):
        return None
    data = read_bounded(path, MAX_CONSENT_BYTES + 256, "consent", StorageError)
    start = len(_MAGIC) + 32
    try:
        if data[:start] != _MAGIC + sha256(_MAGIC, data[start:]):
            raise Rejected("its digest differs")
        return decode(Consent, data[start:], MAX_CONSENT_BYTES)
    except Rejected as error:
        raise StorageError(
            f"the consent {path} is damaged ({error.reason}): what this hospital signed is unknown; take it from the "
            "file that was handed to the others, or let the others go on and be invited again"
        ) from None


def sign_consent(
    home: Home, keys: Keys, genesis: Genesis, store: LedgerStore, card: IdentityCard, entropy: Entropy
) -> Consent:
    """Sign that this hospital goes on in a successor, once: the second time the same consent is returned.

    Raises `Refused` if it is no member at the end of the chain. On return the consent is on the disk, and gone are the
    secrets of the chain's rounds: this hospital signs nothing more there, so it would see none of them close.
    """
    kept = load_consent(home, genesis.chain_id)
    if kept is not None:
        return kept
    state, tip = store.load_state(), store.tip
    member = find_member(state, keys.public.sign)
    if member is None or get_member_set(state).keys.get(member) != keys.public.sign:
        raise Refused(
            f"at block {tip.height}, where the chain of this home ends, this key is no member's: only members sign"
        )
    certificate = store.get_certificate(tip.height) if tip.height else None
    consent = make_consent(tip, certificate, member, card, keys.sign, entropy.random_bytes(NONCE_BYTES))
    data = encode(consent)
    _delete_rounds(home)
    write_atomic(consent_path(home, genesis.chain_id), _MAGIC + sha256(_MAGIC, data) + data)
    return consent


def _delete_rounds(home: Home) -> None:
    with environment("delete", home.rounds):
        shutil.rmtree(home.rounds, ignore_errors=True)


def check_may_join(home: Home, successor: Genesis) -> None:
    """Raise unless this home signed this successor and has joined no other one of the same chain."""
    origin = successor.origin
    if origin is None:
        raise GenesisError("this genesis founds a chain of its own; put it in place and start with it")
    own = load_consent(home, origin.chain_id)
    if own is None:
        raise Refused(
            "this home has not signed this succession; a hospital that stayed out, or whose keys come from a backup "
            "made before it signed, is invited by the new members ('fednode member invite')"
        )
    if own not in origin.consents:
        raise Refused("the consent that this home signed is not in this file; ask for one that holds it")
    joined = joined_path(home, origin.chain_id)
    if joined.exists() and joined.read_bytes().strip() != successor.chain_id.hex().encode():
        raise Refused(
            f"this home has joined another successor, chain {joined.read_text().strip()[:16]}: a hospital takes part "
            "in one; its members go on with that"
        )


def check_time(successor: Genesis, now_ms: int) -> None:
    """Raise `GenesisError` if a successor begins in the future: its deadlines would stand still for good."""
    ahead_ms = successor.time_ms - now_ms
    if ahead_ms > MAX_FUTURE_MS:
        raise GenesisError(
            f"the successor was made {ahead_ms // 1000} s ahead of this machine's clock: one of the two clocks is "
            "wrong; set this one, or have the successor assembled again where the clock is right"
        )


def has_joined(home: Home, successor: Genesis) -> bool:
    """Whether this home has decided for this successor: it was checked before, and may have been cut short since."""
    mark = joined_path(home, successor.origin.chain_id) if successor.origin is not None else None
    return mark is not None and mark.exists() and mark.read_bytes().strip() == successor.chain_id.hex().encode()


def check_not_joined(home: Home, genesis: Genesis) -> None:
    """Raise where this home has left this chain for a successor: its blocks were moved aside, or are about to be."""
    mark = joined_path(home, genesis.chain_id)
    with environment("look for", mark):
        if not mark.exists():
            return
        successor = mark.read_text(errors="replace").strip()[:16]
    raise Refused(
        f"this home has joined the successor of this chain, {successor}, and its genesis is not in place; "
        "'fednode federation succeed join FILE' puts it there"
    )


def join_successor(home: Home, genesis_path: Path, old: Genesis, successor: Genesis, keys: Keys) -> None:
    """Put the successor in place of its predecessor; repeated after a crash it goes on where it was.

    The decision is durable first. The old chain, sign-state and genesis stay beside the new ones; the secrets of the
    old chain's rounds are deleted, they are over. The new chain's sign-state begins here and only here.
    """
    check_may_join(home, successor)
    assert successor.origin is not None, "checked"
    if old.chain_id not in (successor.origin.chain_id, successor.chain_id):
        raise GenesisError("the genesis of this home is of neither the old chain nor its successor; put the old back")
    mark, name = joined_path(home, successor.origin.chain_id), successor.origin.chain_id.hex()[:16]
    if not mark.exists():
        write_atomic(mark, successor.chain_id.hex().encode() + b"\n")
    kept = genesis_path.with_name(f"genesis-{name}.toml")
    if old.chain_id == successor.chain_id:
        return
    has_begun = joined_mark(home, successor.chain_id).exists()
    for folder in (home.chain,) if has_begun else (home.chain, home.sign_state):
        aside = folder.with_name(f"{folder.name}-{name}")
        with environment("move aside", folder):
            if folder.exists() and not aside.exists():
                folder.rename(aside)
    _delete_rounds(home)
    _begin_sign_state(home, successor, keys)
    write_atomic(kept, genesis_to_toml(old).encode(), PUBLIC_FILE)
    write_atomic(genesis_path, genesis_to_toml(successor).encode(), PUBLIC_FILE)


def _begin_sign_state(home: Home, successor: Genesis, keys: Keys) -> None:
    """Write the first record of the new chain, once: a home whose record was lost since must not begin anew."""
    mark, file = joined_mark(home, successor.chain_id), SignStateFile(home.sign_state)
    if mark.exists():
        return
    if not file.exists():
        file.create(initial_record(successor.chain_id, keys.public.sign))
    write_mark(mark)
