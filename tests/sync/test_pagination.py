from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.errors import PaginationLoopError
from tap_sequence.sync.models import Page
from tap_sequence.sync.pagination import CursorPaginator


def page(after: str | None) -> Page:
    return Page(records=(), after=after, total=None, asked_at=0)


def test_paginator_starts_at_start_of_list_or_given_cursor() -> None:
    assert CursorPaginator().current_value is None
    assert CursorPaginator("c").current_value == "c"
    assert not CursorPaginator().finished


def test_paginator_follows_after_until_page_has_none() -> None:
    paginator = CursorPaginator()
    paginator.advance(page("a"))
    assert (paginator.current_value, paginator.count, paginator.finished) == ("a", 1, False)
    paginator.advance(page(None))
    assert (paginator.count, paginator.finished) == (2, True)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30, unique=True), st.data())
def test_paginator_repeated_cursor_raises_however_far_back(cursors: list[str], data: st.DataObject) -> None:
    paginator = CursorPaginator(cursors[0])
    for cursor in cursors[1:]:
        paginator.advance(page(cursor))
    repeated = data.draw(st.sampled_from(cursors))
    with pytest.raises(PaginationLoopError, match=f"page {len(cursors)} "):
        paginator.advance(page(repeated))
