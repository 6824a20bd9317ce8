"""The Python interface: complete pages and rows, states that describe what was handed out, and no traces in the process."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tap_sequence
from tap_sequence import Account, AccountSettings, Page
from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.errors import (
    CredentialsError,
    FailureKind,
    NotSingerStateError,
    RefusedError,
    SettingsError,
    TapSequenceError,
    UnknownStreamError,
    UnreadableStateError,
)
from tap_sequence.settings import CONFIG_JSONSCHEMA, Settings
from tap_sequence.simulator import CursorKind, EndOfList, Options, SimulatedApi, Simulator, UnknownCursor
from tap_sequence.simulator.faults import Fault
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync.timestamps import parse_timestamp
from tests.support.harness import ROOT, Recorder, as_sent, config_for, environment, run_here
from tests.support.loaders import make_odd
from tests.support.pages import blocks
from tests.transforms.test_items import expected_rows

Simulate = Callable[..., Simulator]

LOGS, ITEMS = "activity_logs", "activity_log_items"


def account_of(simulator: Simulator, **settings: Any) -> Account:
    return Account(**config_for(simulator, **settings))


def ids(rows: Iterable[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def rows_in(pages: list[Page], stream: str = LOGS) -> list[dict[str, Any]]:
    return [row for page in pages for row in page.rows[stream]]


def as_json(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state as a program would that stores it."""
    stored: dict[str, Any] = json.loads(json.dumps(state))
    return stored


# What is read


def test_pages_hold_every_log_and_every_item(simulate: Simulate) -> None:
    simulator = simulate(330)
    account = account_of(simulator)
    pages = list(account.pages(account.streams[:2]))
    assert list(map(as_sent, rows_in(pages))) == simulator.store.logs()
    assert list(map(as_sent, rows_in(pages, ITEMS))) == expected_rows(simulator.store.logs())
    # Both streams are read from the same pages.
    assert len(simulator.requests) <= 5
    columns = account.schema(ITEMS)["properties"]
    assert all(row.keys() == columns.keys() for row in rows_in(pages, ITEMS))


def test_rows_hold_every_log_and_every_item(simulate: Simulate) -> None:
    simulator = simulate(330)
    account = account_of(simulator)
    assert list(map(as_sent, account.rows())) == simulator.store.logs()
    assert list(map(as_sent, account.rows(ITEMS))) == expected_rows(simulator.store.logs())


def test_rows_are_plain_values_and_decimals_keep_every_digit(simulate: Simulate) -> None:
    simulator = simulate(3)
    log_id = simulator.store.ids()[1]
    make_odd(simulator.api, log_id)
    account = account_of(simulator, metadata="json")
    (odd,) = (row for row in account.rows() if row["id"] == log_id)
    metadata = odd["activityLogItems"][0]["metadata"]
    assert metadata[0] == Decimal("12345678901234567890.12345678901234567890")
    assert metadata[1] == 123456789012345678901234567890
    assert str(metadata[2]) == "1.50"
    assert metadata[8] == {"deep": [{"er": Decimal("0.1")}]}
    assert_plain(odd)


def assert_plain(value: Any) -> None:
    assert type(value) in {dict, list, str, int, bool, Decimal, type(None)}
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(inner)


@pytest.mark.parametrize("form", ["text", "json"])
def test_config_of_the_tap_gives_the_rows_of_the_tap(
    simulate: Simulate, form: Literal["text", "json"]
) -> None:
    simulator = simulate(600)
    make_odd(simulator.api, simulator.store.ids()[400])
    config = config_for(simulator, metadata=form)
    recorder = Recorder(parse_float=Decimal)
    SequenceTap(config=dict(config), message_writer=recorder).sync_all()
    records = [message["record"] for message in recorder.messages if message["type"] == "RECORD"]
    assert list(account_of(simulator, metadata=form).rows()) == records


def test_settings_apply_to_rows_and_schema(simulate: Simulate) -> None:
    account = account_of(simulate(50), actor_email="drop")
    actors = [item["activityLogActor"] for row in account.rows() for item in row["activityLogItems"]]
    assert not any("email" in actor for actor in actors)
    assert "actorEmail" not in account.schema(ITEMS)["properties"]
    assert not any("actorEmail" in row for row in account.rows(ITEMS))


