"""Documents of other people: whatever is in them, one sentence says what is wrong, and soon."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fednode.cli.network_file import read_network
from fednode.cli.reading import read_card, read_genesis, read_study
from fednode.documents import MAX_LEVELS, Unreadable, read_json, read_toml, text_of
from fednode.errors import ConfigError, FednodeError, GenesisError, KeystoreError
from fednode.home.config import load_config
from fednode.home.keystore import read_public_keys
from fednode.learn.form import to_micro

HOSTILE_TOML = {
    "deep lists": "a=" + "[" * 20_000, "deep tables": "a=" + "{a=" * 5_000, "digits": "format = " + "1" * 5_000,
    "hexadecimal": "format = 0x" + "f" * 6_000, "wide": f"format = {2**64}", "dots": "a" + ".a" * 30_000 + " = 1",
    "quoted dots": '"a"' + '."a"' * 15_000 + " = 1", "dotted table": "[a" + ".a" * 30_000 + "]", "level by level":
    "".join("[" + ".".join("a" * k) + "]\n" for k in range(1, MAX_LEVELS + 2)), "exponent": "a = 1e1000001",
    "huge exponent": "a = 1e99999999999999999999", "small exponent": "a = 1e-99999999999", "zero byte": "a = \0",
    "inner dots": "a = {" + ".".join("a" * 3_000) + " = 1}",
}
HOSTILE_JSON = {
    "deep": "[" * 100_000, "digits": "1" * 5_000, "wide": f"[{2**64}]", "surrogate": '"\\ud800"', "constant": "[NaN]",
    "twice": '{"a": 1, "a": 2}', "levels": "[" * (MAX_LEVELS + 2) + "]" * (MAX_LEVELS + 2), "surrogate name":
    '{"\\udfff": 1}', "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_hostile_toml_is_one_short_sentence(name: str) -> None:
    began = process_time()
    with pytest.raises(Unreadable) as caught:
        read_toml(HOSTILE_TOML[name])
    assert 0 < len(str(caught.value)) < 250 and "\n" not in str(caught.value)
    assert process_time() - began < 5  # the parser alone takes 9 s for some


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_one_short_sentence(name: str) -> None:
    with pytest.raises(Unreadable):
        read_json(HOSTILE_JSON[name])


@given(st.binary(max_size=200) | st.text(st.sampled_from("[]{}=.\"'#\n 01eE-_+xabnif,:\\u"), max_size=120))
def test_any_bytes_are_read_as_the_parser_reads_them_or_refused(data: bytes | str) -> None:
    for read, parse in ((read_toml, tomllib.loads), (read_json, json.loads)):
        try:
            value = read(data)
        except Unreadable:
            continue
        text = text_of(data) if isinstance(data, bytes) else data.removeprefix("\ufeff")
        assert str(value) and (parse is json.loads or set(value) == set(parse(text)))


def test_marks_at_the_start_are_read_and_other_encodings_named() -> None:
    assert read_toml(b"\xef\xbb\xbfa = 1") == read_toml("\ufeffa = 1") == {"a": 1}
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    with pytest.raises(Unreadable, match="UTF-16"):
        read_toml("a = 1".encode("utf-16"))
    with pytest.raises(Unreadable, match="line 2"):
        read_toml(b"a = 1\nb = '\xff'")


READERS = [
    (read_card, GenesisError), (read_genesis, GenesisError), (read_study, ConfigError), (read_network, GenesisError),
    (lambda path: load_config(path, {}), ConfigError), (read_public_keys, KeystoreError),
]


@pytest.mark.parametrize(("read", "kind"), READERS)
def test_every_reader_of_a_file_names_it_and_what_is_wrong(
    read: object, kind: type[FednodeError], tmp_path: Path
) -> None:
    assert callable(read)
    path = tmp_path / "file.toml"
    for content in (*(text.encode() for text in HOSTILE_TOML.values()), b"\xff\xfea\0", b"a = '\xff'", b"x" * 2**22):
        path.touch(0o600)
        path.write_bytes(content)
        with pytest.raises(kind, match=str(path)):
            read(path)
    path.unlink()
    with pytest.raises(kind, match=str(path)):
        read(path)
    path.mkdir()
    with pytest.raises(kind, match=str(path)):
        read(path)


HUGE = st.from_regex(r"-?1e-?[0-9]{1,18}", fullmatch=True).map(Decimal)


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.integers() | HUGE)
def test_millionths_of_any_number_are_exact_or_nothing(number: Decimal | int) -> None:
    micro = to_micro(number)
    assert micro is None or (abs(micro) <= 10**18 and abs(micro - number * 10**6) < 1)
