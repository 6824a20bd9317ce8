"""The plan of a run: which walk to make, given the bookmark, and which of the logs it brings to emit.

Plain Python over `fetch(request) -> page`: it knows neither HTTP nor Singer. The table "what the run starts with" of
docs/state.md is `LogSync.batches`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tap_sequence.bookmark import Bookmark, Start
from tap_sequence.errors import BadRequestError, IncompleteLogError, RequestError
from tap_sequence.pages import Fetch, Log, Page, PageRequest, SortOrder
from tap_sequence.timestamps import MICROSECONDS, format_timestamp
from tap_sequence.walk import walk

DISORDER = 60 * MICROSECONDS
"""How far `createdAt` may stray from the list's order where nothing else allows for it."""

LOOKS_FOR_MISSING_LOGS = 3
"""How often a walk that ended too early looks again without finding anything, before the run fails."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The logs of one page that are to be emitted, in order.

    Whoever emits them calls `emitted` right after each, and `done` after the last: the bookmark then describes
    exactly what was emitted.
    """

    logs: Sequence[Log]
    emitted: Callable[[Log], None]
    done: Callable[[], None]


def _ignore(_log: Log) -> None:
    """A backward walk moves the bookmark only when it is complete."""


class LogSync:
    """One run over the log.

    Args:
        fetch: Gets a page.
        bookmark: Where the run before ended; moved on as logs are emitted.
        start_date: Emit only logs created at or after this time, in microseconds since 1970.
        logger: Where warnings go.
        pause: Waits some seconds.
    """

    def __init__(
        self,
        fetch: Fetch,
        bookmark: Bookmark,
        *,
        start_date: int | None,
        logger: logging.Logger,
        pause: Callable[[float], None],
    ) -> None:
        self._fetch = fetch
        self._bookmark = bookmark
        self._start_date = start_date
        self._logger = logger
        self._pause = pause
        self._read = 0
        self._total: int | None = None

    def batches(self) -> Iterator[Batch]:
        """Yield the logs to emit, page by page.

        Raises:
            RequestError: A page could not be read.
            PaginationLoopError: The API goes round in circles.
            IncompleteLogError: The list ended too early.
        """
        match self._bookmark.start:
            case Start.NOTHING:
                yield from self._from_nothing()
            case Start.OTHER_QUERY:
                self._logger.warning(
                    "The state belongs to another query (host, API version or filters changed), so its cursor is "
                    "not used: the log is read as without state."
                )
                yield from self._from_nothing()
            case Start.CURSOR:
                yield from self._from_cursor()
            case Start.TIME:
                yield from self._from_time()

    # What the run starts with

    def _from_nothing(self) -> Iterator[Batch]:
        pages = walk(self._fetch, SortOrder.ASCENDING)
        if self._start_date is None:
            yield from self._forward(pages)
            return
        # One page tells whether nearly the whole log is wanted. Then the forward walk is better: it can be resumed.
        first = next(pages)
        if not first[1].logs or first[1].logs[-1].created_at >= self._start_date:
            yield from self._forward(_chain(first, pages))
        else:
            yield from self._backward(self._start_date, read_on_to=self._start_date - DISORDER)

    def _from_cursor(self) -> Iterator[Batch]:
        cursor = self._bookmark.cursor
        pages = walk(self._fetch, SortOrder.ASCENDING, cursor)
        if cursor is None:
            yield from self._forward(pages)
            return
        try:
            skipped, first = _first_page_with_logs(pages)
        except BadRequestError as error:
            yield from self._without_cursor(f"the API refuses it ({error})")
            return
        if not self._bookmark.has_recent or (first is not None and self._bookmark.knows(first[1].logs[0].id)):
            if first is not None:
                pages = _chain(first, pages)
            yield from self._forward(pages, whole=False)
        else:
            found = (
                "nothing" if first is None else f"a log that was not expected there ({first[1].logs[0].id})"
            )
            yield from self._without_cursor(f"the API answers it with {found} after {skipped} empty pages")

    def _without_cursor(self, why: str) -> Iterator[Batch]:
        self._logger.warning(
            "The saved cursor %s can no longer be used: %s. Reading backward from the newest log instead; nothing is "
            "lost.",
            self._bookmark.cursor,
            why,
        )
        yield from self._from_time()

    def _from_time(self) -> Iterator[Batch]:
        bound = self._bookmark.backward_bound
        if bound is None:
            yield from self._from_nothing()
        else:
            # The lookback allows for disorder: what is new is younger than the bound by far.
            yield from self._backward(bound, read_on_to=bound)

    # Forward

    def _forward(self, pages: Iterator[tuple[PageRequest, Page]], *, whole: bool = True) -> Iterator[Batch]:
        """Emit what a forward walk brings. A `whole` one began at the oldest log, so that its end can be checked."""
        looks = 0
        while True:
            before = self._read
            for request, page in pages:
                new = self._new(page.logs)
                # Looking again, only what is new counts: the rest was counted the first time.
                self._read += len(new) if looks else len({log.id for log in page.logs})
                if page.total is not None:
                    self._total = page.total
                yield self._forward_batch(request, page, new)
            if not whole or self._total is None or self._read >= self._total:
                break
            looks = looks + 1 if self._read == before else 1
            if looks > LOOKS_FOR_MISSING_LOGS:
                raise IncompleteLogError(self._incomplete())
            self._logger.warning(
                "The list ended after %d logs, but the API says there are %d: looking again.",
                self._read,
                self._total,
            )
            self._pause(float(2 ** (looks - 1)))
            # The same that the next run would do. It also meets logs that became visible behind the walk's back.
            self._bookmark.rewind()
            pages = walk(self._fetch, SortOrder.ASCENDING, self._bookmark.cursor)
        self._bookmark.forward_done()
        self._warn_of_forgotten()

    def _forward_batch(self, request: PageRequest, page: Page, new: Sequence[Log]) -> Batch:
        def done() -> None:
            self._bookmark.page_done(request.cursor, page.logs, page.asked_at)

        return Batch([log for log in new if self._is_wanted(log)], self._bookmark.emitted, done)

    def _incomplete(self) -> str:
        return (
            f"The API ends the list after {self._read} logs but says that there are {self._total}. What was read is "
            "emitted, and the last STATE loses nothing: run again. If it stays so, ask Sequence's support why "
            "totalResultSize and the list differ."
        )

    # Backward

    def _backward(self, bound: int, *, read_on_to: int) -> Iterator[Batch]:
        """Emit, newest first, what is not older than `bound`.

        Ends after a whole page older than `read_on_to`, because `createdAt` may be a little out of order. Both are in
        microseconds since 1970.
        """
        tail = _Tail(self._bookmark)
        newest: Log | None = None
        had_news = False
        for _, page in walk(self._fetch, SortOrder.DESCENDING):
            wanted = [log for log in self._new(page.logs) if log.created_at >= bound and self._is_wanted(log)]
            newest = max(
                [*([newest] if newest else []), *wanted], key=lambda log: log.created_at, default=None
            )
            tail.add(page)
            had_news = had_news or bool(wanted)
            yield Batch(wanted, _ignore, lambda: None)
            if page.logs and all(log.created_at < read_on_to for log in page.logs):
                break
        else:
            tail.reached_start()
        had_position = self._bookmark.has_cursor or self._bookmark.start is not Start.TIME
        self._bookmark.backward_done(tail.logs(), newest)
        # Where no cursor could be won before, it is only worth another request when there was something new.
        if had_news or had_position:
            self._win_cursor(tail)
        self._warn_of_forgotten()
        self._logger.info("Read backward to %s.", format_timestamp(bound))

    def _win_cursor(self, tail: _Tail) -> None:
        """Try to find a cursor from which the next run can go forward. Data proves it, never the cursor's looks."""
        if tail.whole_list_on_one_page:
            self._bookmark.cursor_won(None, tail.logs())
            return
        behind = tail.behind_cursor()
        if tail.cursor is None or not behind:
            return
        try:
            page = self._fetch(PageRequest(SortOrder.ASCENDING, tail.cursor, 1))
        except RequestError as error:
            self._logger.debug("No forward cursor after the backward walk: %s", error)
            return
        found = [log.id for log in page.logs]
        expected = [log.id for log in behind]
        common = min(len(found), len(expected))
        is_cut_short = len(found) < len(expected) and page.after is None
        if common and found[:common] == expected[:common] and not is_cut_short:
            self._bookmark.cursor_won(tail.cursor, behind)

    # Which logs to emit

    def _new(self, logs: Sequence[Log]) -> list[Log]:
        """Return the logs that no run has read, each once."""
        unique = {log.id: log for log in logs if not self._bookmark.knows(log.id)}
        return list(unique.values())

    def _is_wanted(self, log: Log) -> bool:
        return self._start_date is None or log.created_at >= self._start_date

    def _warn_of_forgotten(self) -> None:
        if self._bookmark.forgotten:
            self._logger.warning(
                "More logs lie within lookback_seconds than the state remembers: up to %d of them may be emitted "
                "again by the next run. A smaller lookback_seconds avoids it.",
                self._bookmark.forgotten,
            )


