"""The bookmark: what a run leaves for the next one, and what the next one makes of it.

Plain Python: it knows neither HTTP nor Singer. See docs/state.md for its meaning and its shape.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from itertools import chain
from typing import Any, NamedTuple, Self

from tap_sequence.errors import StateError
from tap_sequence.pages import Log
from tap_sequence.timestamps import MICROSECONDS, parse_timestamp

REPLICATION_KEY = "createdAt"

FIRST_STREAMS = ("activity_logs",)
"""The streams that a state speaks for which names none: there was no other."""

RECENT_IDS_CAP = 10_000
"""Most ids that a state holds (about 390 kB). Logs past it may be emitted again by the next run, never lost."""

DISORDER = 60 * MICROSECONDS
"""How far `createdAt` may stray from the list's order, and from the time of the answer, without being wrong."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a cursor belongs to. A cursor may be bound to all of it, so it is never used for another query.

    Attributes:
        host: Host, port and base path of the API; no scheme, no credentials.
        api_version: The `Sequence-Version` asked for.
        activity_log_object_id: Filter, or None.
        activity_log_object_entity_id: Filter, or None.
    """

    host: str
    api_version: str
    activity_log_object_id: str | None = None
    activity_log_object_entity_id: str | None = None

    def to_state(self) -> dict[str, str | None]:
        """Return what identifies the query; null for a filter that is not set."""
        return asdict(self)

    def is_saved_as(self, saved: Mapping[str, str | None]) -> bool:
        """Whether `saved`, from a state, is this query."""
        return _without_nulls(saved) == _without_nulls(self.to_state())


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
    def at(cls, log: Log) -> Self:
        """Return the anchor at a log."""
        return cls(log.id, log.created_at_text)


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


class _Seen(NamedTuple):
    created_at: int
    page: int


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
        self.newcomers: tuple[str, ...] = ()
        """Streams that the runs before, from whose end this one goes on, did not feed."""
        self.start = Start.NOTHING
        self.cursor: str | None = None
        """Cursor to go on from, which leads to the anchor; None is the start of the list, if `has_cursor`."""
        self.has_cursor = False
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
        # Met by this walk, in the order in which they were last met.
        self._met: dict[str, _Seen] = {}
        self._emitted_ids: list[str] = []
        self._last_ids: deque[str] = deque(maxlen=BEFORE_ANCHOR)
        self._page = 0
        self._behind_from_page = 0
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
        _check_shape(state)
        bookmark = cls(query, lookback_seconds, streams)
        bookmark._loaded = dict(state)
        saved_query = state.get("query")
        if saved_query is not None and not query.is_saved_as(saved_query):
            bookmark.start = Start.OTHER_QUERY
            return bookmark
        if saved_query is not None:
            fed_before = state.get("streams") or FIRST_STREAMS
            bookmark.newcomers = tuple(name for name in streams if name not in fed_before)
        value: str | None = state.get("replication_key_value")
        if value is not None:
            bookmark.replication_key_value = value
            bookmark.latest = parse_timestamp(value)
        if state.get("anchor_id") is not None and state.get("anchor_created_at") is not None:
            bookmark.anchor = Anchor(state["anchor_id"], state["anchor_created_at"])
            bookmark.before_anchor = tuple(state.get("before_anchor") or ())
        bookmark.cursor = state.get("cursor") if saved_query is not None else None
        recent_ids = state.get("recent_ids") or []
        is_start_of_list = saved_query is not None and "cursor" in state and bookmark.anchor is None
        if bookmark.cursor is not None or is_start_of_list:
            bookmark.start = Start.CURSOR
            bookmark.has_cursor = True
        elif bookmark.anchor is not None or value is not None:
            bookmark.start = Start.BACKWARD
        # Their times are not saved; none can be younger than the greatest.
        bookmark._carried = dict.fromkeys(recent_ids, bookmark.latest or 0)
        return bookmark

    def to_state(self) -> dict[str, Any]:
        """Return the stream's state, as plain JSON values.

        Every key is always there: tools that merge a state into the one before would keep what is left out.
        """
        if self._loaded is not None:
            return dict(self._loaded)
        return {
            "replication_key": REPLICATION_KEY,
            "replication_key_value": self.replication_key_value,
            "cursor": self.cursor,
            "anchor_id": self.anchor.id if self.anchor else None,
            "anchor_created_at": self.anchor.created_at_text if self.anchor else None,
            "before_anchor": list(self.before_anchor),
            "query": self.query.to_state(),
            "recent_ids": list(chain(self._carried, self._met))[-RECENT_IDS_CAP:],
            "streams": list(self.streams),
        }

    # What the walks ask

    def knows(self, log_id: str) -> bool:
        """Whether the log was emitted (or passed over as older than `start_date`) before."""
        return log_id in self._met or log_id in self._carried

    @property
    def settled_ids(self) -> frozenset[str]:
        """The anchor's id and those before it: nothing before any of them is new."""
        return frozenset([self.anchor.id, *self.before_anchor] if self.anchor else [])

    @property
    def forgotten(self) -> int:
        """How many logs were emitted that the state has no room to remember."""
        return max(0, len(self._carried) + len(self._met) - RECENT_IDS_CAP)

    def is_continued_by(self, log_id: str | None) -> bool:
        """Whether the saved cursor is honoured, given the first log that it leads to (None: to nothing)."""
        if self.anchor is not None:
            return log_id == self.anchor.id
        # A state written by hand, with less in it. Without any memory there is nothing to compare with.
        return not (self._carried or self._met) or (log_id is not None and self.knows(log_id))

    def is_settled(self, log: Log, asked_at: int) -> bool:
        """Whether no log can become visible any more before this one, given when it was asked for.

        A log dated in the future tells nothing of that: what comes may stand before it or behind it.
        """
        return log.created_at <= (asked_at - self.lookback if self.lookback else asked_at + DISORDER)

    def is_page_settled(self, logs: Iterable[Log], asked_at: int) -> bool:
        """Whether all logs on a page are settled, leaving aside those dated in the future."""
        return all(self.is_settled(log, asked_at) or log.created_at > asked_at + DISORDER for log in logs)

    # What the walks tell

    def forward_begins(self) -> None:
        """A forward walk starts from the saved cursor, or from the start of the list where there is none."""
        self.has_cursor = True
        self._carried.update((log_id, seen.created_at) for log_id, seen in self._met.items())
        self._met = {}
        self._emitted_ids = []
        self._last_ids = deque(self.before_anchor, maxlen=BEFORE_ANCHOR)
        self._page = self._behind_from_page = 0
        self._settled = True

    def emitted(self, log: Log) -> None:
        """A log of the page under way stands on standard output."""
        self._loaded = None
        self._advance(log)
        self._meet(log)
        self._emitted_ids.append(log.id)

    def page_done(self, cursor: str | None, logs: Sequence[Log], asked_at: int) -> None:
        """A page of a forward walk is done: all its logs were emitted, now or before, or passed over.

        Args:
            cursor: The cursor that led to the page.
            logs: All logs on it.
            asked_at: When it was asked for, in microseconds since 1970.
        """
        if not logs:
            return
        self._loaded = None
        if self._page > 0 and self._settled and self.is_settled(logs[0], asked_at):
            self.cursor = cursor
            self.anchor = Anchor.at(logs[0])
            self.before_anchor = tuple(self._last_ids)
            self._behind_from_page = self._page
        ids = [log.id for log in logs]
        # Where all of the page was emitted, it was met in this order just now.
        if ids != self._emitted_ids:
            for log in logs:
                self._meet(log)
        self._emitted_ids = []
        self._last_ids.extend(ids)
        self._settled = self._settled and self.is_page_settled(logs, asked_at)
        self._page += 1
        self._trim()

    def forward_done(self) -> None:
        """A forward walk reached the end of the list: what was carried and not met is not there any more."""
        self._loaded = None
        if self.latest is not None:
            bound = self.latest - self.lookback
            self._carried = {log_id: at for log_id, at in self._carried.items() if at >= bound}

    def restart(self) -> None:
        """Logs are missing from what was read, nobody knows where: the next run is to read the whole list again."""
        self._loaded = None
        self.has_cursor = True
        self.cursor = self.anchor = None
        self.before_anchor = ()

    def backward_done(
        self,
        anchor: Anchor | None,
        before_anchor: Sequence[str],
        read: Sequence[Log],
        emitted: Log | None,
    ) -> None:
        """A backward walk is complete, and no cursor is known to go on from.

        Args:
            anchor: Where the next run may stop; None if `read` is the whole list.
            before_anchor: Ids from before it, the nearest last.
            read: All logs from the anchor on, and older ones if they are within the lookback; oldest first.
            emitted: The log with the greatest `createdAt` that was emitted, if any was.
        """
        self._loaded = None
        if emitted is not None:
            self._advance(emitted)
        self.has_cursor = anchor is None
        self.cursor = None
        self.anchor = anchor
        self.before_anchor = tuple(before_anchor)
        self._carried = {}
        self._met = {log.id: _Seen(log.created_at, self._page) for log in read}

    def cursor_won(self, cursor: str) -> None:
        """After a backward walk: a forward walk from `cursor` is known to begin with the anchor."""
        self.has_cursor = True
        self.cursor = cursor

    def _advance(self, log: Log) -> None:
        if self.latest is None or log.created_at > self.latest:
            self.latest = log.created_at
            self.replication_key_value = log.created_at_text

    def _meet(self, log: Log) -> None:
        self._carried.pop(log.id, None)
        self._met.pop(log.id, None)
        self._met[log.id] = _Seen(log.created_at, self._page)

    def _trim(self) -> None:
        """Forget, oldest first, what was met neither behind the cursor nor within the lookback."""
        bound = None if self.latest is None else self.latest - self.lookback
        useless = []
        for log_id, seen in self._met.items():
            if seen.page >= self._behind_from_page:
                break
            if bound is None or seen.created_at < bound:
                useless.append(log_id)
        for log_id in useless:
            del self._met[log_id]


