"""`discover`: the streams, and what their records look like under the settings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tap_sequence.airbyte import catalogs
from tap_sequence.catalog import ACTIVITY_LOGS, STREAMS, StreamSpec
from tests.support.airbyte import run_source, run_source_here
from tests.support.harness import catalog_entry, discover

DEMO = {"environment": "demo"}


def discovered(folder: Path, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    run = run_source_here(folder, config, "discover")
    assert run.status == 0
    (catalog,) = run.of_type("CATALOG")
    return {stream["name"]: stream for stream in catalog["streams"]}


def test_discover_as_a_process_writes_the_catalog_and_nothing_else(tmp_path: Path) -> None:
    run = run_source(tmp_path, DEMO, "discover")
    assert (run.status, run.stderr) == (0, "")
    assert [message["type"] for message in run.messages] == ["CATALOG"]


def test_append_only_streams_are_incremental_and_resumable(tmp_path: Path) -> None:
    streams = discovered(tmp_path, DEMO)
    assert list(streams) == [spec.name for spec in STREAMS]
    for spec in STREAMS:
        if spec.endpoint.is_append_only:
            stream = streams[spec.name]
            assert stream["supported_sync_modes"] == ["full_refresh", "incremental"]
            assert stream["source_defined_cursor"] is stream["is_resumable"] is True
            assert stream["default_cursor_field"] == ["createdAt"]
            assert stream["source_defined_primary_key"] == [["id"]]


def test_stream_of_a_list_that_changes_in_place_is_only_read_in_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = StreamSpec("activity_logs", dataclasses.replace(ACTIVITY_LOGS, is_append_only=False))
    monkeypatch.setattr(catalogs, "STREAMS", (spec,))
    (stream,) = discovered(tmp_path, DEMO).values()
    assert stream["supported_sync_modes"] == ["full_refresh"]
    assert stream["is_resumable"] is False
    assert not {"source_defined_cursor", "default_cursor_field"} & stream.keys()


@pytest.mark.parametrize(
    "settings", [{}, {"metadata": "json"}, {"actor_email": "hash"}, {"actor_email": "drop"}]
)
def test_schemas_are_those_of_the_tap_with_types_for_times(tmp_path: Path, settings: dict[str, Any]) -> None:
    tap = discover({**DEMO, **settings})
    for name, stream in discovered(tmp_path, {**DEMO, **settings}).items():
        schema = stream["json_schema"]
        text = json.dumps(schema)
        jsonschema.Draft7Validator.check_schema(schema)
        assert not [word for word in ('"$ref"', '"allOf"', '"not"', '"anyOf"', '"oneOf"') if word in text]
        if "createdAt" in schema["properties"]:
            assert schema["properties"]["createdAt"]["airbyte_type"] == "timestamp_with_timezone"
        assert text.count('"airbyte_type"') == text.count('"date-time"')
        without = json.loads(text.replace(', "airbyte_type": "timestamp_with_timezone"', ""))
        of_tap = catalog_entry(tap, name)["schema"]
        assert without["properties"] == of_tap["properties"]
        assert without["required"] == of_tap["required"]


def test_discover_with_wrong_settings_fails_as_a_config_error(tmp_path: Path) -> None:
    run = run_source_here(tmp_path, {"environment": "nowhere"}, "discover")
    assert run.status == 1
    (error,) = run.errors
    assert error["failure_type"] == "config_error"
    assert "environment must be one of production, sandbox, demo" in error["message"]
