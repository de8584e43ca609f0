"""The keys of one hospital, made on site and encrypted under a passphrase.

Security assumption: whoever reads the file without the passphrase learns the public keys only (Argon2id, 64 MiB,
3 passes, then XSalsa20-Poly1305); whoever has both is the hospital. Secrets leave this module wrapped in `Secret` or
behind a `Signer`, and no error text carries any part of them.

There are two public keys, so that one can be replaced without the other: `sign` (Ed25519: votes, transactions) and
`network` (Ed25519: libp2p peer id). A third, symmetric key encrypts this daemon's own records on its disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fednode.codec import Bytes32, decode, encode
from fednode.crypto import (
    ARGON2_SALT_BYTES,
    Domain,
    Ed25519Signer,
    Entropy,
    Secret,
    Signer,
    decrypt_at_rest,
    derive_passphrase_key,
    encrypt_at_rest,
    sha256,
    tagged_hash,
)
from fednode.documents import Unreadable, read_toml
from fednode.errors import KeystoreError, Rejected
from fednode.home.files import environment, read_bounded, write_atomic
from fednode.ids import PeerId
from fednode.p2p.addresses import peer_id_of
from fednode.secrecy import keep_to_itself

FILE_FORMAT = 1
MAX_FILE_BYTES = 16 * 1024
MAX_PASSPHRASE_BYTES = 1024
MIN_PASSPHRASE_CHARACTERS = 8
"""Of a new keystore. Argon2id makes a guess cost 0.2 s and 64 MiB; shorter ones are still guessed."""

FINGERPRINT_GROUPS, FINGERPRINT_DIGITS = 12, 5
"""60 decimal digits, 199 bits: read over the phone in any language, two groups a breath."""

KDF = "argon2id, 64 MiB, 3 passes"

PASSPHRASE_VARIABLE = "FEDNODE_PASSPHRASE"
PASSPHRASE_FILE_VARIABLE = "FEDNODE_PASSPHRASE_FILE"
BACKUP_VARIABLE = "FEDNODE_BACKUP_PASSPHRASE"
BACKUP_FILE_VARIABLE = "FEDNODE_BACKUP_PASSPHRASE_FILE"


class SystemEntropy:
    """Unpredictable bytes from the operating system."""

    def random_bytes(self, count: int) -> bytes:
        """Return `count` fresh bytes."""
        return os.urandom(count)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What others may know of a hospital's keys."""

    sign: bytes
    network: bytes

    @property
    def peer_id(self) -> PeerId:
        """The libp2p peer id of the network key."""
        return peer_id_of(self.network)

    @property
    def fingerprint(self) -> str:
        """60 digits in groups of five over both keys, for comparing by voice."""
        digest = tagged_hash(Domain.IDENTITY_CARD, b"fingerprint", self.sign, self.network)
        digits = FINGERPRINT_GROUPS * FINGERPRINT_DIGITS
        text = f"{int.from_bytes(digest, 'big') % 10**digits:0{digits}d}"
        return " ".join(text[at : at + FINGERPRINT_DIGITS] for at in range(0, digits, FINGERPRINT_DIGITS))


@dataclass(frozen=True, slots=True)
class Keys:
    """An unlocked keystore. `network_seed` is the 32-byte Ed25519 seed libp2p's key pair is made from."""

    public: PublicKeys
    sign: Signer
    network_seed: Secret[bytes]
    storage_key: Secret[bytes]

    @property
    def network_signer(self) -> Signer:
        """Signs with the network key, for the proof of possession in the identity card."""
        return Ed25519Signer(self.network_seed)


@dataclass(frozen=True, slots=True)
class _Seeds:
    sign: Bytes32
    network: Bytes32
    storage: Bytes32

    def unlock(self) -> Keys:
        signer, network = Ed25519Signer(Secret(self.sign)), Secret(self.network)
        public = PublicKeys(signer.public_key, Ed25519Signer(network).public_key)
        return Keys(public, signer, network, Secret(self.storage))

    def __repr__(self) -> str:
        return "_Seeds(...)"


KEY_NAMES = ("sign", "network")
"""The keys that others know, in the order in which they are told."""


def create_keystore(path: Path, passphrase: Secret[bytes], entropy: Entropy) -> Keys:
    """Make new keys and write them to `path`, mode 0600; refuse to replace a keystore that exists."""
    _check_absent(path)
    check_new_passphrase(passphrase)
    seeds = _Seeds(*(entropy.random_bytes(32) for _ in range(3)))
    _write(path, seeds, passphrase, entropy)
    return seeds.unlock()


def _check_absent(path: Path) -> None:
    with environment("look for a keystore at", path, KeystoreError):
        is_there = path.exists()
    if is_there:
        text = f"keystore {path} exists and is never overwritten, its keys may be in a federation"
        raise KeystoreError(f"{text}; choose another place, or move the file away yourself")


