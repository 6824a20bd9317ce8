"""Prefetching against the sequential walk: whatever the API returns for a guessed cursor, the logs are the same."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.errors import BadRequestError, RequestError
from tap_sequence.prefetch.cursor_guess import CursorGuesses, form_of
from tap_sequence.prefetch.guess_planner import Lengths
from tap_sequence.prefetch.plan import PrefetchPlan, Task
from tap_sequence.simulator import (
    CursorKind,
    EndOfList,
    LogIds,
    Options,
    SimulatedApi,
    UnknownCursor,
)
from tap_sequence.sync.models import Fetch, Page, PageRequest, Record, SortOrder
from tap_sequence.sync.state import Query
from tap_sequence.sync.timestamps import MICROSECONDS
from tap_sequence.sync.walk import walk
from tests.support.model import fetch_from
from tests.support.stepping import SHORT, SteppedPrefetchPool

EPOCH = 1_800_000_000 * MICROSECONDS
NOW = EPOCH + 10**15

# Microseconds between logs: bursts within a millisecond and within seconds, steady intervals, gaps of weeks.
GAPS = st.sampled_from([0, 97, 1_000, 250_000, 5_000_000, 3_600 * MICROSECONDS, 30 * 86_400 * MICROSECONDS])
DENSITIES = st.lists(st.tuples(GAPS, st.integers(1, 80)), min_size=1, max_size=8)
OPTIONS = st.fixed_dictionaries(
    {
        "cursor_kind": st.sampled_from(CursorKind),
        "unknown_cursor": st.sampled_from(UnknownCursor),
        "end_of_list": st.sampled_from(EndOfList),
        "log_ids": st.sampled_from(LogIds),
        "with_total": st.booleans(),
    }
)
# The response that makes prefetching worthwhile is drawn more often.
HONOURED = OPTIONS.map(lambda options: {**options, "unknown_cursor": UnknownCursor.RIGHT_PAGE})
SEEDS = st.integers(0, 2**32)


def api_with(densities: list[tuple[int, int]], *, begins_at: int = EPOCH, **options: Any) -> SimulatedApi:
    api = SimulatedApi(Options(**options))
    moment = begins_at
    moments = []
    for gap, number in densities:
        for _ in range(number):
            moment += gap
            moments.append(moment)
    api.store.add_at(moments)
    return api


def fetch_of(api: SimulatedApi, page_size: int = 5) -> Fetch:
    return fetch_from(api, lambda: NOW, page_size, Query("model", "v"))


class Recording:
    """A fetch that records the requests and the cursors that the API returned."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.requests: list[PageRequest] = []
        self.returned: set[str | None] = {None}

    def __call__(self, request: PageRequest) -> Page:
        self.requests.append(request)
        page = self._fetch(request)
        self.returned.add(page.after)
        return page


def ids_of(pages: list[tuple[PageRequest, Page]]) -> list[str]:
    return [log_id for _, page in pages for log_id in page.ids()]


def read(pool: SteppedPrefetchPool, start: str | None = None) -> list[tuple[PageRequest, Page]]:
    with pool as fetch:
        return list(walk(fetch, SortOrder.ASCENDING, start))


@given(
    densities=DENSITIES,
    options=OPTIONS | HONOURED,
    seed=SEEDS,
    in_flight=st.integers(2, 6),
    held=st.sampled_from([1, 20_000, 2**20]),
)
def test_prefetch_returns_logs_of_sequential_walk(
    densities: list[tuple[int, int]], options: dict[str, Any], seed: int, in_flight: int, held: int
) -> None:
    api = api_with(densities, **options)
    fetch = Recording(fetch_of(api))
    pool = SteppedPrefetchPool(
        fetch, random.Random(seed), page_size=5, max_in_flight_requests=in_flight, max_held_bytes=held
    )
    pages = read(pool)
    assert ids_of(pages) == ids_of(list(walk(fetch_of(api), SortOrder.ASCENDING))) == api.store.ids()
    # Every cursor that a bookmark may save was returned by the API, and leads to the page that it came with.
    for request, page in pages:
        assert request.cursor in fetch.returned
        assert [*fetch_of(api)(request).ids()][: len(page.records)] == [*page.ids()]
    assert [request.number for request, _ in pages] == list(range(1, len(pages) + 1))
    assert pool.most_in_flight <= in_flight


