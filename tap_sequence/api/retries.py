"""When a failed request is retried: exponential backoff with jitter, within a budget of seconds for each page."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tap_sequence.errors import (
    Effort,
    RateLimitedError,
    RetriesExhaustedError,
    StopReason,
    TransientRequestError,
)
from tap_sequence.sync.models import PageRequest

_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 60.0
_MAX_DOUBLINGS = 7  # reaches the maximum


@dataclass(slots=True)
class Attempts:
    """The attempts to read one page.

    Attributes:
        request: The page.
        limit: Maximum number of logs on it.
        started_at: When the first request was sent, on the monotonic clock; infinite before that. Waiting for the rate
            limit is not an attempt.
        count: Number of attempts, including the current one.
        sent_at: When the last request was sent, on the same clock.
    """

    request: PageRequest
    limit: int
    started_at: float = math.inf
    count: int = 0
    sent_at: float = 0.0


class RetryPolicy:
    """Decides how long to wait before the next attempt, and when to give up.

    Args:
        budget: Maximum number of seconds from the first request for a page to the last one.
        monotonic: Monotonic clock, in seconds.
        jitter: Returns a random number from 0 to 1, in seconds.
    """

    def __init__(self, budget: float, *, monotonic: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._jitter = jitter

    def delay(self, attempts: Attempts, error: TransientRequestError) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            RetriesExhaustedError: There is no next attempt.
        """
        backoff = min(_FIRST_BACKOFF * 2.0 ** min(attempts.count - 1, _MAX_DOUBLINGS), _MAX_BACKOFF)
        # A Retry-After of zero, or a date in the past, does not permit hammering.
        seconds = max(error.retry_after or 0.0, backoff + self._jitter())
        if attempts.request.is_optional:
            reason = StopReason.OPTIONAL
        elif not self.is_over_budget(attempts, seconds):
            return seconds
        else:
            reason = StopReason.BUDGET if error.retry_after is None else StopReason.RETRY_AFTER
        error_type = RateLimitedError if error.is_refusal else RetriesExhaustedError
        raise error_type(
            attempts.request, error.problem, self.effort(attempts), reason, self._budget, error.retry_after
        ) from error

    def is_over_budget(self, attempts: Attempts, seconds: float) -> bool:
        """Whether waiting for so many more seconds would exceed the budget."""
        return self.effort(attempts).seconds + seconds > self._budget

    def effort(self, attempts: Attempts) -> Effort:
        """Return what has been tried so far."""
        return Effort(attempts.count, max(0.0, self._monotonic() - attempts.started_at))
