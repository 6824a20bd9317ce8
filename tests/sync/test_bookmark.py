from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.errors import StateError
from tap_sequence.sync import bookmark as bookmark_module
from tap_sequence.sync import seen as seen_module
from tap_sequence.sync.bookmark import DISORDER, Bookmark
from tap_sequence.sync.models import Record
from tap_sequence.sync.position import Anchor, Start
from tap_sequence.sync.state import Query
from tap_sequence.sync.timestamps import format_timestamp

SECOND = 1_000_000
NOW = 1_000_000 * SECOND
QUERY = Query("eu.sequencehq.com/api", "2024-07-30")
OTHER_STATE = {"query": {"host": "elsewhere", "api_version": "1"}, "cursor": "c"}
OTHER = Query("eu.sequencehq.com/api", "2024-07-30", activity_log_object_id="x")


def log(number: int, age: int) -> Record:
    created_at = NOW - age * SECOND
    return Record(f"log-{number}", created_at, format_timestamp(created_at), None)


def read(bookmark: Bookmark, cursor: str | None, *logs: Record) -> None:
    for each in logs:
        bookmark.emitted(each)
    bookmark.page_done(cursor, logs, NOW)


def load(state: Mapping[str, Any], query: Query = QUERY, lookback: int = 300) -> Bookmark:
    return Bookmark.load(json.loads(json.dumps(state)), query, lookback)


def begin(lookback: int = 300) -> Bookmark:
    bookmark = load({}, lookback=lookback)
    bookmark.forward_begins()
    return bookmark


def test_load_without_state_starts_with_nothing() -> None:
    assert load({}).start is Start.NOTHING
    assert load({"starting_replication_value": None}).start is Start.NOTHING


def test_load_saved_state_restores_it() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 5000), log(2, 4000))
    read(bookmark, "c1", log(3, 3000))
    again = load(bookmark.to_state())
    assert again.start is Start.CURSOR
    assert again.to_state() == bookmark.to_state()
    assert again.position.cursor == "c1"
    assert again.knows("log-3")


def test_to_state_has_standard_keys_and_those_of_the_contract() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 6000))
    read(bookmark, "c1", log(2, 5000), log(3, 4000))
    assert bookmark.to_state() == {
        "replication_key": "createdAt",
        "replication_key_value": log(3, 4000).created_at_text,
        "saved_replication_key_value": log(3, 4000).created_at_text,
        "start_date": None,
        "cursor": "c1",
        "anchor_id": "log-2",
        "anchor_created_at": log(2, 5000).created_at_text,
        "before_anchor": ["log-1"],
        "logs_before_anchor": 1,
        "query": {
            "host": "eu.sequencehq.com/api",
            "api_version": "2024-07-30",
            "activity_log_object_id": None,
            "activity_log_object_entity_id": None,
        },
        "recent_ids": ["log-2", "log-3"],
        "streams": ["activity_logs"],
    }


def test_to_state_always_has_every_key() -> None:
    """So that no old value survives a merge of states."""
    empty = begin()
    empty.forward_done()
    full = begin()
    read(full, None, log(1, 6000))
    assert empty.to_state().keys() == full.to_state().keys()
    assert load(empty.to_state()).start is Start.CURSOR


def test_load_streams_not_loaded_before_are_new_streams() -> None:
    both = ("activity_logs", "activity_log_items")
    first = begin()
    read(first, None, log(1, 6000))
    state = first.to_state()
    assert Bookmark.load(state, first.query, 300, both).new_streams == ("activity_log_items",)
    # A state without `streams` is from a version that had only the first stream.
    del state["streams"]
    assert Bookmark.load(state, first.query, 300, both).new_streams == ("activity_log_items",)
    assert Bookmark.load(state, first.query, 300, both[:1]).new_streams == ()

    second = Bookmark.load(state, first.query, 300, both)
    second.forward_done()
    assert second.to_state()["streams"] == list(both)
    assert Bookmark.load(second.to_state(), first.query, 300, both).new_streams == ()
    # A run that starts at the beginning, or from a time set by hand, emits all logs of both streams.
    for other in ({}, OTHER_STATE, {"replication_key_value": log(1, 9).created_at_text}):
        assert Bookmark.load(other, first.query, 300, both).new_streams == ()


