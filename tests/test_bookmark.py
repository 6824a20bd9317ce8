from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence import bookmark as bookmark_module
from tap_sequence.bookmark import Bookmark, Query, Start
from tap_sequence.errors import StateError
from tap_sequence.pages import Log
from tap_sequence.timestamps import format_timestamp

SECOND = 1_000_000
NOW = 1_000_000 * SECOND
QUERY = Query("eu.sequencehq.com/api", "2024-07-30")
OTHER = Query("eu.sequencehq.com/api", "2024-07-30", activity_log_object_id="x")


def log(number: int, age: int) -> Log:
    created_at = NOW - age * SECOND
    return Log(f"log-{number}", created_at, format_timestamp(created_at), None)


def read(bookmark: Bookmark, cursor: str | None, *logs: Log) -> None:
    for each in logs:
        bookmark.emitted(each)
    bookmark.page_done(cursor, logs, NOW)


def load(state: Mapping[str, Any], query: Query = QUERY, lookback: int = 300) -> Bookmark:
    return Bookmark.load(json.loads(json.dumps(state)), query, lookback)


def test_no_state_starts_with_nothing() -> None:
    assert load({}).start is Start.NOTHING
    assert load({"starting_replication_value": None}).start is Start.NOTHING


def test_a_state_comes_back_as_it_was_written() -> None:
    bookmark = load({})
    read(bookmark, None, log(1, 5000), log(2, 4000))
    read(bookmark, "c1", log(3, 3000))
    again = load(bookmark.to_state())
    assert again.start is Start.CURSOR
    assert again.to_state() == bookmark.to_state()
    assert again.cursor == "c1"
    assert again.knows("log-3")


def test_the_state_holds_the_standard_keys_and_the_contracts() -> None:
    bookmark = load({})
    read(bookmark, "c1", log(1, 5000))
    assert bookmark.to_state() == {
        "replication_key": "createdAt",
        "replication_key_value": log(1, 5000).created_at_text,
        "cursor": "c1",
        "query": {"host": "eu.sequencehq.com/api", "api_version": "2024-07-30"},
        "recent_ids": ["log-1"],
    }


def test_the_cursor_stays_behind_what_is_younger_than_the_lookback() -> None:
    bookmark = load({})
    read(bookmark, None, log(1, 5000), log(2, 4000))
    read(bookmark, "c1", log(3, 400), log(4, 299))
    read(bookmark, "c2", log(5, 200))
    read(bookmark, "c3", log(6, 100))
    assert bookmark.cursor == "c1"
    assert [bookmark.knows(f"log-{number}") for number in range(1, 7)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_without_lookback_the_cursor_is_that_of_the_last_page() -> None:
    bookmark = load({}, lookback=0)
    read(bookmark, "c1", log(1, 10))
    read(bookmark, "c2", log(2, 1))
    assert bookmark.cursor == "c2"
    assert bookmark.to_state()["recent_ids"] == ["log-2"]


def test_the_greatest_created_at_is_kept_as_a_time_not_as_text() -> None:
    bookmark = load({})
    earlier, later = "2024-05-02T14:26:48.63793Z", "2024-05-02T14:26:48.637932Z"
    read(bookmark, None, Log("a", 2, later, None), Log("b", 1, earlier, None))
    assert bookmark.replication_key_value == later


def test_a_walk_that_starts_again_still_knows_what_it_has_yet_to_pass() -> None:
    bookmark = load({})
    read(bookmark, None, log(1, 500), log(2, 100))
    read(bookmark, "c1", log(3, 450))
    read(bookmark, "c2", log(4, 0))
    bookmark.rewind()
    bookmark.page_done(bookmark.cursor, [log(1, 500), log(2, 100)], NOW)
    assert bookmark.knows("log-3")


def test_an_empty_page_moves_nothing() -> None:
    bookmark = load({})
    read(bookmark, "c1", log(1, 5000))
    read(bookmark, "c2")
    assert bookmark.cursor == "c1"


def test_a_bare_replication_key_value_allows_a_walk_back_to_it_less_the_lookback() -> None:
    bookmark = load({"replication_key": "createdAt", "replication_key_value": log(1, 100).created_at_text})
    assert bookmark.start is Start.TIME
    assert bookmark.backward_bound == log(1, 100).created_at - 300 * SECOND


def test_a_state_for_another_query_is_not_used() -> None:
    bookmark = load({})
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
        ({"partitions": [{"context": {}}]}, "partitions"),
    ],
)
def test_a_state_that_cannot_be_understood_says_what_is_wrong(state: dict[str, Any], problem: str) -> None:
    with pytest.raises(StateError, match=problem):
        load(state)


def test_past_the_cap_logs_may_be_repeated_but_the_cursors_proof_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bookmark_module, "RECENT_IDS_CAP", 5)
    bookmark = load({})
    read(bookmark, "c1", *(log(number, 200) for number in range(8)))
    state = bookmark.to_state()
    assert (state["cursor"], state["recent_ids"]) == ("c1", [f"log-{number}" for number in range(5)])
    assert bookmark.forgotten > 0


@given(
    st.lists(st.lists(st.integers(0, 900), min_size=1, max_size=4), min_size=1, max_size=12),
    st.sampled_from([0, 300]),
)
def test_what_a_later_run_may_meet_again_is_known_to_it(ages: list[list[int]], lookback: int) -> None:
    """Whatever lies behind the saved cursor, or within the lookback before the greatest `createdAt`, is remembered."""
    bookmark = load({}, lookback=lookback)
    pages: list[list[Log]] = []
    number = 0
    for page in ages:
        pages.append([log(number + offset, age) for offset, age in enumerate(page)])
        number += len(page)
        read(bookmark, f"c{len(pages) - 1}", *pages[-1])
    again = load(bookmark.to_state(), lookback=lookback)
    assert again.cursor is not None
    first_behind = int(again.cursor[1:])
    assert pages[first_behind], "a known log lies behind the cursor"
    assert all(again.knows(each.id) for page in pages[first_behind:] for each in page)
    bound = again.backward_bound
    assert bound is not None
    assert all(again.knows(each.id) for page in pages for each in page if each.created_at >= bound)
    if lookback:
        settled = NOW - lookback * SECOND
        assert all(each.created_at <= settled for page in pages[:first_behind] for each in page)
