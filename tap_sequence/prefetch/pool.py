"""The threads that read ahead: they ask for what the plan (tap_sequence/prefetch/plan.py) says, and the walk takes it in order.

To the walk it is a `fetch` like any other: it asks for one page after another, and gets each as if it were asked for now.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TypeAlias

from tap_sequence.prefetch.plan import PrefetchPlan, Task
from tap_sequence.sync.models import Fetch, Page, PageRequest

Wakeups: TypeAlias = SimpleQueue[None]
"""Rings when an answer came."""


class PrefetchPool:
    """Fetches the pages of one forward walk, ahead of it. Use it as a context manager: leaving it ends the threads.

    As long as there is nothing to read ahead of (up to the first page with logs), it asks as it is asked.

    Args:
        fetch: Gets a page; called by all threads.
        fetch_now: The same for the thread of the walk.
        wait: Waits until the bell rings.
        plan: Makes the plan, given the page to begin behind, and `returned` where it is known.
        threads: How many there are.
        logger: Where it is told why no cursors are guessed any more.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        *,
        fetch: Fetch,
        fetch_now: Fetch,
        wait: Callable[[Wakeups], object],
        plan: Callable[[Page, int | None], PrefetchPlan],
        threads: int,
        logger: logging.Logger,
    ) -> None:
        self._fetch = fetch
        self._fetch_now = fetch_now
        self._wait = wait
        self._new_plan = plan
        self._threads = threads
        self._logger = logger
        self._plan: PrefetchPlan | None = None
        self._begin_behind: tuple[PageRequest, Page] | None = None
        # Held while the plan is looked at; told of whenever there may be something new to ask for.
        self._changed = threading.Condition()
        self._is_closed = False
        self._number = 0
        self._defect: Exception | None = None
        # Rings with each answer. Unlike a condition it may be rung by a signal handler.
        self._bell: Wakeups = SimpleQueue()

    def __enter__(self) -> Fetch:
        return self.fetch

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def fetch(self, request: PageRequest) -> Page:
        """Return the page that the walk asks for.

        Raises:
            RequestError: It could not be read.
        """
        if self._begin_behind is not None:
            self._start(*self._begin_behind)
        if self._plan is None:
            page = self._fetch_now(request)
            if page.records and page.after is not None:
                self._begin_behind = request, page
            return page
        while True:
            if self._defect is not None:
                raise self._defect
            with self._changed:
                self._number = request.number or 0
                page_or_none = self._plan.take()
                self._number += page_or_none is not None
                # There may be room now.
                self._changed.notify_all()
            if page_or_none is not None:
                return page_or_none
            self._wait(self._bell)

    def _start(self, request: PageRequest, page: Page) -> None:
        self._begin_behind = None
        self._number = (request.number or 0) + 1
        self._plan = self._new_plan(page, len(page.records) if request.cursor is None else None)
        self._start_threads(self._plan)

    def _start_threads(self, plan: PrefetchPlan) -> None:
        for _ in range(self._threads):
            threading.Thread(target=self._work, args=(plan,), daemon=True).start()

    def _work(self, plan: PrefetchPlan) -> None:
        try:
            while (task := self._next_task(plan)) is not None:
                self._perform(plan, task)
        except Exception as error:  # noqa: BLE001  # a thread that died in silence would leave the walk waiting for ever
            self._defect = error
            self._ring()

    # A method of its own: a thread that waits for its next task must not hold on to the last one's page.
    def _perform(self, plan: PrefetchPlan, task: Task) -> None:
        try:
            page = self._fetch(task.request)
        except Exception as error:  # noqa: BLE001  # handed over to the walk, whatever it is
            self._tell(plan, partial(plan.failed, task, error))
        else:
            self._tell(plan, partial(plan.answered, task, page))

    def _next_task(self, plan: PrefetchPlan) -> Task | None:
        with self._changed:
            while not self._is_closed:
                task = plan.next_task(self._number)
                if task is not None:
                    return task
                self._changed.wait()
        return None

    def _tell(self, plan: PrefetchPlan, tell: Callable[[], None]) -> None:
        guesses = plan.guesses
        with self._changed:
            was_on = guesses.why_not is None
            tell()
            is_off_now = was_on and guesses.why_not is not None
            self._changed.notify_all()
        self._ring()
        if is_off_now:
            self._logger.info(
                "Reading one page after another, which is as right and only slower: cursors are not guessed ahead any "
                "more, as %s.",
                guesses.why_not,
            )

    def _ring(self) -> None:
        # Whoever finds it ringing looks again at all that has happened until then.
        if self._bell.empty():
            self._bell.put(None)
