"""The simulated API: how Sequence responds to a GET request, without the network.

It follows the published OpenAPI and the vendor's pages on authentication and versioning. Where those are silent, the
options offer every plausible behaviour.
"""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import hmac
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, Self

from tap_sequence.simulator.activity_logs import ActivityLogs
from tap_sequence.simulator.cursors import CursorKind
from tap_sequence.simulator.directory import Directory, make_accounts, make_users
from tap_sequence.simulator.faults import Response, error_response
from tap_sequence.simulator.logs import LogIds
from tap_sequence.simulator.options import Options, RetryAfter, UnknownCursor
from tap_sequence.simulator.store import LogStore, Timeline, demo_window

BASE_PATH = "/api"
ACTIVITY_LOGS_PATH = BASE_PATH + "/activity-logs"
USERS_PATH = BASE_PATH + "/users"
SEQUENCE_ACCOUNTS_PATH = BASE_PATH + "/sequence-accounts"
VERSION = "2024-07-30"
DEMO_CREDENTIALS = ("demo", "demo")
"""Client id and client secret of the demo account."""

_SECOND = 1_000_000
_DEMO_ORIGIN = 1_577_836_800 * _SECOND  # 2020-01-01T00:00:00Z
_TEST_ORIGIN = 1_760_000_000 * _SECOND  # 2025-10-09T08:53:20Z


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A received request, for tests.

    Attributes:
        path: Path without the query.
        query: Query parameters, the first value of each.
        headers: Headers by lower-case name.
        status: Status of the response.
    """

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int


@dataclass(slots=True)
class _Counters:
    requests: list[ReceivedRequest] = field(default_factory=list)
    arrived: int = 0
    accepted_at: deque[float] = field(default_factory=deque)


class Endpoint(Protocol):
    """A path of the API and the paths of its entries, `PATH/ID`."""

    def list(self, options: Options, query: Mapping[str, str]) -> Response:
        """Return a page of the list, or a 400."""

    def get(self, entry_id: str) -> Response | None:
        """Return one entry, or None if there is none with this id."""


class SimulatedApi:
    """A simulated Sequence account.

    Args:
        options: How the API behaves; may be replaced at any time.
        credentials: The client id and client secret that it accepts.
        timeline: When logs happen.
        clock: Seconds since 1970, for the demo: its account shows a window of time up to now. Without a clock, the account
            holds what was added to `store`.
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
        self.users = Directory(make_users(self.options.seed))
        self.accounts = Directory(make_accounts(self.options.seed))
        self._routes: dict[str, Endpoint] = {
            ACTIVITY_LOGS_PATH: ActivityLogs(self.store),
            USERS_PATH: self.users,
            SEQUENCE_ACCOUNTS_PATH: self.accounts,
        }
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
        """Return the demo account: one log every few seconds, up to now. It honours guessed cursors, as if issued."""
        options = options or Options(unknown_cursor=UnknownCursor.RIGHT_PAGE)
        return cls(options, credentials=credentials, timeline=Timeline(_DEMO_ORIGIN), clock=clock)

    def route(self, path: str, endpoint: Endpoint) -> None:
        """Let another endpoint respond at a path."""
        self._routes[path] = endpoint

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received so far."""
        with self._lock:
            return list(self._counters.requests)

    def forget_requests(self) -> None:
        """Reset the count of requests; the request numbers of faults start at 1 again."""
        with self._lock:
            self._counters = _Counters()

    def respond(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        """Return the response to a GET request, with any faults applied."""
        options = self.options
        with self._lock:
            self._counters.arrived += 1
            number = self._counters.arrived
            delay = self._random.uniform(*options.latency)
        response = self._over_limit() or self._route(path, query, headers)
        for fault in options.faults:
            if fault.applies_to(number):
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
            times = self._counters.accepted_at
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

    def _route(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        if not self._is_authorized(headers.get("authorization", "")):
            return error_response(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Invalid API credentials")
        version = headers.get("sequence-version", VERSION)
        if version != VERSION:
            return error_response(
                HTTPStatus.BAD_REQUEST, "UnrecognisedApiVersion", f"API version {version} is not recognised"
            )
        if self._clock is not None:
            self.store.show_window(*demo_window(int(self._clock() * _SECOND)))
        endpoint = self._routes.get(path)
        if endpoint is not None:
            return endpoint.list(self.options, query)
        parent, _, entry_id = path.rpartition("/")
        endpoint = self._routes.get(parent)
        entry = None if endpoint is None else endpoint.get(entry_id)
        return entry or error_response(HTTPStatus.NOT_FOUND, "NotFound", "There is nothing here")

    def _is_authorized(self, header: str) -> bool:
        expected = "Basic " + base64.b64encode(":".join(self.credentials).encode()).decode()
        return hmac.compare_digest(header.encode(), expected.encode())
