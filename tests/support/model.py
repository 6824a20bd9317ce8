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
    """What a run emitted, and the states that it wrote on the way, the newest last."""

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
    """Return a fetch that asks the simulated API, which lists in `fixed_order`, if any, whatever it is asked for."""
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
    """Return a fetch whose answer to the request of this number lacks its logs, if another page follows it."""
    requests = count(1)

    def answer(request: PageRequest) -> Page:
        page = fetch(request)
        is_empty = next(requests) == number and page.after is not None
        return replace(page, records=()) if is_empty else page

    return answer


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
    ahead: int | None = None,
    fixed_order: SortOrder | None = None,
    empty: int | None = None,
) -> ModelRun:
    """Make one run, as the stream would; killed after `kill_after` records if it gets that far.

    With `empty`, the page of the request with this number comes without its logs, if another page follows it.
    With `ahead`, it reads ahead, and answers come in an order drawn from this seed.

    Of a run that fails, `emitted` and `written` hold the ids and the states.

    Raises:
        KilledError: It was; what came out until then is its first argument.
    """
    query = query or Query("model", "v")
    bookmark = Bookmark.load(state or {}, query, lookback_seconds)
    cursors = {(state or {}).get("cursor"), None}
    ask = asking_again_for_empty(without_logs(fetch_from(api, now, page_size, query, fixed_order), empty))

    def fetch(request: PageRequest) -> Page:
        page = ask(request)
        cursors.add(page.after)
        return page

    rng, guesses = random.Random(ahead), CursorGuesses()

    readings: list[SteppedPrefetchPool] = []

    def prefetching() -> SteppedPrefetchPool:
        reading = SteppedPrefetchPool(
            fetch, rng, page_size=page_size, max_in_flight_requests=rng.randint(2, 5), guesses=guesses
        )
        readings.append(reading)
        return reading

    sync = IncrementalReader(
        fetch,
        bookmark,
        start_date=start_date,
        logger=LOGGER,
        pause=lambda _: None,
        prefetching=None if ahead is None else prefetching,
    )
    result = ModelRun(
        ids=[] if emitted is None else emitted,
        states=[] if written is None else written,
    )
    before = len(api.requests)

    def emit(batch: RecordPage) -> None:
        for log in batch.records:
            if kill_after is not None and len(result.ids) == kill_after:
                result.requests = len(api.requests) - before
                raise KilledError(result)
            result.ids.append(log.id)
            batch.emitted(log)
        batch.done()

    def write_state() -> None:
        assert bookmark.position.cursor in cursors, "a cursor that the API did not return"
        result.states.append(bookmark.to_state())
        result.ids_at_state.append(len(result.ids))

    try:
        for number, batch in enumerate(sync.record_pages(), start=1):
            emit(batch)
            if number % state_every == 0:
                write_state()
            between_batches()
    except TapSequenceError:
        write_state()
        raise
    write_state()
    result.requests = len(api.requests) - before
    result.guesses = sum(reading.guesses_asked for reading in readings)
    return result
