"""Prefetching without threads: a random generator draws every step, so that runs are reproducible."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any

from tap_sequence.errors import TapSequenceError
from tap_sequence.prefetch.cursor_guess import CursorGuesses
from tap_sequence.prefetch.plan import Lengths, PrefetchPlan, Task
from tap_sequence.prefetch.pool import PrefetchPool
from tap_sequence.sync.models import Fetch, Page, PageRequest

LOGGER = logging.getLogger("tests.support.stepping")
SHORT = Lengths(longest=6, first=2, shortest=1, before=1)
"""Guesses begin after few pages, so that small accounts suffice."""


class SteppedPrefetchPool(PrefetchPool):
    """The read-ahead, with requests that are answered one at a time, in any order, and sooner or later.

    Args:
        fetch: Gets a page.
        rng: Draws what happens next.
        max_in_flight_requests: Most requests under way at once.
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
        self.hints_asked = 0
        self._rng = rng
        self._under_way: list[tuple[Task, Callable[[], Any]]] = []
        guesses = guesses or CursorGuesses()

        def plan(page: Page, returned: int | None) -> PrefetchPlan:
            return PrefetchPlan(
                page,
                returned,
                guesses=guesses,
                page_size=page_size,
                max_in_flight_requests=max_in_flight_requests,
                max_held_bytes=max_held_bytes,
                lengths=lengths,
            )

        super().__init__(
            fetch=fetch,
            fetch_now=fetch,
            wait=lambda _bell: self._step(),
            plan=plan,
            threads=max_in_flight_requests,
            logger=LOGGER,
        )

    def _start_threads(self, plan: PrefetchPlan) -> None:
        """Start none."""

    def fetch(self, request: PageRequest) -> Page:
        # What threads would do while the walk does something else.
        while self._plan is not None and self._rng.random() < 0.6:
            if not self._step(must=False):
                break
        return super().fetch(request)

    def _step(self, *, must: bool = True) -> bool:
        plan = self._plan
        assert plan is not None
        while not self._under_way or self._rng.random() < 0.7:
            task = plan.next_task(self._number)
            if task is None:
                break
            self.hints_asked += task.is_guess
            self._under_way.append((task, self._asked(task)))
        self.most_in_flight = max(self.most_in_flight, len(self._under_way))
        if not self._under_way:
            assert not must, "the walk waits, and nothing is under way"
            return False
        task, answer = self._under_way.pop(self._rng.randrange(len(self._under_way)))
        try:
            page = answer()
        except TapSequenceError as error:
            plan.failed(task, error)
        else:
            plan.answered(task, page)
        self.most_held = max(self.most_held, plan.held_bytes)
        return True

    def _asked(self, task: Task) -> Callable[[], Page]:
        """Let the API look at its list now, or only when the answer comes."""
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
