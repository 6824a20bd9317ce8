"""The simulator over real HTTP: every behaviour of its options, which the tap's tests rely on."""

from __future__ import annotations

import base64
import dataclasses
import email.utils
import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias
from uuid import UUID

import jsonschema
import pytest
import requests

from tap_sequence.simulator import (
    DEMO_CREDENTIALS,
    CursorKind,
    EndOfList,
    Fault,
    LogIds,
    Options,
    RetryAfter,
    SimulatedApi,
    Simulator,
    UnknownCursor,
)
from tap_sequence.simulator.__main__ import main
from tap_sequence.simulator.faults import FAULTS
from tap_sequence.sync.timestamps import parse_timestamp
from tests.support.harness import ROOT, VENDOR_SCHEMA, environment

Simulate: TypeAlias = Callable[..., Simulator]

VERSION = "2024-07-30"
HOUR = 3600
DEMO_NOW = 1_790_000_000 // HOUR * HOUR + 600.0  # Ten past, so that some minutes later is the same hour.


def get(simulator: Simulator | str, path: str = "", **request: Any) -> requests.Response:
    """GET /activity-logs, with the right credentials by default."""
    base_url = simulator if isinstance(simulator, str) else simulator.base_url
    method = request.pop("method", "GET")
    with requests.Session() as session:
        session.trust_env = False  # No proxy and no .netrc between these tests and loopback.
        return session.request(
            method,
            f"{base_url}/activity-logs{path}",
            **{"auth": DEMO_CREDENTIALS, "timeout": 10, "allow_redirects": False, **request},
        )


def page(simulator: Simulator, **query: Any) -> dict[str, Any]:
    response = get(simulator, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def ids(body: Mapping[str, Any]) -> list[str]:
    return [log["id"] for log in body["items"]]


def walk(simulator: Simulator, **query: Any) -> list[dict[str, Any]]:
    """Return the pages from the first to the one without `after`."""
    pages = [page(simulator, **query)]
    while after := pages[-1]["pagination"].get("after"):
        pages.append(page(simulator, **query, after=after))
    return pages


def all_logs(simulator: Simulator) -> list[dict[str, Any]]:
    return [log for body in walk(simulator, sortOrder="ASC", limit=100) for log in body["items"]]


def created(log: Mapping[str, Any]) -> float:
    return parse_timestamp(log["createdAt"]) / 1_000_000


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    """A simulator for requests that change nothing."""
    with Simulator() as simulator:
        simulator.store.grow(600)
        yield simulator


# Requests


@pytest.mark.parametrize(
    ("status", "error_type", "request_"),
    [
        *((401, "Unauthorized", {"auth": auth}) for auth in (None, ("demo", "x"), ("x", "demo"), ("", ""))),
        (401, "Unauthorized", {"auth": None, "headers": {"Authorization": "Bearer ZGVtbzpkZW1v"}}),
        (400, "UnrecognisedApiVersion", {"headers": {"Sequence-Version": "1999-01-01"}}),
        *((400, "BadRequest", {"params": {"limit": x}}) for x in ("0", "101", "x", "-1", "1.5", "")),
        *((400, "BadRequest", {"params": {"sortOrder": order}}) for order in ("asc", "")),
        (404, "NotFound", {"path": "/00000000-0000-7000-8000-000000000000"}),
        *((404, "NotFound", {"path": path}) for path in ("/", "/some-id/more", "-of-another-endpoint")),
        (405, "MethodNotAllowed", {"method": "POST", "data": b"body"}),
    ],
)
def test_respond_to_invalid_request_returns_error_envelope_and_version(
    shared: Simulator, status: int, error_type: str, request_: dict[str, Any]
) -> None:
    response = get(shared, **request_)
    assert (response.status_code, response.headers["Sequence-Version"]) == (status, VERSION)
    assert response.json()["error"]["type"] == error_type
    assert response.json()["error"].keys() == {"type", "message"}


@pytest.mark.parametrize("asked_for", [None, VERSION])
def test_respond_with_known_or_no_version_returns_200(shared: Simulator, asked_for: str | None) -> None:
    response = get(shared, headers={"Sequence-Version": asked_for})
    assert (response.status_code, response.headers["Sequence-Version"]) == (200, VERSION)


def test_connection_survives_refused_method_but_not_the_simulator() -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = DEMO_CREDENTIALS
        with Simulator() as simulator:
            url = simulator.base_url + "/activity-logs"
            assert session.post(url, data=b"body").status_code == 405
            assert session.get(url).status_code == 200
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=5)


