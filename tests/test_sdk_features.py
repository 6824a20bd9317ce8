"""What the SDK gives every tap works here too, although the tap has a sync loop of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest

from tap_sequence import streams
from tap_sequence.simulator import Simulator
from tap_sequence.tap import SequenceTap
from tests.harness import as_sent, config_for, discover, run_here, select

Simulate = Callable[..., Simulator]


def test_full_table_by_catalog_reads_the_whole_log_in_each_run_and_tells_the_loads_apart(
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
    kinds = [message["type"] for message in first.messages]
    assert kinds.index("SCHEMA") < kinds.index("ACTIVATE_VERSION") < kinds.index("RECORD")

    second = run_here(config, first.state, catalog)
    assert second.ids == simulator.store.ids()


def test_full_table_leaves_an_incremental_bookmark_as_it_is(simulate: Simulate) -> None:
    simulator = simulate(250)
    config = config_for(simulator)
    incremental = run_here(config)
    full = run_here(
        config, incremental.state, select(discover(config), **{"replication-method": "FULL_TABLE"})
    )
    assert full.state == incremental.state
    simulator.store.grow(5)
    assert len(run_here(config, full.state).ids) == 5


def test_deselected_fields_stay_out(simulate: Simulate) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    deselected = [["properties", "traceId"], ["properties", "activityLogItems"]]
    run = run_here(config, catalog=select(discover(config), deselected))
    expected = copy.deepcopy(simulator.store.logs())
    for log in expected:
        log.pop("traceId", None)
        del log["activityLogItems"]
    assert run.records == expected
    # The bookmark needs neither of them, and works on.
    simulator.store.grow(5)
    assert len(run_here(config, run.state, select(discover(config), deselected)).ids) == 5


def test_a_deselected_stream_is_not_read(simulate: Simulate) -> None:
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
    # What the map left out was read all the same: the next run does not bring it again.
    assert run_here(config_for(simulator, stream_maps={"activity_logs": stream_map}), run.state).records == []


def test_flattening_works(simulate: Simulate) -> None:
    simulator = simulate(120)
    run = run_here(config_for(simulator, flattening_enabled=True, flattening_max_depth=3))
    (schema,) = run.of_type("SCHEMA")
    assert "activityLogItems" in schema["schema"]["properties"]
    # The nested list is no object, so the SDK writes it as JSON text.
    by_id = {log["id"]: log for log in simulator.store.logs()}
    for record in run.records:
        items = json.loads(record["activityLogItems"])
        assert list(map(as_sent, items)) == by_id[record["id"]]["activityLogItems"]


def test_a_state_is_written_while_a_page_is_still_on_its_way(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The contract: one every 30 seconds while reading. Here every 50 milliseconds, with 300 for a page."""
    monkeypatch.setattr(streams, "STATE_EVERY_SECONDS", 0.05)
    simulator = simulate(250, latency=(0.3, 0.3))
    run = run_here(config_for(simulator))
    assert run.ids == simulator.store.ids()
    states = [index for index, message in enumerate(run.messages) if message["type"] == "STATE"]
    assert len(states) > 6
    # Each describes what stands before it: after it, nothing that it knows is emitted.
    for index in states:
        known = run.messages[index]["value"]["bookmarks"]["activity_logs"].get("recent_ids", [])
        later = {message["record"]["id"] for message in run.messages[index:] if message["type"] == "RECORD"}
        assert not set(known) & later


def test_without_messages_a_stream_yields_its_records(simulate: Simulate) -> None:
    simulator = simulate(120)
    stream = SequenceTap(config=config_for(simulator)).streams["activity_logs"]
    records = list(stream.get_records(None))
    assert all(isinstance(record, dict) for record in records)
    assert [as_sent(record) for record in records if isinstance(record, dict)] == simulator.store.logs()
