"""The walk: one page after another, in one direction, until the list ends.

Plain Python over a `fetch(request) -> page` function: it knows neither HTTP nor Singer.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from tap_sequence.errors import FirstPageRepeatedError
from tap_sequence.sync.models import Fetch, Page, PageRequest, SortOrder
from tap_sequence.sync.pagination import CursorPaginator


def asking_again_for_empty(fetch: Fetch) -> Fetch:
    """Return a fetch that asks again, once, for an empty page that has a next page: its records may only be late."""

    def fetch_twice(request: PageRequest) -> Page:
        page = fetch(request)
        is_doubtful = not page.records and page.after is not None and not request.is_optional
        return fetch(request) if is_doubtful else page

    return fetch_twice


def walk(
    fetch: Fetch, order: SortOrder | None, start: str | None = None, *, noun: str | None = None
) -> Generator[tuple[PageRequest, Page], None, None]:
    """Yield each page with its request, from cursor `start` (None: the start of the list).

    The order is None for a list without one; `noun` is `PageRequest.noun`.

    A page is yielded before its `after` is checked, so that its records count even if it leads into a pagination loop. A page
    that begins as the first page did is not yielded: its records were read before. An empty page that leads to itself ends
    the list.

    Raises:
        PaginationLoopError: The API returned a cursor that was followed before, or the first page again.
        RequestError: From `fetch`.
    """
    paginator = CursorPaginator(start)
    first_id: str | None = None
    while not paginator.finished:
        request = PageRequest(order, paginator.current_value, paginator.count + 1, noun=noun)
        page = fetch(request)
        if not page.records and page.after is not None and page.after == request.cursor:
            # Some APIs return their last cursor forever. Whether this is the end has to be checked.
            page = replace(page, after=None, has_pagination=False)
        if page.records:
            if page.records[0].id == first_id:
                raise FirstPageRepeatedError(request)
            first_id = first_id or page.records[0].id
        yield request, page
        paginator.advance(page)