def test_demo_needs_no_credentials() -> None:
    account = Account(environment="demo")
    assert account.check().startswith("Connected to demo, API version ")
    assert len(list(account.rows())) > 1000


def test_streams_have_their_schemas() -> None:
    account = Account(environment="demo")
    assert set(account.streams) == set(SCHEMAS)
    for stream in account.streams:
        assert account.schema(stream)["properties"].keys() == SCHEMAS[stream]["properties"].keys()


def test_difference_from_the_documentation_is_warned_of(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = simulate(3)
    log_id = simulator.store.ids()[1]
    body = json.loads(simulator.store.body(log_id)) | {"traceId": 7}
    simulator.store._bodies[log_id] = json.dumps(body).encode()
    assert len(list(account_of(simulator).rows())) == 3
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("tap_sequence", "WARNING")
    assert "a value other than a string in traceId" in record.getMessage()


# States


@dataclass(frozen=True)
class Way:
    """How an account's pages are read."""

    options: Options
    page_size: int
    in_flight: int
    since: int | None
    """From which log on `start_date` asks to read."""


WAYS = st.builds(
    Way,
    options=st.builds(
        Options,
        cursor_kind=st.sampled_from(CursorKind),
        end_of_list=st.sampled_from(EndOfList),
        unknown_cursor=st.sampled_from(UnknownCursor),
        with_total=st.booleans(),
    ),
    page_size=st.integers(1, 9),
    in_flight=st.sampled_from([1, 4]),
    since=st.none() | st.integers(0, 39),
)


@given(way=WAYS, stop_after=st.integers(0, 12), new=st.integers(0, 12), loses_cursors=st.booleans())
def test_pages_continue_after_any_page(way: Way, stop_after: int, new: int, *, loses_cursors: bool) -> None:
    api = SimulatedApi(way.options)
    api.store.grow(40)
    settings: dict[str, Any] = {
        "page_size": way.page_size,
        "max_in_flight_requests": way.in_flight,
        "lookback_seconds": 0,
    }
    if way.since is not None:
        settings["start_date"] = api.store.logs()[way.since]["createdAt"]
    stored: list[str] = []
    state: dict[str, Any] = {}
    with Simulator(api) as simulator:
        with closing(account_of(simulator, **settings).pages(state=state)) as pages:
            # What is stored together survives together.
            for page in islice(pages, stop_after):
                stored += ids(page.rows[LOGS])
                state = as_json(page.state)
        api.store.grow(new)
        if loses_cursors:
            api.options = replace(api.options, cursor_key="another key")
        rest = list(account_of(simulator, **settings).pages(state=state))
        stored += ids(rows_in(rest))
        state = as_json(rest[-1].state) if rest else state
        assert rows_in(list(account_of(simulator, **settings).pages(state=state))) == []
    # In a list ordered by id, a log after the start_date's may have been created some microseconds before it.
    since = parse_timestamp(settings["start_date"]) if way.since is not None else 0
    wanted = [log["id"] for log in api.store.logs() if parse_timestamp(log["createdAt"]) >= since]
    assert set(stored) >= set(wanted)
    if way.since is None:
        assert sorted(stored) == sorted(wanted)


@pytest.mark.parametrize("stream", [LOGS, ITEMS])
@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 160, 230])
def test_rows_continue_after_any_row(simulate: Simulate, stream: str, number: int) -> None:
    simulator = simulate(230)
    with account_of(simulator).rows(stream) as rows:
        read = list(islice(rows, number))
        state = as_json(rows.state)
    rest = list(account_of(simulator).rows(stream, state))
    everything = list(account_of(simulator).rows(stream))
    logs = {row.get("activityLogId", row["id"]) for row in read} - {
        row.get("activityLogId", row["id"]) for row in rest
    }
    # A log whose items were not all handed out comes again as a whole.
    repeated = [row for row in read if row.get("activityLogId", row["id"]) not in logs]
    assert read[: len(read) - len(repeated)] + rest == everything
    assert not repeated or stream == ITEMS


def test_rows_state_is_final_when_all_are_read(simulate: Simulate) -> None:
    simulator = simulate(230)
    account = account_of(simulator)
    rows = account.rows()
    assert rows.state == {"bookmarks": {}}
    assert len(list(rows)) == 230
    simulator.store.grow(7)
    assert ids(account.rows(state=as_json(rows.state))) == simulator.store.ids()[-7:]


