"""A page is written at once if the SDK would change none of its records; otherwise record by record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from singer_sdk.exceptions import AbortedSyncPausedException

from tap_sequence.simulator import Simulator
from tap_sequence.singer.streams import STREAM_TYPES
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync import checkpoints as checkpoints_module
from tests.support.harness import Recorder, Run, config_for, discover, select

Simulate = Callable[..., Simulator]

SAME: dict[str, Any] = {"activity_logs": {}}
"""A stream map that changes nothing, which the tap does not detect."""


def written(config: dict[str, Any], catalog: dict[str, Any] | None = None) -> Recorder:
    recorder = Recorder()
    SequenceTap(config=config, catalog=catalog, message_writer=recorder).sync_all()
    return recorder


def record_lines(recorder: Recorder) -> list[bytes]:
    """Return the RECORD lines without the times that differ from run to run."""
    lines = b"".join(recorder.writes).splitlines()
    times = rb'"(time_extracted":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"|version":\d+)'
    return [re.sub(times, b'"time"', line) for line in lines if line.startswith(b'{"type":"RECORD"')]


def records_in_a_write(recorder: Recorder) -> list[int]:
    counts = [lines.count(b'{"type":"RECORD"') for lines in recorder.writes]
    return [count for count in counts if count]


@pytest.mark.parametrize("actor_email", ["keep", "hash", "drop"])
@pytest.mark.parametrize("method", ["INCREMENTAL", "FULL_TABLE"])
def test_page_at_once_has_the_same_bytes_as_record_by_record(
    simulate: Simulate, actor_email: str, method: str
) -> None:
    config = config_for(simulate(500), actor_email=actor_email)
    catalog = select(discover(config), **{"replication-method": method})
    together = written(config, catalog)
    one_by_one = written({**config, "stream_maps": SAME}, catalog)
    assert records_in_a_write(together) == [100] * 5
    assert records_in_a_write(one_by_one) == [1] * 500
    assert record_lines(together) == record_lines(one_by_one)
    assert all((b'"time","time"}' in line) is (method == "FULL_TABLE") for line in record_lines(together))


@pytest.mark.parametrize("metadata", ["text", "json"])
def test_every_kind_of_value_has_the_same_bytes_either_way(simulate: Simulate, metadata: str) -> None:
    simulator = simulate(3)
    values = rb"""[0.10, 1E400, 12345678901234567890.1234567890, -0.0, 1180591620717411303424, null, true,
        "\u00df \u2028 \ud83d\ude00 \" \\ \u007f", {"": [], "a": {"b": [[]]}}]"""
    for log_id in simulator.store.ids():
        log = json.loads(simulator.store.body(log_id))
        log["activityLogItems"][0].update(metadata="VALUES", reason=None)
        log["activityLogItems"][0].pop("activityLogTarget", None)
        simulator.store._bodies[log_id] = json.dumps(log).encode().replace(b'"VALUES"', values)
    config = config_for(simulator, metadata=metadata)
    together, one_by_one = written(config), written({**config, "stream_maps": SAME})
    assert records_in_a_write(together) == [3]
    assert record_lines(together) == record_lines(one_by_one)
    assert all(b"12345678901234567890.1234567890" in line for line in record_lines(together))
    assert all(b'"reason":null' in line for line in record_lines(together))


@pytest.mark.parametrize(
    ("settings", "records_of_a_log"),
    [
        ({"stream_maps": {"activity_logs": {"traceId": None}}}, 1),
        ({"stream_maps": {"copy": {"__source__": "activity_logs"}}}, 2),
        ({"flattening_enabled": True, "flattening_max_depth": 2}, 1),
    ],
)
def test_records_that_the_sdk_changes_are_written_one_by_one(
    simulate: Simulate, settings: dict[str, Any], records_of_a_log: int
) -> None:
    recorder = written(config_for(simulate(20), **settings))
    assert records_in_a_write(recorder) == [records_of_a_log] * 20


def test_records_with_a_deselected_field_are_written_one_by_one(simulate: Simulate) -> None:
    config = config_for(simulate(20))
    recorder = written(config, select(discover(config), [["properties", "traceId"]]))
    assert records_in_a_write(recorder) == [1] * 20
    assert not any(b'"traceId"' in line for line in record_lines(recorder))


def test_full_selection_and_map_of_another_stream_write_a_page_at_once(simulate: Simulate) -> None:
    config = config_for(simulate(20), stream_maps={"other": {"a": None}})
    assert records_in_a_write(written(config, select(discover(config)))) == [20]


def test_record_limit_of_the_sdk_is_kept(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STREAM_TYPES[0], "ABORT_AT_RECORD_COUNT", 7)
    recorder = Recorder()
    with pytest.raises(AbortedSyncPausedException):
        SequenceTap(config=config_for(simulate(20)), message_writer=recorder).sync_all()
    assert records_in_a_write(recorder) == [1] * 7


@pytest.mark.parametrize("stream_maps", [{}, SAME])
def test_state_within_a_page_describes_only_the_records_before_it(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, stream_maps: dict[str, Any]
) -> None:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_EVERY_RECORDS", 40)
    recorder = written(config_for(simulate(100), stream_maps=stream_maps))
    kinds = "".join(message["type"][0] for message in recorder.messages if message["type"] != "SCHEMA")
    assert re.findall("R+", kinds) == ["R" * 40, "R" * 40, "R" * 20]
    before: list[str] = []
    for message in recorder.messages:
        if message["type"] == "RECORD":
            before.append(message["record"]["id"])
        elif message["type"] == "STATE":
            assert message["value"]["bookmarks"]["activity_logs"]["recent_ids"] == before


def test_page_that_cannot_be_encoded_at_once_is_written_one_by_one(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a log that is nested too deeply."""

    def too_deep(*_args: Any, **_options: Any) -> None:
        raise RecursionError

    simulator = simulate(10)
    monkeypatch.setattr(Recorder, "encode_records", too_deep)

    assert records_in_a_write(written(config_for(simulator))) == [1] * 10


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_page_is_one_write_to_standard_output(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """Even if each write is partial, no line is cut or lost."""

    class Pipe:
        def __init__(self) -> None:
            self.taken = b""
            self.flushes = 0

        def write(self, lines: memoryview) -> int:
            count = (len(lines) + 1) // 2 if unbuffered else len(lines)
            self.taken += lines[:count]
            return count

        def flush(self) -> None:
            self.flushes += 1

    pipe = Pipe()
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=pipe, flush=pipe.flush))
    simulator = simulate(250)
    SequenceTap(config=config_for(simulator)).sync_all()
    monkeypatch.undo()
    messages = [json.loads(line) for line in pipe.taken.splitlines()]
    assert Run(0, messages).records == simulator.store.logs()
    assert pipe.flushes == 3 + len([each for each in messages if each["type"] != "RECORD"])
