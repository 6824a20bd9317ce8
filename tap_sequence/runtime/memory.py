"""Makes the C library return freed memory."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 2**20


def share_freed_memory() -> None:
    """Use one malloc arena for all threads, and return large blocks at once; on Linux with glibc.

    Otherwise each thread keeps the memory of the largest page that it decoded: up to a gigabyte for sixteen threads.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
