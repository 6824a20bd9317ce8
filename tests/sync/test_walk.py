from __future__ import annotations

import pytest

from tap_sequence.errors import PaginationLoopError
from tap_sequence.sync.models import Page, PageRequest, Record, SortOrder
from tap_sequence.sync.walk import walk


def test_it_asks_for_the_first_page_without_a_cursor_and_then_follows_after() -> None:
    answers = {None: "a", "a": "b", "b": None}
    asked: list[PageRequest] = []

    def fetch(request: PageRequest) -> Page:
        asked.append(request)
        return Page((), answers[request.cursor], None, 0)

    assert len(list(walk(fetch, SortOrder.ASCENDING))) == 3
    assert asked == [
        PageRequest(SortOrder.ASCENDING, None, 1),
        PageRequest(SortOrder.ASCENDING, "a", 2),
        PageRequest(SortOrder.ASCENDING, "b", 3),
    ]


def test_it_starts_at_a_cursor_and_keeps_its_direction() -> None:
    ((request, _),) = walk(lambda _: Page((), None, None, 0), SortOrder.DESCENDING, "c")
    assert request == PageRequest(SortOrder.DESCENDING, "c", 1)
    assert "page 1" in str(request)
    assert "cursor c" in str(request)


def test_the_page_before_a_loop_is_still_yielded() -> None:
    def fetch(request: PageRequest) -> Page:
        number = request.number or 0
        return Page((Record(str(number), number, "", None),), "a", None, number)

    pages = walk(fetch, SortOrder.ASCENDING)
    assert next(pages)[1].asked_at == 1
    assert next(pages)[1].asked_at == 2
    with pytest.raises(PaginationLoopError):
        next(pages)


def test_an_empty_page_that_leads_to_itself_ends_the_list_but_not_beyond_doubt() -> None:
    *_, (_, last) = walk(lambda _: Page((), "a", None, 0), SortOrder.ASCENDING)
    assert (last.after, last.has_pagination) == (None, False)
