"""`read`: records, states, statuses and failures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tap_sequence.api.decoder import PageDecoder
from tap_sequence.simulator import Fault, Simulator
from tests.support.airbyte import (
    SOURCE,
    arguments_of,
    configured,
    counts_of,
    run_source,
    run_source_and_stop,
    run_source_here,
    start_source,
)
from tests.support.harness import STREAMS, config_for, environment, run_here
from tests.transforms.test_items import expected_rows

Simulate = Callable[..., Simulator]

LOGS, ITEMS = "activity_logs", "activity_log_items"
BOTH = configured(LOGS, ITEMS)


def test_config_of_the_tap_gives_the_same_records_and_bookmark(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(5000)
    config = config_for(simulator, start_date=None, page_size=77)
    began = time.time() * 1000
    run = run_source(tmp_path, config)
    assert (run.status, run.stderr, run.errors) == (0, "", [])
    assert run.records() == simulator.store.logs()
    tap = run_here(config)
    assert [record["data"] for record in run.of_type("RECORD")] == [
        message["record"] for message in tap.of_type("RECORD")
    ]
    assert run.bookmark() == {key: value for key, value in tap.bookmark.items() if key != "streams"}
    emitted = [record["emitted_at"] for record in run.of_type("RECORD")]
    assert all(began <= at <= time.time() * 1000 for at in emitted)


def test_numbers_keep_all_their_digits(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(1)
    (log,) = simulator.store.logs()
    log["activityLogItems"][0]["metadata"] = ["DIGITS"]
    digits = "12345678901234567890.12345678901234567890"
    body = json.dumps(log).replace('"DIGITS"', digits)
    simulator.store._bodies[log["id"]] = msgspec.Raw(body.encode())
    command = [*SOURCE, *arguments_of(tmp_path, "read", config_for(simulator, metadata="json"))]
    output = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True).stdout
    (record,) = [line for line in output.splitlines() if '"RECORD"' in line]
    (item,) = json.loads(record, parse_float=Decimal)["record"]["data"]["activityLogItems"][:1]
    assert item["metadata"] == [Decimal(digits)]


# States


def test_states_hold_the_whole_bookmark_and_count_the_records_since_the_last(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(2345)
    run = run_source_here(tmp_path, config_for(simulator), catalog=BOTH)
    logs = simulator.store.logs()
    assert run.ids() == simulator.store.ids()
    assert run.ids(ITEMS) == [row["id"] for row in expected_rows(logs)]
    for stream in (LOGS, ITEMS):
        counts = list(counts_of(run.messages, stream))
        assert len(counts) > 2
        assert [counted for counted, _ in counts] == [said for _, said in counts]
        assert sum(counted for counted, _ in counts) == len(run.ids(stream))
    assert run.bookmark(LOGS) == run.bookmark(ITEMS)
    assert "streams" not in run.bookmark(LOGS)
    assert {"replication_key_value", "cursor", "anchor_id", "query", "recent_ids"} <= run.bookmark().keys()
    assert isinstance(run.of_type("STATE")[0]["sourceStats"]["recordCount"], float)


def test_state_is_not_written_before_anything_was_read(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(300, faults=[Fault.parse("1-=404")])
    run = run_source_here(tmp_path, config_for(simulator))
    assert run.status == 1
    assert run.of_type("STATE") == run.of_type("RECORD") == []


def test_empty_list_is_read_and_described_by_a_state(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(0)
    run = run_source_here(tmp_path, config_for(simulator))
    assert run.status == 0
    (state,) = run.of_type("STATE")
    assert state["sourceStats"] == {"recordCount": 0.0}
    assert state["stream"]["stream_state"]["query"]
    simulator.store.grow(120)
    after = run_source_here(tmp_path, config_for(simulator), state=run.states)
    assert after.ids() == simulator.store.ids()


@pytest.mark.parametrize("sync_mode", ["incremental", "full_refresh"])
def test_next_run_emits_what_is_new_whatever_the_sync_mode(
    simulate: Simulate, tmp_path: Path, sync_mode: str
) -> None:
    simulator = simulate(300)
    catalog = configured(LOGS, sync_mode=sync_mode)
    first = run_source_here(tmp_path, config_for(simulator), catalog=catalog)
    simulator.store.grow(40)
    second = run_source_here(tmp_path, config_for(simulator), catalog=catalog, state=first.states)
    third = run_source_here(tmp_path, config_for(simulator), catalog=catalog, state=second.states)
    assert (len(first.ids()), len(second.ids()), len(third.ids())) == (300, 40, 0)
    assert first.ids() + second.ids() == simulator.store.ids()
    assert third.statuses() == ["STARTED", "COMPLETE"]
    assert len(third.of_type("STATE")) == 1


def test_streams_with_equal_bookmarks_share_a_walk(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(1000)
    config = config_for(simulator, max_in_flight_requests=1)
    first = run_source_here(tmp_path, config, catalog=BOTH)
    requests = len(simulator.requests)
    assert requests < 15
    simulator.api.forget_requests()
    again = run_source_here(tmp_path, config, catalog=BOTH, state=first.states)
    assert len(simulator.requests) <= 3
    assert again.warnings == []


def test_stream_that_is_added_later_gets_its_whole_history(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(600)
    config = config_for(simulator)
    first = run_source_here(tmp_path, config)
    simulator.store.grow(50)
    added = run_source_here(tmp_path, config, catalog=BOTH, state=first.states)
    assert added.status == 0
    assert added.warnings == []
    assert added.ids() == simulator.store.ids()[600:]
    expected = [row["id"] for row in expected_rows(simulator.store.logs())]
    assert added.ids(ITEMS) == expected
    # The one without a state is read first.
    assert added.traces("STREAM_STATUS")[0]["stream_descriptor"]["name"] == ITEMS

    after = run_source_here(tmp_path, config, catalog=BOTH, state=added.states)
    assert (after.ids(), after.ids(ITEMS)) == ([], [])


def test_state_of_another_stream_is_ignored(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(120)
    first = run_source_here(tmp_path, config_for(simulator), catalog=BOTH)
    only = [state for state in first.states if state["stream"]["stream_descriptor"]["name"] == ITEMS]
    run = run_source_here(tmp_path, config_for(simulator), state=only)
    assert run.ids() == simulator.store.ids()


# Statuses and estimates


def test_statuses_show_how_far_each_stream_is(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(250)
    run = run_source_here(tmp_path, config_for(simulator), catalog=BOTH)
    for stream in (LOGS, ITEMS):
        assert run.statuses(stream) == ["STARTED", "RUNNING", "COMPLETE"]
    kinds = [
        (message["type"], message.get("trace", {}).get("stream_status", {}).get("status"))
        for message in run.messages
        if message["type"] != "LOG"
    ]
    assert kinds.index(("TRACE", "RUNNING")) < kinds.index(("RECORD", None))
    assert kinds.index(("TRACE", "COMPLETE")) > max(
        number for number, (kind, _) in enumerate(kinds) if kind == "STATE"
    )


def test_estimate_is_the_total_of_a_whole_list_and_only_for_whole_records(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(450)
    run = run_source_here(tmp_path, config_for(simulator), catalog=BOTH)
    assert run.traces("ESTIMATE") == [{"name": LOGS, "type": "STREAM", "row_estimate": 450}]
    after = run_source_here(tmp_path, config_for(simulator), catalog=BOTH, state=run.states)
    assert after.traces("ESTIMATE") == []


# Failures


@pytest.mark.parametrize(
    ("fault", "failure_type", "words"),
    [
        ("3-=401", "config_error", "credentials"),
        ("3-=500", "transient_error", "status 500"),
        ("3-=no-id", "system_error", "invalid_logs"),
    ],
)
def test_failure_has_a_type_and_one_clean_message(
    simulate: Simulate, tmp_path: Path, fault: str, failure_type: str, words: str
) -> None:
    simulator = simulate(1000, faults=[Fault.parse(fault)])
    run = run_source(tmp_path, config_for(simulator, retry_budget_seconds=0))
    assert (run.status, run.stderr) == (1, "")
    (error,) = run.errors
    assert error["failure_type"] == failure_type
    assert error["stream_descriptor"] == {"name": LOGS}
    assert words in error["message"]
    assert "\n" not in error["message"]
    assert "stack_trace" not in error
    assert run.statuses() == ["STARTED", "RUNNING", "INCOMPLETE"]
    # The state describes what was written, and the next run emits the rest.
    simulator.api.options = type(simulator.api.options)()
    after = run_source(tmp_path, config_for(simulator), state=run.states)
    assert run.ids() + after.ids() == simulator.store.ids()


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, KeyError, RecursionError])
def test_unexpected_exception_is_reported_and_leaves_a_state(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Exception]
) -> None:
    simulator = simulate(500)
    decode = PageDecoder.decode
    pages = 0

    def fail(self: PageDecoder, *args: Any, **kwargs: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages > 2:
            raise kind
        return decode(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PageDecoder, "decode", fail)
        run = run_source_here(tmp_path, config_for(simulator, max_in_flight_requests=1))
    assert run.status == 1
    (error,) = run.errors
    assert error["failure_type"] == "system_error"
    assert run.statuses()[-1] == "INCOMPLETE"
    after = run_source_here(tmp_path, config_for(simulator), state=run.states)
    assert run.ids() + after.ids() == simulator.store.ids()


def test_walk_that_fails_does_not_keep_another_from_being_made(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(300)
    config = config_for(simulator, max_in_flight_requests=1)
    first = run_source_here(tmp_path, config)
    simulator.store.grow(20)
    # The items' own walk comes first; its second page has a log without an id.
    simulator.api.options = type(simulator.api.options)(faults=[Fault.parse("2=no-id")])
    simulator.api.forget_requests()
    run = run_source_here(tmp_path, config, catalog=BOTH, state=first.states)
    assert run.status == 1
    assert (run.statuses(ITEMS)[-1], run.statuses(LOGS)[-1]) == ("INCOMPLETE", "COMPLETE")
    assert run.ids() == simulator.store.ids()[300:]
    (error,) = run.errors
    assert error["stream_descriptor"] == {"name": ITEMS}


def test_warnings_of_fetching_threads_are_messages_too(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(2000, faults=[Fault.parse(f"{number}=500") for number in (2, 3, 5, 8)])
    run = run_source(tmp_path, config_for(simulator))
    assert (run.status, run.stderr) == (0, "")
    # A guess is not worth a warning.
    assert len([warning for warning in run.warnings if "status 500" in warning]) > 1
    assert run.ids() == simulator.store.ids()


def test_deeply_nested_log_ends_the_run_after_those_before_it(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    simulator = simulate(250)
    ids = simulator.store.ids()
    decode = PageDecoder.decode

    def nest(self: PageDecoder, *args: Any, **kwargs: Any) -> Any:
        page = decode(self, *args, **kwargs)
        for record in page.records:
            if record.id == ids[130]:
                value: Any = []
                for _ in range(100_000):
                    value = [value]
                record.data.activityLogItems[0].metadata = value
        return page

    with monkeypatch.context() as patch:
        patch.setattr(PageDecoder, "decode", nest)
        run = run_source_here(tmp_path, config_for(simulator))
    assert run.status == 1
    assert "nested too deeply" in run.errors[0]["message"]
    assert run.ids() == ids[:130]
    after = run_source_here(tmp_path, config_for(simulator), state=run.states)
    assert run.ids() + after.ids() == ids


# The end of a run


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopped_run_ends_with_state_status_and_the_signals_exit_status(
    simulate: Simulate, tmp_path: Path, signum: signal.Signals
) -> None:
    simulator = simulate(3000, latency=(0.005, 0.005))
    run = run_source_and_stop(tmp_path, config_for(simulator), signum, after_lines=500, catalog=BOTH)
    assert (run.status, run.stderr) == (128 + signum, "")
    kinds = [message["type"] for message in run.messages if message["type"] != "LOG"]
    assert kinds[-4:] == ["STATE", "STATE", "TRACE", "TRACE"]
    assert run.statuses(LOGS)[-1] == run.statuses(ITEMS)[-1] == "INCOMPLETE"
    assert f"Stopped by {signum.name}" in run.warnings[-1]
    after = run_source(tmp_path, config_for(simulator), catalog=BOTH, state=run.states)
    assert run.ids() + after.ids() == simulator.store.ids()
    items = [row["id"] for row in expected_rows(simulator.store.logs())]
    assert run.ids(ITEMS) + after.ids(ITEMS) == items


@pytest.mark.parametrize("name", ["config", "catalog", "state"])
def test_signal_ends_the_wait_for_a_pipe_that_nobody_writes_to(
    simulate: Simulate, tmp_path: Path, name: str
) -> None:
    arguments = arguments_of(tmp_path, "read", config_for(simulate(1)), catalog=BOTH, state=[])
    file = Path(arguments[arguments.index(f"--{name}") + 1])
    file.unlink()
    os.mkfifo(file)
    # Opening it waits until the source opens it to read.
    with start_source(tmp_path, *arguments) as process, file.open("wb"):
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        (line,) = process.stdout.read().splitlines()
    assert process.wait(10) == 143
    assert "Stopped by SIGTERM" in json.loads(line)["log"]["message"]


def test_run_against_a_platform_that_is_gone_exits_with_1(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(3000)
    with (tmp_path / "stderr").open("wb") as stderr:
        arguments = arguments_of(tmp_path, "read", config_for(simulator))
        process = start_source(tmp_path, *arguments, stderr=stderr)
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(300)]
    assert process.wait(60) == 1
    assert (tmp_path / "stderr").read_text() == ""
    assert all(line.endswith(b"\n") for line in lines)


@pytest.mark.parametrize("how", [">&-", "> /dev/full"])
def test_output_that_cannot_be_written_is_reported_on_standard_error(
    simulate: Simulate, tmp_path: Path, how: str
) -> None:
    arguments = arguments_of(tmp_path, "read", config_for(simulate(300)))
    command = f'"$@" {how}'
    done = subprocess.run(
        ["bash", "-c", command, "bash", *SOURCE, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Standard output cannot be written to" in line


def test_streams_of_the_tap_are_all_read_in_one_run(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(30)
    run = run_source_here(
        tmp_path, config_for(simulator), catalog=configured(*STREAMS, sync_mode="full_refresh")
    )
    assert run.status == 0
    for stream in STREAMS:
        assert run.statuses(stream)[-1] == "COMPLETE"
        assert run.states
