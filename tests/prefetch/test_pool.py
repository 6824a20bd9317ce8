"""Prefetching with real threads: over real HTTP, through real processes."""

from __future__ import annotations

import logging
import signal
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.errors import RequestError
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.prefetch.plan import PrefetchPlan, Task
from tap_sequence.prefetch.pool import PrefetchPool, Wakeups
from tap_sequence.prefetch.segments import Segment
from tap_sequence.simulator import CursorKind, Fault, SimulatedApi, Simulator, UnknownCursor
from tap_sequence.simulator.faults import Response
from tap_sequence.sync.models import Page, PageRequest, Record, SortOrder
from tap_sequence.sync.walk import walk
from tests.api.test_client import client_for
from tests.runtime.test_signals import run_and_stop
from tests.support.harness import config_for, run_here, run_process

Simulate = Callable[..., Simulator]
LOGGER = logging.getLogger("tests.prefetch.test_pool")


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the requests that simulators respond to at once; the last number is the greatest."""
    lock, now, most = threading.Lock(), [0], [0]
    respond = SimulatedApi.respond

    def counting(self: SimulatedApi, *arguments: Any) -> Response:
        with lock:
            now[0] += 1
            most.append(max(most[-1], now[0]))
        time.sleep(0.01)
        response = respond(self, *arguments)
        with lock:
            now[0] -= 1
        return response

    monkeypatch.setattr(SimulatedApi, "respond", counting)
    return most


@pytest.mark.sample(5)
@pytest.mark.parametrize("unknown_cursor", UnknownCursor)
@pytest.mark.parametrize("cursor_kind", CursorKind)
def test_prefetch_over_http_emits_records_of_sequential_run(
    simulate: Simulate, cursor_kind: CursorKind, unknown_cursor: UnknownCursor
) -> None:
    simulator = simulate(700, cursor_kind=cursor_kind, unknown_cursor=unknown_cursor)
    config = config_for(simulator, page_size=10)
    prefetched = run_here(config)
    assert prefetched.records == run_here({**config, "max_in_flight_requests": 1}).records
    assert prefetched.ids == simulator.store.ids()
    # The next run resumes from the state as after a sequential run.
    simulator.store.grow(50)
    simulator.api.forget_requests()
    assert sorted(run_here(config, prefetched.state).ids) == sorted(simulator.store.ids()[-50:])
    assert len(simulator.requests) <= 9


@pytest.mark.parametrize("most", [1, 2, 4, 7])
def test_requests_in_flight_never_exceed_max_in_flight_requests(
    simulate: Simulate, most_at_once: list[int], most: int
) -> None:
    simulator = simulate(150 * most, unknown_cursor=UnknownCursor.RIGHT_PAGE)
    run = run_here(config_for(simulator, page_size=5, max_in_flight_requests=most))
    assert run.ids == simulator.store.ids()
    assert most_at_once[-1] == most


def test_requests_in_flight_include_those_outside_the_walk(
    simulate: Simulate, most_at_once: list[int]
) -> None:
    simulator = simulate(300)
    client = client_for(simulator, max_in_flight_requests=2)
    threads = [
        threading.Thread(target=client.fetch, args=[PageRequest(SortOrder.DESCENDING, None, 1)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(simulator.requests) == 8
    assert most_at_once[-1] == 2


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "fault",
    [
        "3-4=429:1",
        "20-23=429:1",
        "30-31=500",
        "25=reset",
        "40=half-json",
        "15=html",
        "45-46=cut",
        "20-24=503",
    ],
)
def test_prefetch_transient_fault_in_any_segment_loses_no_log(simulate: Simulate, fault: str) -> None:
    simulator = simulate(700, unknown_cursor=UnknownCursor.RIGHT_PAGE, faults=[Fault.parse(fault)])
    run = run_here(config_for(simulator, page_size=10))
    assert run.ids == simulator.store.ids()


def test_retry_after_of_one_request_delays_all_requests(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = simulate(
        700, unknown_cursor=UnknownCursor.RIGHT_PAGE, faults=[Fault.parse("30=429:1")], latency=(0.01, 0.01)
    )
    times: list[tuple[float, int]] = []
    respond = SimulatedApi.respond

    def timed(self: SimulatedApi, *arguments: Any) -> Response:
        response = respond(self, *arguments)
        times.append((time.monotonic(), response.status))
        return response

    monkeypatch.setattr(SimulatedApi, "respond", timed)
    assert run_here(config_for(simulator, page_size=10)).ids == simulator.store.ids()
    refused_at = next(moment for moment, status in times if status == 429)
    # Requests in flight may still arrive; then none for the rest of the second.
    assert not [moment for moment, _ in times if refused_at + 0.3 < moment < refused_at + 0.95]


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.parametrize("after_lines", [30, 900])
def test_stop_while_prefetched_pages_wait_loses_no_log(
    simulate: Simulate, tmp_path: Path, signum: signal.Signals, status: int, after_lines: int
) -> None:
    simulator = simulate(1500, unknown_cursor=UnknownCursor.RIGHT_PAGE, latency=(0.005, 0.02))
    config = config_for(simulator, page_size=10)
    first = run_and_stop(tmp_path, config, signum, after_lines=after_lines)
    assert first.status == status
    states = first.of_type("STATE")
    second = run_process(tmp_path, config, state=states[-1]["value"] if states else None)
    assert second.status == 0
    assert set(first.ids + second.ids) == set(simulator.store.ids())
    if signum is not signal.SIGKILL:
        assert not set(first.ids) & set(second.ids)


def test_prefetch_turned_off_logs_reason_once(simulate: Simulate, caplog: pytest.LogCaptureFixture) -> None:
    simulator = simulate(500, unknown_cursor=UnknownCursor.REFUSE)
    caplog.set_level(logging.INFO)
    run_here(config_for(simulator, page_size=10))
    messages = [record.getMessage() for record in caplog.records if "guessed" in record.getMessage()]
    assert messages == [
        (
            "Prefetching is off for the rest of this run: the API refuses guessed cursors. Reading page by page; the "
            "result is the same."
        )
    ]


# Without HTTP


def _pages(number: int) -> Callable[[PageRequest], Page]:
    def fetch(request: PageRequest) -> Page:
        place = int(request.cursor or 0)
        after = str(place + 1) if place + 1 < number else None
        return Page((Record(str(place), place, "", None),), after, None, 0)

    return fetch


def _pool(fetch: Callable[[PageRequest], Page], plan: Any = None) -> PrefetchPool:
    def wait(wakeups: Wakeups) -> None:
        wakeups.get(timeout=30)

    def new_plan(cursor: str | None) -> PrefetchPlan:
        return PrefetchPlan(cursor, guesses=CursorGuesses(), page_size=1, max_in_flight_requests=3)

    return PrefetchPool(fetch=fetch, wait=wait, new_plan=plan or new_plan, threads=3, logger=LOGGER)


def test_pool_threads_end_with_the_walk_or_when_it_is_left() -> None:
    before = set(threading.enumerate())
    with _pool(_pages(50)) as fetch:
        assert len(list(walk(fetch, SortOrder.ASCENDING))) == 50
    with _pool(_pages(50)) as fetch:
        pages = walk(fetch, SortOrder.ASCENDING)
        for _ in range(5):
            next(pages)
        started = set(threading.enumerate()) - before
        assert len(started) >= 3
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_pool_for_list_of_one_page_starts_one_thread() -> None:
    before = threading.active_count()
    with _pool(_pages(1)) as fetch:
        assert len(list(walk(fetch, SortOrder.ASCENDING))) == 1
        assert threading.active_count() <= before + 1


def test_pool_request_error_reaches_walk() -> None:
    def fetch(request: PageRequest) -> Page:
        if request.cursor == "7":
            raise RequestError(str(request))
        return _pages(50)(request)

    with _pool(fetch) as fetch_ahead:
        pages = walk(fetch_ahead, SortOrder.ASCENDING)
        assert [next(pages)[1].records[0].id for _ in range(7)] == [str(place) for place in range(7)]
        with pytest.raises(RequestError, match=r"page 8 \(ASC after cursor 7\)"):
            next(pages)


def test_pool_bug_in_plan_reaches_walk() -> None:
    class Broken(PrefetchPlan):
        def succeeded(self, *_: Any) -> None:
            raise ZeroDivisionError

    def new_plan(cursor: str | None) -> PrefetchPlan:
        return Broken(cursor, guesses=CursorGuesses(), page_size=1, max_in_flight_requests=3)

    with _pool(_pages(50), new_plan) as fetch, pytest.raises(ZeroDivisionError):
        list(walk(fetch, SortOrder.ASCENDING))


def test_pool_unawaited_responses_do_not_wake_walk_each_time() -> None:
    waits: list[None] = []

    def wait(wakeups: Wakeups) -> None:
        waits.append(wakeups.get(timeout=30))

    def new_plan(cursor: str | None) -> PrefetchPlan:
        return PrefetchPlan(cursor, guesses=CursorGuesses(), page_size=1, max_in_flight_requests=3)

    fetch = _pages(2000)
    with PrefetchPool(fetch=fetch, wait=wait, new_plan=new_plan, threads=3, logger=LOGGER) as fetch_ahead:
        pages = walk(fetch_ahead, SortOrder.ASCENDING)
        next(pages)
        next(pages)
        time.sleep(0.5)
        before = len(waits)
        assert len(list(pages)) == 1998
        assert len(waits) - before < 1000


def test_pool_waiting_threads_hold_no_page() -> None:
    """Otherwise sixteen threads could hold sixteen pages of the maximum size."""

    class Content:
        pass

    class OneTaskForEachThread(PrefetchPlan):
        def next_task(self) -> Task | None:
            return Task(first_page, Segment()) if len(requests) < 8 else None

        def take(self, cursor: str | None) -> Page:  # noqa: ARG002  # as the plan's
            return Page((), None, None, 0)

        def succeeded(self, task: Task, page: Page) -> None:
            pass

    records: list[weakref.ref[Content]] = []
    requests: list[PageRequest] = []
    first_page = PageRequest(SortOrder.ASCENDING, None, 1)
    all_in_flight = threading.Barrier(8)

    def fetch(request: PageRequest) -> Page:
        requests.append(request)
        all_in_flight.wait(10)
        record = Content()
        records.append(weakref.ref(record))
        return Page((Record("id", 0, "", record),), None, None, 0)

    pool = PrefetchPool(
        fetch=fetch,
        wait=lambda wakeups: wakeups.get(timeout=10),
        new_plan=lambda cursor: OneTaskForEachThread(
            cursor, guesses=CursorGuesses(), page_size=1, max_in_flight_requests=8
        ),
        threads=8,
        logger=LOGGER,
    )
    with pool as fetch_ahead:
        # The first call starts one thread, the second one the others.
        fetch_ahead(first_page)
        fetch_ahead(first_page)
        deadline = time.monotonic() + 5
        while len(records) < 8 or any(record() is not None for record in records):
            assert time.monotonic() < deadline
            time.sleep(0.01)
