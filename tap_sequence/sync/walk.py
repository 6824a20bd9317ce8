"""The walk: one page after another, in one direction, until the list ends.

Plain Python over a `fetch(request) -> page` function: it knows neither HTTP nor Singer.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TypeAlias

from tap_sequence.errors import (
    PaginationLoopError,
)
from tap_sequence.sync.models import Fetch, Page, PageRequest, Record, SortOrder
from tap_sequence.sync.pagination import CursorPaginator


def asking_again_for_empty(fetch: Fetch) -> Fetch:
    """Return a fetch that asks once more for an empty page with a page after it: its logs may only be late."""

    def fetch_twice(request: PageRequest) -> Page:
        page = fetch(request)
        is_doubtful = not page.records and page.after is not None and not request.is_optional
        return fetch(request) if is_doubtful else page

    return fetch_twice


def walk(
    fetch: Fetch, order: SortOrder, start: str | None = None
) -> Generator[tuple[PageRequest, Page], None, None]:
    """Yield each page with the request that brought it, from cursor `start` (None: the start of the list).

    A page is yielded before the cursor behind it is looked at, so that its logs count even where the list turns out
    to go round in circles. One that begins as the first page did is not: its logs were there before. An empty page that
    leads to itself ends the list.

    Raises:
        PaginationLoopError: A cursor came up that was followed before, or the first page.
        RequestError: From `fetch`.
    """
    paginator = CursorPaginator(start)
    first_id: str | None = None
    while not paginator.finished:
        request = PageRequest(order, paginator.current_value, paginator.count + 1)
        page = fetch(request)
        if not page.records and page.after is not None and page.after == request.cursor:
            # Some APIs hand out their last cursor for ever. Whether it was the end has to be checked.
            page = replace(page, after=None, has_pagination=False)
        if page.records:
            if page.records[0].id == first_id:
                msg = (
                    f"The API goes round in circles: it answered {request} with the first page of this walk. Nothing is "
                    "lost: the next run starts from the last STATE. If it happens again, report it to Sequence's support."
                )
                raise PaginationLoopError(msg)
            first_id = first_id or page.records[0].id
        yield request, page
        paginator.advance(page)


Pages: TypeAlias = Generator[tuple[PageRequest, Page], None, None]
"""A walk: each page with the request that brought it. Whoever leaves it before its end closes it."""


def chain(first: Sequence[tuple[PageRequest, Page]], rest: Pages) -> Pages:
    """Yield pages that were taken from a walk already, and then the rest of it."""
    with closing(rest):
        yield from first
        yield from rest


def begin(pages: Pages) -> list[tuple[PageRequest, Page]]:
    """Return the first pages of a walk, until there are two logs on them."""
    begun = []
    for request, page in pages:
        begun.append((request, page))
        if len(records_of(begun)) > 1:
            break
    return begun


def records_of(pages: Sequence[tuple[PageRequest, Page]]) -> list[Record]:
    """Return the logs on pages, in order."""
    return [record for _, page in pages for record in page.records]


def spans(records: Sequence[Record], order: SortOrder) -> int:
    """Return from the first log's `createdAt` to the last one's, in microseconds, negative if against the order."""
    span = records[-1].created_at - records[0].created_at if records else 0
    return span if order is SortOrder.ASCENDING else -span


def first_page_with_records(pages: Pages) -> tuple[int, tuple[PageRequest, Page] | None]:
    """Return the first page that is not empty, or None, and how many empty ones came before it."""
    skipped = 0
    for request, page in pages:
        if page.records:
            return skipped, (request, page)
        skipped += 1
    return skipped, None