@pytest.mark.parametrize("limit", [1, 99, 100])
def test_page_has_limit_logs(shared: Simulator, limit: int) -> None:
    assert len(page(shared, limit=limit)["items"]) == limit


def test_page_without_sort_order_is_newest_first(simulate: Simulate) -> None:
    simulator = simulate(20)
    ascending = ids(page(simulator, sortOrder="ASC"))
    assert ascending == sorted(ascending)  # UUIDv7: by time.
    assert ids(page(simulator, sortOrder="DESC")) == ids(page(simulator)) == ascending[::-1]


@pytest.mark.parametrize(
    ("parameter", "key"), [("activityLogObjectId", "id"), ("activityLogObjectEntityId", "entityId")]
)
def test_filter_keeps_the_logs_about_one_object(shared: Simulator, parameter: str, key: str) -> None:
    objects = {
        log["id"]: {item["activityLogObject"][key] for item in log["activityLogItems"]}
        for log in all_logs(shared)
    }
    wanted, count = Counter(itertools.chain.from_iterable(objects.values())).most_common(1)[0]
    pages = walk(shared, sortOrder="ASC", limit=2, **{parameter: wanted})
    assert 2 < count < len(objects)
    assert [id_ for body in pages for id_ in ids(body)] == [id_ for id_ in objects if wanted in objects[id_]]
    assert {body["pagination"]["totalResultSize"] for body in pages} == {count}
    assert page(shared, **{parameter: "nobody"})["items"] == []


def test_two_filters_must_both_match(shared: Simulator) -> None:
    one, other = (log["activityLogItems"][0]["activityLogObject"] for log in all_logs(shared)[:2])
    filters = {"activityLogObjectId": one["id"], "activityLogObjectEntityId": one["entityId"]}
    assert page(shared, **filters)["items"]
    assert not page(shared, **filters | {"activityLogObjectEntityId": other["entityId"]})["items"]


def test_log_by_id_is_returned(shared: Simulator) -> None:
    for log in page(shared, limit=5)["items"]:
        assert get(shared, "/" + log["id"]).json() == log


# Paging


@pytest.mark.parametrize("end", EndOfList)
@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("kind", CursorKind)
def test_walk_returns_every_log_once_in_order_and_ends(
    simulate: Simulate, kind: CursorKind, order: str, end: EndOfList
) -> None:
    simulator = simulate(28, cursor_kind=kind, end_of_list=end)
    pages = walk(simulator, sortOrder=order, limit=7)
    by_time = kind is not CursorKind.ID  # Plain UUIDv7 cursors go with a list that is ordered by id.
    logs = sorted(simulator.store.logs(), key=lambda log: (by_time and created(log), log["id"]))
    assert [log for body in pages for log in body["items"]] == (logs if order == "ASC" else logs[::-1])
    assert [len(body["items"]) for body in pages] == [7] * 4 + [0] * (end is EndOfList.EMPTY_PAGE)
    assert ("after" in pages[-1]["pagination"]) == (end is EndOfList.NULL)


@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("kind", CursorKind)
def test_before_returns_the_previous_page(simulate: Simulate, kind: CursorKind, order: str) -> None:
    simulator = simulate(25, cursor_kind=kind)
    query = {"sortOrder": order, "limit": 10}
    pages = walk(simulator, **query)
    assert "before" not in pages[0]["pagination"]
    for earlier, later in itertools.pairwise(pages):
        assert page(simulator, **query, before=later["pagination"]["before"]) == earlier
    both = pages[1]["pagination"]
    assert get(simulator, params={"after": both["after"], "before": both["before"]}).status_code == 400


