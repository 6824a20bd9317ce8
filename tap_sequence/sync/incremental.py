"""Which walks a run makes, given the bookmark.

Plain Python over `fetch(request) -> page`: it knows neither HTTP nor Singer. The table "What a run reads" in
docs/state.md lists the cases of `IncrementalReader.record_pages`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing

from tap_sequence.errors import BadRequestError, FutureStateError, PaginationLoopError
from tap_sequence.sync.backward import BackwardReader
from tap_sequence.sync.backward_scan import BackwardScan
from tap_sequence.sync.bookmark import DISORDER, Bookmark
from tap_sequence.sync.forward import ForwardReader
from tap_sequence.sync.listing import Listing, Pages, begin, chain, first_page_with_records, records_of
from tap_sequence.sync.models import Fetch, Page, PageRequest, RecordPage, SortOrder
from tap_sequence.sync.position import Start
from tap_sequence.sync.state import Edit
from tap_sequence.sync.timestamps import format_timestamp
from tap_sequence.sync.walk import walk

RECHECKS = 3
"""How often a walk that ended before the newest record is repeated from its cursor before the run fails."""


class IncrementalReader:
    """One run over the list.

    Args:
        fetch: Gets a page.
        bookmark: Where the previous run ended; moved as records are emitted.
        start_date: Emit only records created at or after this time, in microseconds since 1970.
        logger: Where warnings go.
        pause: Waits for a number of seconds.
        prefetching: Returns a context manager that provides the fetch of one forward walk; None: use `fetch`.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        fetch: Fetch,
        bookmark: Bookmark,
        *,
        start_date: int | None,
        logger: logging.Logger,
        pause: Callable[[float], None],
        prefetching: Callable[[], AbstractContextManager[Fetch]] | None = None,
    ) -> None:
        self._listing = Listing(fetch, logger, prefetching)
        self._forward = ForwardReader(self._listing, bookmark, logger)
        self._backward = BackwardReader(self._listing, bookmark, logger)
        self._bookmark = bookmark
        self._start_date = start_date
        self._logger = logger
        self._pause = pause

    def record_pages(self) -> Generator[RecordPage, None, None]:
        """Yield the records to emit, page by page.

        Raises:
            RequestError: A page could not be read.
            PaginationLoopError: The API returned pages again.
            IncompleteListError: The list ended too early.
            FutureStateError: The state is a time in the future.
        """
        yield from self._new_records()
        if self._bookmark.evicted:
            self._logger.warning(
                "More logs lie within lookback_seconds than the state can hold: the next run may emit up to %d of them "
                "again. Set lookback_seconds to a smaller number.",
                self._bookmark.evicted,
            )

    def _new_records(self) -> Iterator[RecordPage]:
        start = self._bookmark.start
        if self._bookmark.new_streams:
            self._logger.warning(
                "Earlier runs did not load %s, so it starts with the logs that are new. To load older ones as well, run once "
                "without a state; a target that upserts then has each record once.",
                " and ".join(self._bookmark.new_streams),
            )
        if start is Start.OTHER_QUERY:
            self._logger.warning(
                "The state belongs to another query: the run changes %s. Its cursor is not used: the activity log is read as "
                "without a state. If you do not want that, run again with the old value and the state from before this run.",
                self._bookmark.query_changes,
            )
        if start in {Start.NOTHING, Start.OTHER_QUERY}:
            self._bookmark.start_date = self._start_date
            yield from self._without_position()
            return
        self._warn_of_edit()
        earlier = self._settle_start_date()
        pages = self._from_saved_cursor() if start is Start.CURSOR else None
        yield from self._back_to_bookmark() if pages is None else self._to_newest(pages)
        if earlier is not None:
            yield from self._backward.reach_back(earlier)

    def _warn_of_edit(self) -> None:
        match self._bookmark.edit:
            case Edit.SET_BACK:
                self._logger.warning(
                    "replication_key_value was set back to %s by hand: all logs since then are emitted again.",
                    self._bookmark.replication_key_value,
                )
            case Edit.SET_FORWARD:
                self._logger.warning(
                    "replication_key_value was changed by hand, which has no effect: the cursor saved with it decides "
                    "which logs are new, so that none is missed."
                )

    def _settle_start_date(self) -> int | None:
        """Decide since when records are emitted, given a state; return a `start_date` to read back to, if any."""
        wanted, bookmark = self._start_date, self._bookmark
        if not bookmark.has_start_date and bookmark.latest is not None and wanted is not None:
            # An earlier version or another tool did not save it. If today's fits, assume that it was the same.
            bookmark.start_date = wanted if wanted <= bookmark.latest else None
        if wanted is None or wanted == bookmark.start_date:
            return None
        if bookmark.start_date is not None and wanted < bookmark.start_date:
            return wanted
        self._logger.warning(
            "start_date %s has no effect, because the state continues from an earlier time: all logs that are new since the "
            "last run are emitted. To emit only logs since start_date, run once without a state.",
            format_timestamp(wanted),
        )
        return None

    def _without_position(self) -> Iterator[RecordPage]:
        since = self._bookmark.start_date
        scan = BackwardScan() if since is None else BackwardScan(since=since, read_on_to=since - DISORDER)
        pages = self._listing.from_oldest()
        if pages is None:
            yield from self._backward.record_pages(scan, walk(self._listing.fetch, SortOrder.DESCENDING))
            return
        with closing(pages):
            if since is None:
                yield from self._to_newest(pages)
                return
            # The first page shows whether nearly all records are wanted. If so, read forward: that can be resumed.
            _, first = first_page_with_records(pages)
            if first is None:
                # The end of an empty list is checked like any other.
                yield from self._to_newest(self._listing.forward())
                return
            is_nearly_all = first[1].records[-1].created_at >= since
            backward = None if is_nearly_all else self._listing.from_newest()
            if backward is None:
                yield from self._to_newest(chain([first], pages))
                return
        yield from self._backward.record_pages(scan, backward)

    def _from_saved_cursor(self) -> Pages | None:
        """Return the walk from the saved cursor or, with a warning, None if the API does not honour it.

        The records decide: the first one must be the anchor, and no record from before the anchor may follow, which would mean
        that the list is in the other order.
        """
        cursor = self._bookmark.position.cursor
        if cursor is None:
            return self._listing.from_oldest()
        pages = self._listing.forward(cursor)
        try:
            begun = begin(pages)
        except BadRequestError as error:
            why = f"the API refuses it: {error}"
        except PaginationLoopError:
            why = "it leads into a pagination loop"
        else:
            skipped = next((place for place, (_, page) in enumerate(begun) if page.records), len(begun))
            ids = [record.id for record in records_of(begun)]
            is_continued = bool(ids) and self._bookmark.is_continued_by(ids[0])
            # A deleted anchor may be among the ids before its replacement.
            before_anchor = self._bookmark.position.before_anchor
            settled = next((record_id for record_id in ids[1:] if record_id in before_anchor), None)
            if is_continued and settled is None:
                return chain(begun[skipped:], pages)
            record_id = settled if is_continued else next(iter(ids), None)
            found = "nothing" if record_id is None else f"an unexpected log ({record_id})"
            why = f"the API returns {found} after {skipped} empty pages"
        self._logger.warning(
            "Saved cursor %s was rejected (%s). Falling back to reading newest first; no logs will be missed.",
            cursor,
            why,
        )
        return None

    # Forward

    def _to_newest(self, pages: Pages) -> Iterator[RecordPage]:
        """Emit the new records of a forward walk, and make sure that it ends at the newest record."""
        forward = self._forward
        yield from forward.record_pages(pages)
        unread = forward.unread_newest()
        for rechecks in range(RECHECKS):
            if unread is None:
                break
            if rechecks:
                # The first time, it has probably become visible just now.
                self._logger.warning("The list ended before its newest log (%s). Checking again.", unread.id)
                self._pause(float(2 ** (rechecks - 1)))
            # Resume as the next run would.
            again = None if self._listing.is_always_newest_first else self._from_saved_cursor()
            if again is None:
                yield from self._back_to_bookmark()
                return
            yield from forward.record_pages(again)
            unread = None if self._bookmark.knows(unread.id) else forward.unread_newest()
        if unread is not None:
            raise forward.missing(unread)
        forward.finish()

    def _forward_to_new_records(self) -> Iterator[RecordPage]:
        """Read from the oldest record on, because the API honours neither the cursor nor the descending order."""
        bookmark, goal = self._bookmark, self._bookmark.position.settled_ids
        if not goal and bookmark.latest is not None and bookmark.start is Start.BACKWARD:
            bookmark.start_date = bookmark.latest - bookmark.lookback
        bookmark.drop_count()
        pages = self._listing.forward()
        for request, page in pages if goal else ():
            known = [place for place, record in enumerate(page.records, 1) if record.id in goal]
            if known:
                bookmark.mark_final([*goal, *(record.id for record in page.records[: known[-1]])])
                yield from self._to_newest(chain([(request, page)], pages))
                return
        # None of these records exists any more, so all records are newer.
        yield from self._to_newest(self._listing.forward())

    # Backward

    def _back_to_bookmark(self) -> Iterator[RecordPage]:
        position, latest = self._bookmark.position, self._bookmark.latest
        if position.anchor is not None:
            scan = BackwardScan(position.settled_ids)
        elif self._bookmark.start is not Start.BACKWARD and position.cursor is None:
            # All records that were read, from the start of the list on, are known by id.
            scan = BackwardScan()
        elif latest is not None:
            since = latest - self._bookmark.lookback
            scan = BackwardScan(since=since, read_on_to=min(since, latest - DISORDER))
        else:
            self._bookmark.drop_position()
            yield from self._without_position()
            return
        pages = self._listing.from_newest()
        if pages is None:
            yield from self._forward_to_new_records()
            return
        if scan.goes_by_time and latest is not None:
            begun = begin(pages)
            self._check_time(latest, begun)
            pages = chain(begun, pages)
        yield from self._backward.record_pages(scan, pages)

    def _check_time(self, latest: int, begun: Sequence[tuple[PageRequest, Page]]) -> None:
        """Refuse a bare `replication_key_value` that is in the future; warn of one after the newest record."""
        value = str(self._bookmark.replication_key_value)
        if any(latest > page.asked_at + DISORDER for _, page in begun):
            raise FutureStateError(value)
        newest = max((record.created_at for record in records_of(begun)), default=latest)
        if newest < latest - DISORDER:
            self._logger.warning(
                "The newest log (%s) is older than the state's replication_key_value (%s): unless that is the time of a log "
                "that was loaded, logs before it are not emitted. To emit them, set it to an earlier time.",
                format_timestamp(newest),
                value,
            )
