"""The HTTP client: asks for one page, and tries again where that may help.

It knows requests and statuses, not walks or bookmarks. What each status means is the table `ACTIONS`.
"""

from __future__ import annotations

import email.utils
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from enum import Enum, auto
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
import tenacity
from pyrate_limiter import InMemoryBucket, Limiter, Rate
from pyrate_limiter.clocks import MonotonicClock
from pyrate_limiter.limiter import SingleBucketFactory
from requests.auth import HTTPBasicAuth

from tap_sequence.decoding import PageDecoder, quote
from tap_sequence.errors import BadRequestError, RequestError, TransientRequestError
from tap_sequence.pages import Page, PageRequest
from tap_sequence.redact import clean
from tap_sequence.settings import Settings, is_loopback
from tap_sequence.timestamps import MICROSECONDS

PATH = "/activity-logs"
_MAX_REDIRECTS = 5
_LONGEST_BACKOFF_SECONDS = 60.0
_PACE_WINDOW_SECONDS = 2


class Action(Enum):
    """What a status makes the client do."""

    READ = auto()
    RETRY = auto()
    FAIL_CREDENTIALS = auto()
    ASK_WALK = auto()
    FOLLOW = auto()
    FAIL = auto()


ACTIONS: Mapping[int, Action] = {
    HTTPStatus.OK: Action.READ,
    # A redirect within the host is followed; to another host it fails, so that credentials go nowhere else.
    HTTPStatus.MOVED_PERMANENTLY: Action.FOLLOW,
    HTTPStatus.FOUND: Action.FOLLOW,
    HTTPStatus.TEMPORARY_REDIRECT: Action.FOLLOW,
    HTTPStatus.PERMANENT_REDIRECT: Action.FOLLOW,
    # With a saved cursor it may mean that the cursor is no longer honoured; the walk knows.
    HTTPStatus.BAD_REQUEST: Action.ASK_WALK,
    HTTPStatus.UNAUTHORIZED: Action.FAIL_CREDENTIALS,
    HTTPStatus.FORBIDDEN: Action.FAIL_CREDENTIALS,
    # Over the limit (authentication page), or an outage that passes.
    HTTPStatus.TOO_MANY_REQUESTS: Action.RETRY,
    HTTPStatus.INTERNAL_SERVER_ERROR: Action.RETRY,
    HTTPStatus.BAD_GATEWAY: Action.RETRY,
    HTTPStatus.SERVICE_UNAVAILABLE: Action.RETRY,
    HTTPStatus.GATEWAY_TIMEOUT: Action.RETRY,
}
"""What the client does with a status; any other fails at once."""


