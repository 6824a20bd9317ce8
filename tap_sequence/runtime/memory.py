"""Lets the process give back what it has freed."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 2**20


def share_freed_memory() -> None:
    """Let all threads use the same part of the C library's memory, and large blocks go back at once; on Linux with glibc.

    Otherwise each thread keeps for itself what a page took that it has once decoded: sixteen of them up to a gigabyte.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
