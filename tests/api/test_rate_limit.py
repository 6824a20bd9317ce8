"""The pace of requests, on a clock of its own, against servers that count in every usual way."""

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


# Each server answers a request with None where it lets it through, else with the seconds until it may let one through.


@dataclass
class FixedWindow:
    counts_refused: bool
    window: float = -1.0
    count: int = 0

    def __call__(self, now: float) -> float | None:
        # Windows that begin somewhere else than the client.
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
    seconds: float, pace: RateLimiter, clock: Clock, server: Server, *, says_when: bool, latency: float = 0.05
) -> list[tuple[float, bool]]:
    """Send requests one after another, and return when each was, and whether it was let through."""
    jitter = random.Random(1)
    began, tries, sent = clock(), 0, []
    while clock() < began + seconds:
        sent_at = pace.wait_for_turn()
        wait = server(clock())
        sent.append((clock() - began, wait is None))
        clock.now += latency
        if wait is None:
            tries = 0
            pace.accepted(sent_at)
        else:
            tries += 1
            backoff = min(0.5 * 2 ** (tries - 1), 60) + jitter.random()
            pace.hold(max(wait, backoff) if says_when else backoff)
            pace.refused(sent_at, wait if says_when else None)
    return sent


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
@pytest.mark.parametrize("counts_refused", [False, True])
@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow, TokenBucket])
def test_a_lower_limit_than_configured_is_settled_to_within_a_minute(
    kind: Callable[[bool], Server], *, counts_refused: bool, says_when: bool
) -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    hour = send_for(3600, pace, clock, kind(counts_refused), says_when=says_when)
    for minutes in (3, 5, 10, 60):
        later = [let_through for at, let_through in hour if MINUTE <= at < minutes * MINUTE]
        assert later.count(False) < 0.05 * len(later), minutes
    assert sum(let_through for at, let_through in hour if at >= MINUTE) > 0.6 * LIMIT * 59


@pytest.mark.parametrize("configured", [1, 29, 100, 1200, 1500])
def test_without_a_refusal_the_pace_is_the_configured_one(configured: int) -> None:
    clock = Clock()
    pace = RateLimiter(configured, monotonic=clock, sleep=clock.sleep)
    times = [at for at, _ in send_for(600, pace, clock, lambda _: None, says_when=True, latency=0.001)]
    assert all(later - at >= MINUTE - 0.002 for at, later in zip(times, times[configured:], strict=False))
    assert len(times) >= 10 * configured
    assert pace.requests_per_minute == configured


def test_a_burst_takes_no_more_than_two_seconds_worth() -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    times = [at for at, _ in send_for(30, pace, clock, lambda _: None, says_when=True, latency=0.001)]
    assert sum(at < 1.9 for at in times) == 40


@pytest.mark.parametrize("pace", [0.5, 1, 3, 29.5, 100, 299, 300, 1080.5, 1305, 1450, 60_000])
@pytest.mark.parametrize("minute_limit", [1, 100, 1450, 60_000])
def test_every_pace_makes_limits_that_the_library_takes(pace: float, minute_limit: float) -> None:
    if pace <= minute_limit:
        rates = _rates(pace, minute_limit)
        assert InMemoryBucket(rates).rates == rates
        per_second = min(rate.limit / rate.interval * 1000 for rate in rates)
        assert per_second <= max(1, math.ceil(pace / 30) / 2, minute_limit / 60)


def test_the_pace_recovers_slowly_and_no_further_than_configured() -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, pace, clock, lambda _: None, says_when=True)
    pace.refused(pace.wait_for_turn(), None)
    paces = []
    for _ in range(90):
        paces.append(pace.requests_per_minute)
        clock.now += MINUTE
    assert paces[0] < 200
    assert all(slow <= fast <= 1.06 * slow for slow, fast in pairwise(paces))
    assert paces[-1] == 1200


def test_a_key_whose_limit_others_use_up_is_still_asked_now_and_then() -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    for _ in range(20):
        pace.refused(pace.wait_for_turn(), None)
        clock.now += 30
        pace.accepted(pace.wait_for_turn())
    assert pace.requests_per_minute >= 60


def test_refusals_in_a_row_are_one_and_the_pace_does_not_recover_while_all_wait() -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, pace, clock, lambda _: None, says_when=True)
    sent_at = pace.wait_for_turn()
    pace.hold(3600)
    pace.refused(sent_at, 3600)
    slower = pace.requests_per_minute
    clock.now += 3600
    pace.refused(pace.wait_for_turn(), 3600)
    assert pace.requests_per_minute == slower


def test_refusals_of_requests_that_were_under_way_together_are_one() -> None:
    clock = Clock()
    pace = RateLimiter(1200, monotonic=clock, sleep=clock.sleep)
    send_for(10, pace, clock, lambda _: None, says_when=True)
    sent = [pace.wait_for_turn() for _ in range(4)]
    pace.refused(sent[0], 1)
    slower = pace.requests_per_minute
    pace.accepted(sent[0])
    clock.now += 0.001
    for sent_at in sent[1:]:
        pace.refused(sent_at, 1)
    assert pace.requests_per_minute == pytest.approx(slower, rel=0.01)


@pytest.mark.parametrize("says_when", [True, False], ids=["Retry-After", "no Retry-After"])
def test_a_limit_of_a_few_seconds_that_is_touched_now_and_then_costs_little(*, says_when: bool) -> None:
    """50 in any 2 seconds, met with 1,450 a minute over a line whose delay varies."""
    clock = Clock()
    pace = RateLimiter(1450, monotonic=clock, sleep=clock.sleep)
    noise, arrived = random.Random(3), deque[float]()

    def server(now: float) -> float | None:
        now += noise.choice([0.0, 0.0, 0.0, 0.15])
        while arrived and arrived[0] <= now - 2:
            arrived.popleft()
        if len(arrived) >= 50:
            return 1.0
        arrived.append(now)
        return None

    sent = send_for(600, pace, clock, server, says_when=says_when, latency=0.03)
    refused = sum(not let_through for _, let_through in sent)
    assert 0 < refused < 0.01 * len(sent)
    assert len(sent) - refused > 0.8 * 600 * 1450 / MINUTE


def test_a_hold_holds_every_thread_back_and_a_shorter_one_does_not_end_it() -> None:
    pace = RateLimiter(60_000)
    pace.hold(0.4)
    pace.hold(0.1)
    assert 0.3 < pace.seconds_held <= 0.4
    passed: list[bool] = []

    def send() -> None:
        pace.wait_for_turn()
        passed.append(pace.seconds_held == 0)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed == [True] * 8