class _ErrorDetail(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _ErrorEnvelope(msgspec.Struct):
    """`{"error": {"type": ..., "message": ...}}` (versioning page)."""

    error: _ErrorDetail


class SequenceClient:
    """Gets pages of activity logs over HTTP.

    Args:
        base_url: Base URL of the API, without a slash at its end.
        credentials: Client id and client secret.
        settings: Version, page size, filters, timeout, retry budget, pace and user agent.
        decoder: Turns a body into a page.
        logger: Where retries are reported.
        now: Seconds since 1970.
        monotonic: Seconds since any moment, for durations.
        sleep: Waits some seconds.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        *,
        base_url: str,
        credentials: tuple[str, str],
        settings: Settings,
        decoder: PageDecoder,
        logger: logging.Logger,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = base_url + PATH
        self._settings = settings
        self._decoder = decoder
        self._logger = logger
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._bucket = _bucket(settings.requests_per_minute)
        self._limiter = Limiter(SingleBucketFactory(self._bucket, schedule_leak=False), buffer_ms=1)
        self._warned_of_version = False
        self.requests_sent = 0
        """Requests sent so far, tries and redirects included."""
        self._session = requests.Session()
        # A proxy has no business between this machine and itself; it would see the credentials unencrypted.
        self._session.trust_env = not is_loopback(urlsplit(base_url).hostname)
        # Given as bytes, because requests would encode text as Latin-1.
        client_id, client_secret = credentials
        self._session.auth = HTTPBasicAuth(client_id.encode(), client_secret.encode())
        self._session.headers.update(
            {
                "Accept": "application/json",
                "Sequence-Version": settings.api_version,
                "User-Agent": settings.user_agent,
            }
        )

    def fetch(self, request: PageRequest, *, limit: int | None = None) -> Page:
        """Get one page, of `limit` logs or `page_size`.

        Raises:
            BadRequestError: The API answered 400.
            RequestError: The request failed for good, or for longer than the retry budget.
            RecordError: A log on the page does not fit the schema.
        """
        if request.is_optional:
            return self._fetch_once(request, limit or self._settings.page_size)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientRequestError),
            wait=_wait,
            stop=tenacity.stop_before_delay(self._settings.retry_budget_seconds),
            before_sleep=lambda attempt: self._report_retry(request, attempt),
            sleep=self._sleep,
        )
        try:
            return retrying(self._fetch_once, request, limit or self._settings.page_size)
        except tenacity.RetryError as error:
            attempt = error.last_attempt
            msg = (
                f"Sequence could not be read at {request}: {attempt.exception()}. Gave up after "
                f"{attempt.attempt_number} tries, because the next would exceed retry_budget_seconds "
                f"({self._settings.retry_budget_seconds:g}). Run again later: the next run goes on from the last STATE."
            )
            raise RequestError(msg) from attempt.exception()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _fetch_once(self, request: PageRequest, limit: int) -> Page:
        settings = self._settings
        parameters: dict[str, str | int | None] = {
            "limit": limit,
            "sortOrder": request.order,
            "after": request.cursor,
            "activityLogObjectId": settings.activity_log_object_id,
            "activityLogObjectEntityId": settings.activity_log_object_entity_id,
        }
        response, asked_at = self._send(self._url, parameters)
        for _ in range(_MAX_REDIRECTS):
            if ACTIONS.get(response.status_code) is not Action.FOLLOW:
                break
            response, asked_at = self._send(self._redirect_target(response, request), None)
        match ACTIONS.get(response.status_code, Action.FAIL):
            case Action.READ:
                self._check_version(response)
                return self._read(response, asked_at)
            case Action.RETRY:
                raise TransientRequestError(_describe(response), retry_after=self._retry_after(response))
            case Action.FAIL_CREDENTIALS:
                msg = (
                    f"Sequence refused the credentials at {request}: {_describe(response)}. Look at client_id and "
                    f"client_secret, and whether they belong to {urlsplit(self._url).netloc}: environment and "
                    "api_url choose the host."
                )
                raise RequestError(msg)
            case Action.ASK_WALK:
                msg = (
                    f"Sequence refused {request} as a bad request: {_describe(response)}. Look at api_version and the "
                    "filters; their defaults are right."
                )
                raise BadRequestError(msg)
            case _:
                msg = f"Sequence refused {request}: {_describe(response)}. Look at api_url and the filters."
                raise RequestError(msg)

    def _send(self, url: str, parameters: Mapping[str, Any] | None) -> tuple[requests.Response, int]:
        """Return a response, and when it was asked for, in microseconds since 1970."""
        self._limiter.try_acquire("requests")
        # Forget what lies outside the window: here, rather than in the library's background thread.
        self._bucket.leak(MonotonicClock().now())
        self.requests_sent += 1
        timeout = self._settings.request_timeout_seconds
        sent_at, started = self._now(), self._monotonic()
        try:
            # Redirects are followed by hand: requests would follow one to any host.
            response = self._session.get(url, params=parameters, timeout=timeout, allow_redirects=False)
        except requests.exceptions.Timeout:
            msg = f"no answer within request_timeout_seconds ({timeout:g})"
            raise TransientRequestError(msg) from None
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            msg = f"the connection failed or was cut ({_root_cause(error)})"
            raise TransientRequestError(msg) from None
        except requests.exceptions.ContentDecodingError:
            msg = "the answer's compression is broken"
            raise TransientRequestError(msg) from None
        answered_at = _parse_http_date(response.headers.get("Date", ""))
        if answered_at is not None:
            # Date is cut to the second and written after the request arrived: this errs to the safe side.
            sent_at = answered_at - (self._monotonic() - started)
        return response, math.floor(sent_at * MICROSECONDS)

    def _read(self, response: requests.Response, asked_at: int) -> Page:
        content_type = response.headers.get("Content-Type", "")
        if content_type.partition(";")[0].strip().lower() not in {"application/json", ""}:
            msg = f"status 200 with content type {content_type!r} in place of JSON: {quote(response.content)}"
            raise TransientRequestError(msg)
        return self._decoder.decode(response.content, asked_at=asked_at)

    def _redirect_target(self, response: requests.Response, request: PageRequest) -> str:
        target = urljoin(response.url, response.headers.get("Location", ""))
        here, there = urlsplit(self._url), urlsplit(target)
        if (here.scheme, here.netloc) != (there.scheme, there.netloc):
            msg = (
                f"Sequence redirected {request} to another host ({there.netloc or 'none'}). It was not followed, so "
                "that your credentials go nowhere else. If the API has moved, set api_url."
            )
            raise RequestError(msg)
        return target

    def _check_version(self, response: requests.Response) -> None:
        version = response.headers.get("Sequence-Version")
        if version and version != self._settings.api_version and not self._warned_of_version:
            self._warned_of_version = True
            self._logger.warning(
                "Asked for API version %s, but version %s answered: the shape of the logs may differ.",
                self._settings.api_version,
                version,
            )

    def _retry_after(self, response: requests.Response) -> float | None:
        """Return how many seconds `Retry-After` (seconds or a date, RFC 9110) asks to wait."""
        text = response.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        then = _parse_http_date(text)
        if then is None:
            return None
        # By the clock that wrote it, where that tells the time too.
        now = _parse_http_date(response.headers.get("Date", ""))
        return max(0.0, then - (self._now() if now is None else now))

    def _report_retry(self, request: PageRequest, attempt: tenacity.RetryCallState) -> None:
        self._logger.warning(
            "Sequence could not be read at %s: %s. Trying again in %.1f seconds (try %d).",
            request,
            attempt.outcome.exception() if attempt.outcome else "?",
            attempt.upcoming_sleep,
            attempt.attempt_number + 1,
        )


_backoff = tenacity.wait_exponential(multiplier=0.5, max=_LONGEST_BACKOFF_SECONDS) + tenacity.wait_random(
    0, 1
)


def _wait(attempt: tenacity.RetryCallState) -> float:
    error = attempt.outcome.exception() if attempt.outcome else None
    if isinstance(error, TransientRequestError) and error.retry_after is not None:
        # A Retry-After of nothing, or of a date gone by, is no leave to hammer.
        return max(error.retry_after, _backoff(attempt))
    return _backoff(attempt)


def _bucket(requests_per_minute: int) -> InMemoryBucket:
    """Return a bucket that keeps the minute's limit, and spreads it so that no burst spends it all at once."""
    burst = -(-requests_per_minute * _PACE_WINDOW_SECONDS // 60)
    rates = [Rate(burst, _PACE_WINDOW_SECONDS * 1000), Rate(requests_per_minute, 60_000)]
    if burst == requests_per_minute:
        rates = rates[1:]
    return InMemoryBucket(rates)


def _parse_http_date(text: str) -> float | None:
    """Return an HTTP date as seconds since 1970, or None where it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # The zone -0000, "unknown", comes back without one; HTTP knows only GMT.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _describe(response: requests.Response) -> str:
    """Say what a response was: its status, and the API's own error where it gave one."""
    text = f"status {response.status_code}"
    try:
        detail = msgspec.json.decode(response.content, type=_ErrorEnvelope).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return text
    words = clean(": ".join(word for word in (detail.type, detail.message) if word))
    return f"{text}, {words}" if words else text


def _root_cause(error: BaseException) -> str:
    """Return the innermost cause of a connection error; requests and urllib3 wrap it several times."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = inner.__cause__ or inner.__context__
    return type(error).__name__
