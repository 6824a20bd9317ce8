"""The streams: what the SDK sees of them. Reading is the source's, positions are the bookmark's."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from singer_sdk import Tap

from tap_sequence.errors import CatalogError
from tap_sequence.singer.shared_stream import SharedPageStream
from tap_sequence.singer.sink import SingerSink
from tap_sequence.sync.models import Record
from tap_sequence.transforms.items import ItemRows, count_rows

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context

    from tap_sequence.source import Source

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class ActivityLogStream(SharedPageStream):
    """Activity logs, one record for each. This stream reads for those that are fed with it, selected itself or not."""

    name = "activity_logs"

    def __init__(self, tap: Tap, source: Source) -> None:
        super().__init__(tap, source)
        self.logger.addFilter(_is_not_announcement)

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return logs

    @override
    def size(self, logs: Sequence[Record]) -> int:
        return len(logs)

    # The SDK's own loop keeps its bookmark as text, moves it before a page is complete, and writes a STATE only every
    # so many records.
    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        if not write_messages:
            yield from self.get_records(context)
            return
        fed = self._selected_streams()
        is_full_table = fed[0].is_full_table
        # A load of the whole log leaves the state as it is.
        state = {} if is_full_table else self._tap.state.get("bookmarks", {}).get(self.name, {})
        self._source.read(
            SingerSink(self._tap, self, fed, change=self._source.actor_email.apply, context=context),
            self._source.bookmark(state, [stream.name for stream in fed]),
            moves_state=not is_full_table,
            logger=self.logger,
        )

    @override
    def finalize_state_progress_markers(self, state: dict[str, Any] | None = None) -> None:
        """Do nothing: there are no progress markers, and the final STATE is written where the records end."""

    def _selected_streams(self) -> list[SharedPageStream]:
        """Return the streams that are selected.

        Raises:
            CatalogError: They are read together, but the catalog wants one in full and another not.
        """
        family = [self, *(stream for stream in self.child_streams if isinstance(stream, SharedPageStream))]
        fed = [stream for stream in family if stream.selected]
        if len({stream.is_full_table for stream in fed}) > 1:
            names = " and ".join(stream.name for stream in fed)
            msg = (
                f"The catalog gives {names} different replication methods, but they are read together. Nothing was "
                "emitted. Give them the same replication-method, or select one of them."
            )
            raise CatalogError(msg)
        return fed


class ActivityLogItemStream(SharedPageStream):
    """The logs' items as flat rows, for those who query in SQL. Read with the logs, at no request more."""

    name = "activity_log_items"
    parent_stream_type = ActivityLogStream
    selected_by_default = False

    def __init__(self, tap: Tap, source: Source) -> None:
        super().__init__(tap, source)
        self._item_rows = ItemRows(self.schema)

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return [row for log in logs for row in self._item_rows.of(log)]

    @override
    def size(self, logs: Sequence[Record]) -> int:
        return sum(count_rows(log.data) for log in logs)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Return nothing: what the SDK calls this for is the SCHEMA before; the records come with the logs."""
        yield from ()


STREAM_TYPES: Sequence[type[SharedPageStream]] = (ActivityLogStream, ActivityLogItemStream)


def _is_not_announcement(record: logging.LogRecord) -> bool:
    """Keep out the line with which the SDK announces an error: the error's own line says it all."""
    return not str(record.msg).startswith("An unhandled error occurred while syncing")
