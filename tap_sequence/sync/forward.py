"""Forward walks: what they emit, and whether they ended at the newest record."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

from tap_sequence.errors import BadRequestError, NewestMissingError, RecordRepeatedError
from tap_sequence.sync.bookmark import DISORDER, Bookmark
from tap_sequence.sync.listing import Listing, Pages
from tap_sequence.sync.models import Page, PageRequest, Record, RecordPage


class ForwardReader:
    """Emits the new records of forward walks, and checks that they end at the newest record.

    Args:
        listing: The list.
        bookmark: Which records are known; moved as records are emitted.
        logger: Where warnings go.
    """

    def __init__(self, listing: Listing, bookmark: Bookmark, logger: logging.Logger) -> None:
        self._listing = listing
        self._bookmark = bookmark
        self._logger = logger
        self._total: int | None = None
        self._last: tuple[PageRequest, Page] | None = None
        self._first: Record | None = None

    def record_pages(self, pages: Pages) -> Iterator[RecordPage]:
        """Yield the new records of a walk from the bookmark's position.

        Raises:
            RecordRepeatedError: The API returned the first page of the list for a cursor.
        """
        is_whole = self._bookmark.position.cursor is None
        self._bookmark.forward_begins()
        with closing(pages):
            for request, page in pages:
                self._check_not_first_page(request, page)
                self._last = request, page
                if page.total is not None:
                    self._total = page.total
                yield self._record_page(request, page, self._total if is_whole else None)

    def _record_page(self, request: PageRequest, page: Page, total: int | None) -> RecordPage:
        bookmark = self._bookmark
        new = bookmark.new(page.records)
        return RecordPage(
            [record for record in new if bookmark.is_wanted(record)],
            read=len(page.records),
            seen=len(page.records) - len(new),
            total=total,
            emitted=bookmark.emitted,
            done=lambda: bookmark.page_done(request.cursor, page.records, page.asked_at),
        )

    def unread_newest(self) -> Record | None:
        """Return the newest record if the walk ended before it."""
        page = None if self._last is None else self._last[1]
        is_end_clear = page is not None and not page.records and page.has_pagination
        if self._bookmark.listed == self._total if self._total is not None else is_end_clear:
            return None
        try:
            newest = self._listing.newest_records()
        except BadRequestError as error:
            self._logger.debug("The end of the list cannot be checked: %s", error)
            return None
        if not newest or self._bookmark.knows(newest[0].id):
            return None
        return self._listing.newest_if_always_first(newest)

    def finish(self) -> None:
        """The list was read to its end."""
        warn_of_missing(self._bookmark.listed, self._total, self._logger)
        self._bookmark.forward_done(self._total)

    def missing(self, newest: Record) -> NewestMissingError:
        """Return the error of a list that ends before its newest record."""
        listed = self._bookmark.listed
        return NewestMissingError(
            "its start" if self._last is None else self._last[0],
            newest.id,
            "unknown" if listed is None else f"{listed}",
            "none" if self._total is None else f"{self._total}",
        )

    def _check_not_first_page(self, request: PageRequest, page: Page) -> None:
        """Detect an API that returns the first page of the list, which an earlier run has read, for a cursor."""
        anchor = self._bookmark.position.anchor
        if anchor is None or not page.records or request.number == 1:
            return
        bound = anchor.created_at - max(self._bookmark.lookback, DISORDER)
        if any(record.created_at >= bound or self._bookmark.knows(record.id) for record in page.records):
            return
        if self._first is None:
            self._first = self._listing.first_record()
        if self._first is not None and self._first.id == page.records[0].id:
            raise RecordRepeatedError(request)


def warn_of_missing(listed: int | None, total: int | None, logger: logging.Logger) -> None:
    """Warn if the API counts more records than it lists, where both numbers are known."""
    if listed is not None and total is not None and total > listed:
        logger.warning(
            "The API counts %d logs (totalResultSize) but lists %d, the newest among them. All listed logs are emitted. If a "
            "log is missing, run once without a state; a target that upserts then has each log once.",
            total,
            listed,
        )
