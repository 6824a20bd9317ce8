"""The HTTP client: requests one page, and retries where that may help.

It knows responses and attempts, not walks or bookmarks. `tap_sequence.api.responses` has the table of what each response
means, `tap_sequence.api.retries` the retry policy.
"""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, Self
from urllib.parse import urlsplit

from tap_sequence.api.byte_budget import ByteBudget, Reserve
from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.endpoint import Endpoint
from tap_sequence.api.envelope import describe
from tap_sequence.api.headers import redirect_host, retry_after
from tap_sequence.api.rate_limit import RateLimiter
from tap_sequence.api.responses import Action, Problem, Response, Shape, action_for
from tap_sequence.api.retries import Attempts, RetryPolicy
from tap_sequence.api.transport import MAX_BODY_BYTES, Transport
from tap_sequence.errors import (
    BadRequestError,
    CredentialsError,
    PageTooLargeError,
    RecordError,
    RedirectError,
    RefusedError,
    RequestError,
    ResponseTooLargeError,
    TransientRequestError,
    UnanswerableError,
    UnreachableError,
)
from tap_sequence.sync.models import Page, PageRequest
from tap_sequence.text.redaction import excerpt

_ATTEMPTS_WITHOUT_PAGINATION = 3
"""How often a page must come without `pagination` before it counts as the last one."""


class ClientSettings(Protocol):
    """The settings that the client uses; tap_sequence/settings.py describes them."""

    api_version: str
    page_size: int
    requests_per_minute: int
    max_in_flight_requests: int
    request_timeout_seconds: float
    retry_budget_seconds: float
    user_agent: str


@dataclass(slots=True)
class Traffic:
    """What was sent so far.

    Attributes:
        requests: Number of requests, retries included.
        retries: Number of retries.
        refusals: Number of responses with status 429.
    """

    requests: int = 0
    retries: int = 0
    refusals: int = 0

    def since(self, earlier: Traffic) -> Traffic:
        """Return what was sent since `earlier`."""
        return Traffic(
            self.requests - earlier.requests, self.retries - earlier.retries, self.refusals - earlier.refusals
        )


