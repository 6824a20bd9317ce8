"""Where a run's records go: RECORD, STATE and ACTIVATE_VERSION messages on standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from singer_sdk import metrics
from singer_sdk.singerlib import StateMessage

from tap_sequence.api.addresses import PATH
from tap_sequence.runtime.progress import counted
from tap_sequence.singer.output import LineWriter
from tap_sequence.sync.models import Record

if TYPE_CHECKING:
    from singer_sdk import Tap
    from singer_sdk.helpers.types import Context

    from tap_sequence.api.client import SequenceClient
    from tap_sequence.singer.shared_stream import SharedPageStream


class SingerSink:
    """Writes the records that selected streams make of logs: a page at once, where the SDK would change none of them.

    Args:
        tap: Writes the messages, and holds the state.
        reader: The stream whose part of the state is moved.
        fed: The streams that are selected.
        change: What is done to each log before.
        context: The SDK's, handed on to it.
    """

    def __init__(
        self,
        tap: Tap,
        reader: SharedPageStream,
        fed: Sequence[SharedPageStream],
        *,
        change: Callable[[Any], Any],
        context: Context | None,
    ) -> None:
        self._tap = tap
        self._reader = reader
        self._fed = fed
        self._change = change
        self._context = context
        writer = tap.message_writer
        self._writer = writer if isinstance(writer, LineWriter) else None
        self._is_as_decoded = all(stream.is_written_as_decoded for stream in fed)

    def count(self, logs: Sequence[Record]) -> int:
        """Return how many RECORD lines logs give at most: stream maps may leave some out."""
        return sum(stream.lines(logs) for stream in self._fed)

    def write(self, logs: Sequence[Record], written: Callable[[Record], None]) -> None:
        """Write the records of logs, and call `written` with each log whose records are."""
        is_together = (
            self._writer is not None and self._is_as_decoded and self._write_together(self._writer, logs)
        )
        for log in logs:
            if not is_together:
                self._write_each(log)
            written(log)

    def _write_together(self, writer: LineWriter, logs: Sequence[Record]) -> bool:
        """Write logs at once; or, if one of them is nested too deeply for that, none."""
        decoded = [self._change(log.data) for log in logs]
        rows = [stream.rows(decoded) for stream in self._fed]
        try:
            lines = [stream.encode(writer, part) for stream, part in zip(self._fed, rows, strict=True)]
        except RecursionError:
            return False
        writer.write_lines(b"".join(lines))
        for stream, part in zip(self._fed, rows, strict=True):
            stream.count(len(part))
        return True

    def _write_each(self, log: Record) -> None:
        """Send a log's records one by one through what the SDK does with each."""
        decoded = [self._change(log.data)]
        # Where a map fails at one of them, none is written: the next run begins with this log.
        with self._writer.together() if self._writer is not None else nullcontext():
            counts = [stream.send(stream.rows(decoded), self._context) for stream in self._fed]
        for stream, count in zip(self._fed, counts, strict=True):
            stream.count(count)

    def checkpoint(self, state: Mapping[str, Any] | None) -> None:
        """Write a STATE, whether it differs from the one before or not: a run that found nothing owes one, too."""
        if state is not None:
            part = self._reader.stream_state
            part.clear()
            part.update(state)
        self._tap.write_message(StateMessage(value=self._reader.tap_state))

    @contextmanager
    def measuring(self, client: SequenceClient) -> Iterator[Callable[[], None]]:
        """Write the SCHEMAs that are missing, and give the SDK's metrics what is done meanwhile.

        Requests are counted whenever the function is called, and at the end.
        """
        with ExitStack() as stack:
            for stream in self._fed:
                if stream is not self._reader:
                    stream.sync()  # writes its SCHEMA
                stack.enter_context(stream.feeding())
            counter = stack.enter_context(metrics.http_request_counter(self._reader.name, endpoint=PATH))
            stack.enter_context(self._reader.get_sync_timer())
            told = client.requests_sent

            def count() -> None:
                nonlocal told
                sent = client.requests_sent
                counter.increment(sent - told)
                told = sent

            try:
                yield count
            finally:
                count()

    def counts(self) -> Sequence[str]:
        """Return how many records there were of each stream, where these are not just the logs."""
        return [
            f"{counted(stream.records, 'record')} of {stream.name}"
            for stream in self._fed
            if list(self._fed) != [self._reader]
        ]

    def complete(self) -> None:
        """Tell the target that all rows of this load are written."""
        for stream in self._fed:
            stream.activate_version()
