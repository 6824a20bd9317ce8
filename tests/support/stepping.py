"""Prefetching without threads: a random generator draws every step, so that runs are reproducible."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from tap_sequence.errors import TapSequenceError
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.prefetch.guess_planner import Lengths
from tap_sequence.prefetch.plan import PrefetchPlan, Task
from tap_sequence.prefetch.pool import PrefetchPool
from tap_sequence.sync.models import Fetch, Page, PageRequest

LOGGER = logging.getLogger("tests.support.stepping")
SHORT = Lengths(longest=6, first=2, shortest=1, before=1)
"""Guesses begin after few pages, so that small accounts suffice."""


class SteppedPrefetchPool(PrefetchPool):
    """A pool without threads: responses arrive one at a time, in any order, sooner or later.

    Args:
        fetch: Gets a page.
        rng: Draws what happens next.
        page_size: Records on a full page.
        max_in_flight_requests: Maximum number of requests in flight.
        guesses: Guesses of earlier walks of the same run; None: this is the first walk.
        max_held_bytes: Maximum size of the responses that wait.
        lengths: When to guess.
    """

    def __init__(
        self,
        fetch: Fetch,
        rng: random.Random,
        *,
        page_size: int,
        max_in_flight_requests: int,
        guesses: CursorGuesses | None = None,
        max_held_bytes: int = 2**20,
        lengths: Lengths = SHORT,
    ) -> None:
        self.most_in_flight = 0
        self.most_held = 0
        self.guesses_made = 0
        self._rng = rng
        self._in_flight: list[tuple[Task, Callable[[], Any]]] = []
        guesses = guesses or CursorGuesses()

        def new_plan(cursor: str | None) -> PrefetchPlan:
            return PrefetchPlan(
                cursor,
                guesses=guesses,
                page_size=page_size,
                max_in_flight_requests=max_in_flight_requests,
                max_held_bytes=max_held_bytes,
                lengths=lengths,
            )

        super().__init__(
            fetch=fetch,
            wait=lambda _wakeups: self._step(),
            new_plan=new_plan,
            threads=max_in_flight_requests,
            logger=LOGGER,
        )

    def _start_threads(self, number: int, plan: PrefetchPlan) -> None:
        """Start none."""

    def fetch(self, request: PageRequest) -> Page:
        # The steps that threads would make while the walk is busy elsewhere.
        while self._plan is not None and self._rng.random() < 0.6:
            if not self._step(must=False):
                break
        return super().fetch(request)

    def _step(self, *, must: bool = True) -> bool:
        """Start requests and finish one of them; return False if none is in flight."""
        plan = self._plan
        assert plan is not None
        while not self._in_flight or self._rng.random() < 0.7:
            task = plan.next_task()
            if task is None:
                break
            self.guesses_made += task.is_guess
            self._in_flight.append((task, self._request(task)))
        self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
        if not self._in_flight:
            assert not must, "the walk waits, and nothing is in flight"
            return False
        task, respond = self._in_flight.pop(self._rng.randrange(len(self._in_flight)))
        try:
            page = respond()
        except TapSequenceError as error:
            plan.failed(task, error)
        else:
            plan.succeeded(task, page)
        self.most_held = max(self.most_held, plan.held_bytes)
        return True

    def _request(self, task: Task) -> Callable[[], Page]:
        """Return what gives the response. The API reads its list now, or only when the response arrives."""
        if self._rng.random() < 0.5:
            return lambda: self._fetch(task.request)
        try:
            page = self._fetch(task.request)
        except TapSequenceError as caught:
            error = caught

            def fail() -> Page:
                raise error

            return fail
        return lambda: page
