"""activity_log_items: one flat row for each item, from the same pages as activity_logs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.errors import CatalogError
from tap_sequence.simulator import Simulator
from tap_sequence.singer.tap import SequenceTap
from tap_sequence.sync import checkpoints as checkpoints_module
from tap_sequence.transforms.items import ItemRows
from tests.support.harness import (
    STREAMS,
    Recorder,
    Run,
    as_sent,
    catalog_entry,
    config_for,
    discover,
    run_here,
    run_process,
    select,
)

Simulate = Callable[..., Simulator]

LOGS, ITEMS = STREAMS
SCHEMA = SCHEMAS[ITEMS]
PARTS = {"actor": "activityLogActor", "object": "activityLogObject", "target": "activityLogTarget"}


def expected_rows(logs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of logs, computed from their JSON."""
    rows = []
    for log in logs:
        for item in log["activityLogItems"]:
            row = {name: item.get(name) for name in ("id", "activityLogId", "verb", "name", "summary")}
            row |= {name: item.get(name) for name in ("reason", "metadata")}
            row |= {name: log[name] for name in ("createdAt", "sequenceAccountId")}
            for prefix, part in PARTS.items():
                fields = item.get(part) or {}
                row |= {
                    f"{prefix}{name[0].upper()}{name[1:]}": fields.get(name)
                    for name in ("id", "entityType", "entityId")
                }
            row["actorEmail"] = item["activityLogActor"].get("email")
            rows.append(row)
    return rows


def catalog_of(config: Mapping[str, Any], *selected: str, **metadata: Any) -> dict[str, Any]:
    catalog = discover(config)
    for name in STREAMS:
        select(catalog, streams=[name], **metadata, selected=name in selected)
    return catalog


def rows_of(run: Run, stream: str = ITEMS) -> list[dict[str, Any]]:
    return [as_sent(message["record"]) for message in run.of_type("RECORD") if message["stream"] == stream]


# The rows


def test_item_is_a_row_with_every_column_of_the_schema(simulate: Simulate) -> None:
    simulator = simulate(300)
    config = config_for(simulator)
    run = run_here(config, catalog=catalog_of(config, LOGS, ITEMS))
    expected = expected_rows(simulator.store.logs())
    assert rows_of(run) == expected
    rows = [message["record"] for message in run.of_type("RECORD") if message["stream"] == ITEMS]
    assert all(row.keys() == SCHEMA["properties"].keys() for row in rows)
    # Both kinds occur, or the comparison would prove little.
    assert any(len(log["activityLogItems"]) > 1 for log in simulator.store.logs())
    for column in ("reason", "metadata", "actorEmail", "targetId"):
        assert {row[column] is None for row in expected} == {True, False}, column
    (schema,) = [message["schema"] for message in run.of_type("SCHEMA") if message["stream"] == ITEMS]
    validator = jsonschema.Draft202012Validator(schema)
    for row in rows:
        validator.validate(row)


def test_columns_have_the_types_of_their_fields() -> None:
    item = SCHEMAS[LOGS]["properties"]["activityLogItems"]["items"]
    for column, definition in SCHEMA["properties"].items():
        part = next((part for prefix, part in PARTS.items() if column.startswith(prefix)), None)
        if part is not None:
            field = column.removeprefix(column[: len(part) - len("activityLog")])
            own = item["properties"][part]["properties"][field[0].lower() + field[1:]]
        else:
            own = item["properties"].get(column) or SCHEMAS[LOGS]["properties"][column]
        # Without `items`, target-postgres stores a list of arbitrary values as JSON.
        kinds = {"type", "format"}
        wanted = {key: value for key, value in own.items() if key in kinds}
        if column == "id":
            wanted["type"] = "string"  # The primary key: generated if the API sends none.
        assert {key: value for key, value in definition.items() if key in kinds} == wanted, column
    never_null = {name for name, each in SCHEMA["properties"].items() if "null" not in each["type"]}
    assert set(SCHEMA["required"]) == never_null


def test_log_without_items_has_no_row(simulate: Simulate) -> None:
    simulator = simulate(3)
    first = simulator.store.ids()[0]
    log = json.loads(simulator.store.body(first))
    log["activityLogItems"] = []
    simulator.store._bodies[first] = json.dumps(log).encode()
    config = config_for(simulator)
    run = run_here(config, catalog=catalog_of(config, LOGS, ITEMS))
    assert rows_of(run, LOGS) == simulator.store.logs()
    assert {row["activityLogId"] for row in rows_of(run)} == set(simulator.store.ids()[1:])


