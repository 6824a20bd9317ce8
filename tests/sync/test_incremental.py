"""Runs over the simulated API: what the contract says of the bookmark, and what always holds."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

import pytest

from tap_sequence.errors import IncompleteListError, PaginationLoopError, StateError
from tap_sequence.simulator import CursorKind, EndOfList, Fault, LogIds, Options, SimulatedApi, UnknownCursor
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.incremental import IncrementalReader
from tap_sequence.sync.models import Page, PageRequest, Record, SortOrder
from tap_sequence.sync.state import Query
from tap_sequence.sync.timestamps import format_timestamp, parse_timestamp
from tests.support.model import LOGGER, SECOND, KilledError, fetch_from, run


def account(logs: int, **options: Any) -> SimulatedApi:
    api = SimulatedApi(Options(**options))
    api.store.grow(logs)
    return api


def long_after() -> int:
    """Return a time at which no log of the account is younger than the lookback."""
    return 1_900_000_000 * SECOND


def created(api: SimulatedApi, index: int) -> str:
    return str(api.store.logs()[index]["createdAt"])


every_cursor = pytest.mark.parametrize("cursor_kind", CursorKind)
every_end = pytest.mark.parametrize("end_of_list", EndOfList)
every_unknown_cursor = pytest.mark.parametrize("unknown_cursor", UnknownCursor)


# What the run starts with


@pytest.mark.sample(15)
@every_cursor
@every_unknown_cursor
@every_end
def test_start_date_cost_follows_emitted_logs_and_next_run_emits_new_ones(
    cursor_kind: CursorKind, unknown_cursor: UnknownCursor, end_of_list: EndOfList
) -> None:
    api = account(3000, cursor_kind=cursor_kind, unknown_cursor=unknown_cursor, end_of_list=end_of_list)
    wanted = api.store.logs()[2500:]
    start = parse_timestamp(wanted[0]["createdAt"])
    first = run(api, now=long_after, start_date=start)
    assert sorted(first.ids) == sorted(log["id"] for log in wanted)
    assert first.requests <= 12

    new = api.store.grow(130)
    second = run(api, first.states[-1], now=long_after, start_date=start)
    assert sorted(second.ids) == sorted(new)
    assert second.requests <= 6

    third = run(api, second.states[-1], now=long_after, start_date=start)
    assert third.ids == []
    assert third.requests <= 2


def test_start_date_before_nearly_all_logs_reads_forward() -> None:
    """A forward walk can be resumed."""
    api = account(1000)
    result = run(api, now=long_after, start_date=parse_timestamp(created(api, 50)))
    assert result.ids == api.store.ids()[50:]
    assert "cursor" in result.states[0]


def test_start_date_in_future_emits_nothing_until_then() -> None:
    api = account(300)
    first = run(api, now=long_after, start_date=long_after())
    assert first.ids == []
    new = api.store.add_at([long_after() + SECOND])
    assert run(api, first.states[-1], now=long_after, start_date=long_after()).ids == new


@every_cursor
@every_end
def test_bare_replication_key_value_emits_all_logs_since(
    cursor_kind: CursorKind, end_of_list: EndOfList
) -> None:
    api = account(3000, cursor_kind=cursor_kind, end_of_list=end_of_list)
    state = {"replication_key": "createdAt", "replication_key_value": created(api, 2700)}
    result = run(api, state, now=long_after, lookback_seconds=0)
    since = [log["id"] for log in api.store.logs()[2700:]]
    assert set(since) <= set(result.ids)
    assert len(result.ids) == len(set(result.ids)) < 310
    assert result.requests <= 8
    assert run(api, result.states[-1], now=long_after, lookback_seconds=0).ids == []


def test_bare_replication_key_value_reads_back_over_lookback() -> None:
    api = account(3000)
    bound = parse_timestamp(created(api, 2700)) - 300 * SECOND
    result = run(api, {"replication_key_value": created(api, 2700)}, now=long_after)
    assert sorted(result.ids) == sorted(
        log["id"] for log in api.store.logs() if parse_timestamp(log["createdAt"]) >= bound
    )
    assert result.requests <= 8


@pytest.mark.sample(15)
@every_cursor
@every_unknown_cursor
@every_end
def test_saved_cursor_not_honoured_warns_and_emits_exactly_new_logs(
    cursor_kind: CursorKind,
    unknown_cursor: UnknownCursor,
    end_of_list: EndOfList,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The API forgets a cursor between runs, and responds in any of the ways in which it may respond to an unknown one."""
    api = account(1234, cursor_kind=cursor_kind, unknown_cursor=unknown_cursor, end_of_list=end_of_list)
    first = run(api, now=long_after)
    new = api.store.grow(130)
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    with caplog.at_level(logging.WARNING):
        second = run(api, state, now=long_after)
    assert sorted(second.ids) == sorted(new)
    assert second.requests <= 7
    assert "was rejected" in caplog.text
    assert run(api, second.states[-1], now=long_after).ids == []


