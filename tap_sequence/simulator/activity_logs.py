"""The endpoint `/activity-logs`."""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

from tap_sequence.simulator.cursors import CursorCodec, NeverIssuedError, NotACursorError
from tap_sequence.simulator.drift import drift_query, drift_response
from tap_sequence.simulator.faults import Response, error_response
from tap_sequence.simulator.options import EndOfList, Options, UnknownCursor
from tap_sequence.simulator.store import Filters, LogStore, Position

Query: TypeAlias = Mapping[str, str]

MAX_LIMIT = 100
DEFAULT_LIMIT = 50


class ActivityLogs:
    """The activity log.

    Args:
        store: The logs.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def list(self, options: Options, query: Query) -> Response:
        """Return a page of the list, or a 400."""
        with self._store.locked():
            response = _List(self._store, options).respond(drift_query(options.drift, query))
        return drift_response(options.drift, query, response)

    def get(self, entry_id: str) -> Response | None:
        """Return one log, or None if there is none with this id."""
        with self._store.locked():
            if self._store.position_of(entry_id) is None:
                return None
            return Response(HTTPStatus.OK, self._store.body(entry_id))


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds the slice of the list that a request is for, as a pair of indices.

    Attributes:
        positions: The list, in ascending order.
        limit: Maximum length of the slice.
        upward: Whether the slice is above a position rather than below it.
    """

    positions: Sequence[Position]
    limit: int
    upward: bool = True

    def beginning(self, order: str) -> tuple[int, int]:
        count = min(len(self.positions), self.limit)
        return (0, count) if order == "ASC" else (len(self.positions) - count, len(self.positions))

    def next_to(self, place: Position) -> tuple[int, int]:
        if self.upward:
            first = bisect.bisect_right(self.positions, place)
            return first, min(len(self.positions), first + self.limit)
        last = bisect.bisect_left(self.positions, place)
        return max(0, last - self.limit), last

    def elsewhere(self, cursor: str, place: Position | None) -> tuple[int, int]:
        """Return a slice that depends on the cursor alone, and is not the one next to `place`."""
        count = len(self.positions)
        right = 0 if place is None else self.next_to(place)[0]
        steps = 1 + zlib.crc32(cursor.encode()) % max(1, count - 1)
        first = (right + steps) % max(1, count)
        return first, min(count, first + self.limit)


class _List:
    """Responds to requests for a page.

    Args:
        store: The logs.
        options: How the API behaves.
    """

    def __init__(self, store: LogStore, options: Options) -> None:
        self._store = store
        self._options = options
        self._codec = CursorCodec(options.cursor_kind, store, options.cursor_key)

    def respond(self, query: Query) -> Response:
        limit = query.get("limit", str(DEFAULT_LIMIT))
        order = query.get("sortOrder", "DESC")
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
            return _bad_request("limit must be between 1 and 100 (inclusive)")
        if order not in {"ASC", "DESC"}:
            return _bad_request("sortOrder must be ASC or DESC")
        if "after" in query and "before" in query:
            return _bad_request("only one of before and after can be given")
        filters = Filters(query.get("activityLogObjectId"), query.get("activityLogObjectEntityId"))
        positions = self._store.positions(filters)
        first, last = _Finder(positions, int(limit)).beginning(order)
        for direction in ("after", "before"):
            if direction not in query:
                continue
            find = _Finder(positions, int(limit), upward=(order == "ASC") == (direction == "after"))
            try:
                first, last = self._find(query[direction], find, order, filters)
            except NotACursorError:
                return _bad_request(f"{direction} is not a valid cursor")
        return self._slice(positions, first, last, order, filters)

    def _find(self, cursor: str, find: _Finder, order: str, filters: Filters) -> tuple[int, int]:
        """Return the slice of the list that a cursor leads to.

        Raises:
            NotACursorError: The cursor is refused.
        """
        place = None
        try:
            return find.next_to(self._codec.read(cursor, order, filters))
        except NeverIssuedError as error:
            place = error.position
        except NotACursorError:
            pass
        match self._options.unknown_cursor:
            case UnknownCursor.RIGHT_PAGE if place is not None:
                return find.next_to(place)
            case UnknownCursor.FIRST_PAGE:
                return find.beginning(order)
            case UnknownCursor.EMPTY_PAGE:
                return 0, 0
            case UnknownCursor.ELSEWHERE:
                return find.elsewhere(cursor, place)
            case _:
                raise NotACursorError

    def _slice(
        self, positions: Sequence[Position], first: int, last: int, order: str, filters: Filters
    ) -> Response:
        ids = [log_id for _, log_id in positions[first:last]]
        has_older, has_newer = first > 0, last < len(positions)
        has_more, has_less = (has_newer, has_older) if order == "ASC" else (has_older, has_newer)
        if order == "DESC":
            ids.reverse()
        pagination: dict[str, Any] = {}
        always = self._options.end_of_list is EndOfList.EMPTY_PAGE
        for name, exists, place in (("after", has_more or always, -1), ("before", has_less, 0)):
            if ids and exists:
                pagination[name] = self._codec.write(self._store.key_of(ids[place]), order, filters)
        return Response(HTTPStatus.OK, self._page(ids, pagination, len(positions)))

    def _page(self, ids: Sequence[str], pagination: dict[str, Any], total: int) -> bytes:
        if self._options.end_of_list is EndOfList.NULL:
            pagination = {"after": None, "before": None, **pagination}
        if self._options.with_total:
            pagination["totalResultSize"] = total
        items = b",".join(self._store.body(log_id) for log_id in ids)
        return b'{"items":[' + items + b'],"pagination":' + msgspec.json.encode(pagination) + b"}"


def _bad_request(message: str) -> Response:
    return error_response(HTTPStatus.BAD_REQUEST, "BadRequest", message)
