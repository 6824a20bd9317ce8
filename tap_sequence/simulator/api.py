"""The simulated API: what Sequence's `GET /activity-logs` answers, without the network.

It follows the published OpenAPI and the vendor's pages on authentication and versioning. Where those are silent, the
options offer every plausible behaviour.
"""

from __future__ import annotations

import base64
import bisect
import dataclasses
import email.utils
import hmac
import math
import random
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Self

import msgspec

from tap_sequence.simulator.cursors import CursorCodec, CursorKind, NeverIssuedError, NotACursorError
from tap_sequence.simulator.drift import Drift, drift_query, drift_response
from tap_sequence.simulator.faults import Fault, Response, error_response
from tap_sequence.simulator.logs import LogIds
from tap_sequence.simulator.store import Filters, LogStore, Position, Timeline, demo_window

BASE_PATH = "/api"
PATH = BASE_PATH + "/activity-logs"
VERSION = "2024-07-30"
MAX_LIMIT = 100
DEFAULT_LIMIT = 50
DEMO_CREDENTIALS = ("demo", "demo")
"""Client id and client secret that the demo account takes."""

_SECOND = 1_000_000
_DEMO_ORIGIN = 1_577_836_800 * _SECOND  # 2020-01-01T00:00:00Z
_TEST_ORIGIN = 1_760_000_000 * _SECOND  # 2025-10-09T08:53:20Z


class EndOfList(StrEnum):
    """What `pagination.after` is at the end of the list."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY_PAGE = "empty-page"
    """A cursor, with an empty page behind it that has none."""


class UnknownCursor(StrEnum):
    """What a cursor gets that was never issued for the list asked for."""

    REFUSE = "refuse"
    FIRST_PAGE = "first-page"
    EMPTY_PAGE = "empty-page"
    RIGHT_PAGE = "right-page"
    """The page that it points at; refused where it points nowhere."""
    ELSEWHERE = "elsewhere"
    """A page out of place: always the same one for a cursor, and never the one that it points at."""


class RetryAfter(StrEnum):
    """How a 429 says when to come back."""

    SECONDS = "seconds"
    DATE = "date"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """How the simulated API behaves where its documentation is silent.

    Attributes:
        seed: Other seeds give other logs.
        cursor_kind: What cursors are made of.
        cursor_key: Secret of opaque cursors; with another one, those handed out before are unknown.
        end_of_list: What `after` is at the end.
        unknown_cursor: What a cursor gets that was never issued.
        log_ids: UUIDv7 (time-ordered) or UUIDv4 (random).
        with_total: Whether `totalResultSize` is given.
        latency: Seconds to wait before each answer, from and to.
        rate_limit: Requests allowed within `rate_window` seconds; None allows any number.
        rate_window: Seconds.
        retry_after: How a 429 says when to come back.
        retry_after_seconds: In how many seconds it says so; None says when the window has room again.
        faults: What goes wrong at which request.
        drift: In what it differs from its documentation.
    """

    seed: int = 1
    cursor_kind: CursorKind = CursorKind.ID
    cursor_key: str = "key"
    end_of_list: EndOfList = EndOfList.ABSENT
    unknown_cursor: UnknownCursor = UnknownCursor.REFUSE
    log_ids: LogIds = LogIds.V7
    with_total: bool = True
    latency: tuple[float, float] = (0.0, 0.0)
    rate_limit: int | None = None
    rate_window: float = 60.0
    retry_after: RetryAfter = RetryAfter.SECONDS
    retry_after_seconds: int | None = None
    faults: Sequence[Fault] = ()
    drift: Sequence[Drift] = ()


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request as it came in, for tests to look at.

    Attributes:
        path: Path without the query.
        query: Query parameters, the first value of each.
        headers: Headers by lower-case name.
        status: Status that it was answered with.
    """

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int


