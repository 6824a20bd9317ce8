"""The walk: one page after another, in one direction, until the list ends.

Plain Python over a `fetch(request) -> page` function: it knows neither HTTP nor Singer.
"""

from __future__ import annotations

from collections.abc import Iterator

from tap_sequence.pages import Fetch, Page, PageRequest, SortOrder
from tap_sequence.pagination import CursorPaginator


def walk(fetch: Fetch, order: SortOrder, start: str | None = None) -> Iterator[tuple[PageRequest, Page]]:
    """Yield each page with the request that brought it, from cursor `start` (None: the start of the list).

    A page is yielded before the cursor behind it is looked at, so that its logs count even where the list turns out
    to go round in circles.

    Raises:
        PaginationLoopError: A cursor came up that was followed before.
        RequestError: From `fetch`.
    """
    paginator = CursorPaginator(start)
    while not paginator.finished:
        request = PageRequest(order, paginator.current_value, paginator.count + 1)
        page = fetch(request)
        yield request, page
        paginator.advance(page)
