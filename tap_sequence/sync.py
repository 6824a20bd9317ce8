"""The plan of a run: which walk to make, given the bookmark, and which of the logs it brings to emit.

Plain Python over `fetch(request) -> page`: it knows neither HTTP nor Singer. The table "what the run starts with" of
docs/state.md is `LogSync.batches`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from itertools import count
from typing import TypeAlias

from tap_sequence.bookmark import BEFORE_ANCHOR, DISORDER, Anchor, Bookmark, Start
from tap_sequence.errors import BadRequestError, IncompleteLogError, PaginationLoopError, RequestError
from tap_sequence.pages import Fetch, Log, Page, PageRequest, SortOrder
from tap_sequence.walk import walk

Pages: TypeAlias = Generator[tuple[PageRequest, Page], None, None]
"""A walk: each page with the request that brought it. Whoever leaves it before its end closes it."""

LOOKS_FOR_MISSING_LOGS = 3
"""How often a walk that ended too early looks again without finding anything, before the run fails."""

LOOKS_IN_ALL = 12
"""How often it looks again where each time it finds something, but never enough."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The logs of one page that are to be emitted, in order.

    Whoever emits them calls `emitted` right after each, and `done` after the last: the bookmark then describes
    exactly what was emitted.

    Attributes:
        logs: What to emit.
        emitted: To be called with each of them.
        done: To be called when all were emitted.
        read: How many logs are on the page.
        seen: How many of those were emitted before.
        total: How many logs the API says there are; None where it does not, or where this walk reads only some of them.
    """

    logs: Sequence[Log]
    emitted: Callable[[Log], None]
    done: Callable[[], None]
    read: int
    seen: int
    total: int | None = None


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
        reading_ahead: Returns what gets the pages of one forward walk, until it is left; without it, `fetch` does.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        fetch: Fetch,
        bookmark: Bookmark,
        *,
        start_date: int | None,
        logger: logging.Logger,
        pause: Callable[[float], None],
        reading_ahead: Callable[[], AbstractContextManager[Fetch]] | None = None,
    ) -> None:
        self._fetch = fetch
        self._reading_ahead = reading_ahead or (lambda: nullcontext(fetch))
        self._bookmark = bookmark
        self._start_date = start_date
        self._logger = logger
        self._pause = pause
        self._read = 0
        self._total: int | None = None
        self._first: Page | None = None

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
                pages = self._pages_from_saved_cursor()
                if pages is None:
                    yield from self._backward_to_bookmark()
                else:
                    yield from self._forward(pages, whole=self._bookmark.cursor is None)
            case Start.BACKWARD:
                yield from self._backward_to_bookmark()

    # What the run starts with

    def _from_nothing(self) -> Iterator[Batch]:
        pages = self._walk_forward()
        if self._start_date is None:
            yield from self._forward(pages, whole=True)
            return
        # One page tells whether nearly the whole log is wanted. Then the forward walk is better: it can be resumed.
        _, first = _first_page_with_logs(pages)
        if first is None:
            # An empty list has to add up like any other.
            yield from self._forward(self._walk_forward(), whole=True)
        elif first[1].logs[-1].created_at >= self._start_date:
            yield from self._forward(_chain(first, pages), whole=True)
        else:
            since = self._start_date
            yield from self._backward(_Backward(since=since, read_on_to=since - DISORDER))

    def _pages_from_saved_cursor(self) -> Pages | None:
        """Return the walk from the saved cursor or, with a warning, None where the API does not honour it.

        Data tells: the first log must be the one that stood there when the cursor was saved.
        """
        cursor = self._bookmark.cursor
        pages = self._walk_forward(cursor)
        if cursor is None:
            return pages
        try:
            skipped, first = _first_page_with_logs(pages)
        except BadRequestError as error:
            why = f"the API refuses it ({error})"
        except PaginationLoopError:
            why = "the API leads in circles from it"
        else:
            log_id = first[1].logs[0].id if first else None
            if self._bookmark.is_continued_by(log_id):
                return _chain(first, pages) if first else pages
            found = "nothing" if log_id is None else f"a log that was not expected there ({log_id})"
            why = f"the API answers it with {found} after {skipped} empty pages"
        self._logger.warning(
            "The saved cursor %s can no longer be used: %s. Reading backward from the newest log instead; nothing is "
            "lost.",
            cursor,
            why,
        )
        return None

    def _backward_to_bookmark(self) -> Iterator[Batch]:
        anchor, latest, lookback = self._bookmark.anchor, self._bookmark.latest, self._bookmark.lookback
        if anchor is not None:
            yield from self._backward(_Backward(self._bookmark.settled_ids))
        elif latest is not None:
            since = latest - lookback
            yield from self._backward(_Backward(since=since, read_on_to=min(since, latest - DISORDER)))
        else:
            yield from self._from_nothing()

    # Forward

    def _walk_forward(self, start: str | None = None) -> Pages:
        with self._reading_ahead() as fetch:
            yield from walk(fetch, SortOrder.ASCENDING, start)

    def _forward(self, pages: Pages, *, whole: bool) -> Iterator[Batch]:
        """Emit what a forward walk brings. A `whole` one began at the oldest log, so that its end can be checked."""
        looks = 0
        for all_looks in count(1):
            before = self._read
            self._bookmark.forward_begins()
            last: PageRequest | None = None
            last_ids: set[str] = set()
            with closing(pages):
                for request, page in pages:
                    self._check_it_leads_on(request, page)
                    new = self._new(page.logs)
                    # Looking again, only what is new counts: the rest was counted the first time.
                    counted = {log.id for log in (new if looks else page.logs)} - last_ids
                    self._read += len(counted)
                    last, last_ids = request, {log.id for log in page.logs}
                    if page.total is not None:
                        self._total = page.total
                    yield self._forward_batch(request, page, new, self._total if whole else None)
            if not whole or self._total is None or self._read >= self._total:
                break
            looks = looks + 1 if self._read == before else 1
            if looks > LOOKS_FOR_MISSING_LOGS or all_looks > LOOKS_IN_ALL:
                raise IncompleteLogError(self._give_up(last, self._total))
            self._logger.warning(
                "The list ended after %d logs, but the API says there are %d: looking again.",
                self._read,
                self._total,
            )
            self._pause(float(2 ** (looks - 1)))
            # The same that the next run would do. It also meets logs that became visible behind the walk's back.
            again = self._pages_from_saved_cursor()
            if again is None:
                yield from self._backward_to_bookmark()
                return
            pages = again
        self._bookmark.forward_done()
        self._warn_of_forgotten()

    def _give_up(self, last: PageRequest | None, total: int) -> str:
        """Return the error's text for a list that ends too early, and make sure that the next run misses nothing."""
        ask = "If it stays so, ask Sequence's support why totalResultSize and the list differ."
        try:
            newest = self._fetch(PageRequest(SortOrder.DESCENDING, None, 1, is_optional=True)).logs
        except RequestError:
            newest = ()
        if newest and not any(self._bookmark.knows(log.id) for log in newest):
            return (
                f"The API ends the list at {last} after {self._read} logs but says that there are {total}. What was "
                f"read is emitted: run again to go on from there. {ask}"
            )
        # The end is right, so something was left out on the way.
        self._bookmark.restart()
        return (
            f"The API's list has {self._read} logs up to {last}, but it says that there are {total}. To find the missing "
            f"ones, the next run reads the whole list again. {ask}"
        )

    def _check_it_leads_on(self, request: PageRequest, page: Page) -> None:
        """Notice an API that answers a cursor with the first page of the list, which an earlier run has read."""
        anchor = self._bookmark.anchor
        if anchor is None or not page.logs or request.number == 1:
            return
        bound = anchor.created_at - max(self._bookmark.lookback, DISORDER)
        if any(log.created_at >= bound or self._bookmark.knows(log.id) for log in page.logs):
            return
        if self._first is None:
            self._first = self._ask_for_first()
        if self._first is not None and self._first.logs[0].id == page.logs[0].id:
            raise PaginationLoopError(_came_back(request))

    def _ask_for_first(self) -> Page | None:
        """Return the list's first page that has logs on it, if any has."""
        _, first = _first_page_with_logs(walk(self._fetch, SortOrder.ASCENDING))
        return first[1] if first else None

    def _is_late(self, page: Page) -> bool:
        """Whether the first log on a page may have become visible only now."""
        return not self._bookmark.is_settled(page.logs[0], page.asked_at)

    def _forward_batch(
        self, request: PageRequest, page: Page, new: Sequence[Log], total: int | None
    ) -> Batch:
        def done() -> None:
            self._bookmark.page_done(request.cursor, page.logs, page.asked_at)

        return Batch(
            [log for log in new if self._is_wanted(log)],
            self._bookmark.emitted,
            done,
            read=len(page.logs),
            seen=len(page.logs) - len(new),
            total=total,
        )

    # Backward

    def _backward(self, plan: _Backward) -> Iterator[Batch]:
        """Emit, newest first, what the plan says is new."""
        stretch = _Stretch(self._bookmark, plan)
        newest: Log | None = None
        had_position = self._bookmark.start is not Start.BACKWARD
        had_news = False

        def batch(logs: Sequence[Log], new: Sequence[Log]) -> Batch:
            nonlocal newest, had_news
            wanted = [log for log in new if self._is_wanted(log)]
            newest = max([*([newest] if newest else []), *wanted], key=_created_at, default=None)
            had_news = had_news or bool(wanted)
            seen = sum(self._bookmark.knows(log.id) for log in logs)
            return Batch(wanted, _ignore, _nothing, read=len(logs), seen=seen)

        for request, page in walk(self._fetch, SortOrder.DESCENDING):
            new = plan.new(page.logs, self._bookmark)
            if plan.has_come_back and page.after is not None:
                raise PaginationLoopError(_came_back(request))
            stretch.add(page)
            yield batch(page.logs, new)
            # Where no cursor could be won before, it is only worth another request when there was something new.
            is_worth_more = not plan.has_met_goal or had_news or had_position
            if plan.is_complete_with(page) and (stretch.has_cursor or not is_worth_more):
                break
        else:
            # That it was the end is believed where nothing depends on it, or where the oldest log was read.
            first = None if plan.is_complete and stretch.has_cursor else self._ask_for_first()
            if first is None or plan.has_read_lately(first.logs[0].id) or self._is_late(first):
                stretch.reached_start()
            elif not plan.has_met_goal:
                raise IncompleteLogError(_ends_early(request, plan.read, first.logs[0].id))
        self._bookmark.backward_done(stretch.anchor(), stretch.before_anchor(), stretch.logs(), newest)
        if stretch.cursor is not None and (had_news or had_position):
            self._win_cursor(stretch)
        self._warn_of_forgotten()
        self._logger.info("Read backward: %d logs.", plan.read)

    def _win_cursor(self, stretch: _Stretch) -> None:
        """Try to find a cursor from which the next run can go forward. Data proves it, never the cursor's looks."""
        assert stretch.cursor is not None  # noqa: S101  # the caller looked
        try:
            page = self._fetch(PageRequest(SortOrder.ASCENDING, stretch.cursor, 1, is_optional=True))
        except RequestError as error:
            self._logger.debug("No forward cursor after the backward walk: %s", error)
            return
        found = [log.id for log in page.logs]
        expected = [log.id for log in stretch.behind_cursor()]
        common = min(len(found), len(expected))
        is_cut_short = len(found) < len(expected) and page.after is None
        if common and found[:common] == expected[:common] and not is_cut_short:
            self._bookmark.cursor_won(stretch.cursor)

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


