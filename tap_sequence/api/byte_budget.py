"""Bounds the memory of responses that are read ahead of the walk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tap_sequence.errors import PrefetchBudgetError
from tap_sequence.sync.models import PageRequest

Reserve: TypeAlias = Callable[[int], None]
"""Reserves a number of bytes, or raises PrefetchBudgetError."""

MAX_AHEAD_BYTES = 12 * 2**20
"""Maximum size of all bodies together that are being read ahead of the walk."""


class ByteBudget:
    """Bounds the bytes of prefetched bodies until they are decoded. Thread-safe.

    No thread waits for room, so there can be no deadlock: a request for a page that the run does not need yet fails
    when there is no room, and the page is requested again when it is needed. It is then bounded by MAX_BODY_BYTES alone.
    """

    def __init__(self, size: int = MAX_AHEAD_BYTES) -> None:
        self._left = size
        self._lock = threading.Lock()

    @contextmanager
    def lease(self, request: PageRequest) -> Iterator[Reserve]:
        """Yield a function that reserves bytes for one request. They are released at the end of the block."""
        reserved = 0

        def reserve(count: int) -> None:
            nonlocal reserved
            with self._lock:
                if count > self._left:
                    raise PrefetchBudgetError(request)
                self._left -= count
                reserved += count

        # Only the page that the walk needs next has a number.
        try:
            yield reserve if request.number is None else unbounded
        finally:
            with self._lock:
                self._left += reserved


def unbounded(_count: int) -> None:
    """Reserve bytes that count toward no budget."""
