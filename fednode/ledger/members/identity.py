"""The identity card: what a hospital hands to the others before there is a chain.

Security assumption: a card proves that its maker holds the secrets of both keys, bound to everything else on the card:
each (Ed25519) signs the card, under a domain tag of its own. It does not prove whose card it is: that is what the
fingerprint read over the phone is for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from fednode.codec import MAX_NAME, U16, Bytes32, Bytes64, Name, Size, pack
from fednode.crypto import Domain, Signer, is_member_key_valid, is_signature_valid
from fednode.dialling import problem_of
from fednode.documents import toml_of
from fednode.errors import GenesisError
from fednode.ledger.members.names import name_fault
from fednode.texts import does_show, is_plain

CARD_FORMAT = 1
MAX_ADDRESSES = 8
MAX_ADDRESS_BYTES = 200

Addresses = Annotated[tuple[Annotated[str, Size(1, MAX_ADDRESS_BYTES)], ...], Size(0, MAX_ADDRESSES)]


@dataclass(frozen=True, slots=True)
class IdentityCard:
    """Name, public keys, addresses and the proofs of possession."""

    format: U16
    name: Name
    sign_key: Bytes32
    network_key: Bytes32
    addresses: Addresses
    sign_proof: Bytes64
    network_proof: Bytes64

    def content(self) -> bytes:
        """Return the canonical bytes that every proof covers."""
        return pack((self.format, self.name, self.sign_key, self.network_key, self.addresses))


def make_identity_card(name: str, addresses: tuple[str, ...], sign: Signer, network: Signer) -> IdentityCard:
    """Return the card of a member whose secrets these are. Raises `GenesisError` for an unusable name or address."""
    card = IdentityCard(CARD_FORMAT, name, sign.public_key, network.public_key, addresses, bytes(64), bytes(64))
    _check_texts(card)
    content = card.content()
    return replace(
        card,
        sign_proof=sign.sign(Domain.IDENTITY_CARD, content),
        network_proof=network.sign(Domain.POSSESSION, content),
    )


def check_card(card: IdentityCard) -> None:
    """Raise `GenesisError`, naming the member, unless names, keys and all proofs hold."""
    _check_texts(card)
    owner, content = f"identity card of '{card.name}'", card.content()
    ask = "ask for a new card made by 'fednode init'"
    if card.format != CARD_FORMAT:
        raise GenesisError(f"{owner}: format {card.format} is not known, this version reads format {CARD_FORMAT}")
    for what, key in (("sign", card.sign_key), ("network", card.network_key)):
        if not is_member_key_valid(key):
            raise GenesisError(f"{owner}: the {what} key is not a canonical key of prime order; {ask}")
    if not is_signature_valid(card.sign_key, Domain.IDENTITY_CARD, content, card.sign_proof):
        raise GenesisError(f"{owner}: not signed by its sign key, so it was changed or copied; {ask}")
    if not is_signature_valid(card.network_key, Domain.POSSESSION, content, card.network_proof):
        raise GenesisError(f"{owner}: not signed by its network key, so it was changed or copied; {ask}")


def why_no_name(name: str, owner: str = "member") -> str:
    """Return why a text cannot be the name of a member, or of another owner; empty if it can."""
    if not name.strip():
        return f"the name of a {owner} is not empty"
    if len(name) > MAX_NAME:
        return f"the name of a {owner} has at most {MAX_NAME} characters, this one has {len(name)}"
    odd = next((letter for letter in name if not does_show(letter)), None)
    if odd is not None:
        return f"the name of a {owner} has printable characters only, not U+{ord(odd):04X}"
    fault = name_fault(name)
    return "" if fault is None else f"the name of a {owner} is not '{name}': {fault}"


def _check_texts(card: IdentityCard) -> None:
    """Names and addresses end up in terminals and files of others: printable characters only."""
    if problem := why_no_name(card.name):
        raise GenesisError(f"{problem}; choose another name")
    if len(card.addresses) > MAX_ADDRESSES:
        raise GenesisError(f"member '{card.name}' gives {len(card.addresses)} addresses, at most {MAX_ADDRESSES} fit")
    for address in card.addresses:
        if not (address.isascii() and is_plain(address)) or len(address) > MAX_ADDRESS_BYTES:
            text = f"member '{card.name}' gives an address with control characters, or of more than"
            raise GenesisError(f"{text} {MAX_ADDRESS_BYTES} bytes; give another one")
    if problem := problem_of(card.addresses):
        raise GenesisError(f"addresses of member '{card.name}': {problem}")


# --- TOML --------------------------------------------------------------------------------------------------------

def toml_string(text: str) -> str:
    """Return a TOML basic string of printable text."""
    return json.dumps(text, ensure_ascii=False)


def card_lines(card: IdentityCard) -> list[str]:
    """Return a card as TOML lines, without comments."""
    return [
        f"format = {card.format}",
        f"name = {toml_string(card.name)}",
        f"addresses = [{', '.join(toml_string(address) for address in card.addresses)}]",
        *(f'{field} = "{getattr(card, field).hex()}"' for field in _HEX_FIELDS),
    ]


_HEX_FIELDS = {"sign_key": 32, "network_key": 32, "sign_proof": 64, "network_proof": 64}


def card_to_toml(card: IdentityCard) -> str:
    """Return the text of a card file. It holds nothing secret."""
    head = "# Identity card of a fednode member: public keys and proofs. Compare the fingerprint by voice."
    return "\n".join([head, *card_lines(card), ""])


def parse_card(text: str | bytes) -> IdentityCard:
    """Read a card file and check everything on it; raise `GenesisError`."""
    card = card_from_table(parse_toml(text, "identity card"))
    check_card(card)
    return card


def parse_toml(text: str | bytes, what: str) -> Mapping[str, object]:
    """Read TOML; raise `GenesisError` naming the line."""
    return toml_of(text, f"the {what}", GenesisError, "get the file again from who made it")


def card_from_table(table: Mapping[str, object]) -> IdentityCard:
    """Build a card from TOML; proofs are not checked yet."""
    what = "identity card"
    check_keys(table, {"format", "name", "addresses", *_HEX_FIELDS}, what)
    number, name, addresses = table["format"], table["name"], table["addresses"]
    if type(number) is not int or not 0 <= number < 2**16 or not isinstance(name, str):
        raise GenesisError(f"{what}: format must be a number and name a text; get the file again from who made it")
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise GenesisError(f"{what} of '{name}': addresses must be a list of texts")
    keys = {field: read_hex(table, field, f"{what} of '{name}'", size) for field, size in _HEX_FIELDS.items()}
    return IdentityCard(format=number, name=name, addresses=tuple(addresses), **keys)


def check_keys(table: Mapping[str, object], wanted: set[str], what: str) -> None:
    """Raise `GenesisError` unless the table has exactly the wanted keys."""
    if missing := sorted(wanted.difference(table)):
        raise GenesisError(f"{what}: '{missing[0]}' is missing; get the file again from who made it")
    if unknown := sorted(set(table).difference(wanted)):
        raise GenesisError(f"{what}: unknown key '{unknown[0]}'; remove it or use the version that wrote it")


def read_hex(table: Mapping[str, object], key: str, what: str, size: int | None = None) -> bytes:
    """Return the bytes of a hexadecimal text, of `size` bytes if given."""
    text = table[key]
    try:
        if not isinstance(text, str):
            raise ValueError
        data = bytes.fromhex(text)
    except ValueError:
        raise GenesisError(f"{what}: '{key}' is not hexadecimal; get the file again from who made it") from None
    if size is not None and len(data) != size:
        raise GenesisError(f"{what}: '{key}' has {len(data)} bytes instead of {size}; get the file again")
    return data
