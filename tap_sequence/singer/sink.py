"""The sink of a run: RECORD, STATE and ACTIVATE_VERSION messages on standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from singer_sdk import metrics
from singer_sdk.singerlib import StateMessage

from tap_sequence.runtime.progress import counted
from tap_sequence.singer.output import LineWriter
from tap_sequence.sync.models import Record, RecordPage

if TYPE_CHECKING:
    from singer_sdk import Tap

    from tap_sequence.api.client import SequenceClient
    from tap_sequence.singer.shared_stream import SharedPageStream


class SingerSink:
    """Writes the records of selected streams: a page at once if the SDK would change none of them, else one by one.

    Args:
        tap: Writes the messages, and holds the state.
        reader: The stream whose bookmark is moved.
        selected: The selected streams.
        change: Applied to each decoded log first.
    """

    def __init__(
        self,
        tap: Tap,
        reader: SharedPageStream,
        selected: Sequence[SharedPageStream],
        *,
        change: Callable[[Any], Any],
    ) -> None:
        self._tap = tap
        self._reader = reader
        self._selected = selected
        self._change = change
        self._logs = 0
        writer = tap.message_writer
        self._writer = writer if isinstance(writer, LineWriter) else None
        self._is_as_decoded = all(stream.is_written_as_decoded for stream in selected)

    def count(self, logs: Sequence[Record]) -> int:
        """Return the maximum number of RECORD lines of logs: stream maps may omit some."""
        return sum(stream.lines(logs) for stream in self._selected)

    def write(self, logs: Sequence[Record], written: Callable[[Record], None]) -> None:
        """Write the records of logs, and call `written` with each log once its records are written."""
        is_together = (
            self._writer is not None and self._is_as_decoded and self._write_together(self._writer, logs)
        )
        for log in logs:
            if not is_together:
                self._write_each(log)
            self._logs += 1
            written(log)

    def _write_together(self, writer: LineWriter, logs: Sequence[Record]) -> bool:
        """Write the records of logs at once; write none, and return False, if a log is nested too deeply for that."""
        decoded = [self._change(log.data) for log in logs]
        rows = [stream.rows.of(decoded) for stream in self._selected]
        try:
            lines = [stream.encode(writer, part) for stream, part in zip(self._selected, rows, strict=True)]
        except RecursionError:
            return False
        writer.write_lines(b"".join(lines))
        for stream, part in zip(self._selected, rows, strict=True):
            stream.count(len(part))
        return True

    def _write_each(self, log: Record) -> None:
        """Write a log's records one by one, as the SDK processes them."""
        decoded = [self._change(log.data)]
        # If a stream map fails at one of them, none is written: the next run starts with this log.
        with self._writer.together() if self._writer is not None else nullcontext():
            counts = [stream.send(stream.rows.of(decoded), log.id) for stream in self._selected]
        for stream, count in zip(self._selected, counts, strict=True):
            stream.count(count)

    def checkpoint(self, state: Mapping[str, Any] | None) -> None:
        """Write a STATE, even an unchanged one: a run that finds nothing new also ends with a STATE."""
        if state is not None:
            part = self._reader.stream_state
            part.clear()
            part.update(state)
        self._tap.write_message(StateMessage(value=self._reader.tap_state))

    @contextmanager
    def measuring(self, client: SequenceClient) -> Iterator[Callable[[RecordPage], None]]:
        """Write the SCHEMAs of child streams, and report records, requests and time to the SDK's metrics.

        Requests are reported whenever the yielded function is called, and at the end.
        """
        with ExitStack() as stack:
            for stream in self._selected:
                if stream is not self._reader:
                    stream.sync()  # writes its SCHEMA
                stack.enter_context(stream.emitting())
            path = self._reader.spec.endpoint.path
            counter = stack.enter_context(metrics.http_request_counter(self._reader.name, endpoint=path))
            stack.enter_context(self._reader.get_sync_timer())
            reported = client.traffic.requests

            def count(_: RecordPage | None = None) -> None:
                nonlocal reported
                sent = client.traffic.requests
                counter.increment(sent - reported)
                reported = sent

            try:
                yield count
            finally:
                count()

    def counts(self) -> Sequence[str]:
        """Return the number of records of each stream for the summary; nothing if they are just the logs."""
        # A stream map may have copied records, or omitted some.
        if list(self._selected) == [self._reader] and self._reader.records == self._logs:
            return []
        return [f"{counted(stream.records, 'record')} of {stream.name}" for stream in self._selected]

    def complete(self) -> None:
        """Write ACTIVATE_VERSION for the streams of a full-table run."""
        for stream in self._selected:
            stream.activate_version()
