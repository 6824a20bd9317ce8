from __future__ import annotations

import pytest

from tap_sequence.errors import PaginationLoopError
from tap_sequence.sync.models import Page, PageRequest, Record, SortOrder
from tap_sequence.sync.walk import walk


def test_walk_requests_first_page_without_cursor_then_follows_after() -> None:
    afters = {None: "a", "a": "b", "b": None}
    requests: list[PageRequest] = []

    def fetch(request: PageRequest) -> Page:
        requests.append(request)
        return Page((), afters[request.cursor], None, 0)

    assert len(list(walk(fetch, SortOrder.ASCENDING))) == 3
    assert requests == [
        PageRequest(SortOrder.ASCENDING, None, 1),
        PageRequest(SortOrder.ASCENDING, "a", 2),
        PageRequest(SortOrder.ASCENDING, "b", 3),
    ]


def test_walk_from_cursor_keeps_sort_order() -> None:
    ((request, _),) = walk(lambda _: Page((), None, None, 0), SortOrder.DESCENDING, "c")
    assert request == PageRequest(SortOrder.DESCENDING, "c", 1)
    assert "page 1" in str(request)
    assert "cursor c" in str(request)


def test_walk_in_pagination_loop_yields_last_page_before_raising() -> None:
    def fetch(request: PageRequest) -> Page:
        number = request.number or 0
        return Page((Record(str(number), number, "", None),), "a", None, number)

    pages = walk(fetch, SortOrder.ASCENDING)
    assert next(pages)[1].asked_at == 1
    assert next(pages)[1].asked_at == 2
    with pytest.raises(PaginationLoopError):
        next(pages)


def test_walk_empty_page_that_leads_to_itself_ends_without_pagination() -> None:
    """Whether it is the end of the list still has to be checked."""
    *_, (_, last) = walk(lambda _: Page((), "a", None, 0), SortOrder.ASCENDING)
    assert (last.after, last.has_pagination) == (None, False)