@dataclass(slots=True)
class _Counters:
    requests: list[ReceivedRequest] = field(default_factory=list)
    arrived: int = 0
    answered_at: deque[float] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class _Finder:
    """Finds the stretch of the list, from index to index, that a request is for.

    Attributes:
        positions: The list, in ascending order.
        limit: How many logs are asked for.
        upward: Whether those above a place are, rather than those below it.
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
        """Return a stretch that depends on nothing but the cursor, and is not the one next to `place`."""
        count = len(self.positions)
        right = 0 if place is None else self.next_to(place)[0]
        steps = 1 + zlib.crc32(cursor.encode()) % max(1, count - 1)
        first = (right + steps) % max(1, count)
        return first, min(count, first + self.limit)


class SimulatedApi:
    """A simulated Sequence account.

    Args:
        options: How the API behaves; may be replaced at any time.
        credentials: The client id and client secret that are right.
        timeline: When logs happen.
        clock: Seconds since 1970; given, the account shows the demo's window of time. Without, it holds what `store`
            is told to.
    """

    store_class = LogStore

    def __init__(
        self,
        options: Options | None = None,
        *,
        credentials: tuple[str, str] = DEMO_CREDENTIALS,
        timeline: Timeline | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.options = options or Options()
        self.credentials = credentials
        self._clock = clock
        self.store = self.store_class(
            self.options.seed,
            timeline or Timeline(_TEST_ORIGIN),
            log_ids=self.options.log_ids,
            order_by_id=self.options.cursor_kind is CursorKind.ID and self.options.log_ids is LogIds.V7,
        )
        self._counters = _Counters()
        self._lock = threading.Lock()
        self._random = random.Random(self.options.seed)  # noqa: S311  # for latency only

    @classmethod
    def demo(
        cls,
        options: Options | None = None,
        *,
        credentials: tuple[str, str] = DEMO_CREDENTIALS,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Return the demo account: one log every few seconds, up to now."""
        return cls(options, credentials=credentials, timeline=Timeline(_DEMO_ORIGIN), clock=clock)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """Requests answered so far."""
        with self._lock:
            return list(self._counters.requests)

    def forget_requests(self) -> None:
        """Start counting requests anew; faults by number count anew too."""
        with self._lock:
            self._counters = _Counters()

    def respond(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        """Return the response to a GET request, faults included."""
        options = self.options
        with self._lock:
            self._counters.arrived += 1
            number = self._counters.arrived
            delay = self._random.uniform(*options.latency)
        response = self._over_limit() or self._answer(path, query, headers)
        for fault in options.faults:
            if fault.strikes(number):
                response = fault.apply(response)
        response = dataclasses.replace(
            response,
            headers={"Sequence-Version": VERSION, **response.headers},
            delay=response.delay + delay,
        )
        with self._lock:
            self._counters.requests.append(ReceivedRequest(path, query, headers, response.status))
        return response

    def _over_limit(self) -> Response | None:
        options = self.options
        if options.rate_limit is None:
            return None
        with self._lock:
            now = time.monotonic()
            times = self._counters.answered_at
            while times and times[0] <= now - options.rate_window:
                times.popleft()
            if len(times) < options.rate_limit:
                times.append(now)
                return None
            wait = times[0] + options.rate_window - now
        if options.retry_after_seconds is not None:
            wait = options.retry_after_seconds
        match options.retry_after:
            case RetryAfter.SECONDS:
                extra = {"Retry-After": str(math.ceil(wait))}
            case RetryAfter.DATE:
                extra = {"Retry-After": email.utils.formatdate(math.ceil(time.time() + wait), usegmt=True)}
            case RetryAfter.NONE:
                extra = {}
        return error_response(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "Rate limit exceeded", **extra)

    def _answer(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        if not self._is_authorized(headers.get("authorization", "")):
            return error_response(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Invalid API credentials")
        version = headers.get("sequence-version", VERSION)
        if version != VERSION:
            return error_response(
                HTTPStatus.BAD_REQUEST, "UnrecognisedApiVersion", f"API version {version} is not recognised"
            )
        if self._clock is not None:
            self.store.show_window(*demo_window(int(self._clock() * _SECOND)))
        with self.store.locked():
            if path == PATH:
                drift = self.options.drift
                return drift_response(drift, query, self._list(drift_query(drift, query)))
            log_id = path.removeprefix(PATH + "/")
            if log_id != path and self.store.position_of(log_id) is not None:
                return Response(HTTPStatus.OK, self.store.body(log_id))
        return error_response(HTTPStatus.NOT_FOUND, "NotFound", "There is nothing here")

    def _is_authorized(self, header: str) -> bool:
        expected = "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
        return hmac.compare_digest(header.encode(), expected.encode())

    def _list(self, query: dict[str, str]) -> Response:
        limit = query.get("limit", str(DEFAULT_LIMIT))
        order = query.get("sortOrder", "DESC")
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
            return _bad_request("limit must be between 1 and 100 (inclusive)")
        if order not in {"ASC", "DESC"}:
            return _bad_request("sortOrder must be ASC or DESC")
        if "after" in query and "before" in query:
            return _bad_request("only one of before and after can be given")
        filters = Filters(query.get("activityLogObjectId"), query.get("activityLogObjectEntityId"))
        positions = self.store.positions(filters)
        first, last = _Finder(positions, int(limit)).beginning(order)
        for direction in ("after", "before"):
            if direction not in query:
                continue
            find = _Finder(positions, int(limit), upward=(order == "ASC") == (direction == "after"))
            try:
                first, last = self._find(query[direction], find, order, filters)
            except NotACursorError:
                return _bad_request(f"{direction} is not a valid cursor")
        return self._list_slice(positions, first, last, order, filters)

    def _find(self, cursor: str, find: _Finder, order: str, filters: Filters) -> tuple[int, int]:
        """Return the stretch of the list that a cursor leads to.

        Raises:
            NotACursorError: It is to be refused.
        """
        codec = CursorCodec(self.options.cursor_kind, self.store, self.options.cursor_key)
        place = None
        try:
            return find.next_to(codec.read(cursor, order, filters))
        except NeverIssuedError as error:
            place = error.position
        except NotACursorError:
            pass
        match self.options.unknown_cursor:
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

    def _list_slice(
        self, positions: Sequence[Position], first: int, last: int, order: str, filters: Filters
    ) -> Response:
        ids = [log_id for _, log_id in positions[first:last]]
        has_older, has_newer = first > 0, last < len(positions)
        has_more, has_less = (has_newer, has_older) if order == "ASC" else (has_older, has_newer)
        if order == "DESC":
            ids.reverse()
        pagination: dict[str, Any] = {}
        codec = CursorCodec(self.options.cursor_kind, self.store, self.options.cursor_key)
        always = self.options.end_of_list is EndOfList.EMPTY_PAGE
        for name, exists, place in (("after", has_more or always, -1), ("before", has_less, 0)):
            if ids and exists:
                pagination[name] = codec.write(self.store.key_of(ids[place]), order, filters)
        return Response(HTTPStatus.OK, self._page(ids, pagination, len(positions)))

    def _page(self, ids: Sequence[str], pagination: dict[str, Any], total: int) -> bytes:
        if self.options.end_of_list is EndOfList.NULL:
            pagination = {"after": None, "before": None, **pagination}
        if self.options.with_total:
            pagination["totalResultSize"] = total
        items = b",".join(self.store.body(log_id) for log_id in ids)
        return b'{"items":[' + items + b'],"pagination":' + msgspec.json.encode(pagination) + b"}"


def _bad_request(message: str) -> Response:
    return error_response(HTTPStatus.BAD_REQUEST, "BadRequest", message)
