"""Stream maps: the summary counts what was written, and what is wrong with a map names the log and the field."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.errors import StreamMapRecordError
from tap_sequence.simulator import Simulator
from tests.support.harness import STREAMS, config_for, discover, run_here, run_process, select

Simulate = Callable[..., Simulator]


def run_map(simulator: Simulator, *, stream: str = "activity_logs", **definition: Any) -> Any:
    return run_here(config_for(simulator, stream_maps={stream: definition}))


# What is written


@pytest.mark.parametrize(
    ("maps", "written"),
    [
        ({"activity_logs": {"__filter__": "record['origin'] == 'API'"}}, "{api} records of activity_logs"),
        ({"copy": {"__source__": "activity_logs"}}, "100 records of activity_logs"),
        ({"activity_logs": None}, "0 records of activity_logs"),
        ({"activity_logs": {"kind": "activityType"}}, None),
    ],
)
def test_summary_counts_the_records_that_are_written(
    simulate: Simulate, tmp_path: Path, maps: dict[str, Any], written: str | None
) -> None:
    simulator = simulate(50)
    api = sum(log["origin"] == "API" for log in simulator.store.logs())
    assert 1 < api < 50
    run = run_process(tmp_path, config_for(simulator, stream_maps=maps))
    (summary,) = [line for line in run.stderr.splitlines() if "Summary: " in line]
    assert "Summary: 50 logs emitted" in summary
    if written is None:
        assert "records of" not in summary
    else:
        number = written.format(api=api)
        assert f", {number}, " in summary
        assert len(run.of_type("RECORD")) == int(number.split()[0])


def test_summary_counts_each_stream(simulate: Simulate, tmp_path: Path) -> None:
    maps = {"activity_log_items": {"__filter__": "verb == 'nothing like it'"}}
    config = config_for(simulate(20), stream_maps=maps)
    run = run_process(tmp_path, config, catalog=select(discover(config), streams=STREAMS))
    assert "20 records of activity_logs, 0 records of activity_log_items" in run.stderr


# What is wrong


@pytest.mark.parametrize("expression", ["nope", "record['nope']", "record.nope", "_['nope']", "nope.upper()"])
@pytest.mark.parametrize("target", ["kind", "__filter__"])
def test_field_that_a_record_lacks_is_named_with_the_log(
    simulate: Simulate, tmp_path: Path, expression: str, target: str
) -> None:
    simulator = simulate(3)
    run = run_process(tmp_path, config_for(simulator, stream_maps={"activity_logs": {target: expression}}))
    assert run.status == 1
    assert not run.of_type("RECORD")
    (error,) = run.errors
    log = simulator.store.ids()[0]
    assert (
        f"stream_maps cannot be applied to activity_logs, log {log}: the record has no field nope;" in error
    )
    assert "record.get('nope')" in error


def test_field_that_only_some_records_lack_is_null_with_get(simulate: Simulate) -> None:
    simulator = simulate(20)
    logs = simulator.store.logs()
    run = run_map(simulator, kind="record.get('traceId')")
    assert [record["kind"] for record in run.records] == [log.get("traceId") for log in logs]


@pytest.mark.parametrize("expression", ["sha256(unmapped)", "md5(unmapped)"])
def test_null_that_is_hashed_ends_the_run_with_what_to_write(simulate: Simulate, expression: str) -> None:
    with pytest.raises(StreamMapRecordError, match="an expression got null"):
        run_map(simulate(1), kind=expression)
    run = run_map(simulate(1), kind=f"{expression} if unmapped else None")
    assert [record["kind"] for record in run.records] == [None]


@pytest.mark.parametrize("expression", ["unmapped.upper()", "int(origin)", "1 / 0"])
def test_other_failure_is_quoted_with_the_log(simulate: Simulate, expression: str) -> None:
    simulator = simulate(1)
    with pytest.raises(StreamMapRecordError) as caught:
        run_map(simulator, kind=expression)
    assert f", log {simulator.store.ids()[0]}: " in str(caught.value)
    assert "has no field" not in str(caught.value)


@pytest.mark.parametrize(
    ("maps", "unknown"),
    [
        ({"activity_log": {"kind": "origin"}}, "activity_log"),
        ({"copy": {"__source__": "activity_logz"}}, "activity_logz"),
        ({"logs_*": {"kind": "origin"}}, "logs_*"),
        ({"activity_*": {"kind": "origin"}}, None),
        ({"copy": {"__source__": "activity_logs"}}, None),
        ({"__else__": None, "activity_logs": {"kind": "origin"}}, None),
    ],
)
def test_map_for_a_stream_that_does_not_exist_is_warned_of(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, maps: dict[str, Any], unknown: str | None
) -> None:
    run_here(config_for(simulate(1), stream_maps=maps))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    if unknown is None:
        assert not warnings
    else:
        (warning,) = warnings
        assert warning.startswith(f"stream_maps has a map for {unknown}, which no stream is called")
