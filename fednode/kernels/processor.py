"""What this processor can do, for choices between ways that give the same bits."""

from __future__ import annotations

import ctypes

from fednode.kernels.library import bind

_has_wide_aes = bind("fednode_has_wide_aes", result=ctypes.c_int)


def has_wide_aes() -> bool:
    """Whether it has AES and carry-less products on four blocks at a time (VAES and VPCLMULQDQ with AVX-512)."""
    return bool(_has_wide_aes())
