"""The bookmark: where a run starts, and what it saves for the next one.

Plain Python: it knows neither HTTP nor Singer. docs/state.md describes its meaning and the keys of the state.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from msgspec import UNSET

from tap_sequence.sync.models import Record
from tap_sequence.sync.position import BEFORE_ANCHOR, Anchor, Position, Start, saved_position
from tap_sequence.sync.seen import SeenIds
from tap_sequence.sync.state import FIRST_STREAMS, REPLICATION_KEY, Edit, Query, SavedState, read_state
from tap_sequence.sync.timestamps import MICROSECONDS, format_timestamp, parse_timestamp

RECENT_IDS_CAP = 10_000
"""Maximum number of ids in a state (about 390 kB). The next run may emit records beyond it again; none is lost."""

DISORDER = 60 * MICROSECONDS
"""Microseconds by which `createdAt` may differ from the list's order, and from the time of the request."""


class Bookmark:
    """How far the runs have read the list. Walks report what was emitted; the bookmark decides what to save.

    Positions in the list decide, not times: the saved cursor leads to the anchor, everything before the anchor is final, and
    `knows` says which records from the anchor on were emitted. So a record dated in the future, or out of order in
    `createdAt`, cannot hide another.

    Args:
        query: What the run asks for.
        lookback_seconds: How late a record may become visible.
        streams: Names of the streams that the run writes.
    """

    def __init__(self, query: Query, lookback_seconds: int, streams: Sequence[str] = FIRST_STREAMS) -> None:
        self.query = query
        self.query_changes = ""
        self.streams = tuple(streams)
        self.new_streams: tuple[str, ...] = ()
        """Streams that the runs before did not write, if this run continues from their state."""
        self.start = Start.NOTHING
        self.edit = Edit.NONE
        self.start_date: int | None = None
        """Only records created at or after this time were emitted, in microseconds since 1970; None: all were."""
        self.has_start_date = True
        """Whether `start_date` is known: earlier versions did not save it."""
        self.position = Position()
        self.replication_key_value: str | None = None
        """The high-water mark: the greatest `createdAt` emitted, as the API wrote it."""
        self.latest: int | None = None
        """The same in microseconds since 1970."""
        self.lookback = lookback_seconds * MICROSECONDS
        """How late a record may become visible, in microseconds."""
        # The loaded state, which is written back as it is until the run reads something; then None.
        self._unchanged_state: Mapping[str, Any] | None = {}
        self._seen = SeenIds()
        # Of the page in progress.
        self._emitted_ids: list[str] = []
        self._last_ids: deque[str] = deque(maxlen=BEFORE_ANCHOR)
        self._last_page: frozenset[str] = frozenset()
        self._page = 0
        # Distinct records that this walk has read, and how many of them are before the anchor.
        self._walked = self._walked_to_anchor = 0
        self._settled = True

    # Reading and writing the state

    @classmethod
    def load(
        cls,
        state: Mapping[str, Any],
        query: Query,
        lookback_seconds: int,
        streams: Sequence[str] = FIRST_STREAMS,
    ) -> Self:
        """Read the stream's state.

        Raises:
            UnreadableStateError: The state is not one that a tap writes.
        """
        saved = read_state(state)
        bookmark = cls(query, lookback_seconds, streams)
        bookmark._unchanged_state = dict(state)
        if saved.query is not None and not query.is_saved_as(saved.query):
            bookmark.start, bookmark.query_changes = Start.OTHER_QUERY, query.changes_since(saved.query)
            return bookmark
        if saved.query is not None:
            bookmark.new_streams = tuple(
                name for name in streams if name not in (saved.streams or FIRST_STREAMS)
            )
        bookmark._load_time(saved)
        # An earlier version skipped all records if its start_date was later than any of them.
        has_skipped_all = saved.emitted_nothing and not bookmark.has_start_date and saved.has_records
        if bookmark.edit is not Edit.SET_BACK and not has_skipped_all:
            bookmark.start, bookmark.position = saved_position(saved)
            # Their times are not saved; none can be later than the greatest.
            bookmark._seen.carry(saved.recent_ids or (), bookmark.latest or 0)
        if bookmark.start is Start.NOTHING and bookmark.latest is not None:
            bookmark.start = Start.BACKWARD
            bookmark.position = Position(records_before=None)
        return bookmark

    def _load_time(self, saved: SavedState) -> None:
        self.edit = saved.edit
        value = saved.replication_key_value or None
        if self.edit is Edit.SET_FORWARD:
            value = saved.saved_replication_key_value
        if value is not None:
            self.replication_key_value = value
            self.latest = parse_timestamp(value)
        self.has_start_date = saved.start_date is not UNSET
        if saved.start_date:
            self.start_date = parse_timestamp(saved.start_date)
            if self.edit is Edit.SET_BACK and self.latest is not None:
                self.start_date = min(self.start_date, self.latest)

    def to_state(self) -> dict[str, Any]:
        """Return the stream's state, as plain JSON values.

        Every key is always present: tools that merge states would keep the old value of a missing key.
        """
        if self._unchanged_state is not None:
            return dict(self._unchanged_state)
        position = self.position
        return {
            "replication_key": REPLICATION_KEY,
            "replication_key_value": self.replication_key_value,
            "saved_replication_key_value": self.replication_key_value,
            "start_date": None if self.start_date is None else format_timestamp(self.start_date),
            "cursor": position.cursor,
            "anchor_id": position.anchor.id if position.anchor else None,
            "anchor_created_at": position.anchor.created_at_text if position.anchor else None,
            "before_anchor": list(position.before_anchor),
            "logs_before_anchor": position.records_before,
            "query": self.query.to_state(),
            "recent_ids": self._seen.last(RECENT_IDS_CAP),
            "streams": list(self.streams),
        }

    # What walks ask

    def knows(self, record_id: str) -> bool:
        """Whether the record was emitted before (or skipped as older than `start_date`)."""
        return record_id in self._seen

    def new(self, records: Iterable[Record]) -> list[Record]:
        """Return the records that are not in the deduplication window, each once."""
        return list({record.id: record for record in records if record.id not in self._seen}.values())

    def is_wanted(self, record: Record) -> bool:
        """Whether a new record is to be emitted: it is not older than `start_date`."""
        return self.start_date is None or record.created_at >= self.start_date

    @property
    def evicted(self) -> int:
        """How many ids of emitted records do not fit into the state."""
        return max(0, len(self._seen) - RECENT_IDS_CAP)

    def is_continued_by(self, record_id: str | None) -> bool:
        """Whether the API still honours the saved cursor, given the first record that it leads to (None: to nothing)."""
        if self.position.anchor is not None:
            return record_id == self.position.anchor.id
        # A state from before there were anchors, or written by hand. Without ids there is nothing to compare with.
        return record_id is not None and (not self._seen or self.knows(record_id))

    @property
    def listed(self) -> int | None:
        """Number of records in the list up to the position of the forward walk; None if unknown."""
        before = self.position.records_before
        return None if before is None else before + self._walked - self._walked_to_anchor

    def is_settled(self, record: Record, asked_at: int) -> bool:
        """Whether no record can become visible before this one any more, given when it was requested.

        A record dated in the future is not settled: others may still appear before it.
        """
        return record.created_at <= (asked_at - self.lookback if self.lookback else asked_at + DISORDER)

    def is_page_settled(self, records: Iterable[Record], asked_at: int) -> bool:
        """Whether all records on a page are settled, except those dated in the future."""
        return all(
            self.is_settled(record, asked_at) or record.created_at > asked_at + DISORDER for record in records
        )

    # What walks report

    def forward_begins(self) -> None:
        """A forward walk starts from the saved cursor or, without one, from the start of the list."""
        self._seen.begin_walk()
        self._emitted_ids = []
        self._last_ids = deque(self.position.before_anchor, maxlen=BEFORE_ANCHOR)
        self._last_page = frozenset()
        self._page = self._walked = self._walked_to_anchor = 0
        self._settled = True

    def emitted(self, record: Record) -> None:
        """A record of the page in progress was written."""
        self._unchanged_state = None
        self._advance(record)
        self._seen.meet(record, self._page)
        self._emitted_ids.append(record.id)

    def page_done(self, cursor: str | None, records: Sequence[Record], asked_at: int) -> None:
        """A page of a forward walk is done: all its records were emitted, now or before, or skipped.

        Args:
            cursor: The cursor that led to the page.
            records: All records on it.
            asked_at: When it was requested, in microseconds since 1970.
        """
        if not records:
            return
        self._unchanged_state = None
        ids = [record.id for record in records]
        repeated = len(self._last_page.intersection(ids))
        if self._page > 0 and self._settled and self.is_settled(records[0], asked_at):
            before, to_anchor = self.position.records_before, self._walked - repeated
            if before is not None:
                before += to_anchor - self._walked_to_anchor
            self.position = Position(cursor, Anchor.at(records[0]), tuple(self._last_ids), before)
            self._walked_to_anchor = to_anchor
            self._seen.advance_to(self._page, self._bound)
        # If the whole page was emitted just now, its ids are in this order already.
        if ids != self._emitted_ids:
            for record in records:
                self._seen.meet(record, self._page)
        self._emitted_ids = []
        self._last_ids.extend(ids)
        self._last_page = frozenset(ids)
        self._walked += len(self._last_page) - repeated
        self._settled = self._settled and self.is_page_settled(records, asked_at)
        self._page += 1
        self._seen.forget_passed(self._bound)

    def forward_done(self, total: int | None = None) -> None:
        """A forward walk reached the end of the list: records that it did not read have left the list.

        Args:
            total: `totalResultSize`, if known; the end of the next run is compared with it.
        """
        self._unchanged_state = None
        if self.latest is not None:
            self._seen.forget_unmet(self.latest - self.lookback)
        if total is not None:
            before = max(0, total - self._walked + self._walked_to_anchor)
            self.position = replace(self.position, records_before=before)

    def drop_position(self) -> None:
        """The saved cursor is not honoured, and nothing was emitted before: the list is read from its start."""
        self.position = Position()

    def drop_count(self) -> None:
        """How many records are before the anchor is not known any more."""
        self.position = replace(self.position, records_before=None)

    def mark_final(self, ids: Iterable[str]) -> None:
        """Take records as final: a walk that reads them does not emit them."""
        self._seen.carry(ids, self.latest or 0)

    def reached_back(self, start_date: int, newest: Record | None) -> None:
        """All records since an earlier `start_date` were emitted as well; `newest` is the newest of them."""
        self._unchanged_state = None
        self.start_date = start_date
        if newest is not None:
            self._advance(newest)

    def backward_done(self, position: Position, read: Sequence[Record], newest: Record | None) -> None:
        """A backward walk is complete.

        Args:
            position: Where the next run may stop, without a cursor; without an anchor, `read` is the whole list.
            read: All records from the anchor on, and older ones within the lookback; oldest first.
            newest: The emitted record with the greatest `createdAt`, if any was emitted.
        """
        self._unchanged_state = None
        if newest is not None:
            self._advance(newest)
        self.position = position
        self._seen.replace(read, self._page)

    def cursor_recovered(self, cursor: str) -> None:
        """After a backward walk: a request has shown that a forward walk from `cursor` begins with the anchor."""
        self.position = replace(self.position, cursor=cursor)

    @property
    def _bound(self) -> float:
        """Where the lookback begins, in microseconds since 1970."""
        return math.inf if self.latest is None else self.latest - self.lookback

    def _advance(self, record: Record) -> None:
        if self.latest is None or record.created_at > self.latest:
            self.latest = record.created_at
            self.replication_key_value = record.created_at_text