def _without_nulls(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_time(value: Any) -> bool:
    try:
        parse_timestamp(value)
    except (ValueError, AttributeError, TypeError, OverflowError):
        return False
    return True


_SHAPES: Sequence[tuple[str, Callable[[Any], bool], str]] = (
    ("partitions", lambda value: not value, "empty"),
    ("replication_key", lambda value: value is None or value == REPLICATION_KEY, repr(REPLICATION_KEY)),
    ("replication_key_value", lambda value: value is None or _is_time(value), "a time"),
    ("cursor", lambda value: value is None or _is_text(value), "text or null"),
    ("anchor_id", lambda value: value is None or _is_text(value), "text or null"),
    ("anchor_created_at", lambda value: value is None or _is_time(value), "a time or null"),
    (
        "query",
        lambda value: (
            value is None
            or (isinstance(value, dict) and all(text is None or _is_text(text) for text in value.values()))
        ),
        "an object of texts",
    ),
    ("recent_ids", lambda value: value is None or _is_texts(value), "a list of texts"),
    ("streams", lambda value: value is None or _is_texts(value), "a list of texts"),
    ("before_anchor", lambda value: value is None or _is_texts(value), "a list of texts"),
)
"""What each key of the state has to be, where it is there."""

_KEYS = {"replication_key_value", "cursor", "query"}
"""Without any of these, a state says nothing of where to go on."""

_SDK_KEYS = {"progress_markers", "replication_key", "replication_key_signpost", "starting_replication_value"}
"""What other taps on the SDK leave beside them; after a run that got nowhere, these alone."""


def _check_shape(state: Mapping[str, Any]) -> None:
    problem = next(
        (f"{key} is not {wanted}" for key, fits, wanted in _SHAPES if key in state and not fits(state[key])),
        None,
    )
    if problem is None and not (state.keys() & _KEYS) and state.keys() - _SDK_KEYS:
        problem = f"it has none of the keys {', '.join(sorted(_KEYS))}, only {', '.join(sorted(state))}"
    if (
        problem is None
        and state.get("query") is None
        and state.get("cursor")
        and not state.get("replication_key_value")
    ):
        problem = "cursor is of no use without the query that it belongs to"
    if problem is not None:
        msg = (
            f"The state of stream activity_logs cannot be understood: {problem}. Nothing was emitted. Mend the state, "
            "or start without it to read the whole log again."
        )
        raise StateError(msg)
