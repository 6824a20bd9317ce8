"""The bookmark: what a run leaves for the next one, and what the next one makes of it.

Plain Python: it knows neither HTTP nor Singer. See docs/state.md for its meaning and its shape.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice
from typing import Any, Self

from tap_sequence.sync.models import Record
from tap_sequence.sync.state import REPLICATION_KEY, Edit, Query, check_shape, edit_of
from tap_sequence.sync.timestamps import MICROSECONDS, format_timestamp, parse_timestamp

FIRST_STREAMS = ("activity_logs",)
"""The streams that a state speaks for which names none: there was no other."""

RECENT_IDS_CAP = 10_000
"""Most ids that a state holds (about 390 kB). Logs past it may be emitted again by the next run, never lost."""

DISORDER = 60 * MICROSECONDS
"""How far `createdAt` may stray from the list's order, and from the time of the answer, without being wrong."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A log that everything before is done with for good; what was emitted from it on is in `recent_ids`.

    Attributes:
        id: The log's id.
        created_at_text: Its `createdAt`, as the API wrote it.
    """

    id: str
    created_at_text: str

    @property
    def created_at(self) -> int:
        """Its `createdAt` in microseconds since 1970."""
        return parse_timestamp(self.created_at_text)

    @classmethod
    def at(cls, record: Record) -> Self:
        """Return the anchor at a log."""
        return cls(record.id, record.created_at_text)


BEFORE_ANCHOR = 10
"""How many logs from directly before the anchor a state names, should the anchor itself be deleted."""


class Start(Enum):
    """What a loaded state allows a run to start with."""

    NOTHING = auto()
    """No state: from the oldest log, or from `start_date`."""
    OTHER_QUERY = auto()
    """A state that belongs to another query: the same as none."""
    CURSOR = auto()
    """A cursor of the same query, or the start of the list."""
    BACKWARD = auto()
    """No cursor: from the newest log backward to the anchor or, without one, to `replication_key_value`."""


class Bookmark:
    """Where the runs stand. A walk tells it what was emitted; it tells what to save.

    Positions in the list decide, not times: the saved cursor leads to the anchor, everything before the anchor is done
    with, and of what stands from the anchor on, `knows` tells what was emitted. So neither a log dated in the future
    nor one out of order in `createdAt` can hide another.

    Args:
        query: What the run asks.
        lookback_seconds: How late a log may become visible.
        streams: Names of the streams that the run feeds.
    """

    def __init__(self, query: Query, lookback_seconds: int, streams: Sequence[str] = FIRST_STREAMS) -> None:
        self.query = query
        self.streams = tuple(streams)
        self.new_streams: tuple[str, ...] = ()
        """Streams that the runs before, from whose end this one goes on, did not feed."""
        self.start = Start.NOTHING
        self.edit = Edit.NONE
        self.start_date: int | None = None
        """Only logs created at or after this time were emitted, in microseconds since 1970; None: all were."""
        self.has_start_date = True
        """Whether `start_date` is known: earlier versions did not save it."""
        self.cursor: str | None = None
        """Cursor to go on from, which leads to the anchor; None is the start of the list."""
        self.logs_before_anchor: int | None = 0
        """How many logs the API counts before the anchor (None: unknown)."""
        self.anchor: Anchor | None = None
        self.before_anchor: tuple[str, ...] = ()
        """Ids from directly before the anchor, the nearest last. All before any of them is done with too."""
        self.replication_key_value: str | None = None
        """The greatest `createdAt` emitted, as the API wrote it."""
        self.latest: int | None = None
        """The same in microseconds since 1970."""
        self.lookback = lookback_seconds * MICROSECONDS
        """How late a log may become visible, in microseconds."""
        # What to write until something was emitted: a run that got nowhere must not move anything.
        self._loaded: Mapping[str, Any] | None = {}
        # Known from before this walk, and not met by it yet, with the time of creation.
        self._carried: dict[str, int] = {}
        # Met by this walk from the cursor on, in the order in which they were last met.
        # Each with its time of creation and the number of the page.
        self._met: dict[str, tuple[int, int]] = {}
        # Those of the carried that the cursor has passed in this walk, by time: kept while within the lookback.
        self._passed: list[tuple[int, str]] = []
        self._emitted_ids: list[str] = []
        self._last_ids: deque[str] = deque(maxlen=BEFORE_ANCHOR)
        self._last_page: frozenset[str] = frozenset()
        self._page = 0
        # Distinct logs that this walk has read, and how many of them lie before the anchor.
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
        """Read the stream's state. Keys that the bookmark does not use are ignored.

        Raises:
            StateError: The state cannot be understood.
        """
        check_shape(state)
        bookmark = cls(query, lookback_seconds, streams)
        bookmark._loaded = dict(state)
        saved_query = state.get("query")
        if saved_query is not None and not query.is_saved_as(saved_query):
            bookmark.start = Start.OTHER_QUERY
            return bookmark
        if saved_query is not None:
            fed_before = state.get("streams") or FIRST_STREAMS
            bookmark.new_streams = tuple(name for name in streams if name not in fed_before)
        bookmark._load_time(state)
        if bookmark.edit is not Edit.SET_BACK:
            bookmark._load_position(state)
        if bookmark.start is Start.NOTHING and bookmark.latest is not None:
            bookmark.start = Start.BACKWARD
            bookmark.logs_before_anchor = None
        return bookmark

    def _load_time(self, state: Mapping[str, Any]) -> None:
        self.edit = edit_of(state)
        value = state.get("replication_key_value")
        if self.edit is Edit.SET_FORWARD:
            value = state["saved_replication_key_value"]
        if value is not None:
            self.replication_key_value = value
            self.latest = parse_timestamp(value)
        self.has_start_date = "start_date" in state
        if state.get("start_date") is not None:
            self.start_date = parse_timestamp(state["start_date"])
            if self.edit is Edit.SET_BACK and self.latest is not None:
                self.start_date = min(self.start_date, self.latest)

    def _load_position(self, state: Mapping[str, Any]) -> None:
        has_query = state.get("query") is not None
        recent_ids = state.get("recent_ids") or []
        has_anchor = state.get("anchor_id") is not None and state.get("anchor_created_at") is not None
        is_nothing_emitted = "replication_key_value" in state and self.latest is None
        if has_query and is_nothing_emitted and not self.has_start_date and (has_anchor or recent_ids):
            # An earlier version has passed over everything, since its start_date was later than any log.
            return
        if has_anchor:
            self.anchor = Anchor(state["anchor_id"], state["anchor_created_at"])
            self.before_anchor = tuple(state.get("before_anchor") or ())
        self.cursor = state.get("cursor") if has_query else None
        is_start_of_list = has_query and "cursor" in state and not has_anchor and self.cursor is None
        if self.cursor is not None or is_start_of_list:
            self.start = Start.CURSOR
        elif has_anchor:
            self.start = Start.BACKWARD
        if self.start is not Start.NOTHING:
            self.logs_before_anchor = state.get("logs_before_anchor", 0 if is_start_of_list else None)
        # Their times are not saved; none can be younger than the greatest.
        self._carried = dict.fromkeys(recent_ids, self.latest or 0)

    def to_state(self) -> dict[str, Any]:
        """Return the stream's state, as plain JSON values.

        Every key is always there: tools that merge a state into the one before would keep what is left out.
        """
        if self._loaded is not None:
            return dict(self._loaded)
        return {
            "replication_key": REPLICATION_KEY,
            "replication_key_value": self.replication_key_value,
            "saved_replication_key_value": self.replication_key_value,
            "start_date": None if self.start_date is None else format_timestamp(self.start_date),
            "cursor": self.cursor,
            "anchor_id": self.anchor.id if self.anchor else None,
            "anchor_created_at": self.anchor.created_at_text if self.anchor else None,
            "before_anchor": list(self.before_anchor),
            "logs_before_anchor": self.logs_before_anchor,
            "query": self.query.to_state(),
            "recent_ids": self._recent_ids(),
            "streams": list(self.streams),
        }

    def _recent_ids(self) -> list[str]:
        """Return the ids to remember, those that were last met at the end."""
        newest_first = list(islice(reversed(self._met), RECENT_IDS_CAP))
        newest_first += islice(reversed(self._carried), RECENT_IDS_CAP - len(newest_first))
        return newest_first[::-1]

    # What the walks ask

    def knows(self, record_id: str) -> bool:
        """Whether the log was emitted (or passed over as older than `start_date`) before."""
        return record_id in self._met or record_id in self._carried

    @property
    def settled_ids(self) -> frozenset[str]:
        """The anchor's id and those before it: nothing before any of them is new."""
        return frozenset([self.anchor.id, *self.before_anchor] if self.anchor else [])

    @property
    def evicted(self) -> int:
        """How many logs were emitted that the state has no room to remember."""
        return max(0, len(self._carried) + len(self._met) - RECENT_IDS_CAP)

    def is_continued_by(self, record_id: str | None) -> bool:
        """Whether the saved cursor is honoured, given the first log that it leads to (None: to nothing)."""
        if self.anchor is not None:
            return record_id == self.anchor.id
        # A state written by hand, with less in it. Without any memory there is nothing to compare a log with.
        return record_id is not None and (not (self._carried or self._met) or self.knows(record_id))

    @property
    def listed(self) -> int | None:
        """How many logs the list has up to where the forward walk is; None if unknown."""
        if self.logs_before_anchor is None:
            return None
        return self.logs_before_anchor + self._walked - self._walked_to_anchor

    def is_settled(self, record: Record, asked_at: int) -> bool:
        """Whether no log can become visible any more before this one, given when it was asked for.

        A log dated in the future tells nothing of that: what comes may stand before it or behind it.
        """
        return record.created_at <= (asked_at - self.lookback if self.lookback else asked_at + DISORDER)

    def is_page_settled(self, records: Iterable[Record], asked_at: int) -> bool:
        """Whether all logs on a page are settled, leaving aside those dated in the future."""
        return all(
            self.is_settled(record, asked_at) or record.created_at > asked_at + DISORDER for record in records
        )

    # What the walks tell

    def forward_begins(self) -> None:
        """A forward walk starts from the saved cursor, or from the start of the list where there is none."""
        self._carried.update((record_id, created_at) for record_id, (created_at, _) in self._met.items())
        self._met = {}
        self._passed = []
        self._emitted_ids = []
        self._last_ids = deque(self.before_anchor, maxlen=BEFORE_ANCHOR)
        self._last_page = frozenset()
        self._page = self._walked = self._walked_to_anchor = 0
        self._settled = True

    def emitted(self, record: Record) -> None:
        """A log of the page under way stands on standard output."""
        self._loaded = None
        self._advance(record)
        self._meet(record)
        self._emitted_ids.append(record.id)

    def page_done(self, cursor: str | None, records: Sequence[Record], asked_at: int) -> None:
        """A page of a forward walk is done: all its logs were emitted, now or before, or passed over.

        Args:
            cursor: The cursor that led to the page.
            records: All logs on it.
            asked_at: When it was asked for, in microseconds since 1970.
        """
        if not records:
            return
        self._loaded = None
        ids = [record.id for record in records]
        repeated = len(self._last_page.intersection(ids))
        if self._page > 0 and self._settled and self.is_settled(records[0], asked_at):
            self.cursor = cursor
            self.anchor = Anchor.at(records[0])
            self.before_anchor = tuple(self._last_ids)
            to_anchor = self._walked - repeated
            if self.logs_before_anchor is not None:
                self.logs_before_anchor += to_anchor - self._walked_to_anchor
            self._walked_to_anchor = to_anchor
            self._pass_to_page()
        # Where all of the page was emitted, it was met in this order just now.
        if ids != self._emitted_ids:
            for record in records:
                self._meet(record)
        self._emitted_ids = []
        self._last_ids.extend(ids)
        self._last_page = frozenset(ids)
        self._walked += len(self._last_page) - repeated
        self._settled = self._settled and self.is_page_settled(records, asked_at)
        self._page += 1
        self._forget_passed()

    def forward_done(self, total: int | None = None) -> None:
        """A forward walk reached the end of the list: what was carried and not met is not there any more.

        Args:
            total: How many logs the API says there are, if it does; the end of the next run is held against it.
        """
        self._loaded = None
        if self.latest is not None:
            bound = self.latest - self.lookback
            self._carried = {record_id: at for record_id, at in self._carried.items() if at >= bound}
        if total is not None:
            self.logs_before_anchor = max(0, total - self._walked + self._walked_to_anchor)

    def drop_cursor(self) -> None:
        """The cursor leads nowhere, and nothing was emitted before: the list is read from its start."""
        self.cursor = None
        self.logs_before_anchor = 0

    def settle(self, ids: Iterable[str]) -> None:
        """Logs are done with, wherever a walk may still meet them."""
        self._carried.update({record_id: self.latest or 0 for record_id in ids if record_id not in self._met})

    def reached_back(self, start_date: int, newest: Record | None) -> None:
        """All logs since an earlier `start_date` were emitted too, of which `newest` is the newest."""
        self._loaded = None
        self.start_date = start_date
        if newest is not None:
            self._advance(newest)

    def backward_done(
        self,
        anchor: Anchor | None,
        before_anchor: Sequence[str],
        read: Sequence[Record],
        emitted: Record | None,
        *,
        logs_before_anchor: int | None,
    ) -> None:
        """A backward walk is complete, and no cursor is known to go on from.

        Args:
            anchor: Where the next run may stop; None if `read` is the whole list.
            before_anchor: Ids from before it, the nearest last.
            read: All logs from the anchor on, and older ones if they are within the lookback; oldest first.
            emitted: The log with the greatest `createdAt` that was emitted, if any was.
            logs_before_anchor: How many logs the API counts before the anchor; None if unknown.
        """
        self._loaded = None
        if emitted is not None:
            self._advance(emitted)
        self.cursor = None
        self.anchor = anchor
        self.logs_before_anchor = logs_before_anchor
        self.before_anchor = tuple(before_anchor)
        self._carried = {}
        self._met = {record.id: (record.created_at, self._page) for record in read}

    def cursor_recovered(self, cursor: str) -> None:
        """After a backward walk: a forward walk from `cursor` is known to begin with the anchor."""
        self.cursor = cursor

    def _advance(self, record: Record) -> None:
        if self.latest is None or record.created_at > self.latest:
            self.latest = record.created_at
            self.replication_key_value = record.created_at_text

    def _meet(self, record: Record) -> None:
        self._carried.pop(record.id, None)
        self._met.pop(record.id, None)
        self._met[record.id] = (record.created_at, self._page)

    def _pass_to_page(self) -> None:
        """Carry on what was met before the page under way, to which the cursor now leads, and is within the lookback."""
        bound = math.inf if self.latest is None else self.latest - self.lookback
        page_under_way = self._page
        passed = []
        for record_id, (created_at, page) in self._met.items():
            if page == page_under_way:
                break
            passed.append(record_id)
            if created_at >= bound:
                self._carried[record_id] = created_at
                heapq.heappush(self._passed, (created_at, record_id))
        for record_id in passed:
            del self._met[record_id]

    def _forget_passed(self) -> None:
        """Forget what the cursor has passed and is older than the lookback."""
        while self._passed and (self.latest is None or self._passed[0][0] < self.latest - self.lookback):
            self._carried.pop(heapq.heappop(self._passed)[1], None)
