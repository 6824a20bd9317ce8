"""Backward walks: what they emit, and how the next run can go forward again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing

from tap_sequence.errors import OldestMissingError, RecordRepeatedError, RequestError
from tap_sequence.sync.backward_scan import BackwardScan
from tap_sequence.sync.bookmark import DISORDER, Bookmark
from tap_sequence.sync.forward import warn_of_missing
from tap_sequence.sync.listing import Listing, Pages
from tap_sequence.sync.models import PageRequest, Record, RecordPage, SortOrder
from tap_sequence.sync.position import Start
from tap_sequence.sync.resume_point import ResumePoint
from tap_sequence.sync.timestamps import format_timestamp


class BackwardReader:
    """Emits the new records of backward walks.

    Args:
        listing: The list.
        bookmark: Which records are known; moved only when a walk is complete.
        logger: Where warnings go.
    """

    def __init__(self, listing: Listing, bookmark: Bookmark, logger: logging.Logger) -> None:
        self._listing = listing
        self._bookmark = bookmark
        self._logger = logger

    def record_pages(self, scan: BackwardScan, pages: Pages) -> Iterator[RecordPage]:
        """Yield the records that are new by the scan, newest first.

        Raises:
            OldestMissingError: The list ended before its oldest record.
            RecordRepeatedError: The walk came back to where it was before.
        """
        with closing(pages):
            yield from self._record_pages(scan, pages)

    def _record_pages(self, scan: BackwardScan, pages: Pages) -> Iterator[RecordPage]:
        bookmark, resume_point = self._bookmark, ResumePoint(self._bookmark, scan)
        newest: Record | None = None
        had_position = bookmark.start is not Start.BACKWARD
        had_new_records = False
        total: int | None = None
        began_at = 0
        for request, page in pages:
            # The first page's total counts: records that appear later are not read.
            total = page.total if total is None else total
            began_at = began_at or page.asked_at
            new = scan.new(page.records, bookmark.knows)
            if scan.has_come_back and page.after is not None:
                raise RecordRepeatedError(request)
            resume_point.add(page)
            wanted = [record for record in new if bookmark.is_wanted(record)]
            newest = _newest_of(newest, wanted)
            had_new_records = had_new_records or bool(wanted)
            seen = sum(map(bookmark.knows, page.ids()))
            yield RecordPage(wanted, read=len(page.records), seen=seen)
            # Without a cursor before and without new records, another request for a cursor is not worth it.
            is_cursor_worth_more = not scan.has_met_goal or had_new_records or had_position
            if scan.is_complete_with(page) and (resume_point.cursor is not None or not is_cursor_worth_more):
                break
        else:
            # Accept the end of the list if nothing depends on it, or if the oldest record was read.
            is_irrelevant = scan.is_complete and resume_point.cursor is not None
            first = None if is_irrelevant else self._listing.first_record()
            if first is None or scan.has_read_lately(first.id) or self._may_be_missing(first, began_at):
                resume_point.reached_start()
            elif not scan.has_met_goal:
                raise OldestMissingError(request, scan.read, first.id)
        warn_of_missing(resume_point.listed(), total, self._logger)
        bookmark.backward_done(resume_point.position(total), resume_point.records(), newest)
        if had_new_records or had_position:
            self._recover_cursor(resume_point)
        self._logger.info("Read backward: %d logs.", scan.read)

    def _may_be_missing(self, first: Record, began_at: int) -> bool:
        """Whether a backward walk that has read everything may lack the list's first record."""
        # It appeared meanwhile, or late; or it is the newest, whichever order is requested.
        return (
            first.created_at >= began_at
            or not self._bookmark.is_settled(first, began_at)
            or self._listing.is_always_newest_first
            or self._listing.is_same_in_both_orders()
        )

    def _recover_cursor(self, resume_point: ResumePoint) -> None:
        """Check with one request whether the next run can read forward. The records decide, not the form of the cursor."""
        if resume_point.cursor is None:
            return
        try:
            page = self._listing.fetch(
                PageRequest(SortOrder.ASCENDING, resume_point.cursor, 1, is_optional=True)
            )
        except RequestError as error:
            self._logger.debug("No forward cursor after the backward walk: %s", error)
            return
        if resume_point.is_reached_by(page):
            self._bookmark.cursor_recovered(resume_point.cursor)

    def reach_back(self, start_date: int) -> Iterator[RecordPage]:
        """Yield the records that were skipped because of a later `start_date`.

        Args:
            start_date: The earlier one, in microseconds since 1970.
        """
        bookmark, listing = self._bookmark, self._listing
        until, goal = bookmark.start_date, bookmark.position.settled_ids
        newest, has_met_anchor = None, False
        assert until is not None  # noqa: S101  # it is later
        self._logger.info("Reading back to start_date, which was %s before.", format_timestamp(until))
        scan = BackwardScan(since=start_date, read_on_to=start_date - DISORDER)
        with closing(listing.from_newest() or listing.forward()) as pages:
            for request, page in pages:
                # No record counts as known: none of this period was emitted.
                new = scan.new(page.records, lambda _: False)
                wanted = [record for record in new if start_date <= record.created_at < until]
                # The next run reads the records after the anchor again, also those that have appeared since.
                is_newer = request.order is SortOrder.DESCENDING and not has_met_anchor
                has_met_anchor = has_met_anchor or not goal.isdisjoint(page.ids())
                if is_newer or (request.order is SortOrder.ASCENDING and (has_met_anchor or not goal)):
                    bookmark.mark_final(record.id for record in wanted)
                newest = _newest_of(newest, wanted)
                yield RecordPage(wanted, read=len(page.records), seen=0)
                if scan.has_come_back and page.after is not None:
                    raise RecordRepeatedError(request)
                if request.order is SortOrder.DESCENDING and scan.is_complete_with(page):
                    break
        bookmark.reached_back(start_date, newest)


def _newest_of(newest: Record | None, records: Sequence[Record]) -> Record | None:
    """Return the record with the greatest `createdAt`."""
    candidates = [*([newest] if newest else []), *records]
    return max(candidates, key=lambda record: record.created_at, default=None)
