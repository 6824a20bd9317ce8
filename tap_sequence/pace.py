"""When the next request may be sent: the pace that is configured, and what the API's refusals teach about it.

One Pace is shared by all threads that send requests. While the API refuses nothing, the pace is the configured one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from pyrate_limiter import InMemoryBucket, Rate, RateItem

_MILLISECONDS = 1000
_MINUTE = 60.0
# Requests are spread over the minute by windows of this many seconds, so that no burst spends it all at once.
_BURST_SECONDS = 2

_DROP = 0.9
"""After a refusal: this share of what the API let through in the minute before."""
_RECOVERY = 1.05
"""From then on the pace grows by this factor each minute, up to the configured one: a limit of 100 a minute met with
1,200 is touched once every few minutes."""
_SLOWEST = 1 / 20
"""Share of the configured pace below which it never drops: when others use up a key's limit, what little came
through says nothing about the limit itself."""


class Pace:
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
        # It remembers the last minute's requests; used without the library's limiter, which has a clock of its own.
        self._bucket = InMemoryBucket(_rates(requests_per_minute))
        self._held_until = -math.inf
        self._dropped_to = float(requests_per_minute)
        self._dropped_at = -math.inf
        self._had_answer = True

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

    def wait_for_turn(self) -> None:
        """Wait until a request may be sent, and count it."""
        while (seconds := self._take_turn()) > 0:
            self._sleep(seconds)

    def hold(self, seconds: float) -> None:
        """Let no request through for some seconds from now."""
        with self._lock:
            self._held_until = max(self._held_until, self._monotonic() + seconds)

    def refused(self) -> None:
        """Go slower: the API said that there were too many requests. Call `hold` first where it says for how long."""
        with self._lock:
            # Refusals in a row are one: they say that the wait is not over, not that the pace is still too high.
            if not self._had_answer:
                return
            self._had_answer = False
            self._bucket.leak(self._now())
            let_through = self._bucket.count() - 1
            slower = max(_DROP * let_through, _SLOWEST * self._configured)
            self._dropped_to = min(slower, self._pace())
            self._dropped_at = max(self._monotonic(), self._held_until)

    def answered(self) -> None:
        """Take note that the API did not refuse a request."""
        with self._lock:
            self._had_answer = True

    def _take_turn(self) -> float:
        """Count a request that may be sent now, and return 0; or return how many seconds to wait before asking again."""
        with self._lock:
            held = self._held_until - self._monotonic()
            if held > 0:
                return held
            item = RateItem("request", self._now())
            self._bucket.leak(item.timestamp)
            self._bucket.rates = _rates(self._pace())
            if self._bucket.put(item):
                return 0.0
            waiting = self._bucket.waiting(item)
            assert isinstance(waiting, int)  # noqa: S101  # only asynchronous buckets return something else
            return max(waiting, 1) / _MILLISECONDS

    def _pace(self) -> float:
        minutes = max(0.0, self._monotonic() - self._dropped_at) / _MINUTE
        if minutes * math.log(_RECOVERY) >= math.log(self._configured / self._dropped_to):
            return float(self._configured)
        return self._dropped_to * float(_RECOVERY**minutes)

    def _now(self) -> int:
        return int(self._monotonic() * _MILLISECONDS)


def _rates(requests_per_minute: float) -> list[Rate]:
    """Return the limits to a minute's requests and to a burst."""
    limit = max(1, math.floor(requests_per_minute))
    burst = math.ceil(limit * _BURST_SECONDS / _MINUTE)
    minute = Rate(limit, int(_MINUTE) * _MILLISECONDS)
    return [minute] if burst == limit else [Rate(burst, _BURST_SECONDS * _MILLISECONDS), minute]
