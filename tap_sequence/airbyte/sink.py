"""The sink of a walk: RECORD, STATE and TRACE messages of the streams that share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tap_sequence.airbyte.messages import StreamStatus, estimate, records, state, stream_status
from tap_sequence.airbyte.output import MessageWriter, encode
from tap_sequence.airbyte.states import NO_CURSOR_STATE, without_streams
from tap_sequence.catalog import StreamSpec
from tap_sequence.errors import NestingError
from tap_sequence.runtime.progress import counted
from tap_sequence.source import Source
from tap_sequence.sync.models import Record, RecordPage
from tap_sequence.transforms.rows import WholeRecords

if TYPE_CHECKING:
    from tap_sequence.api.client import SequenceClient


class AirbyteSink:
    """Writes the rows of some streams, a page at once.

    Args:
        writer: Writes the messages.
        source: Says what a row looks like under the settings.
        streams: The streams.
    """

    def __init__(self, writer: MessageWriter, source: Source, streams: Sequence[StreamSpec]) -> None:
        self._writer = writer
        self._change = source.actor_email.apply
        self._rows = {spec.name: spec.rows(source.schema_of(spec.name)) for spec in streams}
        self._logs = 0
        self._written = dict.fromkeys(self._rows, 0)
        self._since_state = dict.fromkeys(self._rows, 0)
        # A list's total is not the number of its items.
        self._to_estimate = [spec.name for spec in streams if spec.rows is WholeRecords]
        self._has_read = False
        self._is_complete = False

    def count(self, logs: Sequence[Record]) -> int:
        """Return the number of rows of logs."""
        return sum(rows.count(logs) for rows in self._rows.values())

    def write(self, logs: Sequence[Record], written: Callable[[Record], None]) -> None:
        """Write the rows of logs, and call `written` with each log once its rows are written.

        Raises:
            NestingError: A log is nested too deeply; the logs before it are written.
        """
        try:
            self._write(logs)
        except RecursionError:
            self._write_each(logs, written)
            return
        for log in logs:
            written(log)

    def _write_each(self, logs: Sequence[Record], written: Callable[[Record], None]) -> None:
        for log in logs:
            try:
                self._write([log])
            except RecursionError as error:
                raise NestingError from error
            written(log)

    def _write(self, logs: Sequence[Record]) -> None:
        """Write the rows of logs at once; write none if a log is nested too deeply."""
        decoded = [self._change(log.data) for log in logs]
        rows = {name: rows.of(decoded) for name, rows in self._rows.items()}
        starting = [name for name, part in rows.items() if part and not self._written[name]]
        lines = [encode([stream_status(name, StreamStatus.RUNNING) for name in starting])]
        lines += [encode(records(name, part)) for name, part in rows.items()]
        self._writer.write(b"".join(lines))
        self._logs += len(logs)
        self._has_read = self._has_read or bool(logs)
        for name, part in rows.items():
            self._written[name] += len(part)
            self._since_state[name] += len(part)

    def checkpoint(self, bookmark: Mapping[str, Any] | None) -> None:
        """Write a STATE for each stream. Before anything was read there is nothing to describe."""
        if not self._has_read or (bookmark is None and not self._is_complete):
            return
        content = NO_CURSOR_STATE if bookmark is None else without_streams(bookmark)
        self._writer.send(*(state(name, content, count) for name, count in self._since_state.items()))
        self._since_state = dict.fromkeys(self._rows, 0)

    @contextmanager
    def measuring(self, client: SequenceClient) -> Iterator[Callable[[RecordPage], None]]:  # noqa: ARG002  # for sinks that count requests
        """Yield what is called after each page: it writes an ESTIMATE once the total is known."""
        yield self._page_done

    def _page_done(self, page: RecordPage) -> None:
        self._has_read = True
        if page.total is not None and self._to_estimate:
            self._writer.send(*(estimate(name, page.total) for name in self._to_estimate))
            self._to_estimate = []

    def counts(self) -> Sequence[str]:
        """Return the number of records of each stream for the summary; nothing if they are just the logs."""
        if list(self._written.values()) == [self._logs]:
            return []
        return [f"{counted(number, 'record')} of {name}" for name, number in self._written.items()]

    def complete(self) -> None:
        """Take note that all rows are written."""
        self._is_complete = True