def test_saved_cursor_opaque_and_refused_warns_and_emits_exactly_new_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = account(2000, cursor_kind=CursorKind.OPAQUE)
    first = run(api, now=long_after)
    new = api.store.grow(130)
    api.options = dataclasses.replace(api.options, cursor_key="another")
    second = run(api, first.states[-1], now=long_after)
    assert (len(second.ids), sorted(second.ids)) == (130, sorted(new))
    assert second.requests <= 7
    assert "refuses" in caplog.text


def test_state_of_another_query_warns_and_reads_whole_list(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = account(300)
    wanted = api.store.logs()[7]["activityLogItems"][0]["activityLogObject"]["id"]
    filtered = run(api, now=long_after, query=Query("model", "v", activity_log_object_id=wanted))
    assert 0 < len(filtered.ids) < 300
    wider = run(api, filtered.states[-1], now=long_after)
    assert wider.ids == api.store.ids()
    assert f'another query: the run changes activity_log_object_id from "{wanted}" to null.' in caplog.text


def test_state_of_another_host_and_version_warns_of_both_with_old_and_new_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = account(30)
    saved = run(api, now=long_after, query=Query("eu.example.com/api", "2024-01-01"))
    assert run(api, saved.states[-1], now=long_after, query=Query("model", "v")).ids == api.store.ids()
    changes = 'host from "eu.example.com/api" to "model", api_version from "2024-01-01" to "v".'
    assert f"the run changes {changes}" in caplog.text


def test_state_invalid_raises_before_any_request() -> None:
    api = account(10)
    with pytest.raises(StateError):
        run(api, {"cursor": 7}, now=long_after)
    assert api.requests == []


def test_start_date_empty_list_but_total_above_zero_is_read_again() -> None:
    api = account(300, faults=[Fault.parse("1=empty-page"), Fault.parse("1=no-after")])
    assert run(api, now=long_after, start_date=1).ids == api.store.ids()


# The lookback


@every_cursor
@every_end
def test_lookback_late_logs_are_emitted_by_next_run_and_no_others(
    cursor_kind: CursorKind, end_of_list: EndOfList
) -> None:
    api = account(1000, cursor_kind=cursor_kind, end_of_list=end_of_list)
    newest = max(parse_timestamp(log["createdAt"]) for log in api.store.logs())
    first = run(api, now=lambda: newest + SECOND)
    late = api.store.add_at([newest - second * 3 * SECOND for second in range(20)])
    second = run(api, first.states[-1], now=lambda: newest + 60 * SECOND)
    assert sorted(second.ids) == sorted(late)
    assert run(api, second.states[-1], now=lambda: newest + 61 * SECOND).ids == []


def test_lookback_log_visible_after_walk_passed_its_place_is_emitted_by_next_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The total includes it already, so a warning names both numbers; nothing is read again."""
    api = account(1000)
    newest = max(parse_timestamp(log["createdAt"]) for log in api.store.logs())
    pages = iter(range(1000))
    late: list[str] = []

    def appear() -> None:
        if next(pages) == 97:
            late.extend(api.store.add_at([newest - 200 * SECOND]))

    first = run(api, now=lambda: newest + SECOND, page_size=10, between_batches=appear)
    assert sorted([*first.ids, *late]) == sorted(api.store.ids())
    assert "counts 1001 logs (totalResultSize) but lists 1000" in caplog.text
    second = run(api, first.states[-1], now=lambda: newest + 2 * SECOND)
    assert second.ids == late


def test_forward_walk_logs_created_meanwhile_are_emitted() -> None:
    api = account(1000)
    pages = iter(range(100))

    def grow() -> None:
        if next(pages) < 5:
            api.store.grow(30)

    result = run(api, now=long_after, between_batches=grow)
    assert result.ids == api.store.ids()
    assert len(result.ids) == 1150


# Completeness


def test_list_end_missing_after_but_higher_total_is_rechecked() -> None:
    api = account(1000, faults=[Fault.parse("4=no-after")])
    assert run(api, now=long_after).ids == api.store.ids()


def test_list_end_logs_still_missing_raises_with_both_numbers() -> None:
    api = account(1000, faults=[Fault.parse("4-=no-after")])
    with pytest.raises(IncompleteListError, match="logs listed: 400, totalResultSize: 1000"):
        run(api, now=long_after)


def test_list_end_missing_after_without_total_is_rechecked() -> None:
    api = account(1000, with_total=False, faults=[Fault.parse("4=no-after")])
    assert run(api, now=long_after).ids == api.store.ids()


@pytest.mark.parametrize("with_total", [True, False])
def test_list_end_before_newest_log_raises_and_next_run_resumes_from_there(
    with_total: bool,  # noqa: FBT001  # a parameter
) -> None:
    api = account(1000, with_total=with_total, faults=[Fault.parse("4-=no-after")])
    emitted: list[str] = []
    states: list[dict[str, Any]] = []
    newest = api.store.ids()[-1]
    with pytest.raises(IncompleteListError, match=rf"before its newest log {newest}"):
        run(api, now=long_after, emitted=emitted, written=states)
    assert len(api.requests) < 30
    api.options = dataclasses.replace(api.options, faults=[])
    second = run(api, states[-1], now=long_after)
    assert emitted + second.ids == api.store.ids()


def test_list_end_confirmed_by_total_costs_no_request() -> None:
    """Without a total, one more request checks the end."""
    for with_total, requests in ((True, 1), (False, 2)):
        api = account(250, with_total=with_total)
        state = run(api, now=long_after).states[-1]
        assert run(api, state, now=long_after).requests == requests


def test_list_end_page_without_pagination_keeps_earlier_total() -> None:
    """The total of an earlier page shows that logs are missing."""
    api = account(1000, faults=[Fault.parse("3-=empty-pagination")])
    with pytest.raises(IncompleteListError, match="logs listed: 300, totalResultSize: 1000"):
        run(api, now=long_after)


def test_empty_page_with_after_is_not_the_end() -> None:
    api = account(250, with_total=False, faults=[Fault.parse("2-3=empty-page")])
    ids = api.store.ids()
    assert run(api, now=long_after).ids == ids[:100] + ids[200:]


@pytest.mark.parametrize("request_number", range(1, 6))
def test_empty_page_with_after_is_requested_once_more(request_number: int) -> None:
    """In the first run and in the next one: its logs may only be late."""
    api = account(450, faults=[Fault.parse(f"{request_number}=empty-page")])
    first = run(api, now=long_after)
    assert first.ids == api.store.ids()
    new = api.store.grow(350)
    api.forget_requests()
    assert sorted(run(api, first.states[-1], now=long_after).ids) == sorted(new)


def test_total_above_listed_logs_warns_once_with_both_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A page is empty twice in a row. The total shows it, because the state has the number of logs before the anchor."""
    api = account(1000)
    first = run(api, now=long_after)
    api.store.grow(350)
    api.forget_requests()
    api.options = dataclasses.replace(api.options, faults=[Fault.parse("2-3=empty-page")])
    second = run(api, first.states[-1], now=long_after)
    assert len(second.ids) == 250
    assert "counts 1350 logs (totalResultSize) but lists 1250" in caplog.text
    caplog.clear()
    third = run(api, second.states[-1], now=long_after)
    assert (third.ids, third.requests, caplog.text) == ([], 1, "")


def test_deleted_logs_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    api = account(1000)
    state: Any = run(api, now=long_after).states[-1]
    for _ in range(3):
        for log_id in api.store.ids()[:200]:
            api.store.remove(log_id)
        new = api.store.grow(30)
        result = run(api, state, now=long_after)
        assert sorted(result.ids) == sorted(new)
        state = result.states[-1]
    assert caplog.text == ""


def test_pagination_loop_raises() -> None:
    api = account(1000)
    run(api, now=long_after)
    third = api.requests[2].query["after"]
    api.options = dataclasses.replace(api.options, faults=[Fault.parse(f"18=after:{third}")])
    with pytest.raises(PaginationLoopError):
        run(api, now=long_after)


def test_created_at_out_of_order_keeps_api_order_and_greatest_time() -> None:
    api = account(500, cursor_kind=CursorKind.ID, log_ids=LogIds.V7)
    logs = api.store.logs()
    times = [parse_timestamp(log["createdAt"]) for log in logs]
    assert times != sorted(times), "within a millisecond, ids and times are ordered differently"
    result = run(api, now=long_after, page_size=10)
    assert result.ids == api.store.ids()
    assert parse_timestamp(result.states[-1]["replication_key_value"]) == max(times)


# Stopping and cost


@pytest.mark.parametrize("kill_after", [3, 150, 777, 1501, 2950])
@every_cursor
def test_killed_run_next_run_emits_all_the_rest(cursor_kind: CursorKind, kill_after: int) -> None:
    api = account(3000, cursor_kind=cursor_kind)
    with pytest.raises(KilledError) as killed:
        run(api, now=long_after, kill_after=kill_after, state_every=10)
    first = killed.value.args[0]
    second = run(api, first.states[-1] if first.states else None, now=long_after)
    assert set(first.ids) | set(second.ids) == set(api.store.ids())
    repeated = set(first.ids) & set(second.ids)
    after_state = first.ids[first.ids_at_state[-1] :] if first.states else first.ids
    assert repeated == set(after_state)


@pytest.mark.parametrize("logs", [5_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_run_after_kill_late_in_long_backfill_reads_only_the_rest(logs: int) -> None:
    api = account(logs)
    left = logs // 4
    with pytest.raises(KilledError) as killed:
        run(api, now=long_after, kill_after=logs - left, state_every=10)
    second = run(api, killed.value.args[0].states[-1], now=long_after)
    assert len(second.ids) <= left + 1_200
    assert second.requests <= left // 100 + 20


def test_format_timestamp_returns_utc_text() -> None:
    assert format_timestamp(parse_timestamp("2024-05-02T14:26:48.5+02:00")) == "2024-05-02T12:26:48.500000Z"


# Backward, to the anchor


@every_unknown_cursor
def test_future_log_hides_no_other_log(unknown_cursor: UnknownCursor) -> None:
    """However often cursors become invalid: positions in the list decide what is new."""
    api = account(100, cursor_kind=CursorKind.OPAQUE, unknown_cursor=unknown_cursor)
    api.store.add_at([long_after() + 90_000 * SECOND])
    state: Any = None
    emitted: list[str] = []
    for number in range(6):
        api.options = dataclasses.replace(api.options, cursor_key=f"key {number}")
        result = run(api, state, now=long_after, page_size=10)
        state = result.states[-1]
        emitted += result.ids
        assert sorted(emitted) == sorted(api.store.ids())
        api.store.grow(20)


def test_created_at_out_of_order_without_lookback_hides_no_log() -> None:
    api = account(50, cursor_kind=CursorKind.ID, log_ids=LogIds.V7)
    first = run(api, now=long_after, page_size=10, lookback_seconds=0)
    # Newer in the list, and older by `createdAt` than the bookmark.
    new = api.store.add_at([long_after() - second for second in range(7)], disorder=400 * 86_400 * SECOND)
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    second = run(api, state, now=long_after, page_size=10, lookback_seconds=0)
    assert sorted(second.ids) == sorted(new)


def test_saved_cursor_answered_with_first_page_of_known_logs_is_not_honoured() -> None:
    api = account(0, cursor_kind=CursorKind.OPAQUE, unknown_cursor=UnknownCursor.FIRST_PAGE)
    now = 1_800_000_000 * SECOND
    api.store.add_at([now, now + 1])
    first = run(api, now=lambda: now + 301 * SECOND, page_size=1)
    api.store.add_at([now + 301 * SECOND, now + 301 * SECOND + 1])
    with pytest.raises(KilledError) as killed:
        run(api, first.states[-1], now=lambda: now + 301 * SECOND, page_size=1, kill_after=1)
    second = killed.value.args[0]
    api.options = dataclasses.replace(api.options, cursor_key="another")
    state = second.states[-1] if second.states else first.states[-1]
    third = run(api, state, now=lambda: now + 301 * SECOND, page_size=1)
    described = second.ids[: second.ids_at_state[-1]] if second.states else []
    assert sorted([*first.ids, *described, *third.ids]) == sorted(api.store.ids())


def test_saved_cursor_refused_and_greater_lookback_repeat_no_log() -> None:
    api = account(1000, cursor_kind=CursorKind.OPAQUE)
    first = run(api, now=long_after)
    new = api.store.grow(30)
    api.options = dataclasses.replace(api.options, cursor_key="another")
    assert sorted(run(api, first.states[-1], now=long_after, lookback_seconds=86_400).ids) == sorted(new)


def test_anchor_deleted_with_all_logs_before_it_emits_exactly_new_logs() -> None:
    api = account(1000)
    first = run(api, now=long_after)
    for log_id in api.store.ids()[:-5]:
        api.store.remove(log_id)
    new = api.store.grow(30)
    assert sorted(run(api, first.states[-1], now=long_after).ids) == sorted(new)


@pytest.mark.parametrize("page_size", [2, 7, 100])
def test_cursor_that_includes_its_own_log_repeats_no_log(page_size: int) -> None:
    """Forward and backward, each page begins with the last log of the page before."""
    api = account(300)
    query = Query("model", "v")
    fetch_page = fetch_from(api, long_after, page_size, query)

    def fetch(request: PageRequest) -> Page:
        page = fetch_page(request)
        if request.cursor is None:
            return page
        repeated = last_logs[request.cursor]
        return dataclasses.replace(page, records=(repeated, *page.records))

    last_logs: dict[str, Record] = {}

    def fetch_and_record(request: PageRequest) -> Page:
        page = fetch(request)
        if page.after is not None:
            last_logs[page.after] = page.records[-1]
        return page

    for start_date in (None, parse_timestamp(created(api, 150))):
        bookmark = Bookmark.load({}, query, 300)
        reader = IncrementalReader(
            fetch_and_record, bookmark, start_date=start_date, logger=LOGGER, pause=lambda _: None
        )
        ids = []
        for page in reader.record_pages():
            for log in page.records:
                ids.append(log.id)
                page.emitted(log)
            page.done()
        assert sorted(ids) == sorted(api.store.ids()[150 if start_date else 0 :])


def test_backward_walk_that_ends_too_early_raises() -> None:
    api = account(1000)
    first = run(api, now=long_after)
    api.store.grow(350)
    api.options = dataclasses.replace(api.options, faults=[Fault.parse("12-=no-after")])
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    with pytest.raises(
        IncompleteListError, match=rf"after 100 logs, before its oldest log {api.store.ids()[0]}"
    ):
        run(api, state, now=long_after)
    api.options = dataclasses.replace(api.options, faults=[])
    assert len(run(api, state, now=long_after).ids) == 350


def test_backward_walk_led_back_to_first_page_raises() -> None:
    api = account(1000)
    state = {"replication_key_value": created(api, 10)}
    first = {"limit": "100", "sortOrder": "DESC"}

    class Api:
        credentials = api.credentials
        requests = api.requests

        @staticmethod
        def respond(path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
            api.store.grow(1)
            return api.respond(path, first if len(api.requests) > 3 else query, headers)

    with pytest.raises(PaginationLoopError):
        run(Api(), state, now=long_after)  # type: ignore[arg-type]  # all that a run asks of it


def test_backward_walk_requests_recovered_cursor_once() -> None:
    api = account(300)
    first = run(api, now=long_after)
    api.store.grow(130)
    requests: list[PageRequest] = []
    fetch = fetch_from(api, long_after, 100, Query("model", "v"))

    def fetch_and_record(request: PageRequest) -> Page:
        requests.append(request)
        return fetch(request)

    bookmark = Bookmark.load({**first.states[-1], "cursor": "Zm9yZ290dGVu"}, Query("model", "v"), 300)
    for page in IncrementalReader(
        fetch_and_record, bookmark, start_date=None, logger=LOGGER, pause=lambda _: None
    ).record_pages():
        page.done()
    assert [request.is_optional for request in requests] == [False] * (len(requests) - 1) + [True]


def test_backward_walk_logs_dated_in_past_hide_no_other_log() -> None:
    """An import into a list ordered by id: whole pages are older than all logs around them."""
    api = account(0, cursor_kind=CursorKind.ID, log_ids=LogIds.V7)
    now = 1_800_000_000 * SECOND
    year = 365 * 86_400 * SECOND
    api.store.add_at([now + number * SECOND for number in range(250)])
    first = run(api, now=long_after)
    new = api.store.add_at([now + number * SECOND for number in range(300, 450)])
    for number in range(500, 700):
        # One of the two is dated in the past; the other one is removed again.
        imported, other = api.store.add_at([now + number * SECOND] * 2, disorder=year)
        if api.store.log(other)["createdAt"] < api.store.log(imported)["createdAt"]:
            imported, other = other, imported
        api.store.remove(other)
        new.append(imported)
    new += api.store.add_at([now + number * SECOND for number in range(800, 950)])
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    assert sorted(run(api, state, now=long_after).ids) == sorted(new)


@pytest.mark.parametrize("logs", [8, 101, 250])
def test_anchor_deleted_alone_emits_exactly_new_logs(logs: int) -> None:
    api = account(logs)
    first = run(api, now=long_after)
    gone = first.states[-1]["anchor_id"] or api.store.ids()[-1]
    api.store.remove(gone)
    new = api.store.grow(3)
    assert sorted(run(api, first.states[-1], now=long_after).ids) == sorted(new)


def test_backward_walk_while_list_rolls_emits_all_new_logs() -> None:
    api = account(2000)
    first = run(api, now=long_after)
    for log_id in api.store.ids()[:-10]:
        api.store.remove(log_id)
    api.store.grow(500)

    def roll() -> None:
        api.store.grow(3)
        for log_id in api.store.ids()[:3]:
            api.store.remove(log_id)

    expected = set(api.store.ids()) - set(first.ids)
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    second = run(api, state, now=long_after, between_batches=roll)
    assert expected & set(api.store.ids()) <= set(second.ids)
    assert not set(first.ids) & set(second.ids)


def test_forward_walk_led_to_first_page_raises_without_repeats() -> None:
    api = account(5000, cursor_kind=CursorKind.OPAQUE, unknown_cursor=UnknownCursor.FIRST_PAGE)
    first = run(api, now=long_after)
    new = api.store.grow(350)

    def forget() -> None:
        api.options = dataclasses.replace(api.options, cursor_key="another")

    emitted: list[str] = []
    with pytest.raises(PaginationLoopError):
        run(api, first.states[-1], now=long_after, between_batches=forget, emitted=emitted)
    assert set(emitted) <= set(new)


def test_future_log_does_not_enlarge_state() -> None:
    api = account(1000)
    plain = len(run(api, now=long_after).states[-1]["recent_ids"])
    api.store.add_at([long_after() + 90_000 * SECOND])
    result = run(api, now=long_after)
    assert len(result.states[-1]["recent_ids"]) <= plain + 1
    api.store.grow(300)
    assert len(run(api, result.states[-1], now=long_after).states[-1]["recent_ids"]) <= 2 * plain + 2


@pytest.mark.parametrize("total", ["one too many", "capped"])
def test_total_never_reached_warns_and_reads_nothing_again(
    total: str, caplog: pytest.LogCaptureFixture
) -> None:
    api = account(650)

    class Api:
        """Counts one log too many, or always 1,000 logs."""

        credentials = api.credentials
        requests = api.requests

        @staticmethod
        def respond(path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
            response = api.respond(path, query, headers)
            page = json.loads(response.body)
            counted = page["pagination"]["totalResultSize"] + 1 if total == "one too many" else 1000
            page["pagination"]["totalResultSize"] = counted
            return dataclasses.replace(response, body=json.dumps(page).encode())

    first = run(Api(), now=long_after)  # type: ignore[arg-type]  # all that a run asks of it
    assert first.ids == api.store.ids()
    assert f"counts {651 if total == 'one too many' else 1000} logs" in caplog.text
    assert "lists 650" in caplog.text
    second = run(Api(), first.states[-1], now=long_after)  # type: ignore[arg-type]  # all that a run asks of it
    assert (second.ids, len(api.requests) <= 12) == ([], True)
    new = api.store.grow(120)
    third = run(Api(), second.states[-1], now=long_after)  # type: ignore[arg-type]  # all that a run asks of it
    assert sorted(third.ids) == sorted(new)


# `start_date` that moves between runs


@every_cursor
@every_end
def test_start_date_earlier_than_before_emits_logs_since_then(
    cursor_kind: CursorKind, end_of_list: EndOfList
) -> None:
    api = account(1000, cursor_kind=cursor_kind, end_of_list=end_of_list)
    logs = api.store.logs()
    times = [parse_timestamp(log["createdAt"]) for log in logs]
    first = run(api, now=long_after, start_date=times[700])
    new = api.store.grow(30)
    second = run(api, first.states[-1], now=long_after, start_date=times[200])
    assert sorted(first.ids + second.ids) == sorted([*(log["id"] for log in logs[200:]), *new])
    assert second.requests <= 3 + 12
    third = run(api, second.states[-1], now=long_after, start_date=times[200])
    assert third.ids == []
    assert third.requests <= 2
    # All of it was emitted before.
    assert run(api, third.states[-1], now=long_after, start_date=times[700]).ids == []


@pytest.mark.parametrize("order", [None, SortOrder.ASCENDING])
@pytest.mark.parametrize("lookback", [0, 300])
@pytest.mark.parametrize("page_size", [1, 7, 100])
def test_start_date_earlier_than_before_emits_logs_created_meanwhile_once(
    page_size: int, lookback: int, order: SortOrder | None
) -> None:
    api = account(60)
    newest = parse_timestamp(created(api, -1))
    now = newest + 400 * SECOND
    ids: list[str] = []
    state: dict[str, Any] = {}
    # Later than all logs, also those that are created during the second run.
    for start, is_busy in ((now, False), (1, True), (1, False)):

        def create_logs(is_busy: bool = is_busy) -> None:  # noqa: FBT001
            if is_busy and len(api.store) < 80:
                api.store.add_at([newest + len(api.store) * SECOND])

        result = run(
            api,
            state,
            now=lambda: now,
            page_size=page_size,
            lookback_seconds=lookback,
            start_date=start,
            fixed_order=order,
            between_batches=create_logs,
        )
        state = result.states[-1]
        ids += result.ids
    assert sorted(ids) == sorted(api.store.ids())


def test_start_date_earlier_than_before_after_kill_misses_no_log() -> None:
    api = account(1000)
    times = [parse_timestamp(log["createdAt"]) for log in api.store.logs()]
    first = run(api, now=long_after, start_date=times[700])
    with pytest.raises(KilledError) as killed:
        run(api, first.states[-1], now=long_after, start_date=times[200], kill_after=250)
    second = killed.value.args[0]
    third = run(api, second.states[-1], now=long_after, start_date=times[200])
    assert sorted(first.ids + third.ids) == sorted(api.store.ids()[200:])


@pytest.mark.parametrize("start_date", ["later than the state", "none"])
def test_start_date_later_than_before_or_none_skips_no_log(
    start_date: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as Airflow's data_interval_start after a missed run."""
    api = account(200)
    first = run(api, now=long_after, start_date=parse_timestamp(created(api, 0)))
    new = api.store.grow(300)
    moved = parse_timestamp(created(api, 450)) if start_date == "later than the state" else None
    second = run(api, first.states[-1], now=long_after, start_date=moved)
    assert sorted(second.ids) == sorted(new)
    assert ("has no effect" in caplog.text) is (moved is not None)


def test_start_date_with_state_of_earlier_version_is_assumed_unchanged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = account(500)
    start = parse_timestamp(created(api, 300))
    state = _without_new_keys(run(api, now=long_after, start_date=start).states[-1])
    new = api.store.grow(20)
    second = run(api, state, now=long_after, start_date=start)
    assert (sorted(second.ids), caplog.text) == (sorted(new), "")
    earlier = run(api, second.states[-1], now=long_after, start_date=parse_timestamp(created(api, 100)))
    assert sorted(earlier.ids) == sorted(api.store.ids()[100:300])


def test_start_date_mistyped_in_earlier_version_misses_no_log() -> None:
    """2062 instead of 2026: that run skipped all logs."""
    api = account(1000)
    state = _without_new_keys(run(api, now=long_after, start_date=long_after()).states[-1])
    assert run(api, state, now=long_after, start_date=1).ids == api.store.ids()


def _without_new_keys(state: dict[str, Any]) -> dict[str, Any]:
    new = {"saved_replication_key_value", "start_date", "logs_before_anchor"}
    return {key: value for key, value in state.items() if key not in new}


# States edited by hand


def test_bare_replication_key_value_in_future_raises() -> None:
    api = account(1000)
    with pytest.raises(StateError, match=r"replication_key_value .* is in the future"):
        run(api, {"replication_key_value": "2062-01-01T00:00:00Z"}, now=long_after)


def test_bare_replication_key_value_after_newest_log_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = account(1000)
    value = format_timestamp(parse_timestamp(created(api, -1)) + 86_400 * SECOND)
    assert run(api, {"replication_key_value": value}, now=long_after).ids == []
    assert "is older than the state's replication_key_value" in caplog.text
    caplog.clear()
    run(api, {"replication_key_value": created(api, -1)}, now=long_after)
    assert caplog.text == ""


@pytest.mark.parametrize("is_of_earlier_version", [False, True])
def test_replication_key_value_set_back_emits_all_logs_since(
    is_of_earlier_version: bool,  # noqa: FBT001  # a parameter
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The rest of the state is unchanged, as after `meltano state merge`."""
    api = account(1000)
    state = run(api, now=long_after).states[-1]
    if is_of_earlier_version:
        state = _without_new_keys(state)
    state["replication_key_value"] = created(api, 600)
    second = run(api, state, now=long_after)
    bound = parse_timestamp(created(api, 600)) - 300 * SECOND
    assert sorted(second.ids) == sorted(
        log["id"] for log in api.store.logs() if parse_timestamp(log["createdAt"]) >= bound
    )
    assert "set back" in caplog.text
    assert run(api, second.states[-1], now=long_after).ids == []


@pytest.mark.parametrize("value", [None, "2062-01-01T00:00:00Z"])
def test_replication_key_value_set_forward_skips_no_log(
    value: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    api = account(1000)
    state = run(api, now=long_after).states[-1]
    new = api.store.grow(30)
    second = run(api, {**state, "replication_key_value": value}, now=long_after)
    assert sorted(second.ids) == sorted(new)
    assert "has no effect" in caplog.text
    assert parse_timestamp(second.states[-1]["replication_key_value"]) < long_after()


@every_unknown_cursor
def test_saved_cursor_without_anchor_and_ids_that_leads_to_nothing_is_not_honoured(
    unknown_cursor: UnknownCursor,
) -> None:
    api = account(300, unknown_cursor=unknown_cursor)
    state = {"cursor": "Zm9yZ290dGVu", "query": Query("model", "v").to_state()}
    first = run(api, state, now=long_after)
    if unknown_cursor is not UnknownCursor.ELSEWHERE:  # which looks like a valid cursor
        assert first.ids == api.store.ids()
    assert run(api, first.states[-1], now=long_after).ids == []


# The sort order


@pytest.mark.parametrize("logs", [1, 2, 90, 100, 650])
@every_cursor
@every_end
def test_sort_order_ignored_newest_first_is_read_backward(
    cursor_kind: CursorKind, end_of_list: EndOfList, logs: int, caplog: pytest.LogCaptureFixture
) -> None:
    api = account(logs, cursor_kind=cursor_kind, end_of_list=end_of_list)
    order = SortOrder.DESCENDING
    first = run(api, now=long_after, fixed_order=order)
    assert sorted(first.ids) == sorted(api.store.ids())
    assert ("lists the newest log first" in caplog.text) is (logs > 1)
    state = first.states[-1]
    for number in (0, 120, 350):
        new = api.store.grow(number) if number else []
        result = run(api, state, now=long_after, fixed_order=order)
        assert (len(result.ids), sorted(result.ids)) == (number, sorted(new))
        overlap = len(state["recent_ids"])
        assert result.requests <= (number + overlap) // 100 + 6
        state = result.states[-1]


@every_cursor
@every_end
def test_sort_order_ignored_oldest_first_is_read_forward(
    cursor_kind: CursorKind, end_of_list: EndOfList, caplog: pytest.LogCaptureFixture
) -> None:
    api = account(500, cursor_kind=cursor_kind, end_of_list=end_of_list)
    order = SortOrder.ASCENDING
    start = parse_timestamp(created(api, 300))
    first = run(api, now=long_after, fixed_order=order, start_date=start)
    assert sorted(first.ids) == sorted(api.store.ids()[300:])
    assert "lists the oldest log first" in caplog.text

    new = api.store.grow(350)
    state = {**first.states[-1], "cursor": "Zm9yZ290dGVu"}
    second = run(api, state, now=long_after, fixed_order=order, start_date=start)
    assert sorted(second.ids) == sorted(new)
    earlier = run(api, second.states[-1], now=long_after, fixed_order=order, start_date=1)
    assert sorted(earlier.ids) == sorted(api.store.ids()[:300])
    bare = run(api, {"replication_key_value": created(api, 700)}, now=long_after, fixed_order=order)
    assert set(api.store.ids()[701:]) <= set(bare.ids) < set(api.store.ids()[600:])


@pytest.mark.parametrize("page_size", [1, 2, 7, 100])
@pytest.mark.parametrize("news", [0, 1, 250])
def test_saved_cursor_that_leads_from_anchor_to_older_logs_repeats_no_log(
    page_size: int, news: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The API now lists newest first, and returns its first page for the saved cursor: the anchor."""
    api = account(300, unknown_cursor=UnknownCursor.FIRST_PAGE)
    state = dict(run(api, now=long_after, page_size=page_size).states[-1])
    *before, last = api.store.logs()
    before_anchor = [log["id"] for log in before[-10:]]
    state |= {"anchor_id": last["id"], "anchor_created_at": last["createdAt"], "before_anchor": before_anchor}
    state |= {"cursor": "Zm9yZ290dGVu", "recent_ids": [last["id"]], "logs_before_anchor": 299}

    new: list[str] = []

    def create_logs() -> None:
        if not new:
            new.extend(api.store.grow(news))

    result = run(
        api,
        state,
        now=long_after,
        page_size=page_size,
        fixed_order=SortOrder.DESCENDING,
        between_batches=create_logs,
    )
    after = run(api, result.states[-1], now=long_after, page_size=page_size, fixed_order=SortOrder.DESCENDING)
    assert sorted([*result.ids, *after.ids]) == sorted(new)
    assert "an unexpected log" in caplog.text


def test_state_of_earlier_version_that_mistook_sort_order_misses_no_new_log() -> None:
    """Its anchor is deep in the past."""
    api = account(650)
    ids = api.store.ids()
    state = {
        **run(api, now=long_after).states[-1],
        "cursor": None,
        "recent_ids": [],
    }
    anchor = api.store.logs()[100]
    state |= {
        "anchor_id": anchor["id"],
        "anchor_created_at": anchor["createdAt"],
        "before_anchor": ids[101:111],
    }
    del state["logs_before_anchor"]
    new = api.store.grow(120)
    result = run(api, state, now=long_after, fixed_order=SortOrder.DESCENDING)
    assert set(new) <= set(result.ids)
    assert run(api, result.states[-1], now=long_after, fixed_order=SortOrder.DESCENDING).ids == []


def test_created_at_against_list_order_does_not_reverse_walk(caplog: pytest.LogCaptureFixture) -> None:
    """An import: `createdAt` falls on the first page of the list, and yet the page is the oldest."""
    api = account(0, cursor_kind=CursorKind.ID, log_ids=LogIds.V7)
    now = 1_800_000_000 * SECOND
    for number in range(150):
        ahead = (150 - number) * 86_400 * SECOND
        one, other = api.store.add_at([now + number * SECOND] * 2, disorder=-ahead)
        if api.store.log(other)["createdAt"] > api.store.log(one)["createdAt"]:
            one, other = other, one
        api.store.remove(other)
    result = run(api, now=long_after)
    assert result.ids == api.store.ids()
    assert "sortOrder" not in caplog.text
