"""The rate of requests, on a fake clock, against servers that count in each of the usual ways."""

from __future__ import annotations

import math
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from pyrate_limiter import InMemoryBucket

from tap_sequence.api.rate_limit import RateLimiter, _rates

LIMIT = 100
MINUTE = 60.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


# Each server returns None for a request that it accepts, else the seconds until it may accept one.


@dataclass
class FixedWindow:
    counts_refused: bool
    window: float = -1.0
    count: int = 0

    def __call__(self, now: float) -> float | None:
        # Windows do not start with the client.
        window = (now + 17) // MINUTE
        if window != self.window:
            self.window, self.count = window, 0
        if self.count >= LIMIT:
            return (window + 1) * MINUTE - 17 - now
        self.count += 1
        return None


@dataclass
class SlidingWindow:
    counts_refused: bool
    times: deque[float] = field(default_factory=deque)

    def __call__(self, now: float) -> float | None:
        while self.times and self.times[0] <= now - MINUTE:
            self.times.popleft()
        is_over = len(self.times) >= LIMIT
        if not is_over or self.counts_refused:
            self.times.append(now)
        return self.times[-LIMIT] + MINUTE - now if is_over else None


@dataclass
class TokenBucket:
    counts_refused: bool
    tokens: float = LIMIT
    at: float = 1000.0

    def __call__(self, now: float) -> float | None:
        self.tokens = min(LIMIT, self.tokens + (now - self.at) * LIMIT / MINUTE)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) * MINUTE / LIMIT
        self.tokens -= 1
        return None


Server = Callable[[float], float | None]


def send_for(
    seconds: float,
    limiter: RateLimiter,
    clock: Clock,
    server: Server,
    *,
    says_when: bool,
    latency: float = 0.05,
) -> list[tuple[float, bool]]:
    """Send requests one after another, and return when each was sent, and whether it was accepted."""
    jitter = random.Random(1)
    began, refusals, sent = clock(), 0, []
    while clock() < began + seconds:
        sent_at = limiter.wait_for_turn()
        wait = server(clock())
        sent.append((clock() - began, wait is None))
        clock.now += latency
        if wait is None:
            refusals = 0
            limiter.accepted(sent_at)
        else:
            refusals += 1
            backoff = min(0.5 * 2 ** (refusals - 1), 60) + jitter.random()
            limiter.hold(max(wait, backoff) if says_when else backoff)
            limiter.refused(sent_at, wait if says_when else None)
    return sent


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
@pytest.mark.parametrize("counts_refused", [False, True])
@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow, TokenBucket])
def test_rate_limiter_with_lower_limit_adapts_within_a_minute(
    kind: Callable[[bool], Server], *, counts_refused: bool, says_when: bool
) -> None:
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    hour = send_for(3600, limiter, clock, kind(counts_refused), says_when=says_when)
    for minutes in (3, 5, 10, 60):
        later = [accepted for at, accepted in hour if MINUTE <= at < minutes * MINUTE]
        assert later.count(False) < 0.05 * len(later), minutes
    assert sum(accepted for at, accepted in hour if at >= MINUTE) > 0.6 * LIMIT * 59


@pytest.mark.parametrize("configured", [1, 29, 100, 1200, 1500])
def test_rate_limiter_without_refusal_keeps_the_configured_rate(configured: int) -> None:
    clock = Clock()
    limiter = RateLimiter(configured, monotonic=clock, sleep=clock.sleep)
    times = [at for at, _ in send_for(600, limiter, clock, lambda _: None, says_when=True, latency=0.001)]
    assert all(later - at >= MINUTE - 0.002 for at, later in zip(times, times[configured:], strict=False))
    assert len(times) >= 10 * configured
    assert limiter.requests_per_minute == configured


def test_rate_limiter_burst_is_at_most_two_seconds_worth() -> None:
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    times = [at for at, _ in send_for(30, limiter, clock, lambda _: None, says_when=True, latency=0.001)]
    assert sum(at < 1.9 for at in times) == 40