@pytest.mark.parametrize("kind", CursorKind)
def test_cursor_has_the_form_of_its_kind(simulate: Simulate, kind: CursorKind) -> None:
    body = page(simulate(5, cursor_kind=kind), sortOrder="ASC", limit=3)
    log = body["items"][-1]
    content = base64.urlsafe_b64decode(body["pagination"]["after"])
    assert (content == log["id"].encode()) == (kind is CursorKind.ID)
    time_and_order = f"{log['id']}#{parse_timestamp(log['createdAt'])}#ASC".encode()
    assert (content == time_and_order) == (kind is CursorKind.ID_TIME_ORDER)
    assert (log["id"].encode() in content) == (kind is not CursorKind.OPAQUE)


@pytest.mark.parametrize("with_total", [True, False])
def test_total_counts_all_pages_or_is_omitted(simulate: Simulate, *, with_total: bool) -> None:
    simulator = simulate(9, with_total=with_total)
    totals = [body["pagination"].get("totalResultSize", "none") for body in walk(simulator, limit=4)]
    assert totals == ([9] * 3 if with_total else ["none"] * 3)


# Cursors that were issued for another list or not at all: whether they are accepted all the same, or else have a
# position.
CURSORS = {
    (CursorKind.ID, "other order"): "accepted",
    (CursorKind.ID, "other filters"): "accepted",
    (CursorKind.ID, "deleted log"): "position",
    (CursorKind.ID, "guess"): "position",
    (CursorKind.ID_TIME_ORDER, "other order"): "position",
    (CursorKind.ID_TIME_ORDER, "other filters"): "accepted",
    (CursorKind.ID_TIME_ORDER, "deleted log"): "position",
    (CursorKind.ID_TIME_ORDER, "guess"): "position",
    (CursorKind.OPAQUE, "other order"): "position",
    (CursorKind.OPAQUE, "other filters"): "position",
    (CursorKind.OPAQUE, "deleted log"): "position",
    (CursorKind.OPAQUE, "other key"): "no position",
}
GARBAGE = ("", "garbage!", "é", "bm9uc2Vuc2U=", "QUJD" * 10_000)


def odd_cursor(simulator: Simulator, oddity: str) -> tuple[str, list[str]]:
    """Return a cursor that was not issued for the ascending list, and the five logs after its position."""
    all_ids, tenth = simulator.store.ids(), simulator.store.logs()[9]
    cursor, place = page(simulator, sortOrder="ASC", limit=10)["pagination"]["after"], 9
    match oddity:
        case "other order":
            cursor = page(simulator, sortOrder="DESC", limit=len(all_ids) - 9)["pagination"]["after"]
        case "other filters":
            entity_id = tenth["activityLogItems"][0]["activityLogObject"]["entityId"]
            body = page(simulator, sortOrder="ASC", limit=1, activityLogObjectEntityId=entity_id)
            cursor, place = body["pagination"]["after"], all_ids.index(ids(body)[0])
        case "deleted log":
            simulator.store.remove(tenth["id"])
        case "other key":
            simulator.api.options = dataclasses.replace(simulator.api.options, cursor_key="other")
        case "guess":
            # An id of the same millisecond: in either order it is between the tenth log and the next.
            guessed = base64.b64decode(cursor).replace(tenth["id"][-12:].encode(), b"f" * 12)
            cursor = base64.b64encode(guessed).decode()
    return cursor, all_ids[place + 1 : place + 6]


def check_unknown_cursor(simulator: Simulator, cursor: str, right_page: list[str] | None) -> None:
    """Check each way to handle a cursor that has `right_page` after its position, or no position."""
    all_ids = simulator.store.ids()
    query = {"sortOrder": "ASC", "limit": 5}
    for unknown in UnknownCursor:
        simulator.api.options = dataclasses.replace(simulator.api.options, unknown_cursor=unknown)
        response = get(simulator, params={**query, "after": cursor})
        if unknown is UnknownCursor.FIRST_PAGE:
            assert response.json() == page(simulator, **query)
        elif unknown is UnknownCursor.EMPTY_PAGE:
            assert response.json() == {"items": [], "pagination": {"totalResultSize": len(simulator.store)}}
        elif unknown is UnknownCursor.ELSEWHERE:
            found = ids(response.json())
            first = all_ids.index(found[0])
            assert found == all_ids[first : first + 5]
            assert found not in (right_page, [])
            assert response.json() == page(simulator, **query, after=cursor)
        elif unknown is UnknownCursor.RIGHT_PAGE and right_page is not None:
            assert ids(response.json()) == right_page
        else:
            assert (response.status_code, response.json()["error"]["type"]) == (400, "BadRequest"), unknown


