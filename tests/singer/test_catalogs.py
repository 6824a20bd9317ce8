"""RECORD messages match their SCHEMA whatever the catalog: an older one, one edited by hand, or one of another tool."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tap_sequence.api.schemas import SCHEMAS, SCHEMAS_DIR
from tap_sequence.simulator import Simulator
from tap_sequence.transforms.trimming import catalog_schema, missing_fields, trim
from tests.support.harness import (
    STREAMS,
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

KEYS = ("id", "createdAt")


def closed(schema: Any) -> Any:
    """Return a schema that allows only the fields that it has."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        result["additionalProperties"] = False
    return result


def check_agreement(run: Run) -> None:
    """Check that every record matches its SCHEMA, and has only the fields of the SCHEMA."""
    schemas = {message["stream"]: message["schema"] for message in run.of_type("SCHEMA")}
    validators = {stream: Draft202012Validator(closed(schema)) for stream, schema in schemas.items()}
    records = run.of_type("RECORD")
    assert {message["stream"] for message in records} == set(schemas)
    for message in records:
        validators[message["stream"]].validate(message["record"])


def field_paths(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each field's definition in a schema."""
    for name, definition in schema.get("properties", {}).items():
        yield (*path, "properties", name)
        yield from field_paths(definition, (*path, "properties", name))
    if "items" in schema:
        yield from field_paths(schema["items"], (*path, "items"))


def without(schema: dict[str, Any], *paths: tuple[str, ...]) -> dict[str, Any]:
    """Return a schema without some fields, as if edited by hand: `required` still names them."""
    result = copy.deepcopy(schema)
    for *place, name in paths:
        found: Any = result
        for key in place:
            found = found.get(key, {})
        found.pop(name, None)
    return result


def readable(path: tuple[str, ...]) -> str:
    """Return a field's path as in a warning."""
    return "".join({"properties": ".", "items": "[]"}.get(key, key) for key in path).removeprefix(".")


# `email` follows the setting actor_email, whatever the catalog says.
FIELDS = {
    stream: [path for path in field_paths(SCHEMAS[stream]) if "mail" not in path[-1]] for stream in STREAMS
}


def run_with(simulator: Simulator, schemas: Mapping[str, dict[str, Any]], **settings: Any) -> Run:
    config = config_for(simulator, **settings)
    catalog = select(discover(config), streams=STREAMS)
    for stream, schema in schemas.items():
        catalog_entry(catalog, stream)["schema"] = schema
    return run_here(config, catalog=catalog)


@pytest.mark.parametrize("stream", STREAMS)
def test_field_that_the_catalog_lacks_is_not_emitted_and_warned_of_once(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, stream: str
) -> None:
    simulator = simulate(3)
    for path in FIELDS[stream]:
        caplog.clear()
        run = run_with(simulator, {stream: without(SCHEMAS[stream], path)})
        check_agreement(run)
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        if path[1:] in [(key,) for key in KEYS]:
            assert warnings == []
            continue
        (warning,) = warnings
        assert f"catalog's schema of {stream} lacks" in warning
        assert f": {readable(path)}. " in warning


def test_older_catalog_applies_to_both_streams(simulate: Simulate) -> None:
    simulator = simulate(20)
    items = ("properties", "activityLogItems", "items", "properties")
    schemas = {
        "activity_logs": without(
            SCHEMAS["activity_logs"],
            ("properties", "traceId"),
            (*items, "activityLogTarget"),
            (*items, "activityLogActor", "properties", "entityId"),
        ),
        "activity_log_items": without(SCHEMAS["activity_log_items"], ("properties", "metadata")),
    }
    run = run_with(simulator, schemas)
    check_agreement(run)
    expected = copy.deepcopy(simulator.store.logs())
    for log in expected:
        log.pop("traceId", None)
        for item in log["activityLogItems"]:
            item.pop("activityLogTarget", None)
            item["activityLogActor"].pop("entityId", None)
    records = [message["record"] for message in run.of_type("RECORD") if message["stream"] == "activity_logs"]
    assert [as_sent(record) for record in records] == expected


def test_keys_that_the_catalog_lacks_are_emitted(simulate: Simulate) -> None:
    simulator = simulate(5)
    only = {"type": "object", "required": ["verb", "gone"], "properties": {"verb": {"type": "string"}}}
    run = run_with(simulator, {"activity_log_items": only})
    check_agreement(run)
    rows = [message["record"] for message in run.of_type("RECORD") if message["stream"] != "activity_logs"]
    assert rows
    # The address follows the setting actor_email, whatever the catalog has.
    assert all(row.keys() == {"id", "createdAt", "verb", "actorEmail"} for row in rows)


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": {}, "additionalProperties": True}])
def test_catalog_schema_without_fields_keeps_records_complete(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, schema: dict[str, Any]
) -> None:
    simulator = simulate(5)
    run = run_with(simulator, {"activity_logs": schema})
    logs = [message["record"] for message in run.of_type("RECORD") if message["stream"] == "activity_logs"]
    assert [as_sent(log) for log in logs] == simulator.store.logs()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_trimmed_catalog_with_a_stream_map(simulate: Simulate) -> None:
    simulator = simulate(5)
    run = run_with(
        simulator,
        {"activity_logs": without(SCHEMAS["activity_logs"], ("properties", "traceId"))},
        stream_maps={"activity_logs": {"kind": "activityType"}},
        flattening_enabled=True,
        flattening_max_depth=1,
    )
    check_agreement(run)
    assert all("kind" in message["record"] for message in run.of_type("RECORD")[:1])


# $schema


def test_schema_messages_and_catalog_have_no_dollar_schema(simulate: Simulate, tmp_path: Path) -> None:
    config = config_for(simulate(2))
    catalog = select(discover(config), streams=STREAMS)
    assert "$schema" not in json.dumps(catalog)
    for stream in STREAMS:
        # An earlier version discovered it with the key.
        file = json.loads((SCHEMAS_DIR / f"{stream}.json").read_text(encoding="utf-8"))
        assert "$schema" in file
        catalog_entry(catalog, stream)["schema"] = file
    for saved in (None, catalog):
        run = run_process(tmp_path, config, catalog=saved)
        assert run.status == 0
        messages = run.of_type("SCHEMA")
        assert len(messages) == (len(STREAMS) if saved else 1)
        assert "$schema" not in json.dumps(messages)


# Functions

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
SCHEMA: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.just({}),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)}),
        st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
                "required": st.lists(st.sampled_from("abc"), max_size=3),
            }
        ),
    ),
    max_leaves=8,
)


