"""What a daemon looks at before it listens: the store, what its key may have signed, the journal.

Security assumption: the home's lock is held. A store can be had again from the members; what a key has signed cannot.
So a damaged store may be replaced where its owner asked for that and the sign-state is whole; with a sign-state that is
lost, damaged or of an earlier time the daemon follows the chain and signs nothing, until its keys are replaced.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from fednode.chain.consensus.recovery import ROTATE_HINT, SignRecord, VoteSigner, initial_record
from fednode.chain.leveldb import LevelDbStore, open_store
from fednode.chain.store import CHECKED_BLOCKS, LedgerStore, StoreDamaged
from fednode.core.membership import FOLLOWER
from fednode.errors import Rejected, StorageError, Unavailable
from fednode.home.files import Home, environment, set_aside, write_atomic
from fednode.home.keystore import Keys, PublicKeys
from fednode.home.sign_state import SignStateFile, joined_mark, write_mark
from fednode.home.succession import check_not_joined, has_consented
from fednode.ids import MemberId
from fednode.ledger.genesis import Genesis


def restored_mark(home: Home, public: PublicKeys) -> Path:
    """Beside the keys: they came out of a backup, and may have signed anything since it was made."""
    return home.keystore.parent / f"restored-{public.sign.hex()[:16]}"


def open_chain(
    home: Home, public: PublicKeys, genesis: Genesis, may_resync: bool
) -> tuple[LevelDbStore, str | None]:
    """Open the store; replace a damaged one by an empty one if that is allowed, and return what to tell about it.

    Raises `StorageError` if the store is damaged and may not be replaced, `Refused` if a successor of this chain was
    joined. Nothing is deleted.
    """
    check_not_joined(home, genesis)
    try:
        _check_mark(home)
        store = open_store(home.chain, genesis)
        if may_resync:
            _read_whole(store)
        return store, None
    except StoreDamaged as damage:
        cause = str(damage).partition(";")[0]
        if not may_resync:
            raise
        _check_may_resync(home, public, genesis, cause)
        kept = set_aside(home.chain)
        _damage_mark(home).unlink(missing_ok=True)
    text = f"{cause}; it is kept as {kept}, and the chain is fetched anew from the other members"
    return open_store(home.chain, genesis), text


def _damage_mark(home: Home) -> Path:
    return home.var / "store-damage"


def remember_damage(home: Home, damage: StoreDamaged) -> None:
    """Take note of damage that was met while the daemon ran: the next start may not come to the same place."""
    with contextlib.suppress(Unavailable):  # the disk may be the cause of it all
        write_atomic(_damage_mark(home), f"{damage}\n".encode())


def _check_mark(home: Home) -> None:
    """Raise what the daemon remembered; a store that was moved away since is not the one it was about."""
    mark = _damage_mark(home)
    with environment("read the note about the store's damage", mark):
        if not mark.exists():
            return
        if not home.chain.exists():
            mark.unlink()
            return
        raise StoreDamaged(mark.read_text(errors="replace").strip())


def _read_whole(store: LevelDbStore) -> None:
    try:
        store.audit()
    except BaseException:
        store.close()
        raise


def _check_may_resync(home: Home, public: PublicKeys, genesis: Genesis, cause: str) -> None:
    """Refuse where the store may be the last thing that tells how far this key has signed."""
    file = SignStateFile(home.sign_state)
    is_new = not file.exists() and not _may_have_signed(home, public, genesis)
    try:
        record = file.load()
    except StorageError:
        record = None
    fits = record is not None and (record.chain_id, record.public_key) == (genesis.chain_id, public.sign)
    if is_new or (fits and file.is_whole()):
        return
    raise StorageError(
        f"{cause}, and the sign-state in {home.sign_state} is not whole either, so nothing was moved; move "
        f"{home.chain} away yourself and start without --resync: the daemon follows the chain without signing, and "
        "'fednode keys rotate --sign' lets it sign again"
    )


def _may_have_signed(home: Home, public: PublicKeys, genesis: Genesis) -> bool:
    return joined_mark(home, genesis.chain_id).exists() or restored_mark(home, public).exists()


def load_sign_state(
    home: Home, public: PublicKeys, genesis: Genesis, store: LedgerStore
) -> tuple[SignStateFile, SignRecord | None]:
    """Return the sign-state file and its record; None if this key signed on this chain and the record is lost.

    The first record is written when a key first joins a chain, and a mark beside the keys remembers that it was: a
    home whose var/ was deleted must not begin to sign anew. Without the mark, the store is asked.
    """
    file, mark = SignStateFile(home.sign_state), joined_mark(home, genesis.chain_id)
    record = file.load(int(store.tip.height))
    may_have_signed = _may_have_signed(home, public, genesis) or _has_signed(store, genesis, public.sign)
    if record is None and not may_have_signed:
        record = initial_record(genesis.chain_id, public.sign)
        write_mark(mark)
        file.create(record)
    elif record is not None and not mark.exists():
        write_mark(mark)
    return file, record


def _has_signed(store: LedgerStore, genesis: Genesis, sign_key: bytes) -> bool:
    """Whether the store shows that this key may have voted: a founder's has from the first block on, whose store is
    never older than its record; another's name is looked for under the latest blocks."""
    tip = int(store.tip.height)
    if tip and any(card.sign_key == sign_key for card in genesis.members):
        return True
    for height in range(max(1, tip - CHECKED_BLOCKS + 1), tip + 1):
        certificate, members = store.get_certificate(height), store.get_members(height)
        try:
            signers = () if certificate is None else certificate.signers(members)
        except Rejected:
            continue
        if any(members.keys[member] == sign_key for member in signers):
            return True
    return False


def load_signer(
    home: Home, keys: Keys, genesis: Genesis, member: MemberId, store: LedgerStore
) -> tuple[SignStateFile, VoteSigner, list[str]]:
    """Return sign-state, signer and what to tell people about them.

    Whoever is not on the ledger has neither votes nor a record of them. A damaged sign-state is left as it is.
    """
    if member == FOLLOWER:
        return SignStateFile(home.sign_state), VoteSigner(genesis.chain_id, None, None, None), []
    try:
        file, record = load_sign_state(home, keys.public, genesis, store)
    except StorageError as error:
        signer = VoteSigner(genesis.chain_id, member, keys.sign, None)
        signer.refusal = str(error)
        return SignStateFile(home.sign_state), signer, [f"this hospital does not sign: {error}"]
    problems = []
    is_over = has_consented(home, genesis.chain_id)
    signer = VoteSigner(genesis.chain_id, member, keys.sign, record, file.silent_until, is_over)
    if record is None and not is_over and restored_mark(home, keys.public).exists():
        signer.refusal = f"the keys were restored from a backup and may have signed since it was made: {ROTATE_HINT}"
    if signer.refusal is not None:
        problems.append(f"this hospital does not sign: {signer.refusal}")
    if file.damage is not None:
        kept = file.keep_damaged()
        problems.append(file.damage + (f"; the damaged record is kept as {kept[0].name}" if kept else ""))
    if record is not None and record.chain_id == genesis.chain_id and record.height > store.tip.height + 1:
        problems.append(
            f"the store ends at block {store.tip.height} and this hospital has voted at block {record.height}: the end "
            "of the store was lost, or it is fetched anew; what is missing comes from the members"
        )
    return file, signer, problems
