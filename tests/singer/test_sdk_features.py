"""What the SDK gives every tap works here too, although the tap has a sync loop of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tap_sequence.simulator import Fault, Simulator
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync import run as run_module
from tests.support.harness import STREAMS, as_sent, config_for, discover, run_here, run_process, select

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
    # Targets delete the rows of other versions when it comes, so all of this one must be there.
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
def test_a_full_table_run_that_fails_half_way_leaves_the_older_rows(
    simulate: Simulate, tmp_path: Path, streams: Sequence[str]
) -> None:
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


def test_an_incremental_run_has_no_versions(simulate: Simulate) -> None:
    run = run_here(config_for(simulate(20)))
    assert not run.of_type("ACTIVATE_VERSION")
    assert not any("version" in message for message in run.of_type("RECORD"))


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
    monkeypatch.setattr(run_module, "CHECKPOINT_EVERY_SECONDS", 0.05)
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
