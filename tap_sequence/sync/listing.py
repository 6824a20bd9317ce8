"""The list as the API returns it: walks over it in both directions, and whether the API follows `sortOrder`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TypeAlias

from tap_sequence.errors import BadRequestError
from tap_sequence.sync.bookmark import DISORDER
from tap_sequence.sync.models import Fetch, Page, PageRequest, Record, SortOrder
from tap_sequence.sync.walk import walk

Pages: TypeAlias = Generator[tuple[PageRequest, Page], None, None]
"""A walk: each page with its request. Close it if you leave it before its end."""


class Listing:
    """The list of one query.

    Args:
        fetch: Gets a page.
        logger: Where warnings go.
        prefetching: Returns a context manager that provides the fetch of one forward walk; None: use `fetch`.
    """

    def __init__(
        self,
        fetch: Fetch,
        logger: logging.Logger,
        prefetching: Callable[[], AbstractContextManager[Fetch]] | None = None,
    ) -> None:
        self.fetch = fetch
        self.is_always_newest_first = False
        """Whether the API was seen to list the newest record first, whichever order is requested."""
        self._prefetching = prefetching or (lambda: nullcontext(fetch))
        self._logger = logger

    def forward(self, cursor: str | None = None) -> Pages:
        """Walk in ascending order from a cursor, or from the start of the list."""
        with self._prefetching() as fetch:
            yield from walk(fetch, SortOrder.ASCENDING, cursor)

    def from_oldest(self) -> Pages | None:
        """Return the walk from the oldest record or, with a warning, None if the API lists the newest first."""
        return self._in_order(self.forward(), SortOrder.ASCENDING)

    def from_newest(self) -> Pages | None:
        """Return the walk from the newest record or, with a warning, None if the API lists the oldest first."""
        return self._in_order(walk(self.fetch, SortOrder.DESCENDING), SortOrder.DESCENDING)

    def first_record(self) -> Record | None:
        """Return the list's first record in ascending order, if it has any."""
        return next(iter(self._first_page(SortOrder.ASCENDING)), None)

    def newest_records(self) -> Sequence[Record]:
        """Return the first records in descending order; none if the list is empty.

        Raises:
            BadRequestError: The API refuses that order.
        """
        return self._first_page(SortOrder.DESCENDING)

    def _first_page(self, order: SortOrder) -> Sequence[Record]:
        """Return the records of the first page that has any."""
        _, first = first_page_with_records(walk(self.fetch, order))
        return first[1].records if first else ()

    def newest_if_always_first(self, newest: Sequence[Record]) -> Record | None:
        """Return the newest record, given what comes first in descending order; None if the API always lists the oldest first."""
        records = newest if len(newest) > 1 else self._first_records(SortOrder.DESCENDING)
        if self.is_same_in(SortOrder.ASCENDING, records):
            self.is_always_newest_first = self._fixed_order(records) is SortOrder.DESCENDING
            if not self.is_always_newest_first:
                # These are the oldest, and nothing says which is the newest.
                return None
            self._warn_of_order(SortOrder.ASCENDING)
        return newest[0]

    def is_same_in(self, order: SortOrder, records: Sequence[Record]) -> bool:
        """Whether the list begins with these records if `order` is requested, too."""
        others = self._first_records(order)
        ids, other_ids = {record.id for record in records}, {record.id for record in others}
        common = [record.id for record in records if record.id in other_ids]
        return len(common) > 1 and common == [record.id for record in others if record.id in ids]

    def is_same_in_both_orders(self) -> bool:
        """Whether the list begins with the same records whichever order is requested."""
        return self.is_same_in(SortOrder.DESCENDING, self._first_records(SortOrder.ASCENDING))

    def _in_order(self, pages: Pages, order: SortOrder) -> Pages | None:
        begun = begin(pages)
        records = records_of(begun)
        # Times alone prove nothing, because records may have any date. An API that ignores the order returns the same list
        # for both orders. Checking this costs requests, which is worth it if a walk that can be resumed would go in the
        # wrong direction; a single page has all records anyway.
        has_next_page = order is SortOrder.ASCENDING and bool(begun) and begun[-1][1].after is not None
        is_plausible = _span(records, order) > DISORDER if has_next_page else _span(records, order) >= 0
        if (
            is_plausible
            or not self.is_same_in(order.reverse, records)
            or self._fixed_order(records) is not order.reverse
        ):
            return chain(begun, pages)
        pages.close()
        self.is_always_newest_first |= order is SortOrder.ASCENDING
        self._warn_of_order(order)
        return None

    def _fixed_order(self, records: Sequence[Record]) -> SortOrder | None:
        """Return the order of an API that always begins with these records; None if all records are of one time."""
        listed = list(records)
        pages = walk(self.fetch, SortOrder.ASCENDING)
        while abs(span := _span(listed, SortOrder.ASCENDING)) <= DISORDER and (page := next(pages, None)):
            listed += page[1].records
        return (SortOrder.ASCENDING if span > 0 else SortOrder.DESCENDING) if span else None

    def _first_records(self, order: SortOrder) -> Sequence[Record]:
        """Return the first records of the list, or none if the API refuses the order."""
        try:
            return records_of(begin(walk(self.fetch, order)))
        except BadRequestError as error:
            self._logger.debug("The list cannot be read in order %s: %s", order, error)
            return ()

    def _warn_of_order(self, requested: SortOrder) -> None:
        found, direction = (
            ("newest", "backward") if requested is SortOrder.ASCENDING else ("oldest", "forward")
        )
        self._logger.warning(
            "The API lists the %s log first although sortOrder=%s was requested. Reading %s from there; no logs will be "
            "missed.",
            found,
            requested,
            direction,
        )


def chain(first: Sequence[tuple[PageRequest, Page]], rest: Pages) -> Pages:
    """Yield pages that were already taken from a walk, and then the rest of it."""
    with closing(rest):
        yield from first
        yield from rest


def begin(pages: Pages) -> list[tuple[PageRequest, Page]]:
    """Take the first pages of a walk, until there are two records on them."""
    begun = []
    for request, page in pages:
        begun.append((request, page))
        if len(records_of(begun)) > 1:
            break
    return begun


def records_of(pages: Sequence[tuple[PageRequest, Page]]) -> list[Record]:
    """Return the records on pages, in order."""
    return [record for _, page in pages for record in page.records]


def first_page_with_records(pages: Pages) -> tuple[int, tuple[PageRequest, Page] | None]:
    """Return how many empty pages a walk begins with, and the first page that is not empty, or None."""
    skipped = 0
    for request, page in pages:
        if page.records:
            return skipped, (request, page)
        skipped += 1
    return skipped, None


def _span(records: Sequence[Record], order: SortOrder) -> int:
    """Return the microseconds from the first record's `createdAt` to the last one's, negative if against the order."""
    span = records[-1].created_at - records[0].created_at if records else 0
    return span if order is SortOrder.ASCENDING else -span