@given(JSON, SCHEMA)
def test_trim_removes_the_fields_that_the_schema_lacks_alone(value: Any, schema: Any) -> None:
    result = trim(value, schema)
    unnamed = {name: inner for name, inner in closed(schema).items() if name != "required"}
    for error in Draft202012Validator(unnamed).iter_errors(result):
        assert error.validator == "required", error
    assert trim(result, schema) == result
    assert trim(value, {}) == value


@given(SCHEMA, SCHEMA, JSON)
def test_trim_without_missing_fields_changes_nothing(own: Any, given_: Any, value: Any) -> None:
    if not list(missing_fields(own, given_)):
        fitting = trim(value, own)
        assert trim(fitting, given_) == fitting


@given(SCHEMA)
def test_complete_catalog_has_no_missing_fields(schema: Any) -> None:
    assert not list(missing_fields(schema, schema))
    result = catalog_schema({"properties": {"id": {"type": "string"}}}, schema, ["id"])
    assert ("properties" in schema) == ("id" in result.get("properties", {}))

    def check(node: Any) -> None:
        assert set(node.get("required", [])) <= node.get("properties", {}).keys()
        for inner in [*node.get("properties", {}).values(), node.get("items", {})]:
            if inner:
                check(inner)

    check(result)


def test_max_length_of_the_catalog_is_in_the_schema_message(simulate: Simulate) -> None:
    """Some databases need one for a primary key: docs/targets.md."""
    schemas = copy.deepcopy(SCHEMAS)
    for schema in schemas.values():
        schema["properties"]["id"]["maxLength"] = 255
    run = run_with(simulate(3), schemas)
    assert [each["schema"]["properties"]["id"]["maxLength"] for each in run.of_type("SCHEMA")] == [255, 255]
    check_agreement(run)
