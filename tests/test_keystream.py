from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fednode import keystream
from fednode.keystream import AesCtr


def test_keystream_from_any_block_is_the_same_stream() -> None:
    key = os.urandom(16)
    whole = AesCtr(key).read(1000)
    assert AesCtr(key, 10).read(840) == whole[160:]
    buffer = bytearray(300 + 15)
    stream = AesCtr(key)
    stream.read_into(memoryview(buffer), 300)
    assert bytes(buffer[:300]) == whole[:300]
    assert stream.read(10) == whole[300:310]
    with pytest.raises(ValueError, match="256 KiB"):  # what is left of the buffer would be taken for keystream
        stream.read_into(memoryview(bytearray((1 << 18) + 16)), (1 << 18) + 1)


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("first_block", [0, 1, 2])
@pytest.mark.parametrize("counts", [(16384, 5, 40_000), (262_144, 262_144), (16_383, 16_384), (1, 70_000), (17_001, 7)])
def test_both_ways_to_a_long_keystream_give_the_same_bytes(
    is_wide: bool, first_block: int, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way is chosen by the processor; the stream of a member must not depend on it. Compared with AES itself."""
    monkeypatch.setattr(keystream, "has_wide_aes", lambda: is_wide)
    stream = AesCtr(b"k" * 16, first_block)
    found = b""
    for count in counts:
        buffer = bytearray(count + 15)
        stream.read_into(memoryview(buffer), count)
        found += buffer[:count]
    found += stream.read(33)
    blocks = range(first_block, first_block + -(-len(found) // 16))
    counters = b"".join(block.to_bytes(16, "big") for block in blocks)
    slow = Cipher(algorithms.AES(b"k" * 16), modes.ECB()).encryptor().update(counters)
    assert found == slow[: len(found)]
