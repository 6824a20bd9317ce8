"""Drift, the simulator's differences from the documentation: each changes what its name says, and nothing else."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.simulator import (
    DEMO_CREDENTIALS,
    CursorKind,
    Drift,
    EndOfList,
    Options,
    SimulatedApi,
    Simulator,
)
from tap_sequence.simulator.__main__ import main
from tap_sequence.simulator.api import ACTIVITY_LOGS_PATH
from tap_sequence.simulator.drift import DRIFTS
from tap_sequence.simulator.drift_pages import DATE_AHEAD
from tap_sequence.simulator.faults import Response

HEADERS = {"authorization": "Basic " + base64.b64encode(":".join(DEMO_CREDENTIALS).encode()).decode()}
MIDNIGHT = 1_760_054_400_500_000  # And half a second.
ASCENDING = {"sortOrder": "ASC", "limit": "100"}


def account(*drifts: str, logs: int = 150, **options: Any) -> SimulatedApi:
    api = SimulatedApi(Options(drift=[Drift.parse(drift) for drift in drifts], **options))
    api.store.grow(logs)
    return api


def ask(api: SimulatedApi, **query: str) -> Response:
    response = api.respond(ACTIVITY_LOGS_PATH, {**ASCENDING, **query}, HEADERS)
    assert response.status == 200, response.body
    return response


def page(api: SimulatedApi, **query: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(ask(api, **query).body)
    return body


def pages(api: SimulatedApi) -> list[dict[str, Any]]:
    found = [page(api)]
    while after := (found[-1].get("pagination") or {}).get("after"):
        found.append(page(api, after=str(after)))
    return found


def struck(api: SimulatedApi) -> dict[str, Any]:
    """Return the first log that the drift changes."""
    ids = api.store.ids()
    place = next(place for place, id_ in enumerate(ids) if api.options.drift[0].applies_to(id_))
    log: dict[str, Any] = page(api)["items"][place]
    return log


def item(log: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = log["activityLogItems"][0]
    return found


@pytest.mark.parametrize("name", DRIFTS)
def test_drift_changes_responses_deterministically(name: str) -> None:
    end_of_list = EndOfList.EMPTY_PAGE if name == "items-null-at-end" else EndOfList.ABSENT
    drift = f"{name}:1" if name in {"leap-second", "hour-24"} else name
    api, clean = account(drift, end_of_list=end_of_list), account(end_of_list=end_of_list)
    for either in (api, clean):
        either.store.add_at([MIDNIGHT])
    end = base64.b64encode(api.store.ids()[-1].encode()).decode()
    second = base64.b64encode(api.store.ids()[0].encode()).decode()
    asked: list[dict[str, str]] = [{}, {"after": second}, {"after": end}, {"sortOrder": "DESC"}]
    responses, again, documented = (
        [ask(which, **query) for query in asked if name != "after-number" or "after" not in query]
        for which in (api, api, clean)
    )
    assert [response.body for response in responses] == [response.body for response in again]
    assert [(response.body, dict(response.headers)) for response in responses] != [
        (response.body, dict(response.headers)) for response in documented
    ]


@given(
    names=st.lists(st.sampled_from(DRIFTS), max_size=6),
    every=st.integers(1, 3),
    kind=st.sampled_from(CursorKind),
    end=st.sampled_from(EndOfList),
    query=st.dictionaries(
        st.sampled_from(["sortOrder", "limit", "after"]),
        st.sampled_from(["ASC", "DESC", "1", "7", "no cursor", ""]),
    ),
)
def test_drifts_apply_together_for_any_request(
    names: list[str], every: int, kind: CursorKind, end: EndOfList, query: dict[str, str]
) -> None:
    drift = [Drift(name, every) for name in names]
    api = SimulatedApi(Options(drift=drift, cursor_kind=kind, end_of_list=end))
    api.store.grow(12)
    for parameters in ({"limit": "5"}, query):
        assert api.respond(ACTIVITY_LOGS_PATH, parameters, HEADERS).status in {200, 400}


def test_drift_changes_one_log_in_every() -> None:
    ids = account().store.ids()
    for drift in ("actor-null", "actor-null:2", "actor-null:1"):
        api = account(drift)
        changed = {log["id"] for log in page(api)["items"] if item(log)["activityLogActor"] is None}
        assert changed == {id_ for id_ in ids[:100] if api.options.drift[0].applies_to(id_)}
        share = len(changed) / 100
        assert abs(share - 1 / api.options.drift[0].every) < 0.1
        untouched = [log for log in page(api)["items"] if log["id"] not in changed]
        assert untouched == [api.store.log(log["id"]) for log in untouched]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("origin-null", lambda log: log["origin"] is None),
        ("origin-absent", lambda log: "origin" not in log),
        ("api-version-number", lambda log: log["apiVersion"] == 7),
        ("actor-text", lambda log: "@" in item(log)["activityLogActor"]),
        ("items-object", lambda log: list(log["activityLogItems"]) == ["value"]),
        ("item-null", lambda log: log["activityLogItems"][0] is None),
        ("email-object", lambda log: list(item(log)["activityLogActor"]["email"]) == ["value"]),
        ("metadata-text", lambda log: isinstance(item(log)["metadata"], str)),
        ("unknown-field-actor", lambda log: "brandNew" in item(log)["activityLogActor"]),
        ("nul", lambda log: item(log)["summary"].startswith("\0")),
        ("half-surrogate", lambda log: item(log)["summary"].startswith("\ud800")),
        ("nan", lambda log: str(item(log)["metadata"][0]) == "nan"),
        ("infinity", lambda log: item(log)["metadata"][0] == float("inf")),
        ("id-absent", lambda log: "id" not in log),
        ("id-number", lambda log: isinstance(log["id"], int)),
        (
            "created-at-nanoseconds",
            lambda log: len(log["createdAt"]) == len("2026-01-01T00:00:00.123456789Z"),
        ),
    ],
)
def test_log_drift_changes_the_named_field(name: str, found: Callable[[dict[str, Any]], bool]) -> None:
    assert found(struck(account(name)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata-deep", b"[" * 1200),
        ("long-number", b"7" * 5000),
        ("endless-number", b"1e9999999999999999999"),
        ("nan", b"NaN"),
        ("half-surrogate", rb"\ud800"),
        ("byte-order-mark", b"\xef\xbb\xbf{"),
    ],
)
def test_log_drift_sends_json_that_no_encoder_writes(name: str, text: bytes) -> None:
    assert text in ask(account(name)).body
    assert "\ue000".encode() not in ask(account(name)).body


@pytest.mark.parametrize(
    ("name", "written"), [("leap-second", "09T23:59:60.5Z"), ("hour-24", "09T24:00:00.5Z")]
)
def test_midnight_drift_writes_the_end_of_the_previous_day(name: str, written: str) -> None:
    api = account(f"{name}:1", logs=0)
    api.store.add_at([MIDNIGHT])
    assert page(api)["items"][0]["createdAt"].endswith(written)


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("total-one-too-many", 151),
        ("total-capped", 1000),
        ("total-of-page", 100),
        ("total-text", "150"),
        ("total-fraction", 150.5),
        ("total-negative", -1),
    ],
)
def test_total_drift_changes_the_total(name: str, total: Any) -> None:
    assert page(account(name))["pagination"]["totalResultSize"] == total


def test_end_drift_changes_the_last_page_alone() -> None:
    first, last = pages(account("no-pagination-at-end"))
    assert [list(first), list(last)] == [["items", "pagination"], ["items"]]
    assert pages(account("pagination-null-at-end"))[-1]["pagination"] is None
    *_, empty = pages(account("items-null-at-end", end_of_list=EndOfList.EMPTY_PAGE))
    assert empty["items"] is None
    assert [len(page["items"]) for page in pages(account("list-ends-early", logs=350))] == [100, 100]


def test_after_number_drift_continues_the_walk() -> None:
    api = account("after-number")
    first, last = pages(api)
    assert isinstance(first["pagination"]["after"], int)
    assert [log["id"] for log in first["items"] + last["items"]] == api.store.ids()


def test_request_drift_ignores_order_and_limit() -> None:
    for name, order in (("newest-first", "ASC"), ("oldest-first", "DESC")):
        api = account(name)
        ids = [log["id"] for log in page(api, sortOrder=order)["items"]]
        assert ids == (api.store.ids()[::-1] if order == "ASC" else api.store.ids())[:100]
    assert len(page(account("fewer-logs"), limit="100")["items"]) == 67
    assert len(page(account("fewer-logs"), limit="1")["items"]) == 1
    assert len(page(account("limit-ignored"), limit="1")["items"]) == 50


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("content-type-text-plain", "text/plain"),
        ("content-type-octet-stream", "application/octet-stream"),
        ("content-type-none", None),
    ],
)
def test_content_type_drift_keeps_the_body(name: str, content_type: str | None) -> None:
    with Simulator(account(name)) as simulator, requests.Session() as session:
        session.trust_env = False
        response = session.get(f"{simulator.base_url}/activity-logs", auth=DEMO_CREDENTIALS, timeout=10)
    assert response.headers.get("Content-Type") == content_type
    assert response.json().keys() == {"items", "pagination"}


def test_date_ahead_drift_changes_the_date() -> None:
    date = parsedate_to_datetime(ask(account("date-ahead")).headers["Date"]).timestamp()
    assert DATE_AHEAD - 5 < date - time.time() < DATE_AHEAD + 5


@pytest.mark.parametrize(
    "text", ["", "nonsense", "actor-null:0", "actor-null:x", "actor-null:", "newest-first:2"]
)
def test_drift_with_bad_text_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--drift", text])
    assert "must be NAME, or NAME:EVERY" in capsys.readouterr().err


def test_help_lists_every_drift(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    words = set(text.replace(",", " ").split())
    fields = {name for name in DRIFTS if name not in words}
    assert all(any(name == f"{field}-{kind}" for field in words for kind in words) for name in fields)