def test_to_state_before_anything_was_read_is_unchanged() -> None:
    for state in ({}, {"replication_key_value": log(1, 9).created_at_text}, OTHER_STATE):
        bookmark = load(state)
        assert bookmark.to_state() == state
        bookmark.forward_begins()
        assert bookmark.to_state() == state


def test_page_done_cursor_stays_before_logs_younger_than_lookback() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 5000), log(2, 4000))
    read(bookmark, "c1", log(3, 400), log(4, 299))
    read(bookmark, "c2", log(5, 200))
    read(bookmark, "c3", log(6, 100))
    assert (bookmark.position.cursor, bookmark.position.anchor) == ("c1", Anchor.at(log(3, 400)))
    assert [bookmark.knows(f"log-{number}") for number in range(1, 7)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_page_done_without_lookback_saves_cursor_of_last_page() -> None:
    bookmark = load({}, lookback=0)
    read(bookmark, "c1", log(1, 10))
    read(bookmark, "c2", log(2, 1))
    assert bookmark.position.cursor == "c2"
    assert bookmark.to_state()["recent_ids"] == ["log-2"]


def test_emitted_keeps_greatest_created_at_compared_as_time() -> None:
    bookmark = begin()
    earlier, later = "2024-05-02T14:26:48.63793Z", "2024-05-02T14:26:48.637932Z"
    read(bookmark, None, Record("a", 2, later, None), Record("b", 1, earlier, None))
    assert bookmark.replication_key_value == later


def test_forward_begins_again_still_knows_logs_after_cursor() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 500), log(2, 100))
    read(bookmark, "c1", log(3, 450))
    read(bookmark, "c2", log(4, 0))
    bookmark.forward_begins()
    bookmark.page_done(bookmark.position.cursor, [log(1, 500), log(2, 100)], NOW)
    assert bookmark.knows("log-3")


def test_page_done_anchor_is_settled() -> None:
    """So that no log can become visible before it."""
    bookmark = begin()
    read(bookmark, None, log(1, 5000))
    read(bookmark, "c1", log(2, 4000))
    read(bookmark, "c2", log(3, 299), log(4, 1))
    assert (bookmark.position.cursor, bookmark.position.anchor) == ("c1", Anchor.at(log(2, 4000)))


def test_page_done_future_log_neither_blocks_cursor_nor_is_anchor() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 5000), log(2, -90_000))
    read(bookmark, "c1", log(3, -90_000), log(4, 4000))
    assert bookmark.position.anchor is None
    read(bookmark, "c2", log(5, 3000))
    assert bookmark.position.anchor == Anchor.at(log(5, 3000))
    bookmark = begin(lookback=0)
    read(bookmark, None, log(1, 5000))
    read(bookmark, "c1", log(2, -90_000))
    assert bookmark.position.anchor is None


def test_page_done_empty_page_does_not_move_cursor() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 5000))
    read(bookmark, "c1", log(2, 4000))
    read(bookmark, "c2")
    assert bookmark.position.cursor == "c1"


def test_load_replication_key_value_alone_starts_backward() -> None:
    bookmark = load({"replication_key": "createdAt", "replication_key_value": log(1, 100).created_at_text})
    assert bookmark.start is Start.BACKWARD
    assert (bookmark.latest, bookmark.position.anchor) == (log(1, 100).created_at, None)


def test_is_continued_by_only_anchor_confirms_cursor() -> None:
    bookmark = begin()
    read(bookmark, None, log(1, 5000))
    read(bookmark, "c1", log(2, 4000), log(3, 3000))
    again = load(bookmark.to_state())
    assert again.is_continued_by("log-2")
    assert not again.is_continued_by("log-3")
    assert not again.is_continued_by(None)
    by_hand = load({"query": QUERY.to_state(), "cursor": "c1", "recent_ids": ["log-3"]})
    assert by_hand.is_continued_by("log-3")
    assert not by_hand.is_continued_by("log-2")
    without_ids = load({"query": QUERY.to_state(), "cursor": "c1"})
    assert without_ids.is_continued_by("log-9")
    assert not without_ids.is_continued_by(None)


