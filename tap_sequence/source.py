"""Puts the reading of the log together: client, walk, read-ahead, and the main thread's waits."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from tap_sequence.prefetch.cursor_guess import Hints
from tap_sequence.prefetch.plan import ReadAhead
from tap_sequence.prefetch.pool import ReadingAhead
from tap_sequence.runtime.waiting import Waiting
from tap_sequence.settings import Settings
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.incremental import LogSync
from tap_sequence.sync.models import Page, PageRequest
from tap_sequence.sync.walk import asking_again_for_empty

if TYPE_CHECKING:
    from tap_sequence.api.client import SequenceClient


def plan_run(
    client: SequenceClient,
    bookmark: Bookmark,
    *,
    settings: Settings,
    waiting: Waiting,
    logger: logging.Logger,
) -> LogSync:
    """Return one run over the log, that goes on from a bookmark and moves it."""
    plan = partial(
        ReadAhead,
        hints=Hints(),
        page_size=settings.page_size,
        max_in_flight_requests=settings.max_in_flight_requests,
    )

    ask = asking_again_for_empty(client.fetch)

    def fetch(request: PageRequest) -> Page:
        return waiting.call(partial(ask, request))

    def reading_ahead() -> ReadingAhead:
        return ReadingAhead(
            fetch=ask,
            fetch_now=fetch,
            wait=waiting.get,
            plan=plan,
            threads=settings.max_in_flight_requests,
            logger=logger,
        )

    return LogSync(
        fetch,
        bookmark,
        start_date=settings.start_date_microseconds,
        logger=logger,
        pause=waiting.pause,
        reading_ahead=reading_ahead if settings.max_in_flight_requests > 1 else None,
    )
