"""The run: what was read goes to a sink, with a checkpoint whenever one is due.

A checkpoint describes exactly what stands before it, whatever the run ends with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tap_sequence.sync.incremental import Batch
from tap_sequence.sync.models import Log

CHECKPOINT_EVERY_RECORDS = 1000
CHECKPOINT_EVERY_SECONDS = 30.0


class Sink(Protocol):
    """Where a run's records go."""

    def count(self, logs: Sequence[Log]) -> int:
        """Return how many records logs give at most, in all selected streams."""

    def write(self, logs: Sequence[Log], written: Callable[[Log], None]) -> None:
        """Write the records of logs, in order, and call `written` with each log as soon as its records are."""

    def checkpoint(self, state: Mapping[str, Any] | None) -> None:
        """Take the state that describes all that was written; None where the run is not to move the state."""

    def complete(self) -> None:
        """Take note that all records are written."""


class Checkpoints:
    """Makes checkpoints, and says when one is due: by records and by time.

    Args:
        sink: Where they go.
        state: Returns the state as it is now, or None where the run is not to move it.
        page_size: How many records a page is expected to have, until one has more.
        monotonic: Seconds, for measuring.
    """

    def __init__(
        self,
        sink: Sink,
        state: Callable[[], Mapping[str, Any] | None],
        *,
        page_size: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._state = state
        self._monotonic = monotonic
        self._records = 0
        self._largest_page = page_size
        self._made_at = monotonic()

    def make(self) -> None:
        """Make one."""
        self._sink.checkpoint(self._state())
        self._records, self._made_at = 0, self._monotonic()

    def parts(self, logs: Sequence[Log]) -> Iterator[Sequence[Log]]:
        """Yield a page's logs in parts, and make a checkpoint wherever one falls due within the page."""
        records = self._sink.count(logs)
        self._largest_page = max(self._largest_page, records)
        if self._records + records <= CHECKPOINT_EVERY_RECORDS:
            yield logs
            self._records += records
            return
        part: list[Log] = []
        for log in logs:
            records = self._sink.count([log])
            if self._records and self._records + records > CHECKPOINT_EVERY_RECORDS:
                yield part
                part = []
                self.make()
            part.append(log)
            self._records += records
        yield part

    @property
    def is_due(self) -> bool:
        """Whether one is due after a whole page: the next page must still fit before the limit."""
        return self._records + self._largest_page > CHECKPOINT_EVERY_RECORDS or self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Seconds until one is due, whether anything is written or not."""
        return self._made_at + CHECKPOINT_EVERY_SECONDS - self._monotonic()


def run(
    batches: Iterable[Batch],
    sink: Sink,
    checkpoints: Checkpoints,
    *,
    after_page: Callable[[Batch], None],
    check_stop: Callable[[], None],
) -> None:
    """Read to the end.

    Args:
        batches: What is read.
        sink: Where it goes.
        checkpoints: When to make a checkpoint.
        after_page: Called when all of a page is written.
        check_stop: Raises if the run is to stop.
    """
    try:
        for batch in batches:
            for logs in checkpoints.parts(batch.logs):
                sink.write(logs, batch.emitted)
            batch.done()
            after_page(batch)
            if checkpoints.is_due:
                checkpoints.make()
            check_stop()
    except BaseException:
        # Whatever it was, all that was written is described, so that the next run does not write it again.
        checkpoints.make()
        raise
    sink.complete()
    checkpoints.make()
    # All is done, but who asked for a stop is to see one.
    check_stop()
