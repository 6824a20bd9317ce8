"""The streams: what the SDK sees of them. Reading is left to the client and the walk, positions to the bookmark."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from singer_sdk import metrics
from singer_sdk.singerlib import StateMessage

from tap_sequence.api.addresses import PATH
from tap_sequence.api.differences import DifferenceReport
from tap_sequence.errors import CatalogError
from tap_sequence.runtime.progress import Progress, Tally, counted
from tap_sequence.runtime.waiting import Waiting
from tap_sequence.singer.fed_stream import LogFedStream
from tap_sequence.singer.output import LineWriter
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.incremental import Batch
from tap_sequence.sync.models import Log
from tap_sequence.transforms.items import ItemRows, count_rows

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context, Record

    from tap_sequence.singer.tap import SequenceTap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

STATE_EVERY_RECORDS = 1000
STATE_EVERY_SECONDS = 30.0


class ActivityLogStream(LogFedStream):
    """Activity logs, one record for each. This stream reads for those that are fed with it, selected itself or not."""

    name = "activity_logs"

    def __init__(self, tap: SequenceTap) -> None:
        super().__init__(tap)
        self.logger.addFilter(_is_not_announcement)
        self._bookmark: Bookmark | None = None
        self._is_test = False
        self._writer: LineWriter | None = None
        self._differences = DifferenceReport(self.logger)
        self._since_state = 0
        self._largest_page = 0
        self._state_written_at = 0.0
        self.monotonic = time.monotonic

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return logs

    @override
    def size(self, logs: Sequence[Log]) -> int:
        return len(logs)

    # The SDK's own loop keeps its bookmark as text, moves it before a page is complete, and writes a STATE only every
    # so many records. This one asks the walk, and moves the bookmark with what was written.
    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        tap = self._sequence
        self._is_test = not write_messages
        fed = [self] if self._is_test else self._fed_streams()
        if fed[0].is_full_table:
            bookmark = tap.new_bookmark()
        else:
            bookmark = self._bookmark = tap.load_bookmark(self.name, [stream.name for stream in fed])
            self._warn_of_newcomers(bookmark)
        self._writer = self._page_writer(fed)
        self._differences = DifferenceReport(self.logger)
        self._since_state, self._largest_page = 0, tap.settings.page_size
        self._state_written_at = self.monotonic()
        self.log("Reading from %s", tap.query.host)
        with ExitStack() as measured:
            progress = tap.new_progress()
            measured.callback(self._summarise, progress.tally, fed)
            measured.enter_context(progress)
            for stream in fed:
                if stream is not self:
                    stream.sync()  # writes its SCHEMA
                measured.enter_context(stream.feeding())
            count_requests = measured.enter_context(self._counting_requests())
            measured.enter_context(self.get_sync_timer())
            run = tap.plan_run(bookmark, self._waiting(progress), self.logger)
            try:
                for batch in run.batches():
                    yield from self._emit(batch, fed, context)
                    progress.page_done(
                        read=batch.read, emitted=len(batch.logs), seen=batch.seen, total=batch.total
                    )
                    count_requests()
                    if self._is_state_due():
                        self._write_state_message()
                    tap.stop_signals.check()
            except BaseException:
                # Whatever it was, all that was written is described, so that the next run does not write it again.
                self._write_state_message()
                raise
            for stream in fed:
                stream.activate_version()
        self._write_state_message()
        # All is done, but who asked for a stop is to see one.
        tap.stop_signals.check()

    # Which streams this run is for

    def _fed_streams(self) -> list[LogFedStream]:
        """Return the streams that are selected.

        Raises:
            CatalogError: They are read together, but the catalog wants one in full and another not.
        """
        family = [self, *(stream for stream in self.child_streams if isinstance(stream, LogFedStream))]
        fed = [stream for stream in family if stream.selected]
        if len({stream.is_full_table for stream in fed}) > 1:
            names = " and ".join(stream.name for stream in fed)
            msg = (
                f"The catalog gives {names} different replication methods, but they are read together. Nothing was "
                "emitted. Give them the same replication-method, or select one of them."
            )
            raise CatalogError(msg)
        return fed

    def _warn_of_newcomers(self, bookmark: Bookmark) -> None:
        if bookmark.newcomers:
            self.logger.warning(
                "The runs before did not load %s, so it begins with the logs that are new. To load the older ones too, run "
                "once without a state; a target that upserts then has each record once.",
                " and ".join(bookmark.newcomers),
            )

    # Records

    def _emit(self, batch: Batch, fed: Sequence[LogFedStream], context: Context | None) -> Iterator[Record]:
        """Write what a page gives, and yield those records that went one by one."""
        self._differences.add(batch.logs)
        for logs in self._parts(batch.logs, fed):
            if self._writer is not None and self._write_together(self._writer, logs, fed):
                for log in logs:
                    batch.emitted(log)
                continue
            for log in logs:
                yield from self._write_each(log, fed, context)
                batch.emitted(log)
        batch.done()

    def _parts(self, logs: Sequence[Log], fed: Sequence[LogFedStream]) -> Iterator[Sequence[Log]]:
        """Yield a page's logs in parts, and write a STATE wherever one falls due within the page."""
        records = sum(stream.lines(logs) for stream in fed)
        self._largest_page = max(self._largest_page, records)
        if self._since_state + records <= STATE_EVERY_RECORDS:
            yield logs
            self._since_state += records
            return
        part: list[Log] = []
        for log in logs:
            records = sum(stream.lines([log]) for stream in fed)
            if self._since_state and self._since_state + records > STATE_EVERY_RECORDS:
                yield part
                part = []
                self._write_state_message()
            part.append(log)
            self._since_state += records
        yield part

    def _page_writer(self, fed: Sequence[LogFedStream]) -> LineWriter | None:
        """Return a writer for many records at once, if what the SDK would do with each leaves it as it was decoded."""
        writer = self._tap.message_writer
        is_as_decoded = all(stream.is_written_as_decoded for stream in fed)
        return writer if isinstance(writer, LineWriter) and is_as_decoded else None

    def _write_together(self, writer: LineWriter, logs: Sequence[Log], fed: Sequence[LogFedStream]) -> bool:
        """Write logs at once; or, if one of them is nested too deeply for that, none."""
        change = self._sequence.actor_email.apply
        decoded = [change(log.record) for log in logs]
        rows = [stream.rows(decoded) for stream in fed]
        try:
            lines = [stream.encode(writer, part) for stream, part in zip(fed, rows, strict=True)]
        except RecursionError:
            return False
        writer.write_lines(b"".join(lines))
        for stream, part in zip(fed, rows, strict=True):
            stream.count(len(part))
        return True

    def _write_each(self, log: Log, fed: Sequence[LogFedStream], context: Context | None) -> Iterator[Record]:
        """Send a log's records one by one through what the SDK does with each, and yield those that are left."""
        decoded = [self._sequence.actor_email.apply(log.record)]
        writer = self._tap.message_writer
        # Where a map fails at one of them, none is written: the next run begins with this log.
        with writer.together() if isinstance(writer, LineWriter) else nullcontext():
            sent = [
                list(stream.send(stream.rows(decoded), context, write=not self._is_test)) for stream in fed
            ]
        for stream, records in zip(fed, sent, strict=True):
            stream.count(len(records))
            yield from records

    # STATE messages

    # The SDK's own leaves out a STATE that equals the one before; a run that is stopped or that found nothing owes one.
    @override
    def _write_state_message(self) -> None:
        if self._bookmark is not None:
            state = self.stream_state
            state.clear()
            state.update(self._bookmark.to_state())
        if not self._is_test:
            self._tap.write_message(StateMessage(value=self.tap_state))
        self._since_state, self._state_written_at = 0, self.monotonic()

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: there are no progress markers, and the final STATE is written where the records end."""

    def _is_state_due(self) -> bool:
        # Best after a whole page, so the next one must still fit before the limit.
        return self._since_state + self._largest_page > STATE_EVERY_RECORDS or self._seconds_to_state() <= 0

    def _seconds_to_state(self) -> float:
        return self._state_written_at + STATE_EVERY_SECONDS - self.monotonic()

    def _waiting(self, progress: Progress) -> Waiting:
        """Return how to wait for pages: a STATE may fall due meanwhile, and who looks on wants to see that it goes on."""

        def seconds_to_tick() -> float:
            return min(self._seconds_to_state(), progress.seconds_to_tick())

        def tick() -> None:
            if self._seconds_to_state() <= 0:
                self._write_state_message()
            if progress.seconds_to_tick() <= 0:
                progress.tick()

        return Waiting(self._sequence.stop_signals, seconds_to_tick=seconds_to_tick, tick=tick)

    @contextmanager
    def _counting_requests(self) -> Iterator[Callable[[], None]]:
        """Give the SDK's metrics the requests that are sent meanwhile, whenever the function is called and at the end."""
        client = self._sequence.client
        told = client.requests_sent
        with metrics.http_request_counter(self.name, endpoint=PATH) as counter:

            def count() -> None:
                nonlocal told
                sent = client.requests_sent
                counter.increment(sent - told)
                told = sent

            try:
                yield count
            finally:
                count()

    def _summarise(self, tally: Tally, fed: Sequence[LogFedStream]) -> None:
        client = self._sequence.client
        records = [f"{counted(stream.records, 'record')} of {stream.name}" for stream in fed if fed != [self]]
        traffic = [
            counted(client.requests_sent, "request"),
            counted(client.retries, "retry", "retries"),
            f"{counted(client.refusals, 'refusal')} (429)",
        ]
        parts = [tally.summary(), *records, *traffic]
        if client.skipped_logs:
            parts.append(f"{counted(client.skipped_logs, 'log')} skipped as invalid")
        differences = self._differences.summary()
        if differences:
            parts.append(differences)
        self.logger.info("Summary: %s.", ", ".join(parts))


class ActivityLogItemStream(LogFedStream):
    """The logs' items as flat rows, for those who query in SQL. Read with the logs, at no request more."""

    name = "activity_log_items"
    parent_stream_type = ActivityLogStream
    selected_by_default = False

    def __init__(self, tap: SequenceTap) -> None:
        super().__init__(tap)
        self._item_rows = ItemRows(self.schema)

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return [row for log in logs for row in self._item_rows.of(log)]

    @override
    def size(self, logs: Sequence[Log]) -> int:
        return sum(count_rows(log.record) for log in logs)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        """Return nothing: what the SDK calls this for is the SCHEMA before; the records come with the logs."""
        yield from ()


STREAM_TYPES: Sequence[type[LogFedStream]] = (ActivityLogStream, ActivityLogItemStream)


def _is_not_announcement(record: logging.LogRecord) -> bool:
    """Keep out the line with which the SDK announces an error: the error's own line says it all."""
    return not str(record.msg).startswith("An unhandled error occurred while syncing")
