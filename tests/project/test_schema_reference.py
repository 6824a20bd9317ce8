"""docs/schema.md is generated from schemas/, with the keys that the tap discovers."""

from __future__ import annotations

import re

import pytest

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.singer.tap import SequenceTap
from tests.support.schema_reference import PAGE, STREAMS, fields, make_page


def test_schema_page_matches_the_schemas() -> None:
    hint = "run `uv run python -m tests.support.schema_reference`"
    assert PAGE.read_text(encoding="utf-8") == make_page(), hint


def test_schema_page_has_every_schema() -> None:
    assert set(SCHEMAS) == set(STREAMS)


def test_schema_page_keys_are_those_of_the_streams() -> None:
    streams = SequenceTap(config={"environment": "demo"}).streams
    assert set(streams) == set(STREAMS)
    for name, stream in streams.items():
        assert list(stream.primary_keys or []) == [STREAMS[name].primary]
        assert stream.replication_key == STREAMS[name].replication


def test_foreign_keys_lead_from_a_field_to_a_primary_key() -> None:
    foreign = {name: keys.foreign for name, keys in STREAMS.items() if keys.foreign}
    assert list(foreign) == ["activity_log_items"]
    for name, (field, points_to) in foreign.items():
        stream, key = points_to.split(".")
        assert field in SCHEMAS[name]["properties"]
        assert key == STREAMS[stream].primary


def test_schema_page_says_which_streams_are_selected_by_default() -> None:
    streams = SequenceTap(config={"environment": "demo"}).streams
    rows = re.findall(r"^\| \[`(\w+)`\].* \| (yes|no)", make_page(), re.MULTILINE)
    assert {name: stream.selected_by_default for name, stream in streams.items()} == {
        name: selected == "yes" for name, selected in rows
    }


@pytest.mark.parametrize("stream", STREAMS)
def test_schema_page_has_a_row_for_every_field(stream: str) -> None:
    section = make_page().split(f"\n## {stream}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert rows == [path for path, _, _ in fields(SCHEMAS[stream])]
    assert {"id", "unmapped"} < set(rows)
    if stream == "activity_logs":
        assert "activityLogItems[].activityLogActor.email" in rows
