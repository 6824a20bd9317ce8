"""Waits for something slow without standing still: a STATE falls due while a page is still on its way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")


def call_with_ticks(
    call: Callable[[], _T], *, seconds_to_tick: Callable[[], float], tick: Callable[[], None]
) -> _T:
    """Return what `call` returns, or raise what it raises; meanwhile `tick` each time it falls due.

    The call runs in a daemon thread, so that a signal ends the process even while the call hangs.

    Args:
        call: What takes long.
        seconds_to_tick: Seconds until the next tick.
        tick: Runs in the calling thread.
    """
    outcome: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

    def work() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # noqa: BLE001  # handed over to the caller, whatever it is
            outcome.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        try:
            result, error = outcome.get(timeout=max(0.0, seconds_to_tick()))
        except Empty:
            tick()
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # the call's own result: there was no error