class _Backward:
    """What a backward walk emits, and where it ends.

    Where the state names logs that all is done with before, their place in the list decides: what is unknown and newer
    is new, and the walk ends there. Otherwise the time of creation has to do.

    Args:
        goal: Ids of the anchor and of logs before it.
        since: Without a goal, logs created before this, in microseconds since 1970, are new only if a known one stands
            behind them.
        read_on_to: Without a goal, the walk ends after a whole page older than this.
    """

    def __init__(self, goal: Collection[str] = (), *, since: int = 0, read_on_to: int = 0) -> None:
        self.has_met_goal = False
        self.is_complete = False
        """Whether all that is new was met."""
        self.has_come_back = False
        """Whether the last page ended where this walk was before."""
        self.read = 0
        """Logs read so far."""
        self._goal = goal
        self._since = since
        self._read_on_to = read_on_to
        self._undecided: list[Log] = []
        self._has_met_known = False
        # Enough to notice a cursor that includes its own log, or one answered with the first page.
        self._first: set[str] = set()
        self._last: deque[set[str]] = deque(maxlen=10)

    def new(self, logs: Sequence[Log], bookmark: Bookmark) -> list[Log]:
        """Return which logs are new by what is known so far, given the next page, newest first."""
        result: list[Log] = []
        self._has_met_known = False
        unseen = {
            log.id: log for log in logs if log.id not in self._first and not self.has_read_lately(log.id)
        }
        self.has_come_back = bool(logs) and logs[-1].id not in unseen
        self.read += len(unseen)
        for log in unseen.values():
            self.has_met_goal = self.has_met_goal or log.id in self._goal
            if log.id in self._goal or bookmark.knows(log.id):
                if not self.is_complete:
                    result += self._undecided
                self._undecided = []
                self._has_met_known = True
            elif self.has_met_goal:
                continue
            elif self._goal or log.created_at >= self._since:
                result.append(log)
            else:
                self._undecided.append(log)
        self._last.append({log.id for log in logs})
        if len(self._first) < _FIRST_IDS:
            self._first |= self._last[-1]
        return result

    def has_read_lately(self, log_id: str) -> bool:
        """Whether a log was on one of the last pages."""
        return any(log_id in ids for ids in self._last)

    def is_complete_with(self, page: Page) -> bool:
        """Whether all that is new was met with this page, which `new` was given last, or before."""
        is_older = bool(page.logs) and all(log.created_at < self._read_on_to for log in page.logs)
        is_past_bound = not self._goal and is_older and not self._has_met_known
        self.is_complete = self.is_complete or self.has_met_goal or is_past_bound
        return self.is_complete


