"""Waits for something slow without standing still: a STATE may fall due meanwhile, or a signal come."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from tap_sequence.stopping import StopSignals

_T = TypeVar("_T")


def call_with_ticks(
    call: Callable[[], _T],
    stop_signals: StopSignals,
    *,
    seconds_to_tick: Callable[[], float] = lambda: math.inf,
    tick: Callable[[], None] = lambda: None,
) -> _T:
    """Return what `call` returns, or raise what it raises; meanwhile `tick` each time it falls due.

    The call runs in a daemon thread, so that a signal ends the process even while the call hangs.

    Args:
        call: What takes long.
        stop_signals: What ends the wait.
        seconds_to_tick: Seconds until the next tick.
        tick: Runs in the calling thread.

    Raises:
        StoppedError: A signal came.
    """
    # Its `put` is safe in a signal handler. None is what a signal puts there.
    outcome: SimpleQueue[tuple[_T | None, BaseException | None] | None] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # noqa: BLE001  # handed over to the caller, whatever it is
            outcome.put((None, error))

    with stop_signals.waking(lambda: outcome.put(None)):
        threading.Thread(target=work, daemon=True).start()
        while True:
            seconds = seconds_to_tick()
            try:
                got = outcome.get(timeout=max(0.0, seconds) if math.isfinite(seconds) else None)
            except Empty:
                tick()
                continue
            stop_signals.check()
            if got is None:
                continue
            result, error = got
            if error is not None:
                raise error
            return result  # type: ignore[return-value]  # the call's own result: there was no error
