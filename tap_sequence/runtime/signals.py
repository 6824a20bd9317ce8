"""SIGTERM, SIGHUP and SIGINT: a run stops at the next place where everything written is whole and described."""

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
"""How long a run that was asked to stop waits for its target to read."""

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Not on Windows.


class StoppedError(BaseException):
    """A signal asked the run to stop. Not an Exception, so that no handler for errors swallows it.

    Attributes:
        exit_status: 128 plus the signal's number, as a shell would report it.
    """

    def __init__(self, signum: int, *, is_output_blocked: bool = False) -> None:
        blocked = ", while the target did not read on" if is_output_blocked else ""
        super().__init__(f"Stopped by {signal.Signals(signum).name}{blocked}")
        self.exit_status = 128 + signum


class StopSignals:
    """Remembers the first signal until the run asks for it.

    A handler runs between any two instructions of the main thread: what it raised there could be swallowed, or leave
    something half done. So it only takes note, and wakes the main thread where that waits.

    Args:
        monotonic: Seconds since any moment.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._signum: int | None = None
        self._patient_until = 0.0
        self._wake: Callable[[], None] | None = None

    def handle(self, signum: int) -> None:
        """Take note of a signal. The first decides on the exit status, any other ends the patience with the target."""
        if self._signum is None:
            self._patient_until = self._monotonic() + PATIENCE_SECONDS
            self._signum = signum
        else:
            self._patient_until = 0.0
        if self._wake is not None:
            self._wake()

    def check(self) -> None:
        """Stop here, if a signal came.

        Raises:
            StoppedError: One did.
        """
        if self._signum is not None:
            raise StoppedError(self._signum)

    def check_patience(self) -> None:
        """Stop here, in a wait for the target to read, if a signal came a while ago, or two.

        Raises:
            StoppedError: So it is.
        """
        if self._signum is not None and self._monotonic() >= self._patient_until:
            raise StoppedError(self._signum, is_output_blocked=True)

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


def handle_hangup(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Let a handler take SIGHUP as well, unless that is ignored: whoever started the process with nohup wants it so."""
    is_main = threading.current_thread() is threading.main_thread()
    if _HANGUP is not None and is_main and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        signal.signal(_HANGUP, handler)


def ignore_signals() -> None:
    """From now on let no signal do anything: on the way out it could only spoil the exit status."""
    for signum in (signal.SIGINT, signal.SIGTERM, _HANGUP):
        if signum is not None:
            signal.signal(signum, signal.SIG_IGN)