def test_backward_walk_moves_the_state_at_its_end(simulate: Simulate) -> None:
    simulator = simulate(500)
    account = account_of(simulator, start_date=simulator.store.logs()[250]["createdAt"])
    *pages, last = account.pages()
    assert sorted(ids(rows_in(pages))) == simulator.store.ids()[250:]
    assert all(page.state == {"bookmarks": {}} for page in pages)
    assert last.rows == {LOGS: []}
    assert rows_in(list(account.pages(state=last.state))) == []
    # Without its end, it is read again as a whole.
    assert ids(rows_in(list(account.pages(state=pages[0].state)))) == ids(rows_in(pages))


def test_run_with_nothing_new_has_no_rows_and_costs_few_requests(simulate: Simulate) -> None:
    simulator = simulate(230)
    account = account_of(simulator)
    *_, last = account.pages()
    before = len(simulator.requests)
    assert rows_in(list(account.pages(state=last.state))) == []
    assert len(simulator.requests) - before <= 2


def test_empty_account_has_a_state(simulate: Simulate) -> None:
    (page,) = account_of(simulate(0)).pages()
    assert page.rows == {LOGS: []}
    assert page.state["bookmarks"][LOGS]["cursor"] is None


def test_states_are_not_changed(simulate: Simulate) -> None:
    simulator = simulate(450)
    account = account_of(simulator)
    pages, texts = [], []
    for page in account.pages():
        pages.append(page)
        texts.append(json.dumps(page.state))
    assert [json.dumps(page.state) for page in pages] == texts
    state = copy.deepcopy(pages[1].state)
    assert len(list(account.rows(state=pages[1].state))) == 250
    assert pages[1].state == state


def test_pages_are_the_callers_to_change(simulate: Simulate) -> None:
    simulator = simulate(250)
    account = account_of(simulator)
    expected = [copy.deepcopy(page) for page in account.pages([LOGS, "users"])]
    for page in account.pages([LOGS, "users"]):
        assert page.rows == expected.pop(0).rows
        for rows in page.rows.values():
            rows.append({})
        last = copy.deepcopy(page.state)
        page.state["bookmarks"].clear()
    assert expected == []
    assert last["bookmarks"].keys() == {LOGS}


def test_state_of_other_streams_is_kept(simulate: Simulate) -> None:
    given = {"bookmarks": {"of another program": {"replication_key_value": 1}}}
    *_, last = account_of(simulate(3)).pages(state=given)
    assert last.state["bookmarks"].keys() == {"of another program", LOGS}


def test_stream_read_later_starts_with_new_logs_and_is_warned_of(
    simulate: Simulate, caplog: pytest.LogCaptureFixture
) -> None:
    simulator = simulate(30)
    account = account_of(simulator)
    *_, last = account.pages(LOGS)
    simulator.store.grow(2)
    pages = list(account.pages((LOGS, ITEMS), last.state))
    assert ids(rows_in(pages)) == simulator.store.ids()[-2:]
    assert rows_in(pages, ITEMS)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        f"Earlier runs did not load {ITEMS}"
    ]


def test_tap_continues_from_a_state_and_the_other_way_round(simulate: Simulate) -> None:
    simulator = simulate(250)
    account = account_of(simulator)
    first = next(account.pages())
    run = run_here(config_for(simulator), first.state)
    assert ids(first.rows[LOGS]) + run.ids == simulator.store.ids()
    simulator.store.grow(3)
    assert ids(account.rows(state=run.state)) == simulator.store.ids()[-3:]
    assert ids(account.rows(state={"type": "STATE", "value": run.state})) == simulator.store.ids()[-3:]


