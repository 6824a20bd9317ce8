"""SIGTERM, SIGHUP and SIGINT: a run stops at the next point where all output is complete and described by a STATE."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

PATIENCE_SECONDS = 5.0
"""How long a run waits for its target to read after a signal."""

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Not on Windows.


class StoppedError(BaseException):
    """A signal stopped the run. Not an Exception, so that no error handler catches it.

    Attributes:
        exit_status: 128 plus the signal's number, as a shell reports it.
    """

    def __init__(self, signum: int, *, is_output_blocked: bool = False) -> None:
        blocked = ", while the target was not reading" if is_output_blocked else ""
        super().__init__(f"Stopped by {signal.Signals(signum).name}{blocked}")
        self.exit_status = 128 + signum


class StopSignals:
    """Remembers the first signal until the run checks for it.

    A handler runs between any two instructions of the main thread, so an exception from it could be lost, or leave
    something half done. It therefore only records the signal, and wakes the main thread if that is waiting.

    Args:
        monotonic: Monotonic clock in seconds.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._signum: int | None = None
        self._patient_until = 0.0
        self._wake: Callable[[], None] | None = None

    def handle(self, signum: int) -> None:
        """Record a signal. The first determines the exit status; any other ends the wait for the target."""
        if self._signum is None:
            self._patient_until = self._monotonic() + PATIENCE_SECONDS
            self._signum = signum
        else:
            self._patient_until = 0.0
        if self._wake is not None:
            self._wake()

    def check(self) -> None:
        """Stop here if a signal was received.

        Raises:
            StoppedError: A signal was received.
        """
        if self._signum is not None:
            raise StoppedError(self._signum)

    def check_patience(self) -> None:
        """Stop here, while waiting for the target to read, PATIENCE_SECONDS after a signal or after a second one.

        Raises:
            StoppedError: The wait is over.
        """
        if self._signum is not None and self._monotonic() >= self._patient_until:
            raise StoppedError(self._signum, is_output_blocked=True)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` when a signal is received; it must be safe to call from a signal handler.

        Raises:
            StoppedError: A signal was received before.
        """
        self._wake = wake
        try:
            self.check()
            yield
        finally:
            self._wake = None

    def pause(self, seconds: float) -> None:
        """Wait for some seconds.

        Raises:
            StoppedError: A signal was received before or meanwhile.
        """
        woken: SimpleQueue[None] = SimpleQueue()
        with self.waking(lambda: woken.put(None)):
            try:
                woken.get(timeout=seconds)
            except Empty:
                return
            self.check()


def handle_hangup(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Install a handler for SIGHUP, unless the signal is ignored, as under nohup."""
    is_main = threading.current_thread() is threading.main_thread()
    if _HANGUP is not None and is_main and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        signal.signal(_HANGUP, handler)


def ignore_signals() -> None:
    """Ignore signals from now on: during exit they could only change the exit status."""
    for signum in (signal.SIGINT, signal.SIGTERM, _HANGUP):
        if signum is not None:
            signal.signal(signum, signal.SIG_IGN)
