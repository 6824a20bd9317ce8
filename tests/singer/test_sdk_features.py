"""The SDK's features work, although the tap has its own sync loop."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tap_sequence.simulator import Fault, Simulator
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync import checkpoints as checkpoints_module
from tests.support.harness import STREAMS, as_sent, config_for, discover, run_here, run_process, select

Simulate = Callable[..., Simulator]


def test_full_table_reads_the_whole_list_in_each_run_with_its_version(
    simulate: Simulate,
) -> None:
    simulator = simulate(250)
    config = config_for(simulator)
    catalog = select(discover(config), **{"replication-method": "FULL_TABLE"})
    first = run_here(config, catalog=catalog)
    assert first.ids == simulator.store.ids()
    (version,) = first.of_type("ACTIVATE_VERSION")
    assert version["stream"] == "activity_logs"
    assert {message["version"] for message in first.of_type("RECORD")} == {version["version"]}
    # Targets then delete the rows of other versions, so all records must be before it.
    assert [message["type"] for message in first.messages[-3:]] == ["RECORD", "ACTIVATE_VERSION", "STATE"]

    second = run_here(config, first.state, catalog)
    assert second.ids == simulator.store.ids()


def test_full_table_activates_the_version_of_each_stream_at_the_end(simulate: Simulate) -> None:
    simulator = simulate(250)
    config = config_for(simulator)
    catalog = select(discover(config), streams=STREAMS, **{"replication-method": "FULL_TABLE"})
    run = run_here(config, catalog=catalog)
    activated = {message["stream"]: message["version"] for message in run.of_type("ACTIVATE_VERSION")}
    assert set(activated) == set(STREAMS)
    records = run.of_type("RECORD")
    assert {message["stream"] for message in records} == set(STREAMS)
    assert all(message["version"] == activated[message["stream"]] for message in records)
    last = ["RECORD", "ACTIVATE_VERSION", "ACTIVATE_VERSION", "STATE"]
    assert [message["type"] for message in run.messages[-4:]] == last


@pytest.mark.parametrize("streams", [STREAMS[:1], STREAMS])
def test_full_table_run_that_fails_does_not_activate_its_version(
    simulate: Simulate, tmp_path: Path, streams: Sequence[str]
) -> None:
    """So the target keeps the older rows."""
    simulator = simulate(450, faults=[Fault.parse("3-=401")])
    config = config_for(simulator, max_in_flight_requests=1)
    catalog = select(discover(config), streams=streams, **{"replication-method": "FULL_TABLE"})
    run = run_process(tmp_path, config, catalog=catalog)
    assert run.status == 1
    assert len({message["record"]["id"] for message in run.of_type("RECORD")}) >= 200
    assert all("version" in message for message in run.of_type("RECORD"))
    assert not run.of_type("ACTIVATE_VERSION")


def test_full_table_of_an_empty_list_activates_its_version(simulate: Simulate) -> None:
    config = config_for(simulate(0))
    run = run_here(config, catalog=select(discover(config), **{"replication-method": "FULL_TABLE"}))
    assert [message["type"] for message in run.messages] == ["SCHEMA", "ACTIVATE_VERSION", "STATE"]


def test_incremental_run_has_no_versions(simulate: Simulate) -> None:
    run = run_here(config_for(simulate(20)))
    assert not run.of_type("ACTIVATE_VERSION")
    assert not any("version" in message for message in run.of_type("RECORD"))


def test_full_table_keeps_an_incremental_bookmark(simulate: Simulate) -> None:
    simulator = simulate(250)
    config = config_for(simulator)
    incremental = run_here(config)
    full = run_here(
        config, incremental.state, select(discover(config), **{"replication-method": "FULL_TABLE"})
    )
    assert full.state == incremental.state
    simulator.store.grow(5)
    assert len(run_here(config, full.state).ids) == 5


def test_deselected_fields_are_not_emitted(simulate: Simulate) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    deselected = [["properties", "traceId"], ["properties", "activityLogItems"]]
    run = run_here(config, catalog=select(discover(config), deselected))
    expected = copy.deepcopy(simulator.store.logs())
    for log in expected:
        log.pop("traceId", None)
        del log["activityLogItems"]
    assert run.records == expected
    # The bookmark needs neither of them.
    simulator.store.grow(5)
    assert len(run_here(config, run.state, select(discover(config), deselected)).ids) == 5


def test_deselected_stream_is_not_read(simulate: Simulate) -> None:
    simulator = simulate(10)
    config = config_for(simulator)
    run = run_here(config, catalog=select(discover(config), selected=False))
    assert run.records == []
    assert simulator.requests == []


def test_stream_maps_rename_filter_and_compute(simulate: Simulate) -> None:
    simulator = simulate(250)
    stream_map = {
        "__alias__": "audit",
        "__filter__": "record['origin'] == 'API'",
        "account": "sequenceAccountId",
        "sequenceAccountId": None,
    }
    run = run_here(config_for(simulator, stream_maps={"activity_logs": stream_map}))
    expected = [log for log in simulator.store.logs() if log["origin"] == "API"]
    assert {message["stream"] for message in run.of_type("RECORD")} == {"audit"}
    assert [record["id"] for record in run.records] == [log["id"] for log in expected]
    assert [record["account"] for record in run.records] == [log["sequenceAccountId"] for log in expected]
    assert not any("sequenceAccountId" in record for record in run.records)
    # The logs that the map filtered out were read: the next run does not emit them.
    assert run_here(config_for(simulator, stream_maps={"activity_logs": stream_map}), run.state).records == []


def test_flattening_writes_nested_lists_as_json(simulate: Simulate) -> None:
    simulator = simulate(120)
    run = run_here(config_for(simulator, flattening_enabled=True, flattening_max_depth=3))
    (schema,) = run.of_type("SCHEMA")
    assert "activityLogItems" in schema["schema"]["properties"]
    # The SDK writes a nested list as JSON.
    by_id = {log["id"]: log for log in simulator.store.logs()}
    for record in run.records:
        items = json.loads(record["activityLogItems"])
        assert list(map(as_sent, items)) == by_id[record["id"]]["activityLogItems"]


def test_state_is_written_while_waiting_for_a_page(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normally every 30 seconds; here every 50 milliseconds, with 300 for a page."""
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_EVERY_SECONDS", 0.05)
    simulator = simulate(250, latency=(0.3, 0.3))
    run = run_here(config_for(simulator))
    assert run.ids == simulator.store.ids()
    states = [index for index, message in enumerate(run.messages) if message["type"] == "STATE"]
    assert len(states) > 6
    # Each describes the records before it: none of those is emitted after it.
    for index in states:
        known = run.messages[index]["value"]["bookmarks"]["activity_logs"].get("recent_ids", [])
        later = {message["record"]["id"] for message in run.messages[index:] if message["type"] == "RECORD"}
        assert not set(known) & later


def test_get_records_yields_records(simulate: Simulate) -> None:
    simulator = simulate(120)
    stream = SequenceTap(config=config_for(simulator)).streams["activity_logs"]
    records = list(stream.get_records(None))
    assert all(isinstance(record, dict) for record in records)
    assert [as_sent(record) for record in records if isinstance(record, dict)] == simulator.store.logs()