def copy_keystore(
    path: Path, passphrase: Secret[bytes], target: Path, target_passphrase: Secret[bytes], entropy: Entropy
) -> PublicKeys:
    """Write the keys of `path` to `target`, mode 0600, under a passphrase of its own; refuse to replace a file."""
    _check_absent(target)
    check_new_passphrase(target_passphrase)
    seeds = _unlock_seeds(path, passphrase)
    _write(target, seeds, target_passphrase, entropy)
    return seeds.unlock().public


def check_new_passphrase(passphrase: Secret[bytes]) -> None:
    """Refuse a passphrase too short to protect a new keystore."""
    if len(passphrase.reveal().decode(errors="replace")) < MIN_PASSPHRASE_CHARACTERS:
        raise KeystoreError(f"the passphrase is too short; use at least {MIN_PASSPHRASE_CHARACTERS} characters")


def _write(path: Path, seeds: _Seeds, passphrase: Secret[bytes], entropy: Entropy) -> None:
    salt = entropy.random_bytes(ARGON2_SALT_BYTES)
    box = encrypt_at_rest(derive_passphrase_key(passphrase, salt), encode(seeds))
    public = seeds.unlock().public
    lines = [
        "# Keys of this hospital, encrypted. Keep a copy apart from the passphrase; without both there is no way back.",
        f"format = {FILE_FORMAT}",
        f'sign_public = "{public.sign.hex()}"',
        f'network_public = "{public.network.hex()}"',
        f'kdf = "{KDF}"',
        f'salt = "{salt.hex()}"',
        f'box = "{box.hex()}"',
        f'check = "{_check(public, salt, box)}"',
    ]
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def _check(public: PublicKeys, salt: bytes, box: bytes) -> str:
    """Return a checksum that tells a damaged file from a wrong passphrase; it authenticates nothing."""
    return sha256(public.sign, public.network, salt, box).hex()[:16]


@dataclass(frozen=True, slots=True)
class _File:
    public: PublicKeys
    salt: bytes
    box: bytes


def _read(path: Path) -> _File:
    with environment("read the keystore", path, KeystoreError):
        is_there = path.exists()
    if not is_there:
        raise KeystoreError(f"there is no keystore at {path}; make one with 'fednode init', or give the right --home")
    data = read_bounded(path, MAX_FILE_BYTES, "keystore", KeystoreError)
    if mode := stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise KeystoreError(f"other accounts may open the keystore {path} (mode {mode:03o}); run: chmod 600 {path}")
    try:
        fields = read_toml(data)
        if fields.get("format") != FILE_FORMAT:
            text = f"keystore {path} has format {fields.get('format')}, this version reads {FILE_FORMAT}"
            raise KeystoreError(f"{text}; use the fednode that made it")
        public = PublicKeys(*(bytes.fromhex(fields[f"{name}_public"]) for name in KEY_NAMES))
        file = _File(public, bytes.fromhex(fields["salt"]), bytes.fromhex(fields["box"]))
        is_whole = fields["check"] == _check(public, file.salt, file.box) and len(file.salt) == ARGON2_SALT_BYTES
    except (Unreadable, KeyError, TypeError, ValueError):
        is_whole = False
    if not is_whole:
        raise KeystoreError(f"keystore {path} is damaged; restore it from your copy")
    return file


def read_public_keys(path: Path) -> PublicKeys:
    """Return the public keys without a passphrase; raise `KeystoreError` if the file is missing or damaged."""
    return _read(path).public


def renew_keystore(
    path: Path, next_path: Path, passphrase: Secret[bytes], entropy: Entropy, which: Collection[str]
) -> Keys:
    """Write a keystore in which the keys named in `which` (of `KEY_NAMES`) are new to `next_path`; return its keys.

    The storage key stays: the records of running rounds are encrypted with it. A keystore that is there already, from
    an attempt that was cut short, is used again; `KeystoreError` if that one was about other keys.
    """
    old = _unlock_seeds(path, passphrase)
    if not next_path.exists():
        sign, network = (
            entropy.random_bytes(32) if name in which else kept
            for name, kept in zip(KEY_NAMES, (old.sign, old.network), strict=True)
        )
        _write(next_path, _Seeds(sign, network, old.storage), passphrase, entropy)
    keys, before = unlock_keystore(next_path, passphrase), old.unlock().public
    changed = [name for name in KEY_NAMES if getattr(before, name) != getattr(keys.public, name)]
    if set(changed) != set(which):
        options = " ".join(f"--{name}" for name in changed)
        raise KeystoreError(
            f"an earlier replacement of the keys was not finished; finish it first with 'fednode keys rotate {options}'"
        )
    return keys


