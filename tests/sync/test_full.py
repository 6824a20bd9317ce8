"""Lists that change in place, read in full, against a model: pages of a list that may shift while it is read."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.sync.full import FullReader
from tap_sequence.sync.models import Page, PageRequest, Record

LOGGER = logging.getLogger("tests")
SIZE = 3


def record(name: str) -> Record:
    return Record(name, 0, "", None)


class Shifting:
    """A list paged by offset: an entry that is added in front moves all others back, so that pages overlap."""

    def __init__(self, count: int, added_before: set[int]) -> None:
        self.names = [f"entry-{number}" for number in range(count)]
        self._added_before = added_before
        self.requests: list[PageRequest] = []

    def fetch(self, request: PageRequest) -> Page:
        self.requests.append(request)
        if len(self.requests) > 1 and len(self.requests) in self._added_before:
            self.names.insert(0, f"new-{len(self.requests)}")
        first = int(request.cursor or 0)
        after = str(first + SIZE) if first + SIZE < len(self.names) else None
        return Page(tuple(map(record, self.names[first : first + SIZE])), after, len(self.names), 0)


@given(count=st.integers(0, 20), added_before=st.sets(st.integers(2, 8)))
def test_full_reader_emits_each_entry_that_was_there_from_the_start_once(
    count: int, added_before: set[int]
) -> None:
    api = Shifting(count, added_before)
    there = list(api.names)
    pages = list(FullReader(api.fetch, noun="user", logger=LOGGER).record_pages())
    emitted = [each.id for page in pages for each in page.records]
    assert len(emitted) == len(set(emitted))
    assert [name for name in emitted if name in there] == there
    assert sum(page.read - page.seen for page in pages) == len(emitted)
    assert {request.order for request in api.requests} == {None}
    assert str(api.requests[0]) == "page 1 of users (from the start)"


@pytest.mark.parametrize(("total", "warnings"), [(None, 0), (2, 0), (1, 0), (3, 1)])
def test_full_reader_warns_if_fewer_entries_are_listed_than_counted(
    total: int | None, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page((record("a"), record("b")), None, total, 0)
    (emitted,) = FullReader(lambda _: page, noun="user", logger=LOGGER).record_pages()
    assert [each.id for each in emitted.records] == ["a", "b"]
    assert len(caplog.records) == warnings