@pytest.mark.parametrize(("kind", "oddity"), CURSORS)
def test_unknown_cursor_follows_the_option(simulate: Simulate, kind: CursorKind, oddity: str) -> None:
    # A cursor on every page, even for a filter that finds a single log.
    simulator = simulate(30, cursor_kind=kind, end_of_list=EndOfList.EMPTY_PAGE)
    cursor, right_page = odd_cursor(simulator, oddity)
    match CURSORS[kind, oddity]:
        case "accepted":
            assert ids(page(simulator, sortOrder="ASC", limit=5, after=cursor)) == right_page
        case "position":
            check_unknown_cursor(simulator, cursor, right_page)
        case _:
            check_unknown_cursor(simulator, cursor, None)


@pytest.mark.parametrize("kind", CursorKind)
def test_malformed_cursor_follows_the_option(simulate: Simulate, kind: CursorKind) -> None:
    simulator = simulate(10, cursor_kind=kind)
    for garbage in GARBAGE:
        check_unknown_cursor(simulator, garbage, None)


def test_guessed_cursor_with_random_ids_has_no_position(simulate: Simulate) -> None:
    simulator = simulate(30, log_ids=LogIds.V4)
    check_unknown_cursor(simulator, odd_cursor(simulator, "guess")[0], None)


@pytest.mark.parametrize("order", ["ASC", "DESC"])
@pytest.mark.parametrize("logs", [0, 1, 2, 250])
def test_elsewhere_returns_different_pages_for_different_cursors(
    simulate: Simulate, logs: int, order: str
) -> None:
    simulator = simulate(logs, unknown_cursor=UnknownCursor.ELSEWHERE)
    found = {
        tuple(ids(page(simulator, sortOrder=order, limit=100, after=f"garbage {number}")))
        for number in range(20)
    }
    assert len(found) == 1 if logs <= 2 else len(found) > 10
    assert all(logs == 0 or page_ids for page_ids in found)


# Faults


@pytest.mark.parametrize("kind", RetryAfter)
def test_request_over_the_rate_limit_gets_429_with_retry_after(simulate: Simulate, kind: RetryAfter) -> None:
    simulator = simulate(1, rate_limit=2, rate_window=60.0, retry_after=kind)
    began = time.time()
    assert [get(simulator).status_code for _ in range(2)] == [200, 200]
    response = get(simulator)
    assert (response.status_code, response.json()["error"]["type"]) == (429, "TooManyRequests")
    retry_after = response.headers.get("Retry-After")
    if retry_after is None:
        assert kind is RetryAfter.NONE
    elif kind is RetryAfter.SECONDS:
        assert began + 60 <= time.time() + int(retry_after) <= time.time() + 61
    else:
        assert began + 60 <= email.utils.parsedate_to_datetime(retry_after).timestamp() <= time.time() + 61
    # A fixed value, if the option sets one.
    simulator.api.options = dataclasses.replace(simulator.api.options, retry_after_seconds=1)
    response = get(simulator)
    if kind is RetryAfter.SECONDS:
        assert response.headers["Retry-After"] == "1"
    elif kind is RetryAfter.DATE:
        date = email.utils.parsedate_to_datetime(response.headers["Retry-After"])
        assert date.timestamp() <= time.time() + 2
    # The same requests are outside a shorter window.
    simulator.api.options = dataclasses.replace(simulator.api.options, rate_window=0.0)
    assert get(simulator).status_code == 200


def is_json(response: requests.Response) -> bool:
    try:
        response.json()
    except requests.JSONDecodeError:
        return False
    return True


