"""Keystreams of AES-128 in counter mode, through OpenSSL.

Security assumption: AES-128 is a pseudo-random permutation, so that a keystream is a pseudo-random generator of its
key; a key is used for one purpose.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fednode.kernels.library import has_wide_aes

AES_BLOCK_BYTES = 16
KEY_BYTES = 16
_ZEROS = memoryview(bytes(1 << 18))

_LONG_READ_BYTES = 1 << 14
_GCM_SKIPS_BYTES = 2 * AES_BLOCK_BYTES
"""Galois/counter mode with a nonce of zeros encrypts from block 2 of our keystream on (NIST SP 800-38D, 7.1)."""


class AesCtr:
    """AES-128-CTR keystream of one key, from any 16-byte block on: the pseudo-random generator of the protocol.

    A processor with wide AES instructions makes long streams in Galois/counter mode, which OpenSSL runs on them at
    almost twice the speed of counter mode. Both are the same keystream; the authentication tag is never formed.
    """

    __slots__ = ("_encryptor", "_fresh_key")

    def __init__(self, key: bytes, first_block: int = 0) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"AES-128 takes a {KEY_BYTES}-byte key")
        counter = first_block.to_bytes(AES_BLOCK_BYTES, "big")
        self._fresh_key = key if first_block == 0 else None
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes of keystream."""
        self._fresh_key = None
        return self._encryptor.update(bytes(count))

    def read_into(self, buffer: memoryview, count: int) -> None:
        """Write the next `count` bytes (at most 256 KiB) to `buffer`, which must be 15 bytes longer than `count`."""
        if count > len(_ZEROS):
            raise ValueError("a keystream gives at most 256 KiB at once")
        key, self._fresh_key = self._fresh_key, None
        if key is not None and count >= _LONG_READ_BYTES and has_wide_aes():
            self._encryptor.update_into(_ZEROS[:_GCM_SKIPS_BYTES], buffer)
            self._encryptor = Cipher(algorithms.AES(key), modes.GCM(bytes(12))).encryptor()
            buffer, count = buffer[_GCM_SKIPS_BYTES:], count - _GCM_SKIPS_BYTES
        self._encryptor.update_into(_ZEROS[:count], buffer)
