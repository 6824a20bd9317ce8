"""The threads that prefetch: they request what the plan decides, and the walk takes the pages in order.

For the walk, the pool is a `fetch` like any other, which returns one page after another.
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
"""Holds an item if a response has come since it was last read."""


class PrefetchPool:
    """Fetches the pages of one forward walk, ahead of it. Use it as a context manager: leaving it ends the threads.

    Args:
        fetch: Gets a page; called by all threads.
        wait: Waits until the queue of wakeups has an item, and takes it.
        new_plan: Makes the plan, given the cursor that the walk begins with.
        threads: Number of threads.
        logger: Receives the reason when guessing ends.
    """

    def __init__(
        self,
        *,
        fetch: Fetch,
        wait: Callable[[Wakeups], object],
        new_plan: Callable[[str | None], PrefetchPlan],
        threads: int,
        logger: logging.Logger,
    ) -> None:
        self._fetch = fetch
        self._wait = wait
        self._new_plan = new_plan
        self._threads = threads
        self._logger = logger
        self._plan: PrefetchPlan | None = None
        # Held while the plan is used; notified whenever there may be another page to request.
        self._changed = threading.Condition()
        self._is_ahead = False
        self._is_closed = False
        self._bug: Exception | None = None
        # Unlike a condition, a queue can be used in a signal handler.
        self._wakeups: Wakeups = SimpleQueue()

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
        if self._plan is None:
            self._plan = self._new_plan(request.cursor)
            self._start_threads(1, self._plan)
        elif not self._is_ahead:
            # Most runs read one page; the other threads are for the second and later ones.
            self._is_ahead = True
            self._start_threads(self._threads - 1, self._plan)
        while True:
            if self._bug is not None:
                raise self._bug
            with self._changed:
                page = self._plan.take(request.cursor)
                # There may be room now.
                self._changed.notify_all()
            if page is not None:
                return page
            self._wait(self._wakeups)

    def _start_threads(self, number: int, plan: PrefetchPlan) -> None:
        for _ in range(number):
            threading.Thread(target=self._work, args=(plan,), daemon=True).start()

    def _work(self, plan: PrefetchPlan) -> None:
        try:
            while (task := self._next_task(plan)) is not None:
                self._perform(plan, task)
        except Exception as error:  # noqa: BLE001  # if the thread ended silently, the walk would wait forever
            self._bug = error
            self._wake()

    # A method of its own, so that a thread that waits for its next task does not keep the last page.
    def _perform(self, plan: PrefetchPlan, task: Task) -> None:
        try:
            page = self._fetch(task.request)
        except Exception as error:  # noqa: BLE001  # handed over to the walk, whatever it is
            self._report(plan, partial(plan.failed, task, error))
        else:
            self._report(plan, partial(plan.succeeded, task, page))

    def _next_task(self, plan: PrefetchPlan) -> Task | None:
        with self._changed:
            while not self._is_closed:
                task = plan.next_task()
                if task is not None:
                    return task
                self._changed.wait()
        return None

    def _report(self, plan: PrefetchPlan, report: Callable[[], None]) -> None:
        guesses = plan.guesses
        with self._changed:
            was_on = guesses.why_not is None
            report()
            is_off_now = was_on and guesses.why_not is not None
            self._changed.notify_all()
        self._wake()
        if is_off_now:
            self._logger.info(
                "Prefetching is off for the rest of this run: %s. Reading page by page; the result is the same.",
                guesses.why_not,
            )

    def _wake(self) -> None:
        # One item is enough: the walk then sees all that has happened.
        if self._wakeups.empty():
            self._wakeups.put(None)
