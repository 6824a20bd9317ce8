"""The HTTP client: asks for one page, and tries again where that may help.

It knows answers and tries, not walks or bookmarks. What each answer means is the table in tap_sequence/api/responses.py.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import msgspec
import tenacity
import urllib3

from tap_sequence.api.addresses import PATH
from tap_sequence.api.decoder import UNDECODABLE, PageDecoder
from tap_sequence.api.rate_limit import RateLimiter
from tap_sequence.api.responses import Action, Shape, action_for
from tap_sequence.api.transport import MAX_BODY_BYTES, ByteBudget, Response, Take, Transport, parse_http_date
from tap_sequence.errors import (
    BadRequestError,
    PageTooLargeError,
    RecordError,
    RequestError,
    TransientRequestError,
    UnanswerableError,
)
from tap_sequence.sync.models import Page, PageRequest
from tap_sequence.text.redaction import excerpt

_TRIES_WITHOUT_PAGINATION = 3
"""How often a page must come without `pagination` to be the last one."""

_BACKOFF = tenacity.wait_exponential(multiplier=0.5, max=60)


class _ErrorDetail(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _ErrorEnvelope(msgspec.Struct):
    """`{"error": {"type": ..., "message": ...}}` (versioning page)."""

    error: _ErrorDetail


@dataclass(slots=True)
class _Attempt:
    """One page being asked for, however many tries it takes.

    Attributes:
        request: The page.
        limit: How many logs to ask for.
        started_at: When its first request was sent, by the monotonic clock: who waits for a turn has tried nothing.
        tries: Tries so far, the one under way included.
        sent_at: When its last request was sent, by the same clock.
    """

    request: PageRequest
    limit: int
    started_at: float = math.inf
    tries: int = 0
    sent_at: float = 0.0


class ClientSettings(Protocol):
    """What the client needs of the settings; tap_sequence/settings.py describes each."""

    api_version: str
    page_size: int
    activity_log_object_id: str | None
    activity_log_object_entity_id: str | None
    requests_per_minute: int
    max_in_flight_requests: int
    request_timeout_seconds: float
    retry_budget_seconds: float
    user_agent: str


class SequenceClient:
    """Gets pages of activity logs over HTTP. Thread-safe: all threads share the pace, and wait when the API asks to.

    Args:
        base_url: Base URL of the API, without a slash at its end.
        credentials: Client id and client secret.
        settings: Version, page size, filters, timeout, retry budget, pace and user agent.
        decoder: Turns a body into a page.
        logger: Where retries are reported.
        now: Seconds since 1970.
        monotonic: Seconds since any moment, for durations.
        sleep: Waits some seconds.
        jitter: A random number from 0 to 1.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        *,
        base_url: str,
        credentials: tuple[str, str],
        settings: ClientSettings,
        decoder: PageDecoder,
        logger: logging.Logger,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = base_url + PATH
        self._settings = settings
        self._decoder = decoder
        self._logger = logger
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._in_flight = threading.BoundedSemaphore(settings.max_in_flight_requests)
        self._budget = ByteBudget()
        self._warned_of_version = False
        self.requests_sent = 0
        """Requests sent so far, each try counted."""
        self.retries = 0
        """How many of them tried again what had failed before."""
        self.refusals = 0
        """How many of them were answered 429."""
        self._pace = RateLimiter(settings.requests_per_minute, monotonic=monotonic, sleep=sleep)
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

    def fetch(self, request: PageRequest, *, limit: int | None = None) -> Page:
        """Get one page, of `limit` logs or `page_size`.

        Raises:
            BadRequestError: The API refused the request as it stands.
            RequestError: The request failed for good, or for longer than the retry budget.
            RecordError: A log on the page cannot be used.
        """
        attempt = _Attempt(request, limit or self._settings.page_size)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientRequestError),
            wait=self._wait,
            stop=lambda state: request.is_optional or self._is_over_budget(attempt, state.upcoming_sleep),
            before_sleep=lambda state: self._report_retry(attempt, state),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._try, attempt)
        except TransientRequestError as error:
            raise self._exhausted(attempt, error) from error
        except RecordError as error:
            msg = f"{error} The log is on {request}."
            raise RecordError(msg) from error

    @property
    def skipped_logs(self) -> int:
        """How many logs were left out as invalid."""
        return self._decoder.skipped_logs

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    # Tries

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Return how many seconds to wait before the next try."""
        backoff = _BACKOFF(state) + self._jitter()
        error = state.outcome.exception() if state.outcome else None
        asked_for = error.retry_after if isinstance(error, TransientRequestError) else None
        # A Retry-After of nothing, or of a date gone by, is no leave to hammer.
        return backoff if asked_for is None else max(asked_for, backoff)

    def _is_over_budget(self, attempt: _Attempt, seconds: float) -> bool:
        """Whether waiting some seconds more is longer than this page may take."""
        return self._spent(attempt) + seconds > self._settings.retry_budget_seconds

    def _spent(self, attempt: _Attempt) -> float:
        """Return for how many seconds a page has been asked for."""
        return max(0.0, self._monotonic() - attempt.started_at)

    def _report_retry(self, attempt: _Attempt, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransientRequestError) and error.is_refusal:
            self._pace.hold(state.upcoming_sleep)
        with self._lock:
            self.retries += 1
        self._logger.warning(
            "Sequence could not be read at %s: %s. Trying again in %.1f seconds (try %d).",
            attempt.request,
            error,
            state.upcoming_sleep,
            attempt.tries + 1,
        )

    def _exhausted(self, attempt: _Attempt, error: TransientRequestError) -> RequestError:
        """Return the error that ends a request after its last try."""
        why = ""
        advice = "If it stays so, check api_url and any proxy, or send this line to Sequence's support."
        if error.is_refusal:
            advice = "If it stays so, set requests_per_minute to less."
        if not attempt.request.is_optional:
            budget = f"retry_budget_seconds ({self._settings.retry_budget_seconds:g})"
            why = f" The next try would exceed {budget}."
            if error.retry_after is not None:
                why = f" The API asks to wait {error.retry_after:.0f} seconds, which would exceed {budget}."
        msg = (
            f"Sequence could not be read at {attempt.request}: {error}. Gave up after {self._effort(attempt)}.{why} "
            f"Run again later: the next run goes on from the last STATE. {advice}"
        )
        return RequestError(msg)

    def _effort(self, attempt: _Attempt) -> str:
        tries = "1 try" if attempt.tries == 1 else f"{attempt.tries} tries"
        return f"{tries} in {self._spent(attempt):.1f} seconds"

    def _try(self, attempt: _Attempt) -> Page:
        attempt.tries += 1
        # Only the page that the walk needs next has a number.
        with self._budget.share(is_ahead=attempt.request.number is None) as take:
            answer = self._answer(attempt, take)
            page, shape, problem = self._read(answer, attempt.tries)
        action = action_for(answer.status, shape)
        if action is not Action.SLOW_DOWN:
            self._pace.answered(attempt.sent_at)
        if action is Action.READ and page is not None:
            self._check_version(answer)
            return page
        if action in {Action.RETRY, Action.SLOW_DOWN}:
            seconds = self._retry_after(answer)
            if seconds is not None:
                self._pace.hold(seconds)
            if action is Action.SLOW_DOWN:
                self._pace.refused(attempt.sent_at, seconds)
                with self._lock:
                    self.refusals += 1
            raise TransientRequestError(problem, retry_after=seconds, is_refusal=action is Action.SLOW_DOWN)
        if shape is Shape.TOO_LARGE:
            msg = f"Sequence could not be read at {attempt.request}: {problem}. Set page_size to a smaller number."
            raise RequestError(msg)
        if action is Action.FAIL_REDIRECT:
            problem = redirect_host(self._url, answer.headers.get("Location", ""))
        raise self._refusal(attempt, action, problem)

    def _refusal(self, attempt: _Attempt, action: Action, problem: str) -> RequestError:
        """Return the error that ends a request for good."""
        request = attempt.request
        # Tries that came before are worth a word; a refusal of the first is what everyone expects.
        effort = "" if attempt.tries == 1 else f" ({self._effort(attempt)})"
        match action:
            case Action.FAIL_CREDENTIALS:
                msg = (
                    f"Sequence refused the credentials at {request}: {problem}{effort}. Look at client_id and "
                    f"client_secret, and whether they belong to {urlsplit(self._url).netloc}: environment and "
                    "api_url choose the host."
                )
                return RequestError(msg)
            case Action.FAIL_REDIRECT:
                msg = (
                    f"Request for {request} was redirected to {problem}{effort}. Redirects are not followed, so that your "
                    "credentials go nowhere else. Check api_url; leave it out to use the address of the environment."
                )
                return RequestError(msg)
            case _:
                msg = (
                    f"Sequence refused {request}: {problem}{effort}. Look at api_url, api_version and the filters; "
                    "their defaults are right."
                )
                return BadRequestError(msg) if action is Action.ASK_WALK else RequestError(msg)

    def _answer(self, attempt: _Attempt, take: Take) -> Response:
        """Send the request, and return what comes of it."""
        parameters: dict[str, str | int | None] = {
            "limit": attempt.limit,
            "sortOrder": attempt.request.order,
            "after": attempt.request.cursor,
            "activityLogObjectId": self._settings.activity_log_object_id,
            "activityLogObjectEntityId": self._settings.activity_log_object_entity_id,
        }
        try:
            return self._send(attempt, parameters, take)
        except UnanswerableError as error:
            effort = self._effort(attempt)
            msg = f"Sequence could not be read at {attempt.request}: {error}. Gave up after {effort}. {error.advice}"
            raise RequestError(msg) from error

    def _send(self, attempt: _Attempt, parameters: Mapping[str, Any], take: Take) -> Response:
        held = self._pace.seconds_held
        if held and self._is_over_budget(attempt, held):
            # Another thread, or an optional request, was told to wait for longer than this page may take.
            msg = "the API asked for a pause of all requests"
            raise TransientRequestError(msg, retry_after=held)
        # Held from before the turn comes, so that no turn is used late, in a burst with others.
        with self._in_flight:
            attempt.sent_at = self._pace.wait_for_turn()
            attempt.started_at = min(attempt.started_at, attempt.sent_at)
            with self._lock:
                self.requests_sent += 1
            return self._transport.get(self._url, parameters, take)

    # Answers

    def _read(self, answer: Response, tries: int) -> tuple[Page | None, Shape, str]:
        """Return the page, if there is one, the shape of the body, and what is wrong."""
        if answer.status != HTTPStatus.OK:
            return None, Shape.NO_PAGE, _describe(answer)
        if answer.is_too_large:
            size = f"{MAX_BODY_BYTES // 2**20} MiB"
            return (
                None,
                Shape.TOO_LARGE,
                f"status 200 with a body of more than {size}, which no page of logs is",
            )
        content_type = excerpt(answer.headers.get("Content-Type", ""))
        try:
            page = self._decoder.decode(answer.body, asked_at=answer.asked_at)
        except TransientRequestError as error:
            problem = f"status 200 with content type {content_type!r}, but {error}"
            return None, Shape.NO_PAGE, problem
        except PageTooLargeError as error:
            return None, Shape.TOO_LARGE, str(error)
        if not page.has_pagination and tries < _TRIES_WITHOUT_PAGINATION:
            problem = (
                "status 200 with a page that does not say whether there is a next one: it has no pagination"
            )
            return None, Shape.NO_PAGE, problem
        return page, Shape.PAGE, ""

    def _check_version(self, answer: Response) -> None:
        version = answer.headers.get("Sequence-Version")
        if not version or version == self._settings.api_version:
            return
        with self._lock:
            is_first, self._warned_of_version = not self._warned_of_version, True
        if is_first:
            self._logger.warning(
                "Asked for API version %s, but version %s answered: the shape of the logs may differ. See whether a newer "
                "version of this tap asks for it.",
                self._settings.api_version,
                excerpt(version),
            )

    def _retry_after(self, answer: Response) -> float | None:
        """Return how many seconds `Retry-After` (seconds or a date, RFC 9110) asks to wait."""
        text = answer.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        then = parse_http_date(text)
        if then is None:
            return None
        # By the clock that wrote it, where that tells the time too.
        now = parse_http_date(answer.headers.get("Date", ""))
        return max(0.0, then - (self._now() if now is None else now))


def redirect_host(url: str, location: str) -> str:
    """Return the host that a redirect leads to, for a message: of a URL, which may hold a password, nothing else."""
    try:
        # As the parser sees it that would connect.
        host = urllib3.util.parse_url(urljoin(url, location)).host
    except ValueError:
        host = None
    return excerpt(host) if host else "somewhere that is not a URL"


def _describe(answer: Response) -> str:
    """Say what a response was: its status, and the API's own error where it gave one."""
    text = f"status {answer.status}"
    try:
        detail = msgspec.json.decode(answer.body, type=_ErrorEnvelope).error
    except UNDECODABLE:
        return text
    words = excerpt(": ".join(word for word in (detail.type, detail.message) if word))
    return f"{text}, {words}" if words else text