@given(densities=DENSITIES, options=HONOURED, seed=SEEDS, from_page=st.integers(1, 4))
def test_prefetch_from_saved_cursor_returns_logs_of_sequential_walk(
    densities: list[tuple[int, int]], options: dict[str, Any], seed: int, from_page: int
) -> None:
    api = api_with(densities, **options)
    pages = list(walk(fetch_of(api), SortOrder.ASCENDING))
    cursor = pages[min(from_page, len(pages) - 1)][0].cursor
    pool = SteppedPrefetchPool(fetch_of(api), random.Random(seed), page_size=5, max_in_flight_requests=4)
    assert ids_of(read(pool, cursor)) == ids_of(list(walk(fetch_of(api), SortOrder.ASCENDING, cursor)))


@given(
    densities=DENSITIES,
    options=OPTIONS | HONOURED,
    seed=SEEDS,
    news=st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=8),
)
def test_prefetch_while_list_grows_loses_no_earlier_log(
    densities: list[tuple[int, int]],
    options: dict[str, Any],
    seed: int,
    news: list[tuple[bool, int]],
) -> None:
    api = api_with(densities, **options)
    before = api.store.ids()
    rng = random.Random(seed)
    fetch = fetch_of(api)
    pending = list(news)

    def fetch_while_it_grows(request: PageRequest) -> Page:
        if pending and rng.random() < 0.2:
            is_late, number = pending.pop()
            last = max(api.store.key_of(log_id).created_at for log_id in api.store.ids())
            moments = [
                rng.randint(EPOCH, last) if is_late else last + 1_000 * n for n in range(1, number + 1)
            ]
            api.store.add_at(moments)
        return fetch(request)

    ids = ids_of(read(SteppedPrefetchPool(fetch_while_it_grows, rng, page_size=5, max_in_flight_requests=4)))
    assert len(set(ids)) == len(ids)
    assert set(before) <= set(ids)
    places = {log_id: place for place, log_id in enumerate(api.store.ids())}
    assert sorted(ids, key=places.__getitem__) == ids


@given(densities=DENSITIES, options=OPTIONS | HONOURED, seed=SEEDS, share=st.sampled_from([0.05, 0.3, 0.9]))
def test_prefetch_failed_requests_are_repeated_at_the_front(
    densities: list[tuple[int, int]], options: dict[str, Any], seed: int, share: float
) -> None:
    api = api_with(densities, **options)
    rng = random.Random(seed)
    fetch = fetch_of(api)

    def fetch_with_faults(request: PageRequest) -> Page:
        if request.number is None and rng.random() < share:
            raise rng.choice([RequestError("down"), BadRequestError("a page", "refused")])
        return fetch(request)

    pool = SteppedPrefetchPool(fetch_with_faults, rng, page_size=5, max_in_flight_requests=4)
    assert ids_of(read(pool)) == api.store.ids()


@given(
    densities=DENSITIES,
    options=OPTIONS | HONOURED,
    seed=SEEDS,
    failing=st.integers(1, 30),
    ahead=st.booleans(),
)
def test_prefetch_error_follows_all_pages_before_it(
    densities: list[tuple[int, int]],
    options: dict[str, Any],
    seed: int,
    failing: int,
    ahead: bool,  # noqa: FBT001  # drawn
) -> None:
    """A page can never be read: by any request, or by requests of the front only."""
    api = api_with(densities, **options)
    fetch = fetch_of(api)
    ids = api.store.ids()
    first = ids[min(failing, len(ids) - 1)]

    def fetch_up_to(request: PageRequest) -> Page:
        page = fetch(request)
        if first in page.ids() and (ahead or request.number is not None):
            raise RequestError(str(request))
        return page

    got: list[str] = []
    pool = SteppedPrefetchPool(fetch_up_to, random.Random(seed), page_size=5, max_in_flight_requests=4)
    with pool as fetch_ahead:
        pages = walk(fetch_ahead, SortOrder.ASCENDING)
        if ahead:
            with pytest.raises(RequestError, match=r"^page \d+ "):
                got.extend(log_id for _, page in pages for log_id in page.ids())
            assert got == ids[: len(got)]
            assert ids.index(first) - 5 < len(got) <= ids.index(first)
        else:
            # A guess may lead past the page that the front cannot read, but never over a gap.
            try:
                got.extend(log_id for _, page in pages for log_id in page.ids())
            except RequestError:
                assert got == ids[: len(got)]
            else:
                assert got == ids


