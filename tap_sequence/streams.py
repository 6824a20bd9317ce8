"""The streams: what the SDK sees of them. Reading is left to the client and the walk, positions to the bookmark."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk import Stream, metrics
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib import StateMessage
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_sequence.bookmark import REPLICATION_KEY, Bookmark
from tap_sequence.errors import TapSequenceError
from tap_sequence.hints import Hints
from tap_sequence.output import LineWriter
from tap_sequence.pages import Log, Page, PageRequest
from tap_sequence.readahead import ReadAhead
from tap_sequence.schema import ACTIVITY_LOGS_SCHEMA
from tap_sequence.settings import PATH
from tap_sequence.stopping import StoppedError
from tap_sequence.sync import LogSync
from tap_sequence.waiting import Waiting
from tap_sequence.workers import ReadingAhead

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context, Record

    from tap_sequence.tap import SequenceTap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

STATE_EVERY_RECORDS = 1000
STATE_EVERY_SECONDS = 30.0


class ActivityLogStream(Stream):
    """Activity logs, one record for each."""

    name = "activity_logs"
    primary_keys: ClassVar[list[str]] = ["id"]
    replication_key = REPLICATION_KEY

    # The decoder has checked every value against the schema already.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: SequenceTap) -> None:
        super().__init__(tap, schema=tap.actor_email.to_schema(ACTIVITY_LOGS_SCHEMA))
        self.logger.addFilter(_is_not_announcement)
        self._sequence = tap
        self._bookmark: Bookmark | None = None
        self._is_test = False
        self._index = 0
        self._requests_counted = 0
        self._since_state = 0
        self._state_written_at = 0.0
        self.monotonic = time.monotonic

    @property
    def is_full_table(self) -> bool:
        """Whether a catalog asks for the whole log in each run."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        # Asked for only where the replication method is FULL_TABLE, whose loads they tell apart.
        return True

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Return nothing: the bookmark holds what was emitted, not a limit to it."""

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return what a run without state would emit, for callers that want no messages."""
        for batch in self._log_sync(self._new_bookmark()).batches():
            for log in batch.logs:
                yield self._to_record(log)
                batch.emitted(log)
            batch.done()

    # The SDK's own loop keeps its bookmark as text, moves it before a page is complete, and writes a STATE only every
    # so many records. This one asks the walk, and moves the bookmark with what was written.
    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[Record, Any, Any]:
        bookmark = self._new_bookmark()
        if not self.is_full_table:
            bookmark = self._bookmark = self._sequence.load_bookmark(self.name)
        self._is_test = not write_messages
        self._index = self._since_state = 0
        self._state_written_at = self.monotonic()
        self.log("Reading from %s", self._sequence.query.host)
        self._requests_counted = self._sequence.client.requests_sent
        writer = self._page_writer() if write_messages else None
        with (
            self.get_record_counter() as record_counter,
            metrics.http_request_counter(self.name, endpoint=PATH) as request_counter,
            self.get_sync_timer(),
        ):
            try:
                for batch in self._log_sync(bookmark, request_counter).batches():
                    for logs in self._parts(batch.logs):
                        if writer is not None and self._write_together(writer, logs):
                            record_counter.increment(len(logs))
                            for log in logs:
                                batch.emitted(log)
                            continue
                        for record in self._write_each(logs, batch.emitted, context):
                            record_counter.increment()
                            yield record
                    batch.done()
                    self._count_requests(request_counter)
                    if self._is_state_due():
                        self._write_state_message()
                    self._sequence.stop_signals.check()
            except (StoppedError, TapSequenceError):
                # All that was written is described, so that the next run need not write it again.
                self._write_state_message()
                raise
            finally:
                self._count_requests(request_counter)
        self._write_state_message()
        # All is done, but who asked for a stop is to see one.
        self._sequence.stop_signals.check()

    def _count_requests(self, counter: metrics.Counter) -> None:
        sent = self._sequence.client.requests_sent
        counter.increment(sent - self._requests_counted)
        self._requests_counted = sent

    def _parts(self, logs: Sequence[Log]) -> Iterator[Sequence[Log]]:
        """Yield a page's logs in parts, and write a STATE wherever one falls due within the page."""
        while logs:
            room = STATE_EVERY_RECORDS - self._since_state
            part, logs = logs[:room], logs[room:]
            yield part
            self._since_state += len(part)
            if self._since_state >= STATE_EVERY_RECORDS:
                self._write_state_message()

    def _page_writer(self) -> LineWriter | None:
        """Return a writer for many records at once, if what the SDK would do with each leaves it as it was decoded."""
        writer = self._tap.message_writer
        is_as_decoded = (
            all(
                type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled
                for stream_map in self.stream_maps
            )
            and len(self.stream_maps) == 1
            and all(self.mask.values())
            and type(self).post_process is Stream.post_process
            and self.ABORT_AT_RECORD_COUNT is None
        )
        return writer if isinstance(writer, LineWriter) and is_as_decoded else None

    def _write_together(self, writer: LineWriter, logs: Sequence[Log]) -> bool:
        """Write logs at once; or, if one of them is nested too deeply for that, none."""
        change = self._sequence.actor_email.apply
        try:
            writer.write_records(
                self.name, [change(log.record) for log in logs], version=self._stream_version
            )
        except RecursionError:
            return False
        return True

    def _write_each(
        self, logs: Sequence[Log], emitted: Callable[[Log], None], context: Context | None
    ) -> Iterator[Record]:
        """Send logs one by one through what the SDK does with a record, and yield the records that are left."""
        for log in logs:
            self._check_max_record_limit(current_record_index=self._index)
            record = self.post_process(self._to_record(log), context)
            if record is not None:
                if not self._is_test:
                    self._write_record_message(record)
                yield record
            emitted(log)
            self._index += 1

    def _to_record(self, log: Log) -> dict[str, Any]:
        """Return a log as the plain dictionary that the SDK's stream maps, flattening and selection work on."""
        record: dict[str, Any] = msgspec.to_builtins(
            self._sequence.actor_email.apply(log.record), builtin_types=(Decimal,)
        )
        return record

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
        page_size = self._sequence.settings.page_size
        return self._since_state + page_size > STATE_EVERY_RECORDS or self._seconds_to_state() <= 0

    def _seconds_to_state(self) -> float:
        return self._state_written_at + STATE_EVERY_SECONDS - self.monotonic()

    def _new_bookmark(self) -> Bookmark:
        return Bookmark(self._sequence.query, self._sequence.settings.lookback_seconds)

    def _log_sync(self, bookmark: Bookmark, request_counter: metrics.Counter | None = None) -> LogSync:
        """Return the plan of a run; one with a counter writes a STATE also while it waits for pages."""
        settings, client = self._sequence.settings, self._sequence.client
        waiting = Waiting(self._sequence.stop_signals)
        if request_counter is not None:
            waiting = Waiting(
                self._sequence.stop_signals,
                seconds_to_tick=self._seconds_to_state,
                tick=self._write_state_message,
            )
        plan = partial(
            ReadAhead,
            hints=Hints(),
            page_size=settings.page_size,
            max_in_flight_requests=settings.max_in_flight_requests,
        )

        def fetch(request: PageRequest) -> Page:
            return waiting.call(partial(client.fetch, request))

        def reading_ahead() -> ReadingAhead:
            return ReadingAhead(
                fetch=client.fetch,
                fetch_now=fetch,
                wait=waiting.get,
                plan=plan,
                threads=settings.max_in_flight_requests,
                logger=self.logger,
            )

        return LogSync(
            fetch,
            bookmark,
            start_date=settings.start_date_microseconds,
            logger=self.logger,
            pause=self._sequence.stop_signals.pause,
            reading_ahead=reading_ahead if settings.max_in_flight_requests > 1 else None,
        )


def _is_not_announcement(record: logging.LogRecord) -> bool:
    """Keep out the line with which the SDK announces an error: the error's own line says it all."""
    return not str(record.msg).startswith("An unhandled error occurred while syncing")
