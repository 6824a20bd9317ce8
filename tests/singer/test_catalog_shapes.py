"""A catalog is followed, or a line says which part of it is not: what it may lack, change, and get wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.errors import UnusableCatalogError
from tap_sequence.simulator import Simulator
from tap_sequence.singer.catalogs import complete_catalog
from tests.support.harness import (
    STREAMS,
    Run,
    catalog_entry,
    config_for,
    discover,
    run_here,
    run_process,
    select,
)

Simulate = Callable[..., Simulator]
Change = Callable[[dict[str, Any]], object]

ITEM = ["properties", "activityLogItems", "items", "properties"]
ITEM_FIELDS = SCHEMAS["activity_logs"]["properties"]["activityLogItems"]["items"]["properties"]
EMAIL = [*ITEM, "activityLogActor", "properties", "email"]


def root(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a stream itself."""
    (found,) = (part["metadata"] for part in entry["metadata"] if not part["breadcrumb"])
    assert isinstance(found, dict)
    return found


def deselect(entry: dict[str, Any], *breadcrumbs: list[str]) -> None:
    entry["metadata"] += [{"breadcrumb": each, "metadata": {"selected": False}} for each in breadcrumbs]


def changed(simulator: Simulator, change: Change, **settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a config, and the discovered catalog with its entry of activity_logs changed."""
    config = config_for(simulator, **settings)
    catalog = select(discover(config))
    change(catalog_entry(catalog))
    return config, catalog


def run_with(simulator: Simulator, change: Change, **settings: Any) -> Run:
    config, catalog = changed(simulator, change, **settings)
    return run_here(config, catalog=catalog)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Replication method


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: root(entry).update({"replication-method": "FULL_TABLE"}),
        lambda entry: root(entry).update({"forced-replication-method": "FULL_TABLE"}),
        lambda entry: root(entry).update({"replication-method": "full_table"}),
        lambda entry: entry.update(replication_method="full_table"),
        lambda entry: (
            entry.pop("replication_method"),
            root(entry).update({"replication-method": "FULL_TABLE"}),
        ),
    ],
)
def test_full_table_is_followed_wherever_the_catalog_says_it(simulate: Simulate, change: Change) -> None:
    run = run_with(simulate(20), change)
    assert len(run.of_type("ACTIVATE_VERSION")) == 1
    assert "bookmarks" not in run.state or not run.state["bookmarks"].get("activity_logs")


def test_metadata_overrides_the_replication_method_of_the_entry(simulate: Simulate) -> None:
    def change(entry: dict[str, Any]) -> None:
        entry["replication_method"] = "FULL_TABLE"
        root(entry)["replication-method"] = "INCREMENTAL"

    assert not run_with(simulate(20), change).of_type("ACTIVATE_VERSION")


@pytest.mark.parametrize("method", ["LOG_BASED", "", "INCREMENTAL_", 5])
def test_other_replication_method_is_refused(simulate: Simulate, method: object) -> None:
    with pytest.raises(UnusableCatalogError, match=r"must be INCREMENTAL or FULL_TABLE \(got"):
        run_with(simulate(1), lambda entry: root(entry).update({"replication-method": method}))


# Keys and schema


def keys_in_metadata_alone(entry: dict[str, Any]) -> None:
    for name in ("key_properties", "replication_key", "replication_method"):
        del entry[name]
    del root(entry)["replication-key"]


@pytest.mark.parametrize(
    "change",
    [
        keys_in_metadata_alone,
        lambda entry: [entry.pop(name) for name in [*entry] if name not in ("tap_stream_id", "schema")],
        lambda entry: [entry.pop(name) for name in [*entry] if name != "tap_stream_id"],
        lambda entry: entry.update(schema={}),
        lambda entry: entry.update(
            key_properties=None, replication_key=None, replication_method=None, stream=None
        ),
    ],
)
def test_what_the_catalog_does_not_say_is_the_streams_own(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, change: Change
) -> None:
    simulator = simulate(20)
    run = run_with(simulator, change)
    assert run.of_type("SCHEMA") == run_here(config_for(simulator)).of_type("SCHEMA")
    assert run.records == simulator.store.logs()
    assert run.bookmark["replication_key"] == "createdAt"
    assert not warnings(caplog)
    simulator.store.grow(3)
    config, catalog = changed(simulator, change)
    assert len(run_here(config, run.state, catalog).ids) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: root(entry).update({"table-key-properties": ["id", "createdAt"]}),
        lambda entry: entry.update(key_properties=["id", "createdAt"]),
    ],
)
def test_changed_keys_are_in_the_schema(simulate: Simulate, change: Change) -> None:
    (schema,) = run_with(simulate(2), change).of_type("SCHEMA")
    assert schema["key_properties"] == ["id", "createdAt"]


def test_key_is_emitted_although_it_is_deselected(simulate: Simulate) -> None:
    def change(entry: dict[str, Any]) -> None:
        entry["key_properties"] = ["id", "traceId"]
        entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]
        deselect(entry, *(["properties", name] for name in ("id", "createdAt", "traceId", "origin")))

    run = run_with(simulate(5), change)
    (schema,) = run.of_type("SCHEMA")
    assert {"id", "createdAt", "traceId"} < schema["schema"]["properties"].keys()
    assert all({"id", "createdAt"} < record.keys() and "origin" not in record for record in run.records)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(replication_key="apiVersion"),
        lambda entry: root(entry).update({"replication-key": "apiVersion"}),
    ],
)
def test_other_replication_key_is_warned_of_and_not_announced(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, change: Change
) -> None:
    run = run_with(simulate(2), change)
    (schema,) = run.of_type("SCHEMA")
    assert schema["bookmark_properties"] == ["createdAt"]
    assert run.bookmark["replication_key"] == "createdAt"
    (warning,) = warnings(caplog)
    assert "replication key apiVersion of activity_logs has no effect" in warning


# Fields within the list of items


@pytest.mark.parametrize("breadcrumb", [EMAIL, [part for part in EMAIL if part != "items"]])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"actor_email": "hash"},
        {"actor_email": "drop"},
        {"flattening_enabled": True, "flattening_max_depth": 1},
        {"stream_maps": {"activity_logs": {"kind": "activityType"}}},
    ],
)
def test_field_deselected_within_the_list_is_in_no_record_and_not_in_the_schema(
    simulate: Simulate,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    breadcrumb: list[str],
) -> None:
    simulator = simulate(30)
    run = run_with(simulator, lambda entry: deselect(entry, breadcrumb), **settings)
    assert "activityLogActor" in json.dumps(run.records)
    assert "email" not in json.dumps([message["record"] for message in run.of_type("RECORD")])
    assert '"email"' not in json.dumps(run.of_type("SCHEMA"))
    assert run.ids == simulator.store.ids()
    assert not warnings(caplog)


def test_field_deselected_within_the_list_is_still_in_the_rows_of_items(simulate: Simulate) -> None:
    """The other stream has a selection of its own."""
    config = config_for(simulate(5))
    catalog = select(discover(config), streams=STREAMS)
    deselect(catalog_entry(catalog), [*ITEM, "verb"])
    messages = run_here(config, catalog=catalog).of_type("RECORD")
    assert all(
        ("verb" in item) == (message["stream"] == "activity_log_items")
        for message in messages
        for item in message["record"].get("activityLogItems", [message["record"]])
    )


def test_discovery_lists_each_field_within_the_list(simulate: Simulate) -> None:
    """So that tools can deselect it: Meltano knows only what is listed, and only without `items`."""
    entry = catalog_entry(discover(config_for(simulate(1))))
    listed = [part["breadcrumb"] for part in entry["metadata"]]
    assert [part for part in EMAIL if part != "items"] in listed
    assert not any("items" in breadcrumb for breadcrumb in listed)
    assert not any(
        "email" in each["breadcrumb"]
        for each in catalog_entry(discover(config_for(simulate(1), actor_email="drop")))["metadata"]
    )


@pytest.mark.parametrize(
    ("breadcrumbs", "field"),
    [
        ([[*ITEM, "id"], [*ITEM, "verb"]], None),
        (
            [
                [*ITEM, "activityLogActor", "properties", name]
                for name in ("id", "entityType", "entityId", "email")
            ],
            "activityLogItems.activityLogActor",
        ),
        # As Meltano does for `select: activity_logs.activityLogItems`.
        ([[*ITEM, name] for name in ITEM_FIELDS], "activityLogItems"),
        ([["properties", "activityLogItems"], *([*ITEM, name] for name in ITEM_FIELDS)], None),
    ],
)
def test_object_without_any_field_is_refused(
    simulate: Simulate, breadcrumbs: list[list[str]], field: str | None
) -> None:
    simulator = simulate(2)
    if field is None:
        assert run_with(simulator, lambda entry: deselect(entry, *breadcrumbs)).ids
        return
    with pytest.raises(UnusableCatalogError, match=f"used: {field} of activity_logs is selected, but none"):
        run_with(simulator, lambda entry: deselect(entry, *breadcrumbs))


@pytest.mark.parametrize(
    "breadcrumb", [["properties", "activityLogItem"], [*ITEM, "mail"], ["activityLogItems"]]
)
def test_deselected_field_that_does_not_exist_is_warned_of(
    simulate: Simulate, caplog: pytest.LogCaptureFixture, breadcrumb: list[str]
) -> None:
    run = run_with(simulate(2), lambda entry: deselect(entry, breadcrumb))
    assert len(run.ids) == 2
    (warning,) = warnings(caplog)
    assert f"has no effect: {'.'.join(breadcrumb)}. Check" in warning


# Nothing to load


@pytest.mark.parametrize(
    "catalog",
    [
        {},
        {"streams": []},
        {"streams": [{"tap_stream_id": "activity_logs", "selected": False}]},
        {
            "streams": [
                {
                    "tap_stream_id": "activity_logs",
                    "metadata": [{"breadcrumb": [], "metadata": {"inclusion": "available"}}],
                }
            ]
        },
    ],
)
def test_run_that_loads_nothing_says_what_to_select(
    simulate: Simulate, tmp_path: Path, catalog: dict[str, Any]
) -> None:
    simulator = simulate(5)
    run = run_process(tmp_path, config_for(simulator), catalog=catalog)
    assert run.status == 0
    assert not run.of_type("RECORD")
    (warning,) = run.warnings
    assert warning.startswith("No stream is selected, so nothing is loaded.")
    assert "activity_logs.* under select" in warning
    assert not simulator.requests


def test_misspelt_stream_is_warned_of(simulate: Simulate, tmp_path: Path) -> None:
    misspelt = {"tap_stream_id": "activity_log", "schema": None, "metadata": None}
    run = run_process(tmp_path, config_for(simulate(5)), catalog={"streams": [misspelt]})
    assert run.status == 0
    assert "does not have: activity_log. They" in run.warnings[0]
    assert run.warnings[1].startswith("No stream is selected")


# Shapes


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda catalog: catalog.update(streams=None), "its streams must be a list of objects"),
        (
            lambda catalog: catalog.update(streams={"activity_logs": {}}),
            "its streams must be a list of objects",
        ),
        (lambda catalog: catalog.update(activity_logs=catalog.pop("streams")), "its streams must be a list"),
        (lambda catalog: catalog.update(streams=["activity_logs"]), "stream number 1 must be an object"),
        (
            lambda catalog: catalog_entry(catalog).pop("tap_stream_id"),
            "stream number 2 has no tap_stream_id",
        ),
        (lambda catalog: catalog["streams"].append(catalog_entry(catalog)), "two entries for activity_logs"),
        (
            lambda catalog: catalog_entry(catalog).update(metadata=None),
            "metadata of activity_logs must be a list of objects",
        ),
        (
            lambda catalog: catalog_entry(catalog)["metadata"].append({"breadcrumb": None, "metadata": {}}),
            "metadata of activity_logs must be a list of objects",
        ),
        (
            lambda catalog: root(catalog_entry(catalog)).update(selected="false"),
            "selected in metadata of activity_logs must be true or false",
        ),
        (
            lambda catalog: catalog_entry(catalog).update(schema=None),
            "schema of activity_logs must be a JSON schema",
        ),
        (
            lambda catalog: catalog_entry(catalog)["schema"]["properties"].update(id=None),
            "schema of activity_logs must be a JSON schema",
        ),
        (
            lambda catalog: catalog_entry(catalog).update(stream="audit"),
            "stream of activity_logs must be activity_logs",
        ),
        (
            lambda catalog: catalog_entry(catalog).update(key_properties=["uuid"]),
            "key_properties of activity_logs must be a list of fields",
        ),
    ],
)
def test_malformed_catalog_ends_in_one_line(
    simulate: Simulate, tmp_path: Path, change: Change, problem: str
) -> None:
    simulator = simulate(1)
    config = config_for(simulator)
    catalog = discover(config)
    change(catalog)
    run = run_process(tmp_path, config, catalog=catalog)
    assert run.status == 1
    assert not run.messages
    (error,) = run.errors
    assert error.startswith("The catalog cannot be used: ")
    assert problem in error
    assert not simulator.requests


ANY: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from(["id", "verb", "FULL_TABLE", "properties"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["breadcrumb", "metadata", "selected", "properties", "items", "id"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {"tap_stream_id": st.sampled_from(STREAMS) | ANY},
    optional=dict.fromkeys(
        (
            *("stream", "schema", "metadata", "selected"),
            *("key_properties", "replication_key", "replication_method"),
        ),
        ANY,
    ),
)


@given(ANY | st.fixed_dictionaries({"streams": st.lists(ENTRY, max_size=2) | ANY}))
def test_any_catalog_is_completed_or_refused(catalog: Any) -> None:
    if not isinstance(catalog, dict):
        return
    logger = logging.getLogger("quiet")
    logger.propagate = False
    try:
        result = complete_catalog(catalog, logger)
    except UnusableCatalogError:
        return
    assert all(entry["tap_stream_id"] in STREAMS for entry in result["streams"])
    # A completed catalog needs no completion.
    assert complete_catalog(result, logger) == result
