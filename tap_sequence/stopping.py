"""SIGTERM and SIGINT: a run stops at the next place where everything written is whole and described."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue


class StoppedError(BaseException):
    """A signal asked the run to stop. Not an Exception, so that no handler for errors swallows it.

    Attributes:
        exit_status: 128 plus the signal's number, as a shell would report it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(signum).name}")
        self.exit_status = 128 + signum


class StopSignals:
    """Remembers the first signal until the run asks for it.

    A handler runs between any two instructions of the main thread: what it raised there could be swallowed, or leave
    something half done. So it only takes note, and wakes the main thread where that waits.
    """

    def __init__(self) -> None:
        self._signum: int | None = None
        self._wake: Callable[[], None] | None = None

    def handle(self, signum: int) -> None:
        """Take note of a signal; any after the first changes nothing."""
        if self._signum is None:
            self._signum = signum
        if self._wake is not None:
            self._wake()

    def check(self) -> None:
        """Stop here, if a signal came.

        Raises:
            StoppedError: One did.
        """
        if self._signum is not None:
            raise StoppedError(self._signum)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when a signal comes; it must be safe to call from a signal handler.

        Raises:
            StoppedError: One came before.
        """
        self._wake = wake
        try:
            self.check()
            yield
        finally:
            self._wake = None

    def pause(self, seconds: float) -> None:
        """Wait some seconds.

        Raises:
            StoppedError: A signal came before or meanwhile.
        """
        woken: SimpleQueue[None] = SimpleQueue()
        with self.waking(lambda: woken.put(None)):
            try:
                woken.get(timeout=seconds)
            except Empty:
                return
            self.check()


def ignore_signals() -> None:
    """From now on let no signal do anything: on the way out it could only spoil the exit status."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
