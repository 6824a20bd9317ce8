"""The plan of a run: which walk to make, given the bookmark, and which of the logs it brings to emit.

Plain Python over `fetch(request) -> page`: it knows neither HTTP nor Singer. The table "what the run starts with" of
docs/state.md is `IncrementalReader.batches`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass

from tap_sequence.errors import (
    BadRequestError,
    IncompleteLogError,
    PaginationLoopError,
    RequestError,
    StateError,
)
from tap_sequence.sync.backward import BackwardScan, Stretch
from tap_sequence.sync.bookmark import DISORDER, Bookmark, Start
from tap_sequence.sync.models import Fetch, Page, PageRequest, Record, SortOrder
from tap_sequence.sync.state import Edit
from tap_sequence.sync.timestamps import format_timestamp
from tap_sequence.sync.walk import Pages, begin, chain, first_page_with_records, records_of, spans, walk

RECHECKS = 3
"""How often a walk that ended before the newest log is made again, before the run fails."""


@dataclass(frozen=True, slots=True)
class RecordPage:
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

    records: Sequence[Record]
    emitted: Callable[[Record], None]
    done: Callable[[], None]
    read: int
    seen: int
    total: int | None = None


def _ignore(_log: Record) -> None:
    """A backward walk moves the bookmark only when it is complete."""


class IncrementalReader:
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
        # Only logs created at or after this time are emitted; None: all are.
        self._since = start_date
        self._logger = logger
        self._pause = pause
        self._total: int | None = None
        self._last: PageRequest | None = None
        self._last_page: Page | None = None
        self._has_newest_first = False
        self._first: Record | None = None

    def record_pages(self) -> Iterator[RecordPage]:
        """Yield the logs to emit, page by page.

        Raises:
            RequestError: A page could not be read.
            PaginationLoopError: The API goes round in circles.
            IncompleteLogError: The list ended too early.
            StateError: The state names a time to come.
        """
        start = self._bookmark.start
        if start is Start.OTHER_QUERY:
            self._logger.warning(
                "The state belongs to another query (host, API version or filters changed), so its cursor is "
                "not used: the log is read as without state."
            )
        if start in {Start.NOTHING, Start.OTHER_QUERY}:
            self._bookmark.start_date = self._start_date
            yield from self._from_nothing()
            return
        self._warn_of_edit()
        earlier = self._settle_start_date()
        pages = self._pages_from_saved_cursor() if start is Start.CURSOR else None
        yield from self._backward_to_bookmark() if pages is None else self._forward(pages)
        if earlier is not None:
            yield from self._reach_back(earlier)

    # What the run starts with

    def _warn_of_edit(self) -> None:
        match self._bookmark.edit:
            case Edit.SET_BACK:
                self._logger.warning(
                    "replication_key_value was set back to %s by hand: all logs since then are emitted again.",
                    self._bookmark.replication_key_value,
                )
            case Edit.SET_FORWARD:
                self._logger.warning(
                    "replication_key_value was changed by hand, which has no effect: the position saved beside it "
                    "decides what is new, so that no log is missed."
                )

    def _settle_start_date(self) -> int | None:
        """Decide from which time on logs are emitted, given a state; return a `start_date` to reach back to, if any."""
        wanted, bookmark = self._start_date, self._bookmark
        if not bookmark.has_start_date and bookmark.latest is not None and wanted is not None:
            # An earlier version or another tool did not save it. One that fits is taken for the one that was used.
            bookmark.start_date = wanted if wanted <= bookmark.latest else None
        self._since = bookmark.start_date
        if wanted is None or wanted == self._since:
            return None
        if self._since is not None and wanted < self._since:
            return wanted
        self._logger.warning(
            "start_date %s has no effect, because the state goes on from an earlier time: all logs that are new since "
            "the last run are emitted. To emit only those since start_date, run once without a state.",
            format_timestamp(wanted),
        )
        return None

    def _from_nothing(self) -> Iterator[RecordPage]:
        since = self._since
        plan = BackwardScan() if since is None else BackwardScan(since=since, read_on_to=since - DISORDER)
        pages = self._pages_from_start()
        if pages is None:
            yield from self._backward(plan, walk(self._fetch, SortOrder.DESCENDING))
            return
        if since is None:
            yield from self._forward(pages)
            return
        # One page tells whether nearly the whole log is wanted. Then the forward walk is better: it can be resumed.
        _, first = first_page_with_records(pages)
        if first is None:
            # The end of an empty list is checked like any other.
            yield from self._forward(self._walk_forward())
            return
        is_nearly_all = first[1].records[-1].created_at >= since
        backward = None if is_nearly_all else self._pages_from_newest()
        if backward is None:
            yield from self._forward(chain([first], pages))
            return
        pages.close()
        yield from self._backward(plan, backward)

    def _pages_from_saved_cursor(self) -> Pages | None:
        """Return the walk from the saved cursor or, with a warning, None where the API does not honour it.

        Data tells: the first log must be the one that stood there when the cursor was saved, and none from before it may
        follow, or the list goes the other way.
        """
        cursor = self._bookmark.cursor
        if cursor is None:
            return self._pages_from_start()
        pages = self._walk_forward(cursor)
        try:
            begun = begin(pages)
        except BadRequestError as error:
            why = f"the API refuses it ({error})"
        except PaginationLoopError:
            why = "the API leads in circles from it"
        else:
            skipped = next((place for place, (_, page) in enumerate(begun) if page.records), len(begun))
            ids = [record.id for record in records_of(begun)]
            is_continued = bool(ids) and self._bookmark.is_continued_by(ids[0])
            # An anchor that was deleted may be named among those before the one that took its place.
            settled = next(
                (record_id for record_id in ids[1:] if record_id in self._bookmark.before_anchor), None
            )
            if is_continued and settled is None:
                return chain(begun[skipped:], pages)
            record_id = settled if is_continued else next(iter(ids), None)
            found = "nothing" if record_id is None else f"a log that was not expected there ({record_id})"
            why = f"the API answers it with {found} after {skipped} empty pages"
        self._logger.warning(
            "The saved cursor %s can no longer be used: %s. Reading backward from the newest log instead; nothing is "
            "lost.",
            cursor,
            why,
        )
        return None

    def _backward_to_bookmark(self) -> Iterator[RecordPage]:
        anchor, latest, cursor = self._bookmark.anchor, self._bookmark.latest, self._bookmark.cursor
        if anchor is not None:
            plan = BackwardScan(self._bookmark.settled_ids)
        elif self._bookmark.start is not Start.BACKWARD and cursor is None:
            # All that was read, from the start of the list on, is known by its id.
            plan = BackwardScan()
        elif latest is not None:
            since = latest - self._bookmark.lookback
            plan = BackwardScan(since=since, read_on_to=min(since, latest - DISORDER))
        else:
            self._bookmark.drop_cursor()
            yield from self._from_nothing()
            return
        pages = self._pages_from_newest()
        if pages is None:
            yield from self._forward_to_news()
            return
        if plan.goes_by_time and latest is not None:
            begun = begin(pages)
            self._check_time(latest, begun)
            pages = chain(begun, pages)
        yield from self._backward(plan, pages)

    def _check_time(self, latest: int, begun: Sequence[tuple[PageRequest, Page]]) -> None:
        """Refuse a bare `replication_key_value` that is yet to come; warn of one after the newest log."""
        value = self._bookmark.replication_key_value
        if any(latest > page.asked_at + DISORDER for _, page in begun):
            msg = (
                f"The state cannot be used: its replication_key_value ({value}) is in the future, so that every log "
                "would be passed over. Nothing was emitted. Correct it, or start without a state."
            )
            raise StateError(msg)
        newest = max((record.created_at for record in records_of(begun)), default=latest)
        if newest < latest - DISORDER:
            self._logger.warning(
                "The newest log (%s) is older than the state's replication_key_value (%s): if that is not the time of "
                "a log that was loaded, logs before it are not emitted. To emit them, set it to an earlier time.",
                format_timestamp(newest),
                value,
            )

    def _forward_to_news(self) -> Iterator[RecordPage]:
        """Read from the oldest log up to what is new: the API honours neither the cursor nor the descending order."""
        bookmark, goal = self._bookmark, self._bookmark.settled_ids
        if not goal and bookmark.latest is not None and bookmark.start is Start.BACKWARD:
            self._since = bookmark.start_date = bookmark.latest - bookmark.lookback
        bookmark.logs_before_anchor = None
        pages = self._walk_forward()
        for request, page in pages if goal else ():
            known = [place for place, record in enumerate(page.records, 1) if record.id in goal]
            if known:
                bookmark.settle([*goal, *(record.id for record in page.records[: known[-1]])])
                yield from self._forward(chain([(request, page)], pages))
                return
        # None of these logs is there any more, so all are newer.
        yield from self._forward(self._walk_forward())

    def _reach_back(self, start_date: int) -> Iterator[RecordPage]:
        """Emit the logs that were passed over because of a later `start_date`."""
        until, newest, goal, has_met_anchor = (
            self._bookmark.start_date,
            None,
            self._bookmark.settled_ids,
            False,
        )
        assert until is not None  # noqa: S101  # it is later
        self._logger.info("Reading back to start_date, which was %s before.", format_timestamp(until))
        plan = BackwardScan(since=start_date, read_on_to=start_date - DISORDER)
        with closing(self._pages_from_newest() or self._walk_forward()) as pages:
            for request, page in pages:
                new = plan.new(page.records, _knows_none)
                wanted = [record for record in new if start_date <= record.created_at < until]
                # What is newer than the anchor, such as what has come since, the next run meets again.
                is_newer = request.order is SortOrder.DESCENDING and not has_met_anchor
                has_met_anchor = has_met_anchor or not goal.isdisjoint(page.ids())
                if is_newer or (request.order is SortOrder.ASCENDING and (has_met_anchor or not goal)):
                    self._bookmark.settle(record.id for record in wanted)
                newest = max([*([newest] if newest else []), *wanted], key=_created_at, default=None)
                yield RecordPage(wanted, _ignore, _nothing, read=len(page.records), seen=0)
                if plan.has_come_back and page.after is not None:
                    raise PaginationLoopError(_came_back(request))
                if request.order is SortOrder.DESCENDING and plan.is_complete_with(page):
                    break
        self._bookmark.reached_back(start_date, newest)

    # In which order the API lists

    def _pages_from_start(self) -> Pages | None:
        """Return the walk from the oldest log or, with a warning, None where the API lists the newest first."""
        return self._in_order(self._walk_forward(), SortOrder.ASCENDING)

    def _pages_from_newest(self) -> Pages | None:
        """Return the walk from the newest log or, with a warning, None where the API lists the oldest first."""
        return self._in_order(walk(self._fetch, SortOrder.DESCENDING), SortOrder.DESCENDING)

    def _in_order(self, pages: Pages, order: SortOrder) -> Pages | None:
        begun = begin(pages)
        records = records_of(begun)
        # Times alone prove nothing, as logs may be dated anyhow. But whatever is asked for, the same list comes. That is
        # worth a request where a walk that can be resumed would go the wrong way; a single page has all logs anyway.
        goes_on = order is SortOrder.ASCENDING and bool(begun) and begun[-1][1].after is not None
        is_plausible = spans(records, order) > DISORDER if goes_on else spans(records, order) >= 0
        if (
            is_plausible
            or not self._is_listed_in_any_order(records, order.reverse)
            or self._fixed_order(records) is not order.reverse
        ):
            return chain(begun, pages)
        pages.close()
        self._has_newest_first |= order is SortOrder.ASCENDING
        self._warn_of_order(order)
        return None

    def _is_listed_in_any_order(self, records: Sequence[Record], order: SortOrder) -> bool:
        """Whether the list begins with these logs when `order` is asked for, too."""
        others = self._first_records(order)
        ids, other_ids = {record.id for record in records}, {record.id for record in others}
        common = [record.id for record in records if record.id in other_ids]
        return len(common) > 1 and common == [record.id for record in others if record.id in ids]

    def _fixed_order(self, records: Sequence[Record]) -> SortOrder | None:
        """Return in which order an API lists that begins with these logs whatever it is asked for.

        None where all logs are of one time.
        """
        listed = list(records)
        pages = walk(self._fetch, SortOrder.ASCENDING)
        while abs(span := spans(listed, SortOrder.ASCENDING)) <= DISORDER and (page := next(pages, None)):
            listed += page[1].records
        return (SortOrder.ASCENDING if span > 0 else SortOrder.DESCENDING) if span else None

    def _first_records(self, order: SortOrder) -> Sequence[Record]:
        """Return the first logs of the list, or none where the API refuses the order."""
        try:
            return records_of(begin(walk(self._fetch, order)))
        except BadRequestError as error:
            self._logger.debug("The list cannot be read in order %s: %s", order, error)
            return ()

    def _warn_of_order(self, asked: SortOrder) -> None:
        found, direction = ("newest", "backward") if asked is SortOrder.ASCENDING else ("oldest", "forward")
        self._logger.warning(
            "The API lists the %s log first although sortOrder=%s was asked for. Reading %s from there; no log is missed.",
            found,
            asked,
            direction,
        )

    # Forward

    def _walk_forward(self, start: str | None = None) -> Pages:
        with self._reading_ahead() as fetch:
            yield from walk(fetch, SortOrder.ASCENDING, start)

    def _forward(self, pages: Pages) -> Iterator[RecordPage]:
        """Emit what a forward walk brings, and make sure that it ends at the newest log."""
        yield from self._forward_once(pages)
        unread = self._unread_newest()
        for rechecks in range(RECHECKS):
            if unread is None:
                break
            if rechecks:
                # Before, it is likely to have become visible just now.
                self._logger.warning("The list ended before its newest log (%s): looking again.", unread.id)
                self._pause(float(2 ** (rechecks - 1)))
            # The same that the next run would do.
            again = None if self._has_newest_first else self._pages_from_saved_cursor()
            if again is None:
                yield from self._backward_to_bookmark()
                return
            yield from self._forward_once(again)
            unread = None if self._bookmark.knows(unread.id) else self._unread_newest()
        if unread is not None:
            raise IncompleteLogError(
                _ends_before_newest(self._last, unread, self._bookmark.listed, self._total)
            )
        self._warn_of_missing(self._bookmark.listed, self._total)
        self._bookmark.forward_done(self._total)
        self._warn_of_forgotten()

    def _forward_once(self, pages: Pages) -> Iterator[RecordPage]:
        is_whole = self._bookmark.cursor is None
        self._bookmark.forward_begins()
        with closing(pages):
            for request, page in pages:
                self._check_it_leads_on(request, page)
                self._last, self._last_page = request, page
                if page.total is not None:
                    self._total = page.total
                yield self._forward_batch(request, page, self._total if is_whole else None)

    def _unread_newest(self) -> Record | None:
        """Return the newest log, if the walk ended before it."""
        last = self._last_page
        is_end_clear = last is not None and not last.records and last.has_pagination
        if self._bookmark.listed == self._total if self._total is not None else is_end_clear:
            return None
        try:
            _, newest = first_page_with_records(walk(self._fetch, SortOrder.DESCENDING))
        except BadRequestError as error:
            self._logger.debug("The end of the list cannot be checked: %s", error)
            return None
        if newest is None or self._bookmark.knows(newest[1].records[0].id):
            return None
        records = (
            newest[1].records if len(newest[1].records) > 1 else self._first_records(SortOrder.DESCENDING)
        )
        if self._is_listed_in_any_order(records, SortOrder.ASCENDING):
            self._has_newest_first = self._fixed_order(records) is SortOrder.DESCENDING
            if not self._has_newest_first:
                # This is the oldest log, and nothing tells which is the newest.
                return None
            self._warn_of_order(SortOrder.ASCENDING)
        return newest[1].records[0]

    def _warn_of_missing(self, listed: int | None, total: int | None) -> None:
        if listed is not None and total is not None and total > listed:
            self._logger.warning(
                "The API counts %d logs (totalResultSize) but lists %d, the newest among them. All that it lists is "
                "emitted. If a log is missing, run once without a state; a target that upserts then has each log once.",
                total,
                listed,
            )

    def _check_it_leads_on(self, request: PageRequest, page: Page) -> None:
        """Notice an API that answers a cursor with the first page of the list, which an earlier run has read."""
        anchor = self._bookmark.anchor
        if anchor is None or not page.records or request.number == 1:
            return
        bound = anchor.created_at - max(self._bookmark.lookback, DISORDER)
        if any(record.created_at >= bound or self._bookmark.knows(record.id) for record in page.records):
            return
        if self._first is None:
            self._first = self._ask_for_first()
        if self._first is not None and self._first.id == page.records[0].id:
            raise PaginationLoopError(_came_back(request))

    def _ask_for_first(self) -> Record | None:
        """Return the list's first log, if it has any."""
        _, first = first_page_with_records(walk(self._fetch, SortOrder.ASCENDING))
        return first[1].records[0] if first else None

    def _forward_batch(self, request: PageRequest, page: Page, total: int | None) -> RecordPage:
        new = self._new(page.records)

        def done() -> None:
            self._bookmark.page_done(request.cursor, page.records, page.asked_at)

        return RecordPage(
            [record for record in new if self._is_wanted(record)],
            self._bookmark.emitted,
            done,
            read=len(page.records),
            seen=len(page.records) - len(new),
            total=total,
        )

    # Backward

    def _backward(self, plan: BackwardScan, pages: Pages) -> Iterator[RecordPage]:
        """Emit, newest first, what the plan says is new."""
        stretch = Stretch(self._bookmark, plan)
        newest: Record | None = None
        had_position = self._bookmark.start is not Start.BACKWARD
        had_news = False
        total: int | None = None
        began_at = 0

        def batch(records: Sequence[Record], new: Sequence[Record]) -> RecordPage:
            nonlocal newest, had_news
            wanted = [record for record in new if self._is_wanted(record)]
            newest = max([*([newest] if newest else []), *wanted], key=_created_at, default=None)
            had_news = had_news or bool(wanted)
            seen = sum(self._bookmark.knows(record.id) for record in records)
            return RecordPage(wanted, _ignore, _nothing, read=len(records), seen=seen)

        for request, page in pages:
            # Of the first page, as what comes after it is not read.
            total = page.total if total is None else total
            began_at = began_at or page.asked_at
            new = plan.new(page.records, self._bookmark.knows)
            if plan.has_come_back and page.after is not None:
                raise PaginationLoopError(_came_back(request))
            stretch.add(page)
            yield batch(page.records, new)
            # Where no cursor could be won before, it is only worth another request when there was something new.
            is_worth_more = not plan.has_met_goal or had_news or had_position
            if plan.is_complete_with(page) and (stretch.has_cursor or not is_worth_more):
                break
        else:
            # That it was the end is believed where nothing depends on it, or where the oldest log was read.
            first = None if plan.is_complete and stretch.has_cursor else self._ask_for_first()
            if first is None or plan.has_read_lately(first.id) or self._cannot_be_met(first, began_at):
                stretch.reached_start()
            elif not plan.has_met_goal:
                raise IncompleteLogError(_ends_early(request, plan.read, first.id))
        self._warn_of_missing(stretch.listed(), total)
        self._bookmark.backward_done(
            stretch.anchor(),
            stretch.before_anchor(),
            stretch.records(),
            newest,
            logs_before_anchor=None if total is None else max(0, total - stretch.from_anchor_on()),
        )
        if stretch.cursor is not None and (had_news or had_position):
            self._win_cursor(stretch)
        self._warn_of_forgotten()
        self._logger.info("Read backward: %d logs.", plan.read)

    def _cannot_be_met(self, first: Record, began_at: int) -> bool:
        """Whether the first log of the list may be missing in a backward walk that has read all."""
        # It came meanwhile, or late; or it is the newest, whatever is asked for.
        return (
            first.created_at >= began_at
            or not self._bookmark.is_settled(first, began_at)
            or self._has_newest_first
            or self._is_listed_in_any_order(self._first_records(SortOrder.ASCENDING), SortOrder.DESCENDING)
        )

    def _win_cursor(self, stretch: Stretch) -> None:
        """Try to find a cursor from which the next run can go forward. Data proves it, never the cursor's looks."""
        assert stretch.cursor is not None  # noqa: S101  # the caller looked
        try:
            page = self._fetch(PageRequest(SortOrder.ASCENDING, stretch.cursor, 1, is_optional=True))
        except RequestError as error:
            self._logger.debug("No forward cursor after the backward walk: %s", error)
            return
        found = [record.id for record in page.records]
        expected = [record.id for record in stretch.behind_cursor()]
        common = min(len(found), len(expected))
        is_cut_short = len(found) < len(expected) and page.after is None
        if common and found[:common] == expected[:common] and not is_cut_short:
            self._bookmark.cursor_recovered(stretch.cursor)

    # Which logs to emit

    def _new(self, records: Sequence[Record]) -> list[Record]:
        """Return the logs that no run has read, each once."""
        unique = {record.id: record for record in records if not self._bookmark.knows(record.id)}
        return list(unique.values())

    def _is_wanted(self, record: Record) -> bool:
        return self._since is None or record.created_at >= self._since

    def _warn_of_forgotten(self) -> None:
        if self._bookmark.evicted:
            self._logger.warning(
                "More logs lie within lookback_seconds than the state remembers: up to %d of them may be emitted "
                "again by the next run. A smaller lookback_seconds avoids it.",
                self._bookmark.evicted,
            )