def test_column_that_the_schema_lacks_is_not_in_rows() -> None:
    schema = copy.deepcopy(SCHEMA)
    del schema["properties"]["actorEmail"]
    (row,) = ItemRows(schema).of([_log_of_one_item()])
    assert not hasattr(row, "actorEmail")
    assert row.actorId == "somebody"


def test_item_with_missing_or_wrong_fields_is_a_row_of_its_log(simulate: Simulate) -> None:
    """Its id is generated if missing, and undocumented values are in `unmapped`."""
    simulator = simulate(3)
    first = simulator.store.ids()[0]
    log = json.loads(simulator.store.body(first))
    whole = log["activityLogItems"][0]
    odd = {
        **whole,
        "id": None,
        "brandNew": 1.50,
        "activityLogObject": "INVOICE",
        "activityLogActor": {"id": "a", "shoe size": [43]},
        "activityLogTarget": {},
    }
    log |= {"activityLogItems": [whole, None, odd, {}, "text"], "alsoNew": "of the log alone"}
    simulator.store._bodies[first] = json.dumps(log).encode()
    config = config_for(simulator)
    for _ in range(2):
        run = run_here(config, catalog=catalog_of(config, LOGS, ITEMS))
        (schema,) = [message["schema"] for message in run.of_type("SCHEMA") if message["stream"] == ITEMS]
        rows = [message["record"] for message in run.of_type("RECORD") if message["stream"] == ITEMS]
        for row in rows:
            jsonschema.Draft202012Validator(schema).validate(row)
            assert row.keys() == SCHEMA["properties"].keys()
        rows = [row for row in rows if row["activityLogId"] == first]
        assert [row["id"] for row in rows] == [whole["id"], f"{first}:2", f"{first}:3"]
        assert [json.loads(row["unmapped"] or "null") for row in rows] == [
            None,
            {"brandNew": 1.5, "activityLogObject": "INVOICE", 'activityLogActor["shoe size"]': [43]},
            None,
        ]
        assert (rows[1]["actorId"], rows[1]["actorEntityType"], rows[1]["objectId"]) == ("a", None, None)
        assert {name for name, value in rows[2].items() if value is not None} == {
            *("id", "activityLogId", "createdAt", "sequenceAccountId"),
        }
        (record,) = [record for record in rows_of(run, LOGS) if record["id"] == first]
        assert json.loads(record["unmapped"])["activityLogItems[4]"] == "text"


def _log_of_one_item() -> Any:
    part = {"id": "somebody", "entityType": "USER", "entityId": None, "email": "ada@example.com"}
    item = dict.fromkeys(("id", "activityLogId", "verb", "name", "summary", "reason"), "text")
    nested = {part_of_item: SimpleNamespace(**part) for part_of_item in PARTS.values()}
    items = [SimpleNamespace(**item, **nested, metadata=[])]
    return SimpleNamespace(
        id="log",
        createdAt="2026-11-01T00:00:00Z",
        sequenceAccountId="1",
        activityLogItems=items,
        unmapped=None,
    )


@pytest.mark.parametrize("name", [ITEMS, "*"])
def test_stream_map_of_deselected_stream_is_accepted(simulate: Simulate, name: str) -> None:
    simulator = simulate(20)
    run = run_here(config_for(simulator, stream_maps={name: {"source": "'tap'"}}))
    assert [record["id"] for record in run.records] == simulator.store.ids()
    assert all(("source" in record) == (name == "*") for record in run.records)


@pytest.mark.parametrize("action", ["hash", "drop"])
def test_addresses_are_hashed_or_dropped_in_rows_and_schema(simulate: Simulate, action: str) -> None:
    simulator = simulate(120)
    config = config_for(simulator, actor_email=action)
    run = run_here(config, catalog=catalog_of(config, LOGS, ITEMS))
    assert "@example" not in json.dumps(run.records, ensure_ascii=False)
    (schema,) = [message["schema"] for message in run.of_type("SCHEMA") if message["stream"] == ITEMS]
    assert ("actorEmail" in schema["properties"]) == (action == "hash")
    of_logs = [
        item["activityLogActor"].get("email")
        for log in rows_of(run, LOGS)
        for item in log["activityLogItems"]
    ]
    assert [row.get("actorEmail") for row in rows_of(run)] == of_logs
    # A catalog from a run with addresses restores none, and adds the column to no other stream.
    catalog = catalog_of({**config, "actor_email": "keep"}, LOGS, ITEMS)
    assert rows_of(run_here(config, catalog=catalog)) == rows_of(run)
    followed = SequenceTap(config=config, catalog=catalog).input_catalog
    assert followed is not None
    assert "actorEmail" not in catalog_entry(followed.to_dict(), LOGS)["schema"]["properties"]


