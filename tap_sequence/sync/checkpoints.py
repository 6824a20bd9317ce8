"""Checkpoints: when a STATE is due, and the sink that takes it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tap_sequence.sync.models import Record

CHECKPOINT_EVERY_RECORDS = 1000
CHECKPOINT_EVERY_SECONDS = 30.0


class Sink(Protocol):
    """Where a run's records go."""

    def count(self, records: Sequence[Record]) -> int:
        """Return how many rows these records give at most, in all selected streams."""

    def write(self, records: Sequence[Record], written: Callable[[Record], None]) -> None:
        """Write the rows of records, in order, and call `written` with each record as soon as its rows are written."""

    def checkpoint(self, state: Mapping[str, Any] | None) -> None:
        """Take the state that describes everything written so far; None if the run does not move the state."""

    def complete(self) -> None:
        """Take note that all records are written."""


class Checkpoints:
    """Makes checkpoints, and decides when one is due: after so many rows, or so many seconds.

    Args:
        sink: Where they go.
        state: Returns the state as it is now, or None if the run does not move it.
        page_size: How many rows a page is expected to give, until one gives more.
        monotonic: Seconds since any moment.
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
        self._rows = 0
        self._largest_page = page_size
        self._made_at = monotonic()

    def make(self) -> None:
        """Make one now."""
        self._sink.checkpoint(self._state())
        self._rows, self._made_at = 0, self._monotonic()

    def parts(self, records: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """Yield a page's records in parts, and make a checkpoint wherever one is due within the page."""
        rows = self._sink.count(records)
        self._largest_page = max(self._largest_page, rows)
        if self._rows + rows <= CHECKPOINT_EVERY_RECORDS:
            yield records
            self._rows += rows
            return
        part: list[Record] = []
        for record in records:
            rows = self._sink.count([record])
            if self._rows and self._rows + rows > CHECKPOINT_EVERY_RECORDS:
                yield part
                part = []
                self.make()
            part.append(record)
            self._rows += rows
        yield part

    @property
    def is_due(self) -> bool:
        """Whether one is due after a whole page: the next page must fit before the limit, too."""
        return self._rows + self._largest_page > CHECKPOINT_EVERY_RECORDS or self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Seconds until one is due, whether anything is written or not."""
        return self._made_at + CHECKPOINT_EVERY_SECONDS - self._monotonic()
