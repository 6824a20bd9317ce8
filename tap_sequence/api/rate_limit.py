"""When the next request may be sent: the pace that is configured, and what the API's refusals teach about it.

One Pace is shared by all threads that send requests. While the API refuses nothing, the pace is the configured one.
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
# Requests are spread over the minute by windows of so many seconds: no burst spends it all at once, and a few that are late
# on their way do not add up with the next ones.
# The shorter ones have some slack, so that they do not take from the longer.
_BURSTS = ((2.0, 1.0), (0.5, 1.2))
_LARGE_BURST = 40

_DROP = 0.9
"""After a refusal: this share of what the API let through in the minute before."""
_SHORT_DROP, _SHORT_DEEP_DROP = 0.95, 0.7
"""Where the limit is a short one, this share of the pace; and where another refusal follows soon."""
_SHORT_SECONDS = 5.0
"""A limit that asks to wait for less is not taken for one of a minute: what came through in a minute says nothing of it."""
_SHORT_LIMITS_FROM = 300.0
"""Nor is one of a pace below this taken for anything else, whatever it asks: by bursts alone it could not be kept to."""
_RECOVERY = 1.05
"""From then on the pace grows by this factor each minute, up to the configured one: a limit of 100 a minute met with 1,200
is touched once every few minutes."""
_SHORT_STRETCH = 10.0
"""Seconds in place of that minute where the limit is a short one: to touch it costs little."""
_SLOWEST = 1 / 20
"""Share of the configured pace below which it never drops: when others use up a key's limit, what little came
through says nothing about the limit itself."""


class RateLimiter:
    """Lets requests through at a pace, and holds all of them back where the API asks for it. Thread-safe.

    Args:
        requests_per_minute: The pace to keep to.
        monotonic: Seconds since any moment.
        sleep: Waits some seconds.
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
        # Used without the library's limiter, which has a clock of its own.
        self._bucket = InMemoryBucket(_rates(requests_per_minute, requests_per_minute))
        self._held_until = -math.inf
        self._dropped_to = float(requests_per_minute)
        self._dropped_at = -math.inf
        self._stretch = _MINUTE
        self._had_answer = True
        self._first_at = math.inf
        # When the last minute's requests were sent. The bucket forgets them where only bursts are limited.
        self._sent: deque[float] = deque()
        self._refused_at = -math.inf
        # The pace to drop to instead, should the limit turn out to be a short one.
        self._if_short: float | None = None
        self._is_short = False
        # Whether a whole minute has to keep to the pace, and not only each burst.
        self._is_of_minute = True

    @property
    def requests_per_minute(self) -> float:
        """The pace at this moment."""
        with self._lock:
            return self._pace()

    @property
    def seconds_held(self) -> float:
        """Seconds for which no request will be let through, whatever the pace."""
        with self._lock:
            return max(0.0, self._held_until - self._monotonic())

    def wait_for_turn(self) -> float:
        """Wait until a request may be sent, and count it; return when that is, by the monotonic clock."""
        while (seconds := self._take_turn()) > 0:
            self._sleep(seconds)
        return self._monotonic()

    def hold(self, seconds: float) -> None:
        """Let no request through for some seconds from now."""
        with self._lock:
            self._held_until = max(self._held_until, self._monotonic() + seconds)

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Go slower: the API said that there were too many requests.

        Args:
            sent_at: When the request was sent, by the monotonic clock.
            retry_after: For how many seconds the API asked to wait, where it did. Call `hold` with them first.
        """
        with self._lock:
            # Refusals in a row are one: they say that the wait is not over, not that the pace is still too high. So are
            # those of requests that were under way together.
            if not self._had_answer or sent_at <= self._refused_at:
                return
            now, pace = self._monotonic(), self._pace()
            of_now = (_SHORT_DEEP_DROP if now - self._refused_at < _SHORT_SECONDS else _SHORT_DROP) * pace
            self._is_short = retry_after is not None and retry_after <= _SHORT_SECONDS
            self._is_of_minute = not self._is_short or pace < _SHORT_LIMITS_FROM
            self._if_short = of_now if retry_after is None and pace >= _SHORT_LIMITS_FROM else None
            self._drop_to(min(self._of_last_minute(now, retry_after), pace) if self._is_of_minute else of_now)
            self._dropped_at = max(now, self._held_until)
            self._refused_at = now
            self._had_answer = False

    def answered(self, sent_at: float) -> None:
        """Take note that the API did not refuse a request.

        Args:
            sent_at: When it was sent, by the monotonic clock.
        """
        with self._lock:
            self._had_answer = True
            if self._if_short is None or sent_at <= self._refused_at:
                return
            if sent_at - self._refused_at < _SHORT_SECONDS:
                # The API did not say how long to wait, and it was not long.
                self._is_short, self._is_of_minute = True, False
                self._drop_to(self._if_short)
            self._if_short = None

    def _drop_to(self, pace: float) -> None:
        self._dropped_to = max(pace, _SLOWEST * self._configured)
        self._stretch = _MINUTE
        if self._is_short:
            self._stretch = _SHORT_STRETCH if pace >= _SHORT_LIMITS_FROM else 2 * _SHORT_STRETCH

    def _of_last_minute(self, now: float, retry_after: float | None) -> float:
        """Return a pace below what came through in the last minute: the limit, if it is one of a minute."""
        self._forget_before(now - _MINUTE)
        seconds = _MINUTE
        if retry_after is not None:
            # Until the wait is over, nothing more will come through.
            seconds = min(max(now - self._first_at + retry_after, 1.0), _MINUTE)
        return _DROP * (len(self._sent) - 1) * _MINUTE / seconds

    def _forget_before(self, moment: float) -> None:
        while self._sent and self._sent[0] <= moment:
            self._sent.popleft()

    def _take_turn(self) -> float:
        """Count a request that may be sent now, and return 0; or return how many seconds to wait before asking again."""
        with self._lock:
            held = self._held_until - self._monotonic()
            if held > 0:
                return held
            item = RateItem("request", self._now())
            self._bucket.leak(item.timestamp)
            pace = self._pace()
            # While it is open what kind of limit it is, a request has to be sent soon to tell.
            is_of_minute = self._is_of_minute and self._if_short is None
            self._bucket.rates = _rates(pace, pace if is_of_minute else self._configured)
            if self._bucket.put(item):
                self._sent.append(self._monotonic())
                self._first_at = min(self._first_at, self._sent[-1])
                self._forget_before(self._sent[-1] - _MINUTE)
                return 0.0
            waiting = self._bucket.waiting(item)
            assert isinstance(waiting, int)  # noqa: S101  # only asynchronous buckets return something else
            return max(waiting, 1) / _MILLISECONDS

    def _pace(self) -> float:
        stretches = max(0.0, self._monotonic() - self._dropped_at) / self._stretch
        if stretches * math.log(_RECOVERY) >= math.log(self._configured / self._dropped_to):
            return float(self._configured)
        return self._dropped_to * float(_RECOVERY**stretches)

    def _now(self) -> int:
        return int(self._monotonic() * _MILLISECONDS)


def _rates(pace: float, minute_limit: float) -> list[Rate]:
    """Return the limits to a minute's requests, to a burst, and to a part of it."""
    most = max(1, math.floor(minute_limit))
    rates = [Rate(most, int(_MINUTE) * _MILLISECONDS)]
    for seconds, slack in _BURSTS:
        limit = pace * slack * seconds / _MINUTE
        # Rounded up, a small one lets the minute's limit decide; a large one leaves room for what is late.
        limit = math.ceil(limit) if limit < _LARGE_BURST else math.floor(limit)
        shorter, longer = Rate(limit, int(seconds * _MILLISECONDS)), rates[0]
        # The library takes no limit that could never be reached before another is.
        if limit < longer.limit:
            is_longer_of_use = limit * longer.interval >= longer.limit * shorter.interval
            rates = [shorter, *rates] if is_longer_of_use else [shorter, *rates[1:]]
    return rates