# The client's view of each fault: an exception or a response. A name may be followed by an argument.
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "reset": (requests.ConnectionError,),
    "reset-midway": (requests.ConnectionError, requests.exceptions.ChunkedEncodingError),
    "bad-gzip": (requests.exceptions.ContentDecodingError,),
    "cut": (requests.exceptions.ChunkedEncodingError,),
}
RESPONSES: dict[str, Callable[[requests.Response], bool]] = {
    "429": lambda r: r.status_code == 429 and "Retry-After" not in r.headers,
    "429:7": lambda r: r.status_code == 429 and r.headers["Retry-After"] == "7",
    "429:date:0": lambda r: r.status_code == 429 and r.headers["Retry-After"].endswith(" GMT"),
    "503": lambda r: r.status_code == 503 and r.json()["error"]["type"] == "SimulatedFault",
    "slow:0.1": lambda r: r.ok and r.elapsed.total_seconds() >= 0.1,
    "html": lambda r: r.ok and r.headers["Content-Type"] == "text/html" and "<html>" in r.text,
    "half-json": lambda r: r.ok and r.text.startswith("{") and not is_json(r),
    "short-gzip": lambda r: r.ok and r.headers["Content-Encoding"] == "gzip" and not is_json(r),
    "huge:3": lambda r: len(r.content) > 3 << 20 > int(r.headers["Content-Length"]) and is_json(r),
    "drip:0.0001": lambda r: is_json(r) and r.elapsed.total_seconds() < 0.1,
    "drip-head:0.001": lambda r: is_json(r) and r.elapsed.total_seconds() > 0.1,
    "error:418:No: tea": lambda r: (r.status_code, r.json()["error"]["message"]) == (418, "No: tea"),
    "surrogate": lambda r: r.json()["items"][-1]["activityLogItems"][0]["metadata"] == ["\ud800"],
    "endless-number": lambda r: "[1e9999999999999999999]" in r.text and is_json(r),
    "deep": lambda r: "[" * 100_000 in r.text,
    "list": lambda r: r.ok and isinstance(r.json(), list) and len(r.json()) == 3,
    "null-items": lambda r: r.ok and r.json()["items"] is None,
    "empty-pagination": lambda r: r.ok and r.json()["pagination"] == {},
    "no-pagination": lambda r: r.ok and r.json().keys() == {"items"},
    "no-after": lambda r: len(r.json()["items"]) == 3 and r.json()["pagination"] == {"totalResultSize": 5},
    "empty-page": lambda r: r.json()["items"] == [] and "after" in r.json()["pagination"],
    "no-id": lambda r: ["id" in log for log in r.json()["items"]] == [True, True, False],
    "null-created-at": lambda r: r.json()["items"][-1]["createdAt"] is None,
    "wrong-type": lambda r: r.json()["items"][-1]["activityLogItems"][0]["verb"] == 7,
    "unknown-field": lambda r: r.json()["items"][0]["brandNew"] == {"a": 1},
    "after:round:again": lambda r: r.json()["pagination"]["after"] == "round:again",
    "redirect:http://x.test/": lambda r: (r.status_code, r.headers["Location"]) == (302, "http://x.test/"),
    "date": lambda r: r.ok and "Date" not in r.headers,
    "date:Sun, 06 Nov 1994 08:49:37 GMT": lambda r: r.headers["Date"] == "Sun, 06 Nov 1994 08:49:37 GMT",
    "other-version:2031-01-01": lambda r: r.ok and r.headers["Sequence-Version"] == "2031-01-01",
}


def test_faults_are_all_tested() -> None:
    tested = {fault.partition(":")[0] for fault in (*ERRORS, *RESPONSES)}
    assert tested >= FAULTS.keys()


@pytest.mark.parametrize("fault", [*ERRORS, *RESPONSES])
def test_fault_changes_its_request_alone(simulate: Simulate, fault: str) -> None:
    simulator = simulate(5, faults=[Fault.parse(f"2={fault}")])
    good = page(simulator, limit=3)
    if fault in ERRORS:
        with pytest.raises(ERRORS[fault]):
            get(simulator, params={"limit": 3})
    else:
        assert RESPONSES[fault](get(simulator, params={"limit": 3}))
    assert page(simulator, limit=3) == good
    assert len(simulator.requests) == 3