# What guesses achieve

STEADY = [(5 * MICROSECONDS, 1)] * 600


def test_guesses_honoured_by_api_join_segments() -> None:
    for kind in (CursorKind.ID, CursorKind.ID_TIME_ORDER):
        api = api_with(STEADY, cursor_kind=kind, unknown_cursor=UnknownCursor.RIGHT_PAGE)
        fetch = Recording(fetch_of(api))
        guesses = CursorGuesses()
        pool = SteppedPrefetchPool(
            fetch, random.Random(1), page_size=5, max_in_flight_requests=4, guesses=guesses
        )
        assert ids_of(read(pool)) == api.store.ids()
        assert guesses.why_not is None
        assert pool.guesses_made >= 10
        assert pool.most_in_flight == 4
        # Half a page for each guess, and no more.
        assert len(fetch.requests) <= 120 + pool.guesses_made + 1


@pytest.mark.parametrize(
    ("unknown_cursor", "why"),
    [
        (UnknownCursor.REFUSE, "the API refuses guessed cursors"),
        (UnknownCursor.FIRST_PAGE, "the API returns a page from elsewhere for a guessed cursor"),
        (UnknownCursor.EMPTY_PAGE, "the API returns an empty page for a guessed cursor"),
    ],
)
def test_guess_not_honoured_costs_one_request_and_is_the_last(
    unknown_cursor: UnknownCursor, why: str
) -> None:
    api = api_with(STEADY, unknown_cursor=unknown_cursor)
    fetch = Recording(fetch_of(api))
    guesses = CursorGuesses()
    pool = SteppedPrefetchPool(
        fetch, random.Random(1), page_size=5, max_in_flight_requests=4, guesses=guesses
    )
    assert ids_of(read(pool)) == api.store.ids()
    assert guesses.why_not == why
    assert len(fetch.requests) == 121
    # None in another walk of the same run either.
    fetch.requests.clear()
    read(SteppedPrefetchPool(fetch, random.Random(1), page_size=5, max_in_flight_requests=4, guesses=guesses))
    assert len(fetch.requests) == 120


def test_guesses_answered_from_elsewhere_cost_few_requests() -> None:
    api = api_with(STEADY, unknown_cursor=UnknownCursor.ELSEWHERE)
    for seed in range(20):
        fetch = Recording(fetch_of(api))
        pool = SteppedPrefetchPool(
            fetch, random.Random(seed), page_size=5, max_in_flight_requests=4, max_held_bytes=50_000
        )
        assert ids_of(read(pool)) == api.store.ids()
        assert len(fetch.requests) <= 120 * 1.25


@pytest.mark.parametrize("log_ids", LogIds)
def test_guesses_with_opaque_cursors_are_not_made(log_ids: LogIds) -> None:
    kinds = [CursorKind.OPAQUE] + ([CursorKind.ID] if log_ids is LogIds.V4 else [])
    for kind in kinds:
        api = api_with(STEADY, cursor_kind=kind, log_ids=log_ids, unknown_cursor=UnknownCursor.RIGHT_PAGE)
        fetch = Recording(fetch_of(api))
        pool = SteppedPrefetchPool(fetch, random.Random(1), page_size=5, max_in_flight_requests=4)
        assert ids_of(read(pool)) == api.store.ids()
        assert pool.guesses_made == 0
        assert len(fetch.requests) == 120


def test_plan_requests_next_page_while_last_one_is_written() -> None:
    fetch = fetch_of(api_with(STEADY, cursor_kind=CursorKind.OPAQUE))
    plan = PrefetchPlan(None, guesses=CursorGuesses(), page_size=5, max_in_flight_requests=2)
    cursor = begin(plan, fetch).after
    for number in range(2, 22):
        assert plan.take(cursor) is None
        task = plan.next_task()
        assert task is not None
        assert (task.request.number, task.is_guess) == (number, False)
        # Nothing else can be requested before the cursor is known.
        assert plan.next_task() is None
        plan.succeeded(task, fetch(task.request))
        following = plan.next_task()
        assert following is not None
        assert following.request.number == number + 1
        page = plan.take(cursor)
        assert page is not None
        cursor = page.after
        plan.failed(following, RequestError("requested again in the next round"))
        following.segment.error = None