def test_lists_that_change_in_place_are_read_in_full_and_have_no_state(simulate: Simulate) -> None:
    simulator = simulate(230)
    account = account_of(simulator, page_size=2)
    users, accounts = simulator.api.users, simulator.api.accounts
    assert list(map(as_sent, account.rows("users"))) == users.entries()
    rows = account.rows("sequence_accounts")
    assert list(map(as_sent, rows)) == accounts.entries()
    assert rows.state == {"bookmarks": {}}
    streams = ("users", LOGS, "sequence_accounts")
    *_, last = pages = list(account.pages(streams))
    assert last.state["bookmarks"].keys() == {LOGS}
    assert all(tuple(page.rows) == streams for page in pages)
    users.put({**users.entries()[0], "state": "changed"})
    simulator.store.grow(1)
    again = list(account.pages(streams, as_json(last.state)))
    assert ids(rows_in(again)) == simulator.store.ids()[-1:]
    assert list(map(as_sent, rows_in(again, "users"))) == users.entries()
    assert list(map(as_sent, rows_in(again, "sequence_accounts"))) == accounts.entries()


# The process


def test_reading_leaves_no_trace_in_the_process(
    simulate: Simulate, capfd: pytest.CaptureFixture[str]
) -> None:
    def traces() -> list[Any]:
        loggers = [logging.getLogger(), *map(logging.getLogger, ("tap_sequence", "tap-sequence"))]
        return [
            *(signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
            *((logger.level, logger.handlers[:], logger.propagate, logger.disabled) for logger in loggers),
            logging.getLogRecordFactory(),
            sys.getswitchinterval(),
            sys.excepthook,
            threading.excepthook,
        ]

    before = traces()
    account = account_of(simulate(230))
    account.check()
    assert len(list(account.pages())) > 2
    assert len(list(account.rows())) == 230
    assert traces() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["close", "forget", "fail"])
def test_threads_end_when_reading_ends_early(simulate: Simulate, how: str) -> None:
    simulator = simulate(3000, latency=(0.01, 0.01))
    before = set(threading.enumerate())
    pages = account_of(simulator).pages()
    next(pages)
    next(pages)
    # Those of the simulator have names.
    own = {thread for thread in threading.enumerate() if "_work" in thread.name} - before
    assert len(own) == 4
    if how == "close":
        pages.close()
    elif how == "fail":
        with pytest.raises(ZeroDivisionError):
            pages.throw(ZeroDivisionError)
    del pages
    until = time.monotonic() + 20
    while any(thread.is_alive() for thread in own) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(thread.is_alive() for thread in own)
    sent = len(simulator.requests)
    assert sent < 20
    time.sleep(0.1)
    assert len(simulator.requests) == sent


def test_account_is_read_in_another_thread_and_within_an_event_loop(simulate: Simulate) -> None:
    simulator = simulate(230)

    def read() -> list[str]:
        return ids(account_of(simulator).rows())

    async def main() -> tuple[list[str], list[str]]:
        # As a cell of a notebook does.
        here = read()
        return here, await asyncio.to_thread(read)

    assert asyncio.run(main()) == (simulator.store.ids(), simulator.store.ids())


def test_iterators_of_one_account_do_not_disturb_each_other(simulate: Simulate) -> None:
    simulator = simulate(230)
    account = account_of(simulator)
    read = list(zip(account.rows(), account.rows(), strict=True))
    assert [(one["id"], other["id"]) for one, other in read] == [
        (each, each) for each in simulator.store.ids()
    ]


def test_interrupt_ends_a_wait_for_a_page_at_once(simulate: Simulate) -> None:
    simulator = simulate(30, latency=(30.0, 30.0))
    code = f"""
import os, signal, threading, time
import tap_sequence
account = tap_sequence.Account(**{config_for(simulator)!r})
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    next(account.pages())
except KeyboardInterrupt:
    print("interrupted")
"""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
    assert time.monotonic() - started < 25


# Errors

