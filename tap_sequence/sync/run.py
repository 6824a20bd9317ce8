"""The run: what was read goes to a sink, with a checkpoint whenever one is due.

A checkpoint describes exactly what stands before it, whatever the run ends with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tap_sequence.sync.models import Record, RecordPage

CHECKPOINT_EVERY_RECORDS = 1000
CHECKPOINT_EVERY_SECONDS = 30.0


class Sink(Protocol):
    """Where a run's records go."""

    def count(self, records: Sequence[Record]) -> int:
        """Return how many records logs give at most, in all selected streams."""

    def write(self, records: Sequence[Record], written: Callable[[Record], None]) -> None:
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

    def parts(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """Yield a page's logs in parts, and make a checkpoint wherever one falls due within the page."""
        count = self._sink.count(records)
        self._largest_page = max(self._largest_page, count)
        if self._records + count <= CHECKPOINT_EVERY_RECORDS:
            yield records
            self._records += count
            return
        part: list[Record] = []
        for record in records:
            count = self._sink.count([record])
            if self._records and self._records + count > CHECKPOINT_EVERY_RECORDS:
                yield part
                part = []
                self.make()
            part.append(record)
            self._records += count
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
    pages: Iterable[RecordPage],
    sink: Sink,
    checkpoints: Checkpoints,
    *,
    after_page: Callable[[RecordPage], None],
    check_stop: Callable[[], None],
) -> None:
    """Read to the end.

    Args:
        pages: What is read.
        sink: Where it goes.
        checkpoints: When to make a checkpoint.
        after_page: Called when all of a page is written.
        check_stop: Raises if the run is to stop.
    """
    try:
        for page in pages:
            for records in checkpoints.parts(page.records):
                sink.write(records, page.emitted)
            page.done()
            after_page(page)
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