def begin(plan: PrefetchPlan, fetch: Fetch) -> Page:
    """Read the first page. Nothing else may be requested before the walk asks for it."""
    task = plan.next_task()
    assert task is not None
    assert task.request == PageRequest(SortOrder.ASCENDING, None, 1)
    plan.succeeded(task, fetch(task.request))
    assert plan.next_task() is None
    page = plan.take(None)
    assert page is not None
    assert plan.next_task() is None
    return page


def test_plan_asked_for_another_page_than_the_next_raises() -> None:
    fetch = fetch_of(api_with(STEADY))
    plan = PrefetchPlan(None, guesses=CursorGuesses(), page_size=5, max_in_flight_requests=2)
    first = begin(plan, fetch)
    with pytest.raises(RuntimeError, match="another page"):
        plan.take("elsewhere")
    assert plan.take(first.after) is None


@pytest.mark.parametrize("cursor_kind", [CursorKind.ID, CursorKind.OPAQUE])
def test_plan_held_bytes_stay_bounded_while_no_page_is_taken(cursor_kind: CursorKind) -> None:
    api = api_with(STEADY, cursor_kind=cursor_kind, unknown_cursor=UnknownCursor.RIGHT_PAGE)
    size = max(page.size for _, page in walk(fetch_of(api), SortOrder.ASCENDING))
    pool = SteppedPrefetchPool(
        fetch_of(api), random.Random(1), page_size=5, max_in_flight_requests=4, max_held_bytes=20 * size
    )
    with pool as fetch:
        pages = walk(fetch, SortOrder.ASCENDING)
        taken = ids_of([next(pages) for _ in range(10)])
        while pool._step(must=False):
            pass
        assert 5 * size < pool.most_held <= 21 * size
        rest = [log_id for _, page in pages for log_id in page.ids()]
    assert taken + rest == api.store.ids()


def test_plan_list_grown_after_its_last_page_is_read_to_new_end() -> None:
    """A guess found the end of the list; when the walk arrives there, more logs follow."""
    api = api_with(STEADY[:55], unknown_cursor=UnknownCursor.RIGHT_PAGE)
    fetch = fetch_of(api)
    plan = PrefetchPlan(
        None,
        guesses=CursorGuesses(),
        page_size=5,
        max_in_flight_requests=3,
        lengths=Lengths(first=8, shortest=1),
    )
    first = begin(plan, fetch)
    cursor = first.after
    assert plan.take(cursor) is None
    front, guess = plan.next_task(), plan.next_task()
    assert front is not None
    assert guess is not None
    assert guess.is_guess
    # It returns the last three logs of the list, and no `after`.
    guessed = base64.b64encode(api.store.ids()[51].encode()).decode()
    last = fetch(PageRequest(SortOrder.ASCENDING, guessed, None))
    assert (len(last.records), last.after) == (3, None)
    plan.succeeded(guess, last)
    api.store.add_at([NOW - 1_000 * number for number in range(10, 0, -1)])
    ids = [*first.ids()]
    task: Task | None = front
    while True:
        assert task is not None
        plan.succeeded(task, fetch(task.request))
        while (page := plan.take(cursor)) is not None:
            ids += page.ids()
            cursor = page.after
            if cursor is None:
                break
        if cursor is None:
            break
        task = plan.next_task()
    assert ids == api.store.ids()


def test_guesses_for_few_pages_without_total_are_not_made() -> None:
    """Most runs read a few pages, and a guess would be half of their requests."""
    api = api_with(STEADY[:45], with_total=False, unknown_cursor=UnknownCursor.RIGHT_PAGE)
    fetch = Recording(fetch_of(api))
    pool = SteppedPrefetchPool(
        fetch, random.Random(1), page_size=5, max_in_flight_requests=4, lengths=Lengths(2, 2, 1, before=10)
    )
    assert ids_of(read(pool)) == api.store.ids()
    assert len(fetch.requests) == 9


