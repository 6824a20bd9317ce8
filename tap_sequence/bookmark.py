"""The bookmark: what a run leaves for the next one, and what the next one makes of it.

Plain Python: it knows neither HTTP nor Singer. See docs/state.md for its meaning and its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any, Self

from tap_sequence.errors import StateError
from tap_sequence.pages import Log
from tap_sequence.timestamps import MICROSECONDS, parse_timestamp

REPLICATION_KEY = "createdAt"

RECENT_IDS_CAP = 10_000
"""Most ids that a bookmark holds (about 390 kB of state). Logs past it may be emitted again, never lost."""


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

    def to_state(self) -> dict[str, str]:
        """Return what identifies the query, without the filters that are not set."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Start(Enum):
    """What a loaded state allows a run to start with."""

    NOTHING = auto()
    """No state: from the oldest log, or from `start_date`."""
    OTHER_QUERY = auto()
    """A state that belongs to another query: the same as none."""
    CURSOR = auto()
    """A cursor of the same query, or the start of the list."""
    TIME = auto()
    """A `replication_key_value` alone."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """When a remembered log was created (microseconds), and on which page of this run it was last met."""

    created_at: int
    page: int


class Bookmark:
    """How far the log was read, for one query.

    Two rules make it safe. The saved cursor stays behind everything younger than the lookback, so that logs which
    become visible late are met by a later run. And at least one log that is known lies behind it, so that a later
    run can tell by data whether the API still honours the cursor: the first log it brings must be a known one.
    """

    def __init__(self, query: Query, lookback_seconds: int) -> None:
        self.query = query
        self.start = Start.NOTHING
        self.cursor: str | None = None
        """Cursor to go on from; None is the start of the list, if `has_cursor`."""
        self.has_cursor = False
        self.replication_key_value: str | None = None
        """The greatest `createdAt` emitted, as the API wrote it."""
        self.latest: int | None = None
        """The same in microseconds since 1970."""
        self.forgotten = 0
        """Logs that were emitted but not remembered, because the cap was reached."""
        self.lookback = lookback_seconds * MICROSECONDS
        """How late a log may become visible, in microseconds."""
        # Keys in the order in which the logs were last met: what lies behind the cursor is the tail.
        self._recent: dict[str, _Seen] = {}
        self._page = 1
        self._behind_from_page = 0
        self._settled = True

    # Reading and writing the state

    @classmethod
    def load(cls, state: Mapping[str, Any], query: Query, lookback_seconds: int) -> Self:
        """Read the stream's state. Keys that the bookmark does not use are ignored.

        Raises:
            StateError: The state cannot be understood.
        """
        _check_shape(state)
        value: str | None = state.get("replication_key_value")
        saved_query = state.get("query")
        bookmark = cls(query, lookback_seconds)
        if saved_query is not None and saved_query != query.to_state():
            other = cls(query, lookback_seconds)
            other.start = Start.OTHER_QUERY
            return other
        if value is not None:
            bookmark.replication_key_value = value
            bookmark.latest = parse_timestamp(value)
        bookmark.has_cursor = saved_query is not None and "cursor" in state
        if bookmark.has_cursor:
            bookmark.start = Start.CURSOR
            bookmark.cursor = state["cursor"]
        elif value is not None:
            bookmark.start = Start.TIME
        # Their times are not saved; none can be younger than the greatest.
        created_at = bookmark.latest or 0
        bookmark._recent = {log_id: _Seen(created_at, page=0) for log_id in state.get("recent_ids", [])}
        return bookmark

    def to_state(self) -> dict[str, Any]:
        """Return the stream's state, as plain JSON values."""
        state: dict[str, Any] = {}
        if self.replication_key_value is not None:
            state["replication_key"] = REPLICATION_KEY
            state["replication_key_value"] = self.replication_key_value
        if self.has_cursor:
            state["cursor"] = self.cursor
        state["query"] = self.query.to_state()
        state["recent_ids"] = list(self._recent)
        return state

    # What the walks ask

    def knows(self, log_id: str) -> bool:
        """Whether the log was emitted (or passed over as older than `start_date`) before."""
        return log_id in self._recent

    @property
    def has_recent(self) -> bool:
        """Whether any log is remembered."""
        return bool(self._recent)

    @property
    def backward_bound(self) -> int | None:
        """Where a backward walk may stop: `replication_key_value` less the lookback, in microseconds."""
        return None if self.latest is None else self.latest - self.lookback

    def is_settled(self, logs: Iterable[Log], asked_at: int) -> bool:
        """Whether no log can become visible any more before the last of `logs`, given when they were asked for."""
        return not self.lookback or all(log.created_at <= asked_at - self.lookback for log in logs)

    # What the walks tell

    def emitted(self, log: Log) -> None:
        """A log of the page under way stands on standard output."""
        self._advance(log)
        self._remember(log)

    def page_done(self, cursor: str | None, logs: Sequence[Log], asked_at: int) -> None:
        """A page of a forward walk is done: all its logs were emitted, now or before, or passed over.

        Args:
            cursor: The cursor that led to the page.
            logs: All logs on it.
            asked_at: When it was asked for, in microseconds since 1970.
        """
        if not logs:
            return
        if self._settled:
            self.has_cursor = True
            self.cursor = cursor
            self._behind_from_page = self._page
        for log in logs:
            self._remember(log)
        self._settled = self._settled and self.is_settled(logs, asked_at)
        self._page += 1
        self._trim(keep_loaded=True)

    def forward_done(self) -> None:
        """A forward walk reached the end of the list: what an earlier run remembered need not all be kept."""
        if not self.has_cursor:
            self.has_cursor = True  # An empty list: go on from its start.
        self._trim(keep_loaded=False)

    def rewind(self) -> None:
        """A forward walk starts again from the saved cursor: all that is known may be met again, as after a load."""
        self._settled = True
        self._behind_from_page = 0
        self._recent = {log_id: _Seen(seen.created_at, page=0) for log_id, seen in self._recent.items()}

    def backward_done(self, read: Sequence[Log], emitted: Log | None) -> None:
        """A backward walk is complete, and no cursor is known to go on from.

        Args:
            read: Logs read, oldest first; at least all that are younger than the lookback before the newest.
            emitted: The log with the greatest `createdAt` that was emitted, if any was.
        """
        if emitted is not None:
            self._advance(emitted)
        self.has_cursor = False
        self.cursor = None
        self._recent = {}
        for log in read:
            self._remember(log)
        self._page += 1
        self._behind_from_page = self._page
        self._trim(keep_loaded=False)

    def cursor_won(self, cursor: str | None, behind: Sequence[Log]) -> None:
        """After a backward walk: a forward walk from `cursor` is known to bring exactly the logs `behind`."""
        self.has_cursor = True
        self.cursor = cursor
        self._behind_from_page = self._page
        for log in behind:
            self._remember(log)

    def _advance(self, log: Log) -> None:
        if self.latest is None or log.created_at > self.latest:
            self.latest = log.created_at
            self.replication_key_value = log.created_at_text

    def _remember(self, log: Log) -> None:
        known = self._recent.pop(log.id, None)
        if known is None and len(self._recent) >= RECENT_IDS_CAP:
            oldest = next(iter(self._recent))
            if self._recent[oldest].page >= self._behind_from_page:
                # All lie behind the cursor. The first of them prove that the API honours it: keep those.
                self.forgotten += 1
                return
            del self._recent[oldest]
        self._recent[log.id] = _Seen(log.created_at, self._page)

    def _trim(self, *, keep_loaded: bool) -> None:
        """Forget, oldest first, what lies neither behind the cursor nor within the lookback."""
        bound = self.backward_bound
        useless = []
        for log_id, seen in self._recent.items():
            if keep_loaded and seen.page == 0:
                continue
            if seen.page >= self._behind_from_page or (bound is not None and seen.created_at >= bound):
                break
            useless.append(log_id)
        for log_id in useless:
            del self._recent[log_id]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


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
    (
        "query",
        lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
        "an object of texts",
    ),
    ("recent_ids", lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts"),
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
        and "query" not in state
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