class SequenceClient:
    """Reads the pages of one endpoint over HTTP. Thread-safe: all threads share the rate limit, and its pauses.

    Args:
        base_url: Base URL of the API, without a slash at its end.
        credentials: Client id and client secret.
        settings: Version, page size, timeout, retry budget, rate limit and user agent; and the endpoint's filters.
        endpoint: The list to read.
        decoder: Decodes bodies into pages.
        logger: Logger for retries and other warnings.
        now: Clock, in seconds since 1970.
        monotonic: Monotonic clock, in seconds.
        sleep: Waits for a number of seconds.
        jitter: Returns a random number from 0 to 1.
    """

    def __init__(  # noqa: PLR0913  # each is named
        self,
        *,
        base_url: str,
        credentials: tuple[str, str],
        settings: ClientSettings,
        endpoint: Endpoint,
        decoder: PageDecoder,
        logger: logging.Logger,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base_url = base_url
        self._settings = settings
        self._set_endpoint(endpoint, decoder)
        self._logger = logger
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._in_flight = threading.BoundedSemaphore(settings.max_in_flight_requests)
        self._byte_budget = ByteBudget()
        self._has_warned_of_version = False
        self.traffic = Traffic()
        self._rate_limiter = RateLimiter(settings.requests_per_minute, monotonic=monotonic, sleep=sleep)
        self._retry_policy = RetryPolicy(settings.retry_budget_seconds, monotonic=monotonic, jitter=jitter)
        self._transport = Transport(
            base_url=base_url,
            credentials=credentials,
            headers={
                "Accept": "application/json",
                "Sequence-Version": settings.api_version,
                "User-Agent": settings.user_agent,
            },
            timeout=settings.request_timeout_seconds,
            now=now,
            monotonic=monotonic,
        )

    def for_endpoint(self, endpoint: Endpoint, decoder: PageDecoder) -> Self:
        """Return a client for another list, which shares this one's connections, rate limit and counts."""
        other = copy.copy(self)
        other._set_endpoint(endpoint, decoder)  # noqa: SLF001  # a copy of this one
        return other

    def _set_endpoint(self, endpoint: Endpoint, decoder: PageDecoder) -> None:
        self._url = self._base_url + endpoint.path
        self._filters = {
            parameter: getattr(self._settings, setting) for parameter, setting in endpoint.filters.items()
        }
        self._decoder = decoder

    def fetch(self, request: PageRequest, *, limit: int | None = None) -> Page:
        """Return one page.

        Args:
            request: The page.
            limit: Maximum number of entries on it; `page_size` by default.

        Raises:
            BadRequestError: The API refused this very request.
            RequestError: The request failed, and retrying did not help or cannot help.
            RecordError: An entry on the page cannot be used.
        """
        attempts = Attempts(request, limit or self._settings.page_size)
        while True:
            try:
                return self._attempt(attempts)
            except TransientRequestError as error:
                seconds = self._retry_policy.delay(attempts, error)
                self._report_retry(attempts, error, seconds)
            except UnanswerableError as error:
                effort = self._retry_policy.effort(attempts)
                raise UnreachableError(request, error.problem, effort, error.advice) from error
            except RecordError as error:
                error.request = request
                raise
            self._sleep(seconds)

    @property
    def skipped(self) -> int:
        """Number of entries that were skipped as invalid."""
        return self._decoder.skipped

    # Attempts

    def _report_retry(self, attempts: Attempts, error: TransientRequestError, seconds: float) -> None:
        if error.is_refusal:
            self._rate_limiter.hold(seconds)
        with self._lock:
            self.traffic.retries += 1
        self._logger.warning(
            "Request for %s failed: %s. Retrying in %.1f s (attempt %d).",
            attempts.request,
            error.problem,
            seconds,
            attempts.count + 1,
        )

    def _attempt(self, attempts: Attempts) -> Page:
        attempts.count += 1
        with self._byte_budget.lease(attempts.request) as reserve:
            response = self._send(attempts, reserve)
            page, shape, problem = self._read(response, attempts.count)
        action = action_for(response.status, shape)
        if action is not Action.SLOW_DOWN:
            self._rate_limiter.accepted(attempts.sent_at)
        if action is Action.READ and page is not None:
            self._check_version(response)
            return page
        if action in {Action.RETRY, Action.SLOW_DOWN}:
            raise self._transient(attempts, response, problem, is_refusal=action is Action.SLOW_DOWN)
        raise self._final(attempts.request, action, response, problem)

    def _send(self, attempts: Attempts, reserve: Reserve) -> Response:
        pause = self._rate_limiter.seconds_held
        if pause and self._retry_policy.is_over_budget(attempts, pause):
            # Another thread, or an optional request, was asked to wait for longer than this page may take.
            raise TransientRequestError(Problem.PAUSED, retry_after=pause)
        parameters = {
            "limit": attempts.limit,
            "sortOrder": attempts.request.order,
            "after": attempts.request.cursor,
            **self._filters,
        }
        # Acquired before the turn, so that no turn is used late, in a burst with others.
        with self._in_flight:
            attempts.sent_at = self._rate_limiter.wait_for_turn()
            attempts.started_at = min(attempts.started_at, attempts.sent_at)
            with self._lock:
                self.traffic.requests += 1
            return self._transport.get(self._url, parameters, reserve)

    def _transient(
        self, attempts: Attempts, response: Response, problem: str, *, is_refusal: bool
    ) -> TransientRequestError:
        """Return the error of a response that may be better next time, and tell the rate limiter."""
        seconds = retry_after(response.headers, self._now())
        if seconds is not None:
            self._rate_limiter.hold(seconds)
        if is_refusal:
            self._rate_limiter.refused(attempts.sent_at, seconds)
            with self._lock:
                self.traffic.refusals += 1
        return TransientRequestError(problem, retry_after=seconds, is_refusal=is_refusal)

    def _final(self, request: PageRequest, action: Action, response: Response, problem: str) -> RequestError:
        """Return the error of a response that will not be better next time."""
        match action:
            case Action.FAIL_CREDENTIALS:
                return CredentialsError(request, problem, urlsplit(self._url).netloc)
            case Action.FAIL_REDIRECT:
                return RedirectError(request, redirect_host(self._url, response.headers.get("Location", "")))
            case Action.FAIL_SIZE:
                return ResponseTooLargeError(request, problem)
            case Action.ASK_WALK:
                return BadRequestError(request, problem)
            case _:
                return RefusedError(request, problem)

    # Responses

    def _read(self, response: Response, attempt: int) -> tuple[Page | None, Shape, str]:
        """Return the page, if it is one, the shape of the body, and what is wrong with it."""
        if response.status != HTTPStatus.OK:
            return None, Shape.NO_PAGE, describe(response)
        if response.is_too_large:
            return None, Shape.TOO_LARGE, Problem.TOO_MANY_BYTES.format(mebibytes=MAX_BODY_BYTES // 2**20)
        try:
            page = self._decoder.decode(response.body, asked_at=response.asked_at)
        except TransientRequestError as error:
            content_type = repr(excerpt(response.headers.get("Content-Type", "")))
            problem = Problem.UNREADABLE.format(content_type=content_type, problem=error.problem)
            return None, Shape.NO_PAGE, problem
        except PageTooLargeError as error:
            return None, Shape.TOO_LARGE, error.problem
        if not page.has_pagination and attempt < _ATTEMPTS_WITHOUT_PAGINATION:
            return None, Shape.NO_PAGE, Problem.NO_PAGINATION
        return page, Shape.PAGE, ""

    def _check_version(self, response: Response) -> None:
        version = response.headers.get("Sequence-Version")
        if not version or version == self._settings.api_version:
            return
        with self._lock:
            is_first, self._has_warned_of_version = not self._has_warned_of_version, True
        if is_first:
            self._logger.warning(
                "Requested API version %s, but the API responded with version %s: logs may have another shape. Check "
                "whether a newer version of tap-sequence requests it.",
                self._settings.api_version,
                excerpt(version),
            )
