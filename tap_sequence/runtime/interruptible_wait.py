"""Waits in the main thread that let periodic work and signals through."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from tap_sequence.runtime.signals import StopSignals

_T = TypeVar("_T")


class InterruptibleWait:
    """Waits that a signal ends, and that do periodic work, such as a STATE that is due.

    Args:
        stop_signals: Ends a wait.
        seconds_to_tick: Returns the number of seconds until `tick` is due.
        tick: The periodic work.
    """

    def __init__(
        self,
        stop_signals: StopSignals,
        *,
        seconds_to_tick: Callable[[], float] = lambda: math.inf,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self._stop_signals = stop_signals
        self._seconds_to_tick = seconds_to_tick
        self._tick = tick

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, without periodic work.

        Raises:
            StoppedError: A signal was received before or meanwhile.
        """
        self._stop_signals.pause(seconds)

    def get(self, queue: SimpleQueue[_T | None]) -> _T | None:
        """Return the next element of a queue.

        Raises:
            StoppedError: A signal was received.
        """
        # Its `put` is safe in a signal handler.
        with self._stop_signals.waking(lambda: queue.put(None)):
            while True:
                seconds = self._seconds_to_tick()
                try:
                    got = queue.get(timeout=max(0.0, seconds) if math.isfinite(seconds) else None)
                except Empty:
                    self._tick()
                    continue
                self._stop_signals.check()
                return got

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function, and return or raise its result.

        It runs in a daemon thread, so that a signal ends the process even while the function hangs.

        Raises:
            StoppedError: A signal was received.
        """
        outcome: SimpleQueue[tuple[_T | None, BaseException | None] | None] = SimpleQueue()

        def work() -> None:
            try:
                outcome.put((function(), None))
            except BaseException as error:  # noqa: BLE001  # raised in the caller
                outcome.put((None, error))

        self._stop_signals.check()
        threading.Thread(target=work, daemon=True).start()
        got = None
        while got is None:
            got = self.get(outcome)
        result, error = got
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # the function's own result: there was no error