def test_page_fault_without_anything_to_change_changes_nothing(simulate: Simulate) -> None:
    simulator = simulate()
    for fault in ("list", "no-after", "no-id", "null-created-at", "wrong-type", "unknown-field", "surrogate"):
        simulator.api.options = Options(faults=[Fault.parse(f"1-={fault}")])
        assert get(simulator).json() in ([], {"items": [], "pagination": {"totalResultSize": 0}})
        assert get(simulator, "/nobody").json()["error"]["type"] == "NotFound"


@pytest.mark.parametrize(
    ("text", "struck"),
    [("2=500", {2}), ("2-4=429:1", {2, 3, 4}), ("3-=html", {3, 4, 5}), ("1-1=slow:2.5", {1})],
)
def test_fault_applies_to_the_named_requests(text: str, struck: set[int]) -> None:
    assert {number for number in range(1, 6) if Fault.parse(text).applies_to(number)} == struck


@pytest.mark.parametrize(
    "text",
    ["", "500", "=500", "x=500", "1=", "1=200", "1=600", "1=nonsense", "-2=500", "1=slow", "1=429:date:soon"],
)
def test_fault_with_bad_text_is_refused_with_the_syntax(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{text!r} is not a fault; write REQUESTS=FAULT")):
        Fault.parse(text)
    with pytest.raises(SystemExit):
        main([f"--fault={text}"])
    assert "write REQUESTS=FAULT, such as 3=500" in capsys.readouterr().err


# The logs


def test_demo_is_a_function_of_seed_and_time() -> None:
    def serve(seed: int) -> list[dict[str, Any]]:
        with Simulator(SimulatedApi.demo(Options(seed=seed), clock=lambda: DEMO_NOW)) as simulator:
            return walk(simulator, sortOrder="ASC", limit=100)

    first = serve(1)
    assert first == serve(1)
    other_seed = {id_ for body in serve(2) for id_ in ids(body)}
    assert other_seed.isdisjoint(id_ for body in first for id_ in ids(body))


def test_demo_shows_two_to_three_hours_up_to_now() -> None:
    now = DEMO_NOW
    with Simulator(SimulatedApi.demo(clock=lambda: now)) as simulator:
        first = all_logs(simulator)
        hour = DEMO_NOW - DEMO_NOW % HOUR
        assert hour - 2 * HOUR <= created(first[0]) <= hour - 2 * HOUR + 10
        assert now - 10 <= created(first[-1]) <= now
        now += 300
        minutes_later = all_logs(simulator)
        assert minutes_later[: len(first)] == first
        assert all(now - 300 <= created(log) <= now for log in minutes_later[len(first) :])
        assert len(minutes_later) > len(first) + 20
        now += HOUR
        hour_later = all_logs(simulator)
        kept = [log for log in minutes_later if created(log) >= hour - HOUR]
        assert hour_later[: len(kept)] == kept
        assert len(hour_later) > len(kept) > len(minutes_later) / 3


def test_demo_walk_continues_across_the_full_hour() -> None:
    now = DEMO_NOW - DEMO_NOW % HOUR + HOUR - 1
    with Simulator(SimulatedApi.demo(clock=lambda: now)) as simulator:
        first = page(simulator, sortOrder="ASC", limit=100)
        now += 2
        second = page(simulator, sortOrder="ASC", limit=100, after=first["pagination"]["after"])
    # The logs after the cursor are gone; the walk continues with the oldest one left.
    assert created(second["items"][0]) >= now - 2 - 2 * HOUR


def test_demo_follows_the_real_clock() -> None:
    with Simulator(SimulatedApi.demo()) as simulator:
        newest = page(simulator, limit=1)["items"][0]
    assert 0 <= time.time() - created(newest) <= 10


def test_logs_are_varied(simulate: Simulate) -> None:
    logs = all_logs(simulate(400))
    items = [item for log in logs for item in log["activityLogItems"]]
    actors = [item["activityLogActor"] for item in items]
    assert len({item["verb"] for item in items}) > 5
    assert len({item["activityLogObject"]["entityType"] for item in items}) > 5
    assert len({actor["entityType"] for actor in actors}) == 3
    assert {len(log["activityLogItems"]) for log in logs} == {1, 2, 3}
    for things, field, kinds in (
        (logs, "apiVersion", {"absent", str}),
        (logs, "traceId", {"absent", type(None), str}),
        (items, "reason", {"absent", type(None), str}),
        (items, "metadata", {"absent", list}),
        (items, "activityLogTarget", {"absent", dict}),
        (actors, "email", {"absent", str}),
    ):
        assert {type(thing[field]) if field in thing else "absent" for thing in things} == kinds, field
    metadata = [element for item in items for element in item.get("metadata", [])]
    assert {type(element) for element in metadata} == {dict, list, str, int, float, bool, type(None)}
    assert [] in [item.get("metadata") for item in items]
    text = json.dumps(logs, ensure_ascii=False)
    assert all(character in text for character in "üø山🧮\u2028")


def test_created_at_has_any_number_of_fractional_digits(simulate: Simulate) -> None:
    times = [
        re.fullmatch(r"[-\d]{10}T[:\d]{8}(?:\.(\d+))?Z", log["createdAt"]) for log in all_logs(simulate(200))
    ]
    assert {len(match[1] or "") for match in times if match} == {0, 1, 2, 3, 4, 5, 6}
    assert all(times)


def test_timeline_has_logs_that_share_a_millisecond(simulate: Simulate) -> None:
    milliseconds = Counter(parse_timestamp(log["createdAt"]) // 1000 for log in all_logs(simulate(100)))
    assert Counter(milliseconds.values()) == {1: 70, 3: 10}


def test_ids_are_uuids_with_or_without_time(simulate: Simulate) -> None:
    for log in all_logs(simulate(100)):
        id_ = UUID(log["id"])
        assert (id_.version, id_.int >> 80) == (7, parse_timestamp(log["createdAt"]) // 1000)
    random_ids = [log["id"] for log in all_logs(simulate(100, log_ids=LogIds.V4))]
    assert {UUID(id_).version for id_ in random_ids} == {4}
    assert random_ids != sorted(random_ids)


@pytest.mark.parametrize("log_ids", LogIds)
def test_log_added_after_a_removal_has_a_new_id(simulate: Simulate, log_ids: LogIds) -> None:
    store = simulate(log_ids=log_ids).store
    removed, kept = store.add_at([1_760_000_000_000_000] * 2)
    store.remove(removed)
    (added,) = store.add_at([1_760_000_000_000_000])
    assert sorted(store.ids()) == sorted({kept, added})


# As a process, and against the vendor's schema


def test_process_serves_until_sigterm() -> None:
    command = [sys.executable, "-m", "tap_sequence.simulator", "--port", "0", "--logs", "5"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://127\.0\.0\.1:\d+/api", process.stdout.readline())
            assert url is not None
            assert len(get(url[0]).json()["items"]) == 5
            process.terminate()
            assert process.wait(timeout=5) == 0
            assert process.stdout.read() == ""
        finally:
            process.kill()


def without_null_options(value: Any, schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    """Remove optional fields that are null; a field that the vendor does not document is an error.

    The simulator sends such nulls on purpose: sister endpoints do, though this one's schema does not say so.
    """
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    if isinstance(value, dict) and "properties" in schema:
        return {
            field: without_null_options(inner, schema["properties"][field], components)
            for field, inner in value.items()
            if inner is not None or field in schema.get("required", [])
        }
    if isinstance(value, list) and "items" in schema:
        return [without_null_options(element, schema["items"], components) for element in value]
    return value


@pytest.mark.parametrize("end", EndOfList)
def test_responses_match_the_vendors_schema(simulate: Simulate, end: EndOfList) -> None:
    simulator = simulate(250, end_of_list=end)
    components = json.loads(VENDOR_SCHEMA.read_text(encoding="utf-8"))["components"]
    pages = walk(simulator, limit=100)
    singles = [get(simulator, "/" + id_).json() for id_ in ids(pages[0])[:5]]
    bodies = [("ActivityLogListResponse", body) for body in pages]
    bodies += [("ActivityLogResponse", log) for log in singles]
    for name, body in bodies:
        schema = {"$ref": f"#/components/schemas/{name}", "components": components}
        jsonschema.validate(
            without_null_options(body, schema, components["schemas"]),
            schema,
            cls=jsonschema.Draft202012Validator,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
