"""The streams: a name, and how records are made of activity logs. All else is in their base classes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tap_sequence.singer.reader_stream import ReaderStream
from tap_sequence.singer.shared_stream import SharedPageStream
from tap_sequence.sync.models import Record
from tap_sequence.transforms.items import ItemRows, count_rows

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class ActivityLogStream(ReaderStream):
    """Activity logs, one record for each."""

    name = "activity_logs"

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return logs

    @override
    def size(self, logs: Sequence[Record]) -> int:
        return len(logs)


class ActivityLogItemStream(SharedPageStream):
    """The items of activity logs as flat rows, for use in SQL. Read with the logs, without further requests."""

    name = "activity_log_items"
    parent_stream_type = ActivityLogStream
    selected_by_default = False

    @cached_property
    def _item_rows(self) -> ItemRows:
        return ItemRows(self.schema)

    @override
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        return [row for log in logs for row in self._item_rows.of(log)]

    @override
    def size(self, logs: Sequence[Record]) -> int:
        return sum(count_rows(log.data) for log in logs)


STREAM_TYPES: Sequence[type[SharedPageStream]] = (ActivityLogStream, ActivityLogItemStream)