def test_load_state_of_another_query_is_not_used() -> None:
    bookmark = begin()
    read(bookmark, "c1", log(1, 5000))
    other = load(bookmark.to_state(), OTHER)
    assert other.start is Start.OTHER_QUERY
    assert not other.knows("log-1")
    assert other.latest is None


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"replication_key": "updatedAt"}, "replication_key"),
        ({"replication_key": [], "cursor": None}, "replication_key"),
        ({"replication_key_value": "soon"}, "replication_key_value"),
        ({"replication_key_value": 7}, "replication_key_value"),
        ({"cursor": 7, "query": QUERY.to_state()}, "cursor"),
        ({"cursor": "c"}, "query"),
        ({"query": ["x"]}, "query"),
        ({"recent_ids": "log-1"}, "recent_ids"),
        ({"recent_ids": [1]}, "recent_ids"),
        ({"anchor_id": 7, "cursor": None}, "anchor_id"),
        ({"anchor_created_at": "soon", "cursor": None}, "anchor_created_at"),
        ({"partitions": [{"context": {}}]}, "partitions"),
    ],
)
def test_load_invalid_state_raises_and_names_key(state: dict[str, Any], problem: str) -> None:
    with pytest.raises(StateError, match=problem):
        load(state)


def test_recent_ids_over_cap_are_evicted_from_state_but_known_to_this_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bookmark_module, "RECENT_IDS_CAP", 5)
    bookmark = begin()
    read(bookmark, None, log(100, 5000))
    read(bookmark, "c1", log(0, 400), *(log(number, 200) for number in range(1, 8)))
    state = bookmark.to_state()
    assert state["recent_ids"] == [f"log-{number}" for number in range(3, 8)]
    assert load(state).is_continued_by("log-0")
    assert bookmark.evicted == 3
    assert bookmark.knows("log-1")


@given(
    st.lists(st.lists(st.integers(-900, 900), min_size=1, max_size=4), min_size=1, max_size=12),
    st.sampled_from([0, 300]),
)
def test_load_knows_all_logs_that_next_run_may_read_again(ages: list[list[int]], lookback: int) -> None:
    """These are all logs from the anchor on, and those within the lookback before the greatest `createdAt`."""
    bookmark = begin(lookback)
    pages: list[list[Record]] = []
    number = 0
    for page in ages:
        pages.append([log(number + offset, age) for offset, age in enumerate(page)])
        number += len(page)
        read(bookmark, f"c{len(pages) - 1}" if pages[1:] else None, *pages[-1])
    again = load(bookmark.to_state(), lookback=lookback)
    assert again.start is Start.CURSOR
    first_after_cursor = int(again.position.cursor[1:]) if again.position.cursor else 0
    if again.position.cursor:
        assert again.position.anchor == Anchor.at(pages[first_after_cursor][0])
    assert all(again.knows(each.id) for page in pages[first_after_cursor:] for each in page)
    assert again.latest is not None
    assert all(
        again.knows(each.id)
        for page in pages
        for each in page
        if each.created_at >= again.latest - again.lookback
    )
    if lookback and again.position.cursor:
        settled = NOW - lookback * SECOND
        before = [
            each for page in pages[:first_after_cursor] for each in page if each.created_at <= NOW + DISORDER
        ]
        assert all(each.created_at <= settled for each in [*before, pages[first_after_cursor][0]])


def test_bookmark_cost_per_log_is_constant_whatever_the_lookback() -> None:
    """Measured in lines run, not in seconds."""

    def lines_run(pages: int) -> int:
        lines = 0

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace if frame.f_code.co_filename in files else None

        files = {bookmark_module.__file__, seen_module.__file__}
        bookmark = begin(lookback=86_400)
        # A debugger or a coverage tool gets its trace function back afterwards.
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            for page in range(pages):
                age = 100_000 - page
                read(bookmark, f"c{page}", *(log(10 * page + number, age) for number in range(10)))
                bookmark.to_state()
        finally:
            sys.settrace(before)
        return lines

    assert lines_run(200) < 5 * lines_run(50)