def _nothing() -> None:
    """A backward walk has nothing to say of a single page."""


def _knows_none(_log_id: str) -> bool:
    """To who reads back, no log is known: none of the time in question was emitted."""
    return False


def _created_at(record: Record) -> int:
    return record.created_at


def _ends_early(last: PageRequest, read: int, oldest: str) -> str:
    return (
        f"The API ends the list at {last} after {read} logs, but its oldest log ({oldest}) is not among the last of "
        "them. Nothing is lost: run again, and it is read anew from the last STATE. If it stays so, run once without a "
        "state and without start_date, which reads the list from its oldest log, and report it to Sequence's support."
    )


def _ends_before_newest(
    last: PageRequest | None, newest: Record, listed: int | None, total: int | None
) -> str:
    read = "" if listed is None else f" after {listed} logs"
    count = "" if total is None else f" (it counts {total})"
    return (
        f"The API ends the list at {last}{read}, before its newest log {newest.id}{count}. What was read is emitted: run "
        "again to go on from there. If it stays so, run once with another page_size, and ask Sequence's support why the "
        "list ends there."
    )


def _came_back(request: PageRequest) -> str:
    return (
        f"The API goes round in circles: {request} ends with a log that this walk has read before. Nothing is lost: "
        "the next run starts from the last STATE. If it happens again, report it to Sequence's support."
    )