def unlock_keystore(path: Path, passphrase: Secret[bytes]) -> Keys:
    """Decrypt the keys (about 0.2 s); raise `KeystoreError` for a wrong passphrase or a damaged file."""
    return _unlock_seeds(path, passphrase).unlock()


def _unlock_seeds(path: Path, passphrase: Secret[bytes]) -> _Seeds:
    """From here on this process leaves no core file and cannot be traced by others of its account."""
    keep_to_itself()
    file = _read(path)
    try:
        plain = decrypt_at_rest(derive_passphrase_key(passphrase, file.salt), file.box)
    except KeystoreError:
        raise KeystoreError(f"wrong passphrase for the keystore {path}; try again") from None
    try:
        seeds = decode(_Seeds, plain, MAX_FILE_BYTES)
    except Rejected:
        raise KeystoreError(f"keystore {path} is damaged; restore it from your copy") from None
    if seeds.unlock().public != file.public:
        raise KeystoreError(f"the public keys in the keystore {path} were changed; restore it from your copy")
    return seeds


# --- where the passphrase comes from --------------------------------------------------------------------------

def find_passphrase(
    option: Path | None, environ: Mapping[str, str], configured: Path | None, prompt: Callable[[], str] | None
) -> Secret[bytes]:
    """Return the passphrase: from the file of --passphrase-file, the environment, the configured file, or a person.

    `prompt` is None where nobody can be asked. Raises `KeystoreError` if there is no source or it is empty.
    """
    from_environment = environ.get(PASSPHRASE_FILE_VARIABLE)
    if option is None and from_environment is None and PASSPHRASE_VARIABLE in environ:
        return _checked(environ[PASSPHRASE_VARIABLE].encode(), f"environment variable {PASSPHRASE_VARIABLE}")
    path = option or (Path(from_environment) if from_environment else configured)
    if path is not None:
        return _checked(read_passphrase_file(path), f"passphrase file {path}")
    if prompt is None:
        text = "the keystore needs its passphrase and there is no terminal to ask at"
        raise KeystoreError(f"{text}; give --passphrase-file FILE or set {PASSPHRASE_FILE_VARIABLE}")
    return _checked(prompt().encode(), "passphrase")


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file: one line of UTF-8, with or without a mark before and a line end after it.

    Raises `KeystoreError` for a file that other accounts may open, and for bytes that nobody sees and nobody typed.
    """
    data = read_bounded(path, MAX_PASSPHRASE_BYTES + 5, "passphrase file", KeystoreError)
    with environment("read the passphrase file", path, KeystoreError):
        found = path.stat()
    if stat.S_ISREG(found.st_mode) and (mode := stat.S_IMODE(found.st_mode)) & 0o077:
        text = f"other accounts may open the passphrase file {path} (mode {mode:03o})"
        raise KeystoreError(f"{text}; run: chmod 600 {path}")
    try:
        text = data.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        what = "UTF-16, as Windows saves it" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {error.start + 1}"
        raise KeystoreError(f"the passphrase file {path} is not UTF-8 text ({what}); save it as UTF-8") from None
    for place, letter in enumerate(text, 1):
        if not letter.isprintable():
            name = "a line end" if letter in "\r\n" else f"U+{ord(letter):04X}"
            what = f"the passphrase file {path} holds a character that nobody sees, {name} at place {place}"
            raise KeystoreError(f"{what}; a passphrase is one line, delete the rest")
    if text != text.strip():
        raise KeystoreError(f"the passphrase in {path} begins or ends with a blank; delete it there")
    return text.encode()


def find_backup_passphrase(
    option: Path | None, environ: Mapping[str, str], prompt: Callable[[], str] | None
) -> Secret[bytes]:
    """Return the passphrase of a backup, which has sources of its own; otherwise as `find_passphrase`."""
    own = {PASSPHRASE_VARIABLE: BACKUP_VARIABLE, PASSPHRASE_FILE_VARIABLE: BACKUP_FILE_VARIABLE}
    named = {name: environ[variable] for name, variable in own.items() if variable in environ}
    if option is None and not named and prompt is None:
        text = "a backup has a passphrase of its own and there is no terminal to ask at"
        raise KeystoreError(f"{text}; give --backup-passphrase-file FILE or set {BACKUP_FILE_VARIABLE}")
    return find_passphrase(option, named, None, prompt)


def _checked(passphrase: bytes, source: str) -> Secret[bytes]:
    if not passphrase:
        raise KeystoreError(f"the {source} is empty; put the passphrase there")
    if len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise KeystoreError(f"the {source} is longer than {MAX_PASSPHRASE_BYTES} bytes; this is not a passphrase")
    return Secret(passphrase)