@pytest.mark.parametrize("seeds", [20, pytest.param(100, marks=pytest.mark.long)])
def test_prefetch_responses_that_change_from_page_to_page_lose_no_log(seeds: int) -> None:
    """Pages are longer or shorter than requested, and some are empty with an `after`."""
    api = api_with(STEADY, unknown_cursor=UnknownCursor.RIGHT_PAGE)
    for seed in range(seeds):
        rng = random.Random(seed)
        sizes: Callable[[], int] = lambda rng=rng: rng.choice([1, 2, 5, 5, 9])  # type: ignore[misc]  # noqa: E731

        def fetch(request: PageRequest, rng: random.Random = rng, sizes: Callable[[], int] = sizes) -> Page:
            if request.cursor is not None and request.cursor.endswith("+"):
                return fetch_of(api, sizes())(PageRequest(request.order, request.cursor[:-1], 1))
            page = fetch_of(api, sizes())(request)
            if page.after and rng.random() < 0.1:
                return (
                    Page((), (request.cursor or "") + "+", page.total, page.asked_at)
                    if request.cursor
                    else page
                )
            return page

        numbers: dict[str | None, int] = {}

        def fetch_and_record(request: PageRequest, fetch: Fetch = fetch, numbers: Any = numbers) -> Page:
            if request.number is not None:
                numbers[request.cursor] = request.number
            return fetch(request)

        pool = SteppedPrefetchPool(
            fetch_and_record, rng, page_size=5, max_in_flight_requests=4, lengths=SHORT
        )
        pages = read(pool)
        assert ids_of(pages) == api.store.ids()
        # Messages give a page the number that it has in the walk.
        taken = {request.cursor: request.number for request, _ in pages}
        assert all(taken[cursor] == number for cursor, number in numbers.items() if cursor in taken)


@pytest.mark.parametrize("seed", range(20))
def test_prefetch_logs_before_1970_loses_no_log(seed: int) -> None:
    year_1900 = -2_208_988_800 * MICROSECONDS
    api = api_with(
        STEADY[:200],
        begins_at=year_1900,
        cursor_kind=CursorKind.ID_TIME_ORDER,
        log_ids=LogIds.V4,
        unknown_cursor=UnknownCursor.RIGHT_PAGE,
    )
    pool = SteppedPrefetchPool(fetch_of(api), random.Random(seed), page_size=5, max_in_flight_requests=4)
    assert ids_of(read(pool)) == api.store.ids()


def test_cursor_at_time_before_1970_has_first_uuid_of_1970() -> None:
    last = Record("019e6eb6-db30-7cf2-8017-06a5a2859e13", -5, "", None)
    form = form_of(base64.b64encode(f"{last.id}#-5#ASC".encode()).decode(), last)
    assert form is not None
    guess = base64.b64decode(form.cursor_at(-(10**15))).decode()
    assert guess == f"00000000-0000-7000-8000-000000000000#{-(10**15)}#ASC"


@pytest.mark.parametrize("seeds", [60, pytest.param(300, marks=pytest.mark.long)])
def test_prefetch_id_listed_twice_loses_no_log(seeds: int) -> None:
    """The walk arrives at the first of the two, and a guess returned the second."""
    for seed in range(seeds):
        rng = random.Random(seed)
        ids = [_id_at(EPOCH + 5 * MICROSECONDS * place, place) for place in range(120)]
        twice = rng.randrange(10, 100)
        listed = [*ids[:twice], ids[twice + rng.randint(1, 8)], *ids[twice:]]
        size = rng.randint(1, 6)
        fetch = _fetch_from(listed, size)
        pool = SteppedPrefetchPool(fetch, rng, page_size=size, max_in_flight_requests=4)
        assert ids_of(read(pool)) == listed


def _id_at(position: int, number: int) -> str:
    return str(UUID(int=position // 1000 << 80 | 7 << 76 | 2 << 62 | number))


def _fetch_from(listed: list[str], size: int) -> Fetch:
    """Return a fetch of a list: its own cursors lead to their places, a guessed one to the first log of its position."""
    places = {
        base64.b64encode((log_id if listed.count(log_id) == 1 else f"place {place}").encode()).decode(): place
        for place, log_id in enumerate(listed)
    }
    cursors = {place: cursor for cursor, place in places.items()}

    def fetch(request: PageRequest) -> Page:
        if request.cursor is None:
            start = 0
        elif request.cursor in places:
            start = places[request.cursor] + 1
        else:
            guess = base64.b64decode(request.cursor).decode()
            start = next((place for place, log_id in enumerate(listed) if log_id >= guess), len(listed))
        logs = [
            Record(log_id, int(log_id[:8] + log_id[9:13], 16) * 1000, "", None)
            for log_id in listed[start : start + size]
        ]
        after = None if start + size >= len(listed) else cursors[start + size - 1]
        return Page(tuple(logs), after, len(listed), NOW, size=len(logs))

    return fetch