@pytest.mark.parametrize("rate", [0.5, 1, 3, 29.5, 100, 299, 300, 1080.5, 1305, 1450, 60_000])
@pytest.mark.parametrize("minute_limit", [1, 100, 1450, 60_000])
def test_rates_of_any_rate_are_accepted_by_the_library(rate: float, minute_limit: float) -> None:
    if rate <= minute_limit:
        rates = _rates(rate, minute_limit)
        assert InMemoryBucket(rates).rates == rates
        per_second = min(each.limit / each.interval * 1000 for each in rates)
        assert per_second <= max(1, math.ceil(rate / 30) / 2, minute_limit / 60)


def test_rate_limiter_recovers_slowly_up_to_the_configured_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, limiter, clock, lambda _: None, says_when=True)
    limiter.refused(limiter.wait_for_turn(), None)
    rates_by_minute = []
    for _ in range(90):
        rates_by_minute.append(limiter.requests_per_minute)
        clock.now += MINUTE
    assert rates_by_minute[0] < 200
    assert all(slow <= fast <= 1.06 * slow for slow, fast in pairwise(rates_by_minute))
    assert rates_by_minute[-1] == 1200


def test_rate_limiter_with_exhausted_key_keeps_a_minimum_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    for _ in range(20):
        limiter.refused(limiter.wait_for_turn(), None)
        clock.now += 30
        limiter.accepted(limiter.wait_for_turn())
    assert limiter.requests_per_minute >= 60


def test_rate_limiter_consecutive_refusals_count_once() -> None:
    """The rate does not recover during the pause either."""
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, limiter, clock, lambda _: None, says_when=True)
    sent_at = limiter.wait_for_turn()
    limiter.hold(3600)
    limiter.refused(sent_at, 3600)
    slower = limiter.requests_per_minute
    clock.now += 3600
    limiter.refused(limiter.wait_for_turn(), 3600)
    assert limiter.requests_per_minute == slower


def test_rate_limiter_refusals_in_flight_together_count_once() -> None:
    clock = Clock()
    limiter = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, limiter, clock, lambda _: None, says_when=True)
    sent = [limiter.wait_for_turn() for _ in range(4)]
    limiter.refused(sent[0], 1)
    slower = limiter.requests_per_minute
    limiter.accepted(sent[0])
    clock.now += 0.001
    for sent_at in sent[1:]:
        limiter.refused(sent_at, 1)
    assert limiter.requests_per_minute == pytest.approx(slower, rel=0.01)


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
def test_rate_limiter_with_short_window_loses_little(*, says_when: bool) -> None:
    """50 in any 2 seconds, with a configured rate of 1,450 a minute and varying latency."""
    clock = Clock()
    limiter = RateLimiter(1450, monotonic=clock, sleep=clock.sleep)
    noise, arrived = random.Random(3), deque[float]()

    def server(now: float) -> float | None:
        now += noise.choice([0.0, 0.0, 0.0, 0.15])
        while arrived and arrived[0] <= now - 2:
            arrived.popleft()
        if len(arrived) >= 50:
            return 1.0
        arrived.append(now)
        return None

    sent = send_for(600, limiter, clock, server, says_when=says_when, latency=0.03)
    refused = sum(not accepted for _, accepted in sent)
    assert 0 < refused < 0.01 * len(sent)
    assert len(sent) - refused > 0.8 * 600 * 1450 / MINUTE


def test_hold_pauses_all_threads_and_a_shorter_one_does_not_end_it() -> None:
    limiter = RateLimiter(60_000)
    limiter.hold(0.4)
    limiter.hold(0.1)
    assert 0.3 < limiter.seconds_held <= 0.4
    passed: list[bool] = []

    def send() -> None:
        limiter.wait_for_turn()
        passed.append(limiter.seconds_held == 0)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True] * 8