_FIRST_IDS = 10_000


class _Stretch:
    """The newest logs that a backward walk read: what the bookmark has to remember, and a cursor to try."""

    def __init__(self, bookmark: Bookmark, plan: _Backward) -> None:
        self._bookmark = bookmark
        self._plan = plan
        self._newest_first: list[Log] = []
        self._ids: set[str] = set()
        self._youngest = bookmark.latest or 0
        self._goal = bookmark.settled_ids
        self._goal_at: int | None = None
        self._beyond: list[str] = []
        self._behind_cursor = 0
        self._is_whole_list = False
        self.has_cursor = False
        self.cursor: str | None = None
        """An `after` for which all is settled from the log that a forward walk from it would bring first."""

    def add(self, page: Page) -> None:
        """Take the next page, newest first."""
        if not page.logs:
            return
        self._youngest = max(self._youngest, *(log.created_at for log in page.logs))
        if self.has_cursor:
            self._beyond += [log.id for log in page.logs][: BEFORE_ANCHOR - len(self._beyond)]
            # Beyond the cursor's page only stragglers within the lookback matter.
            bound = self._youngest - self._bookmark.lookback
            self._newest_first.extend(log for log in page.logs if log.created_at >= bound)
            return
        self._newest_first.extend(log for log in page.logs if log.id not in self._ids)
        self._ids.update(log.id for log in page.logs)
        if self._goal_at is None:
            places = (place for place, log in enumerate(self._newest_first) if log.id in self._goal)
            self._goal_at = next(places, None)
        # The cursor stands for the page's last log, and leads to the one before it, which is to be the anchor.
        if page.after is not None and len(self._newest_first) > 1 and self._is_settled(page):
            self.has_cursor = True
            self.cursor = page.after
            self._behind_cursor = len(self._newest_first) - 1

    def _is_settled(self, page: Page) -> bool:
        *_, above, last = self._newest_first
        if self._plan.has_met_goal:
            # From the anchor down all is settled, so the cursor has to lead to it or to what is before it.
            return self._goal_at is not None and self._goal_at < len(self._newest_first) - 1
        return self._bookmark.is_page_settled(page.logs, page.asked_at) and all(
            self._bookmark.is_settled(log, page.asked_at) for log in (above, last)
        )

    def reached_start(self) -> None:
        """The list has no older log."""
        self._is_whole_list = True

    def anchor(self) -> Anchor | None:
        """Return where the next run may stop; None if all of the list is known."""
        if self.has_cursor:
            return Anchor.at(self._newest_first[self._behind_cursor - 1])
        if self._is_whole_list or self._goal_at is None:
            return None
        return Anchor.at(self._newest_first[self._goal_at])

    def before_anchor(self) -> list[str]:
        """Return ids from before the anchor, the nearest last."""
        if self.anchor() is None:
            return []
        if self.has_cursor:
            # The log that the cursor stands for, and what was read after its page.
            read = [self._newest_first[self._behind_cursor].id, *self._beyond]
        else:
            assert self._goal_at is not None  # noqa: S101  # it is the anchor
            read = [log.id for log in self._newest_first[self._goal_at + 1 :]]
        # Those that the state named before come last: some may not be there any more.
        known = [log_id for log_id in reversed(self._bookmark.before_anchor) if log_id not in self._ids]
        return list(dict.fromkeys([*read, *known]))[:BEFORE_ANCHOR][::-1]

    def logs(self) -> list[Log]:
        """Return what was kept, oldest first."""
        return self._newest_first[::-1]

    def behind_cursor(self) -> list[Log]:
        """Return the logs that a forward walk from `cursor` has to bring first, oldest first."""
        return self._newest_first[: self._behind_cursor][::-1]


def _nothing() -> None:
    """A backward walk has nothing to say of a single page."""


def _created_at(log: Log) -> int:
    return log.created_at


def _ends_early(last: PageRequest, read: int, oldest: str) -> str:
    return (
        f"The API ends the list at {last} after {read} logs, but its oldest log ({oldest}) is not among the last of "
        "them. Nothing is lost: run again, and it is read anew from the last STATE. If it stays so, report it to "
        "Sequence's support."
    )


def _came_back(request: PageRequest) -> str:
    return (
        f"The API goes round in circles: {request} ends with a log that this walk has read before. Nothing is lost: "
        "the next run starts from the last STATE. If it happens again, report it to Sequence's support."
    )


def _chain(first: tuple[PageRequest, Page], rest: Pages) -> Pages:
    yield first
    yield from rest


def _first_page_with_logs(pages: Pages) -> tuple[int, tuple[PageRequest, Page] | None]:
    """Return the first page that is not empty, or None, and how many empty ones came before it."""
    skipped = 0
    for request, page in pages:
        if page.logs:
            return skipped, (request, page)
        skipped += 1
    return skipped, None
