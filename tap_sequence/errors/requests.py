"""Errors of requests to the API.

RequestError
├── RefusedError
│   └── BadRequestError
├── CredentialsError
├── RedirectError
├── ResponseTooLargeError
├── UnreachableError
├── RetriesExhaustedError
│   └── RateLimitedError
└── PrefetchBudgetError
AttemptError                    never leaves api/: the client retries, or raises a RequestError
├── TransientRequestError
├── UnanswerableError
└── PageTooLargeError
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum

from tap_sequence.errors.base import FailureKind, TapSequenceError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Effort:
    """How much was tried before giving up.

    Attributes:
        attempts: Number of attempts.
        seconds: Seconds since the first request was sent.
    """

    attempts: int
    seconds: float

    @override
    def __str__(self) -> str:
        return f"{self.attempts} attempt{'' if self.attempts == 1 else 's'} in {self.seconds:.1f} s"


@dataclass(eq=False)
class RequestError(TapSequenceError):
    """A page could not be read. Base of all errors of a request.

    Attributes:
        request: The page, which its text names: `page 7 (ASC after cursor ...)`.
    """

    request: object


@dataclass(eq=False)
class RefusedError(RequestError):
    """The API refused the request with a status that repeating the request cannot change."""

    kind = FailureKind.CONFIG
    template = (
        "Sequence refused the request for {request}: {problem}. Check api_url, api_version and the filters; their "
        "defaults are correct."
    )
    problem: str


class BadRequestError(RefusedError):
    """The API refused this particular request (400, 404, 409, 410 or 422): perhaps it no longer accepts the cursor."""


@dataclass(eq=False)
class CredentialsError(RequestError):
    """The API refused the credentials (401 or 403)."""

    kind = FailureKind.CONFIG
    template = (
        "Sequence refused the credentials in the request for {request}: {problem}. Check client_id and client_secret, "
        "and that they belong to {host}, which environment and api_url select."
    )
    problem: str
    host: str


@dataclass(eq=False)
class RedirectError(RequestError):
    """The request was redirected, to `host`."""

    kind = FailureKind.CONFIG
    template = (
        "Request for {request} was redirected to {host}. Redirects are not followed, so that your credentials are not sent "
        "to another host. Check api_url, or remove it to use the default address of the environment."
    )
    host: str


@dataclass(eq=False)
class ResponseTooLargeError(RequestError):
    """The page has too many bytes, or too many values."""

    kind = FailureKind.CONFIG
    template = "Request for {request} failed: {problem}. Set page_size to a smaller number."
    problem: str


@dataclass(eq=False)
class UnreachableError(RequestError):
    """Retrying cannot help: the address, the proxy or the certificates are wrong. `advice` is a sentence."""

    kind = FailureKind.CONFIG
    template = "Request for {request} failed: {problem}. Gave up after {effort}, because retrying cannot help. {advice}"
    problem: str
    effort: Effort
    advice: str


class StopReason(StrEnum):
    """Why there is no further attempt. Completes the text of RetriesExhaustedError."""

    OPTIONAL = "Optional requests are not retried."
    BUDGET = "The next attempt would exceed retry_budget_seconds ({budget})."
    RETRY_AFTER = "The API asks to wait {retry_after} s, which would exceed retry_budget_seconds ({budget})."


_GAVE_UP = (
    "Request for {request} failed: {problem}. Gave up after {effort}. {reason} Run again later: the next run resumes "
    "from the last STATE. "
)


@dataclass(eq=False)
class RetriesExhaustedError(RequestError):
    """A failure that may pass did not pass in time.

    Attributes:
        problem: The last failure.
        effort: What was tried.
        stop_reason: Why there is no further attempt.
        budget: `retry_budget_seconds`.
        retry_after: Seconds that the API asked to wait, if it did.
        reason: `stop_reason` in full.
    """

    kind = FailureKind.TRANSIENT
    template = (
        _GAVE_UP
        + "If this persists, check api_url and any proxy, or send this message to Sequence's support."
    )
    problem: str
    effort: Effort
    stop_reason: StopReason
    budget: float
    retry_after: float | None
    reason: str = field(init=False)

    def __post_init__(self) -> None:
        self.reason = self.stop_reason.format(
            budget=f"{self.budget:g}", retry_after=f"{self.retry_after or 0:.0f}"
        )


class RateLimitedError(RetriesExhaustedError):
    """The last failure was 429: more requests than the API key allows, from all of its users together."""

    template = _GAVE_UP + "If this persists, lower requests_per_minute."


class PrefetchBudgetError(RequestError):
    """The response does not fit into the memory for prefetched pages. The page is requested again when it is needed."""

    kind = FailureKind.TRANSIENT


@dataclass(eq=False)
class AttemptError(TapSequenceError):
    """One attempt failed. The client retries, or raises a RequestError with the same problem."""

    template = "{problem}"
    problem: str


@dataclass(eq=False)
class TransientRequestError(AttemptError):
    """A retry may succeed.

    Attributes:
        retry_after: Seconds that the API asked to wait, if it did.
        is_refusal: Whether there were too many requests (429).
    """

    kind = FailureKind.TRANSIENT
    retry_after: float | None = None
    is_refusal: bool = False


@dataclass(eq=False)
class UnanswerableError(AttemptError):
    """No retry can succeed. `advice` is a sentence that says what to do."""

    kind = FailureKind.CONFIG
    advice: str


class PageTooLargeError(AttemptError):
    """The body has more values than fit into memory."""

    kind = FailureKind.CONFIG