SECRET = "s3cr3t+of/the=account"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {},
            "Settings: client_id is missing; set it to the value from your Sequence API credentials; client_secret is missing;",
        ),
        (
            {"environment": "demo", "pagesize": 7},
            "pagesize is not a setting of this tap (did you mean page_size?)",
        ),
        ({"environment": "demo", "page_size": 0}, "page_size must be an integer from 1 to 100 (got 0)"),
        ({"environment": "demo", "start_date": "9999-01-01"}, "start_date 9999-01-01 is in the future"),
        ({"environment": SECRET, "client_id": "c", "client_secret": SECRET}, "environment must be one of"),
    ],
)
def test_wrong_setting_is_refused_before_any_request(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Account(**settings)
    assert text in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.kind is FailureKind.CONFIG


def test_unknown_stream_and_unusable_state_are_refused_before_any_request(simulate: Simulate) -> None:
    simulator = simulate(3)
    account = account_of(simulator)
    for ask in (account.pages, account.rows, account.schema):
        with pytest.raises(
            UnknownStreamError, match=r"^There is no stream logs\. The streams are activity_logs,"
        ):
            ask("logs")
    inner = {"replication_key_value": "2026-01-01T00:00:00Z"}
    for read in (account.pages, account.rows):
        with pytest.raises(NotSingerStateError):
            read(state=inner)
        with pytest.raises(UnreadableStateError, match="cursor: expected"):
            read(state={"bookmarks": {LOGS: {"cursor": 7}}})
    assert simulator.requests == []


def test_failed_run_resumes_from_the_last_page(simulate: Simulate) -> None:
    simulator = simulate(300, faults=[Fault.parse("2-=403")])
    account = account_of(simulator)
    pages = account.pages()
    first = next(pages)
    with pytest.raises(CredentialsError, match="Check client_id and client_secret"):
        list(pages)
    simulator.api.options = replace(simulator.api.options, faults=())
    assert ids(first.rows[LOGS]) + ids(account_of(simulator).rows(state=first.state)) == simulator.store.ids()


def test_errors_and_messages_show_no_secret(simulate: Simulate, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "tap_sequence")
    echo = f"no {SECRET} for ada@example.com"
    simulator = simulate(3, faults=[Fault.parse(f"1=error:500:{echo}"), Fault.parse(f"2-=error:418:{echo}")])
    account = account_of(simulator, client_secret=SECRET)
    with pytest.raises(RefusedError) as caught:
        list(account.pages())
    with pytest.raises(TapSequenceError) as other:
        account.check()
    shown = [str(caught.value), str(other.value), *(record.getMessage() for record in caplog.records)]
    assert len(shown) > 2
    for text in shown:
        assert "s3cr3t" not in text
        assert "example.com" not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# What is public


def test_page_works_as_written(tmp_path: Path) -> None:
    script = "\n".join(block.text for block in blocks(ROOT / "docs" / "python.md", "python"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.sub(r"\d+", "9", line) for line in done.stdout.splitlines()]
    assert lines[0].startswith("Connected to demo")
    assert lines[1] == "9 people"
    assert lines[2].startswith("9-9-9T9:9:")
    assert re.fullmatch(r"\d new items since", done.stdout.splitlines()[3])
    assert lines[4] == "True Settings: page_size must be an integer from 9 to 9 (got 9)."


def test_page_lists_what_is_public() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8").partition("## What is public")[2]
    named = set(re.findall(r"`(\w+)`", page))
    members = {name for name in vars(Account) if not name.startswith("_")}
    assert named == {*dir(tap_sequence), *members, "tap_sequence"} - {"__version__"}


def test_settings_are_those_of_the_tap() -> None:
    assert get_type_hints(AccountSettings) == get_type_hints(Settings)
    assert not AccountSettings.__required_keys__
    assert list(AccountSettings.__annotations__) == list(CONFIG_JSONSCHEMA["properties"])
    # As a notebook shows it.
    assert "page_size: int = 100, " in str(inspect.signature(Account))


def test_public_names_are_those_of_the_stub() -> None:
    stub = (ROOT / "tap_sequence" / "__init__.pyi").read_text(encoding="utf-8")
    listed = stub.partition("__all__ = [")[2].partition("]")[0].replace('"', "").replace(",", "").split()
    assert sorted(dir(tap_sequence)) == sorted([*listed, "__version__"])
    for name in listed:
        assert getattr(tap_sequence, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        tap_sequence.NoSuchName  # type: ignore[attr-defined]  # noqa: B018


def test_every_public_method_is_described() -> None:
    for owner in (Account, tap_sequence.RowIterator):
        for name, member in vars(owner).items():
            assert name.startswith("_") or inspect.getdoc(member), name


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import tap_sequence", {"msgspec", "requests", "logging", "singer_sdk", "click"}),
        ("from tap_sequence import Account", {"singer_sdk", "click", "jsonschema", "tqdm", "pyrate_limiter"}),
    ],
)
def test_import_is_light(code: str, unwanted: set[str]) -> None:
    script = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tap_sequence" in names
    assert not unwanted & names
