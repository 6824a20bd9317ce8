"""Runs a sync over the simulated API, without HTTP and Singer, and with a given clock."""

from __future__ import annotations

import base64
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from tap_sequence.api.decoder import PageDecoder
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA
from tap_sequence.errors import BadRequestError, RefusedError, TapSequenceError
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.simulator import SimulatedApi
from tap_sequence.simulator.api import ACTIVITY_LOGS_PATH
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.incremental import IncrementalReader
from tap_sequence.sync.models import Page, PageRequest, RecordPage, SortOrder
from tap_sequence.sync.state import Query
from tap_sequence.sync.walk import asking_again_for_empty
from tests.support.stepping import SteppedPrefetchPool

LOGGER = logging.getLogger("tests.support.model")
SECOND = 1_000_000
_DECODER = PageDecoder(ACTIVITY_LOGS_SCHEMA, LOGGER)


class KilledError(Exception):
    """The run was killed."""


@dataclass
class ModelRun:
    """Ids of the logs that a run emitted, and the states that it wrote on the way, the newest last."""

    ids: list[str] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    ids_at_state: list[int] = field(default_factory=list)
    requests: int = 0
    guesses: int = 0


def fetch_from(
    api: SimulatedApi,
    now: Callable[[], int],
    page_size: int,
    query: Query,
    fixed_order: SortOrder | None = None,
) -> Callable[[PageRequest], Page]:
    """Return a fetch from the simulated API. With `fixed_order`, the API ignores `sortOrder` and lists in that order."""
    headers = {"authorization": "Basic " + base64.b64encode(":".join(api.credentials).encode()).decode()}
    filters = {
        "activityLogObjectId": query.activity_log_object_id,
        "activityLogObjectEntityId": query.activity_log_object_entity_id,
    }

    def fetch(request: PageRequest) -> Page:
        asked_at = now()
        parameters = {
            "limit": str(page_size),
            "sortOrder": str(fixed_order or request.order),
            "after": request.cursor,
            **filters,
        }
        response = api.respond(
            ACTIVITY_LOGS_PATH,
            {name: value for name, value in parameters.items() if value is not None},
            headers,
        )
        if response.status == 400:
            raise BadRequestError(request, response.body.decode())
        if response.status != 200:
            raise RefusedError(request, response.body.decode())
        return _DECODER.decode(response.body, asked_at=asked_at)

    return fetch


def without_logs(fetch: Callable[[PageRequest], Page], number: int | None) -> Callable[[PageRequest], Page]:
    """Return a fetch whose response to the request of this number has no logs, if another page follows it."""
    requests = count(1)

    def fetch_without_logs(request: PageRequest) -> Page:
        page = fetch(request)
        is_empty = next(requests) == number and page.after is not None
        return replace(page, records=()) if is_empty else page

    return fetch_without_logs


def run(
    api: SimulatedApi,
    state: Mapping[str, Any] | None = None,
    *,
    now: Callable[[], int],
    query: Query | None = None,
    page_size: int = 100,
    lookback_seconds: int = 300,
    start_date: int | None = None,
    state_every: int = 1,
    kill_after: int | None = None,
    between_batches: Callable[[], None] = lambda: None,
    emitted: list[str] | None = None,
    written: list[dict[str, Any]] | None = None,
    prefetch_seed: int | None = None,
    fixed_order: SortOrder | None = None,
    empty: int | None = None,
) -> ModelRun:
    """Make one run, as the stream would.

    Args:
        api: The simulated API.
        state: The stream's state; None: no state.
        now: Returns the time of a request, in microseconds since 1970.
        query: What the run asks for.
        page_size: Logs per page.
        lookback_seconds: How late a log may become visible.
        start_date: Emit only logs created at or after this time, in microseconds since 1970.
        state_every: Pages from one written state to the next.
        kill_after: Kill the run after this many records, if it has more.
        between_batches: Called after each page.
        emitted: Receives the ids of the emitted logs, also if the run fails.
        written: Receives the states, also if the run fails.
        prefetch_seed: Prefetch, with responses in an order drawn from this seed; None: do not prefetch.
        fixed_order: The order in which the API lists, whatever `sortOrder` is requested.
        empty: Number of the request whose response has no logs, if another page follows it.

    Raises:
        KilledError: The run was killed; its first argument is the ModelRun until then.
    """
    query = query or Query("model", "v")
    bookmark = Bookmark.load(state or {}, query, lookback_seconds)
    cursors = {(state or {}).get("cursor"), None}
    fetch_page = asking_again_for_empty(
        without_logs(fetch_from(api, now, page_size, query, fixed_order), empty)
    )

    def fetch(request: PageRequest) -> Page:
        page = fetch_page(request)
        cursors.add(page.after)
        return page

    rng, guesses = random.Random(prefetch_seed), CursorGuesses()
    pools: list[SteppedPrefetchPool] = []

    def prefetching() -> SteppedPrefetchPool:
        pool = SteppedPrefetchPool(
            fetch, rng, page_size=page_size, max_in_flight_requests=rng.randint(2, 5), guesses=guesses
        )
        pools.append(pool)
        return pool

    reader = IncrementalReader(
        fetch,
        bookmark,
        start_date=start_date,
        logger=LOGGER,
        pause=lambda _: None,
        prefetching=None if prefetch_seed is None else prefetching,
    )
    result = ModelRun(
        ids=[] if emitted is None else emitted,
        states=[] if written is None else written,
    )
    before = len(api.requests)

    def emit(page: RecordPage) -> None:
        for log in page.records:
            if kill_after is not None and len(result.ids) == kill_after:
                result.requests = len(api.requests) - before
                raise KilledError(result)
            result.ids.append(log.id)
            page.emitted(log)
        page.done()

    def write_state() -> None:
        assert bookmark.position.cursor in cursors, "a cursor that the API did not return"
        result.states.append(bookmark.to_state())
        result.ids_at_state.append(len(result.ids))

    try:
        for number, page in enumerate(reader.record_pages(), start=1):
            emit(page)
            if number % state_every == 0:
                write_state()
            between_batches()
    except TapSequenceError:
        write_state()
        raise
    write_state()
    result.requests = len(api.requests) - before
    result.guesses = sum(pool.guesses_made for pool in pools)
    return result