# Selection


def test_items_are_deselected_by_default(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(120)
    run = run_process(tmp_path, config_for(simulator))
    assert (run.status, {message["stream"] for message in run.of_type("RECORD")}) == (0, {LOGS})
    assert [message["stream"] for message in run.of_type("SCHEMA")] == [LOGS]


@pytest.mark.parametrize("ahead", [1, 4])
def test_items_need_no_further_requests(simulate: Simulate, ahead: int) -> None:
    simulator = simulate(1500)
    config = config_for(simulator, max_in_flight_requests=ahead)
    counts = []
    for selected in ((LOGS,), (ITEMS,), (LOGS, ITEMS)):
        before = len(simulator.requests)
        run = run_here(config, catalog=catalog_of(config, *selected))
        counts.append(len(simulator.requests) - before)
        assert {message["stream"] for message in run.of_type("RECORD")} == set(selected)
        assert {message["stream"] for message in run.of_type("SCHEMA")} == set(selected)
        for name, expected in (
            (LOGS, simulator.store.logs()),
            (ITEMS, expected_rows(simulator.store.logs())),
        ):
            assert rows_of(run, name) == (expected if name in selected else [])
        simulator.store.grow(30)
        second = run_here(config, run.state, catalog_of(config, *selected))
        new = simulator.store.logs()[-30:]
        assert rows_of(second, ITEMS) == (expected_rows(new) if ITEMS in selected else [])
        for log_id in simulator.store.ids()[-30:]:
            simulator.store.remove(log_id)
    assert counts == [counts[0]] * 3


def test_item_is_written_after_its_schema_and_its_log(simulate: Simulate) -> None:
    config = config_for(simulate(250))
    messages = run_here(config, catalog=catalog_of(config, LOGS, ITEMS)).messages
    logs: set[str] = set()
    kinds = [(message["type"], message.get("stream")) for message in messages]
    assert kinds.index(("SCHEMA", ITEMS)) < kinds.index(("RECORD", ITEMS))
    for message in messages:
        if message["type"] == "RECORD" and message["stream"] == LOGS:
            logs.add(message["record"]["id"])
        elif message["type"] == "RECORD":
            assert message["record"]["activityLogId"] in logs


# The bookmark


@pytest.mark.parametrize("selected", [(ITEMS,), (LOGS, ITEMS)])
def test_both_streams_share_one_bookmark(simulate: Simulate, selected: Sequence[str]) -> None:
    simulator = simulate(400)
    config = config_for(simulator)
    first = run_here(config, catalog=catalog_of(config, *selected))
    assert first.state["bookmarks"].keys() == {LOGS}
    assert first.bookmark["streams"] == list(selected)
    assert run_here(config, first.state, catalog_of(config, *selected)).records == []


@pytest.mark.parametrize("stream_maps", [{}, {ITEMS: {}}, {"copy": {"__source__": ITEMS}}])
@pytest.mark.parametrize("selected", [(ITEMS,), (LOGS, ITEMS)])
def test_state_describes_complete_logs_before_it(
    simulate: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    selected: Sequence[str],
    stream_maps: dict[str, Any],
) -> None:
    monkeypatch.setattr(checkpoints_module, "CHECKPOINT_EVERY_RECORDS", 40)
    simulator = simulate(200)
    config = config_for(simulator, stream_maps=stream_maps)
    messages = run_here(config, catalog=catalog_of(config, *selected)).messages
    items = {log["id"]: {item["id"] for item in log["activityLogItems"]} for log in simulator.store.logs()}
    since_state = 0
    before: dict[str, set[str]] = {name: set() for name in (*STREAMS, *stream_maps)}
    for message in messages:
        if message["type"] == "RECORD":
            since_state += 1
            before[message["stream"]].add(message["record"]["id"])
            assert since_state <= 40
        elif message["type"] == "STATE":
            since_state = 0
            for log_id in message["value"]["bookmarks"][LOGS].get("recent_ids", []):
                assert LOGS not in selected or log_id in before[LOGS]
                assert items[log_id] <= before[ITEMS]


def test_run_after_kill_anywhere_emits_the_rest_of_both(simulate: Simulate) -> None:
    simulator = simulate(700)
    config = config_for(simulator)
    catalog = catalog_of(config, LOGS, ITEMS)
    lines = run_here(config, catalog=catalog).messages
    for kept in range(0, len(lines), 211):
        head = Run(0, lines[:kept])
        states = head.of_type("STATE")
        rest = run_here(config, states[-1]["value"] if states else None, catalog)
        for name, expected in (
            (LOGS, simulator.store.ids()),
            (ITEMS, [row["id"] for row in expected_rows(simulator.store.logs())]),
        ):
            loaded = [row["id"] for row in (*rows_of(head, name), *rows_of(rest, name))]
            assert set(loaded) == set(expected)
            assert len(loaded) - len(expected) <= 1000


def test_items_selected_later_start_with_new_logs_and_a_warning(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    first = run_process(tmp_path, config)
    simulator.store.grow(7)
    both = catalog_of(config, LOGS, ITEMS)
    second = run_process(tmp_path, config, state=first.state, catalog=both)
    assert rows_of(second) == expected_rows(simulator.store.logs()[-7:])
    (warning,) = second.warnings
    assert ITEMS in warning
    assert run_process(tmp_path, config, state=second.state, catalog=both).warnings == []


# Features of the SDK


@pytest.mark.parametrize("selected", [(ITEMS,), (LOGS, ITEMS)])
def test_full_table_reads_all_in_each_run_with_its_version(
    simulate: Simulate, selected: Sequence[str]
) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    catalog = catalog_of(config, *selected, **{"replication-method": "FULL_TABLE"})
    for _ in range(2):
        run = run_here(config, catalog=catalog)
        versions = {message["stream"]: message["version"] for message in run.of_type("ACTIVATE_VERSION")}
        assert versions.keys() == set(selected)
        assert rows_of(run) == expected_rows(simulator.store.logs())
        assert all(message["version"] == versions[message["stream"]] for message in run.of_type("RECORD"))


def test_mixed_replication_methods_are_refused_before_any_request(simulate: Simulate) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    catalog = catalog_of(config, LOGS, ITEMS)
    select(catalog, streams=[ITEMS], **{"replication-method": "FULL_TABLE"})
    with pytest.raises(CatalogError, match="activity_logs and activity_log_items"):
        run_here(config, catalog=catalog)
    assert simulator.requests == []
    # The method of a deselected stream does not matter.
    select(catalog, streams=[LOGS], selected=False)
    assert rows_of(run_here(config, catalog=catalog)) == expected_rows(simulator.store.logs())


def test_items_with_stream_maps_and_deselected_columns(simulate: Simulate) -> None:
    simulator = simulate(120)
    maps = {ITEMS: {"__alias__": "changes", "who": "record['actorEmail']", "actorEmail": None}}
    config = config_for(simulator, stream_maps=maps)
    catalog = select(catalog_of(config, LOGS, ITEMS), [["properties", "metadata"]], streams=[ITEMS])
    run = run_here(config, catalog=catalog)
    expected = expected_rows(simulator.store.logs())
    for row in expected:
        row["who"] = row.pop("actorEmail")
        del row["metadata"]
    assert rows_of(run, "changes") == expected
    assert rows_of(run, LOGS) == simulator.store.logs()


def test_get_records_yields_rows(simulate: Simulate) -> None:
    simulator = simulate(120)
    stream = SequenceTap(config=config_for(simulator)).streams[ITEMS]
    rows = [as_sent(row) for row in stream.get_records(None) if isinstance(row, dict)]
    assert rows == expected_rows(simulator.store.logs())


def test_page_of_both_streams_is_one_write(simulate: Simulate) -> None:
    config = config_for(simulate(300))
    recorder = Recorder()
    SequenceTap(config=config, catalog=catalog_of(config, LOGS, ITEMS), message_writer=recorder).sync_all()
    writes = [lines for lines in recorder.writes if b'"type":"RECORD"' in lines]
    assert len(writes) == 3
    assert all(f'"stream":"{name}"'.encode() in lines for lines in writes for name in STREAMS)


def test_both_streams_are_counted_in_the_sdks_metrics(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(120)
    config = config_for(simulator)
    run = run_process(tmp_path, config, catalog=catalog_of(config, LOGS, ITEMS))
    counted = dict(_record_counts(run.stderr))
    assert counted == {LOGS: 120, ITEMS: len(expected_rows(simulator.store.logs()))}


def _record_counts(stderr: str) -> Iterator[tuple[str, int]]:
    for line in stderr.splitlines():
        if "METRIC: " in line and '"record_count"' in line:
            metric = json.loads(line.partition("METRIC: ")[2])
            yield metric["tags"]["stream"], metric["value"]
