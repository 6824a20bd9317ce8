"""When the next request may be sent: at the configured rate, or slower after the API refused requests (429).

All threads share one RateLimiter. As long as the API refuses nothing, the rate is the configured one.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from pyrate_limiter import InMemoryBucket, Rate, RateItem

_MILLISECONDS = 1000
_MINUTE = 60.0
# Shorter windows, as (seconds, slack), spread requests over the minute: a burst cannot use it up, and requests delayed in
# transit do not coincide with the next ones. The slack keeps the shorter window from limiting the longer one.
_BURSTS = ((2.0, 1.0), (0.5, 1.2))
_LARGE_BURST = 40

_DROP = 0.9
"""After a refusal, the rate drops to this share of what the API accepted in the previous minute."""
_SHORT_DROP, _SHORT_DEEP_DROP = 0.95, 0.7
"""If the limit has a short window, the rate drops to this share of the current rate; to the second if refusals follow in quick
succession."""
_SHORT_SECONDS = 5.0
"""A limit with a shorter Retry-After has a short window: the requests of a whole minute say nothing about it."""
_SHORT_LIMITS_FROM = 300.0
"""Below this rate, every limit is treated as per-minute: limiting bursts alone is too coarse."""
_RECOVERY = 1.05
"""The rate recovers by this factor every minute, up to the configured one: a limit of 100 a minute with a configured rate of
1,200 is exceeded once every few minutes."""
_SHORT_RECOVERY_SECONDS = 10.0
"""Interval in place of that minute if the limit has a short window: exceeding it costs little."""
_SLOWEST = 1 / 20
"""Minimum rate, as a share of the configured one: if others use up a key's limit, the few requests that were accepted say
nothing about the limit itself."""


class RateLimiter:
    """Limits the rate of requests, and pauses all of them if the API asks for it. Thread-safe.

    Args:
        requests_per_minute: The configured rate.
        monotonic: Monotonic clock, in seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        requests_per_minute: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._configured = requests_per_minute
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        # Not the library's Limiter, which has its own clock.
        self._bucket = InMemoryBucket(_rates(requests_per_minute, requests_per_minute))
        self._held_until = -math.inf
        self._reduced_to = float(requests_per_minute)
        self._reduced_at = -math.inf
        self._recovery_seconds = _MINUTE
        self._accepted_since_refusal = True
        self._first_sent_at = math.inf
        # When the requests of the last minute were sent. The bucket forgets them if only bursts are limited.
        self._sent: deque[float] = deque()
        self._refused_at = -math.inf
        # The rate to drop to instead if the limit turns out to have a short window.
        self._rate_if_short: float | None = None
        self._is_short = False
        # Whether the rate limits a whole minute, and not only each burst.
        self._limits_minute = True

    @property
    def requests_per_minute(self) -> float:
        """The current rate."""
        with self._lock:
            return self._rate()

    @property
    def seconds_held(self) -> float:
        """Remaining seconds of the current pause; 0 if there is none."""
        with self._lock:
            return max(0.0, self._held_until - self._monotonic())

    def wait_for_turn(self) -> float:
        """Wait until a request may be sent, count it, and return the time on the monotonic clock."""
        while (seconds := self._take_turn()) > 0:
            self._sleep(seconds)
        return self._monotonic()

    def hold(self, seconds: float) -> None:
        """Pause all requests for a number of seconds from now."""
        with self._lock:
            self._held_until = max(self._held_until, self._monotonic() + seconds)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Lower the rate: the API refused a request because there were too many (429).

        Args:
            sent_at: When the request was sent, on the monotonic clock.
            retry_after: Seconds that the API asked to wait, if it did. Call `hold` with them first.
        """
        with self._lock:
            # Consecutive refusals count once: they mean that the wait is not over, not that the rate is still too high. So do
            # the refusals of requests that were in flight together.
            if not self._accepted_since_refusal or sent_at <= self._refused_at:
                return
            now, rate = self._monotonic(), self._rate()
            short_window_rate = (
                _SHORT_DEEP_DROP if now - self._refused_at < _SHORT_SECONDS else _SHORT_DROP
            ) * rate
            self._is_short = retry_after is not None and retry_after <= _SHORT_SECONDS
            self._limits_minute = not self._is_short or rate < _SHORT_LIMITS_FROM
            self._rate_if_short = (
                short_window_rate if retry_after is None and rate >= _SHORT_LIMITS_FROM else None
            )
            self._drop_to(
                min(self._rate_from_last_minute(now, retry_after), rate)
                if self._limits_minute
                else short_window_rate
            )
            self._reduced_at = max(now, self._held_until)
            self._refused_at = now
            self._accepted_since_refusal = False

    def accepted(self, sent_at: float) -> None:
        """Note that the API did not refuse a request.

        Args:
            sent_at: When it was sent, on the monotonic clock.
        """
        with self._lock:
            self._accepted_since_refusal = True
            if self._rate_if_short is None or sent_at <= self._refused_at:
                return
            if sent_at - self._refused_at < _SHORT_SECONDS:
                # There was no Retry-After, yet a request was accepted soon after the refusal: the window is short.
                self._is_short, self._limits_minute = True, False
                self._drop_to(self._rate_if_short)
            self._rate_if_short = None

    def _drop_to(self, rate: float) -> None:
        self._reduced_to = max(rate, _SLOWEST * self._configured)
        self._recovery_seconds = _MINUTE
        if self._is_short:
            is_fast = rate >= _SHORT_LIMITS_FROM
            self._recovery_seconds = _SHORT_RECOVERY_SECONDS if is_fast else 2 * _SHORT_RECOVERY_SECONDS

    def _rate_from_last_minute(self, now: float, retry_after: float | None) -> float:
        """Return a rate below what was accepted in the last minute: if the limit is per-minute, that was the limit."""
        self._forget_before(now - _MINUTE)
        seconds = _MINUTE
        if retry_after is not None:
            # Nothing more will be accepted until the wait is over.
            seconds = min(max(now - self._first_sent_at + retry_after, 1.0), _MINUTE)
        return _DROP * (len(self._sent) - 1) * _MINUTE / seconds

    def _forget_before(self, moment: float) -> None:
        while self._sent and self._sent[0] <= moment:
            self._sent.popleft()

    def _take_turn(self) -> float:
        """Count a request that may be sent now, and return 0; else return the seconds to wait before asking again."""
        with self._lock:
            held = self._held_until - self._monotonic()
            if held > 0:
                return held
            item = RateItem("request", self._now())
            self._bucket.leak(item.timestamp)
            rate = self._rate()
            # As long as the kind of limit is unknown, a request must be sent soon to find out.
            limits_minute = self._limits_minute and self._rate_if_short is None
            self._bucket.rates = _rates(rate, rate if limits_minute else self._configured)
            if self._bucket.put(item):
                self._sent.append(self._monotonic())
                self._first_sent_at = min(self._first_sent_at, self._sent[-1])
                self._forget_before(self._sent[-1] - _MINUTE)
                return 0.0
            waiting = self._bucket.waiting(item)
            assert isinstance(waiting, int)  # noqa: S101  # only asynchronous buckets return something else
            return max(waiting, 1) / _MILLISECONDS

    def _rate(self) -> float:
        intervals = max(0.0, self._monotonic() - self._reduced_at) / self._recovery_seconds
        if intervals * math.log(_RECOVERY) >= math.log(self._configured / self._reduced_to):
            return float(self._configured)
        return self._reduced_to * float(_RECOVERY**intervals)

    def _now(self) -> int:
        return int(self._monotonic() * _MILLISECONDS)


def _rates(rate: float, minute_limit: float) -> list[Rate]:
    """Return the limits of a minute, of a burst, and of a part of a burst.

    Args:
        rate: Requests per minute that bursts keep to.
        minute_limit: Maximum number of requests in a minute.
    """
    most = max(1, math.floor(minute_limit))
    rates = [Rate(most, int(_MINUTE) * _MILLISECONDS)]
    for seconds, slack in _BURSTS:
        limit = rate * slack * seconds / _MINUTE
        # Rounding up a small limit lets the limit of the minute decide; rounding down a large one leaves room for delays.
        limit = math.ceil(limit) if limit < _LARGE_BURST else math.floor(limit)
        shorter, longer = Rate(limit, int(seconds * _MILLISECONDS)), rates[0]
        # The library rejects a limit that can never be reached before another one.
        if limit < longer.limit:
            is_longer_needed = limit * longer.interval >= longer.limit * shorter.interval
            rates = [shorter, *rates] if is_longer_needed else [shorter, *rates[1:]]
    return rates
