"""SIGTERM and SIGINT: let the line under way be finished, then stop at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StoppedError(BaseException):
    """A signal asked the run to stop. Not an Exception, so that no handler for errors swallows it.

    Attributes:
        exit_status: 128 plus the signal's number, as a shell would report it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class StopSignals:
    """Turns a signal into StoppedError: at once, or at the end of a stretch that must not be cut."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending: int | None = None

    def handle(self, signum: int) -> None:
        """React to a signal."""
        if self._depth:
            self._pending = signum
        else:
            raise StoppedError(signum)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Hold signals back until the block ends."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._depth == 0 and self._pending is not None:
            signum, self._pending = self._pending, None
            raise StoppedError(signum)