class _Tail:
    """The newest logs that a backward walk read: what the bookmark has to remember, and a cursor to try."""

    def __init__(self, bookmark: Bookmark) -> None:
        self._bookmark = bookmark
        self._newest_first: list[Log] = []
        self._youngest = bookmark.latest or 0
        self._behind_cursor = 0
        self._pages = 0
        self._is_whole_list = False
        self.cursor: str | None = None
        """The `after` of the first page that is older than the lookback."""

    @property
    def whole_list_on_one_page(self) -> bool:
        """Whether one page was all there is."""
        return self._is_whole_list and self._pages == 1

    def add(self, page: Page) -> None:
        """Take the next page, newest first."""
        if not page.logs:
            return
        self._pages += 1
        self._youngest = max(self._youngest, *(log.created_at for log in page.logs))
        if self.cursor is not None:
            # Beyond the cursor's page only stragglers within the lookback matter.
            bound = self._youngest - self._bookmark.lookback
            self._newest_first.extend(log for log in page.logs if log.created_at >= bound)
            return
        self._newest_first.extend(page.logs)
        if page.after is not None and self._bookmark.is_settled(page.logs, page.asked_at):
            self.cursor = page.after
            self._behind_cursor = len(self._newest_first) - 1  # All but the log that the cursor stands for.

    def reached_start(self) -> None:
        """The list has no older log."""
        self._is_whole_list = True

    def logs(self) -> list[Log]:
        """Return what was kept, oldest first."""
        return self._newest_first[::-1]

    def behind_cursor(self) -> list[Log]:
        """Return the logs that a forward walk from `cursor` has to bring first, oldest first."""
        return self._newest_first[: self._behind_cursor][::-1]


def _chain(
    first: tuple[PageRequest, Page], rest: Iterator[tuple[PageRequest, Page]]
) -> Iterator[tuple[PageRequest, Page]]:
    yield first
    yield from rest


def _first_page_with_logs(
    pages: Iterator[tuple[PageRequest, Page]],
) -> tuple[int, tuple[PageRequest, Page] | None]:
    """Return the first page that is not empty, or None, and how many empty ones came before it."""
    skipped = 0
    for request, page in pages:
        if page.logs:
            return skipped, (request, page)
        skipped += 1
    return skipped, None
