from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.prefetch.cursor_guess import CursorGuesses, form_of
from tap_sequence.simulator import CursorKind, LogIds, Options, SimulatedApi, UnknownCursor
from tap_sequence.sync.models import PageRequest, Record, SortOrder
from tap_sequence.sync.state import Query
from tests.support.model import fetch_from

# The cursors in the published OpenAPI's examples of this endpoint and of its sister endpoints.
EXAMPLE = "MDE4NDUyNjYtNmQ2NC03N2M4LTlhZGYtNDQ4N2Q5NGQxNDU3"
EXAMPLE_POSITION = 1_667_829_755_236_000
SISTER = base64.b64encode(b"e309e948-088e-4d77-b654-cd85498f1555#1658260856033013#DESC").decode()


def log(log_id: str, created_at: int = 0) -> Record:
    return Record(log_id, created_at, "", None)


def test_form_of_published_example_is_id_with_time() -> None:
    last = log("01845266-6d64-77c8-9adf-4487d94d1457")
    form = form_of(EXAMPLE, last)
    assert form is not None
    assert form.position(last) == EXAMPLE_POSITION
    guess = base64.b64decode(form.cursor_at(EXAMPLE_POSITION)).decode()
    assert guess == "01845266-6d64-7000-8000-000000000000"
    # No id of that millisecond sorts before it.
    assert guess < last.id


def test_form_of_sister_endpoints_cursor_is_time() -> None:
    last = log("e309e948-088e-4d77-b654-cd85498f1555", 1_658_260_856_033_013)
    form = form_of(SISTER, last)
    assert form is not None
    assert form.position(last) == last.created_at
    guess = base64.b64decode(form.cursor_at(1_700_000_000_000_001)).decode()
    assert guess == "00000000-0000-4000-8000-000000000000#1700000000000001#DESC"


@pytest.mark.parametrize(
    "after",
    [
        "no base64!",
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"page-2").decode(),
        # A UUIDv4 has no time.
        base64.b64encode(b"e309e948-088e-4d77-b654-cd85498f1555").decode(),
        # Of another log than the last of the page, with a further part, or in another spelling.
        base64.b64encode(b"e309e948-088e-4d77-b654-cd85498f1555#1#ASC").decode(),
        base64.b64encode(b"e309e948-088e-4d77-b654-cd85498f1555#1658260856033013#ASC#x").decode(),
        base64.b64encode(b"01845266-6D64-77C8-9ADF-4487D94D1457").decode(),
        EXAMPLE + "=",
        "",
    ],
)
def test_form_of_unknown_cursor_is_none(after: str) -> None:
    assert form_of(after, log("e309e948-088e-4d77-b654-cd85498f1555", 1_658_260_856_033_013)) is None


def test_form_of_id_cursor_with_log_ids_without_time_is_none() -> None:
    assert form_of(EXAMPLE, log("e309e948-088e-4d77-b654-cd85498f1555")) is None


@pytest.mark.parametrize("kind", [CursorKind.ID, CursorKind.ID_TIME_ORDER])
def test_cursor_at_leads_to_first_log_from_position_on(kind: CursorKind) -> None:
    api = SimulatedApi(Options(cursor_kind=kind, unknown_cursor=UnknownCursor.RIGHT_PAGE, log_ids=LogIds.V7))
    api.store.grow(200)
    fetch = fetch_from(api, lambda: 0, 10, Query("model", "v"))
    first = fetch(PageRequest(SortOrder.ASCENDING, None, 1))
    guesses = CursorGuesses()
    guesses.learn(first.after, first.records[-1])
    assert guesses.is_possible
    logs = fetch_from(api, lambda: 0, 100, Query("model", "v"))(
        PageRequest(SortOrder.ASCENDING, None, 1)
    ).records
    positions = [guesses.position(each) for each in logs]
    for position in range((positions[0] or 0) + 1_000, (positions[-1] or 0) - 1_000, 7_654_321):
        found = fetch(PageRequest(SortOrder.ASCENDING, guesses.cursor_at(position), None)).records[0]
        expected = next(
            each for each, at in zip(logs, positions, strict=True) if (at or 0) >= position - position % 1_000
        )
        assert abs((guesses.position(found) or 0) - (guesses.position(expected) or 0)) < 1_000


@given(st.integers(0, 2**47 * 1000))
def test_position_of_guessed_cursor_is_given_position(position: int) -> None:
    guesses = CursorGuesses()
    guesses.learn(EXAMPLE, log("01845266-6d64-77c8-9adf-4487d94d1457"))
    cursor = guesses.cursor_at(position)
    assert guesses.position(log(base64.b64decode(cursor).decode())) == position - position % 1_000


def test_wasted_guesses_use_up_credit_that_pages_earn_back() -> None:
    guesses = CursorGuesses()
    guesses.learn(EXAMPLE, log("01845266-6d64-77c8-9adf-4487d94d1457"))
    guesses.proved()
    for _ in range(4):
        assert guesses.is_possible
        guesses.wasted("why")
    assert not guesses.is_possible
    assert guesses.why_not is None
    for _ in range(60):
        guesses.read()
    assert guesses.is_possible


def test_wasted_guesses_before_any_is_proved_end_guessing() -> None:
    guesses = CursorGuesses()
    guesses.learn(EXAMPLE, log("01845266-6d64-77c8-9adf-4487d94d1457"))
    for _ in range(4):
        guesses.wasted("why")
    for _ in range(500):
        guesses.read()
    assert not guesses.is_possible
    assert guesses.why_not == "why"
