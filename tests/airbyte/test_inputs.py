"""Configured catalogs and states: which forms are read, and what is wrong with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.airbyte.logs import LOGGER
from tap_sequence.airbyte.read import walks_of
from tap_sequence.airbyte.sink import AirbyteSink
from tap_sequence.airbyte.states import states_of
from tap_sequence.catalog import ACTIVITY_LOGS, STREAMS, StreamSpec
from tap_sequence.settings import Settings
from tap_sequence.simulator import Simulator
from tap_sequence.source import Source
from tap_sequence.sync.models import RecordPage
from tests.support.airbyte import Recorder, configured, parse, run_source_here, stream_state
from tests.support.harness import config_for

Simulate = Callable[..., Simulator]

BOOKMARK = {"replication_key_value": "2026-01-01T00:00:00Z"}
IN_PLACE = StreamSpec(
    "activity_logs", dataclasses.replace(ACTIVITY_LOGS, path="/users", is_append_only=False)
)


@pytest.mark.parametrize(
    "given",
    [
        [stream_state("activity_logs", BOOKMARK)],
        stream_state("activity_logs", BOOKMARK),
        [{"type": "STATE", "state": stream_state("activity_logs", BOOKMARK)}],
        [stream_state("activity_logs", {"cursor": "older"}), stream_state("activity_logs", BOOKMARK)],
        [
            stream_state(
                "activity_logs", {**BOOKMARK, "streams": ["activity_logs"], "__ab_is_sync_complete": True}
            )
        ],
        [{**stream_state("activity_logs", BOOKMARK), "data": None, "global": None, "sourceStats": None}],
        [{"type": None, "stream": stream_state("activity_logs", BOOKMARK)["stream"]}],
        [
            {
                "type": "GLOBAL",
                "global": {
                    "shared_state": None,
                    "stream_states": [stream_state("activity_logs", BOOKMARK)["stream"]],
                },
            }
        ],
    ],
)
def test_states_of_streams_are_read(given: Any) -> None:
    assert states_of(given) == {"activity_logs": BOOKMARK}


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        {},
        [stream_state("activity_logs", None)],
        [stream_state("activity_logs", {})],
        [stream_state("users", {"__ab_no_cursor_state_message": True})],
    ],
)
def test_empty_states_are_none(given: Any) -> None:
    assert states_of(given) == {}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"bookmarks": {"activity_logs": BOOKMARK}}, "of type STREAM"),
        ([{"type": "LEGACY", "data": {"activity_logs": BOOKMARK}}], "of type STREAM"),
        ([{"type": "GLOBAL", "global": {"shared_state": {"a": 1}, "stream_states": []}}], "of type STREAM"),
        ([{"type": "GLOBAL", "global": {"stream_states": 5}}], "stream_descriptor"),
        (["activity_logs"], "must be an object"),
        ([{"type": "STREAM", "stream": {}}], "stream_descriptor"),
        ([stream_state("activity_logs", "text")], "stream_state must be an object"),
        ([stream_state("activity_logs", {"cursor": 7})], "The state of stream activity_logs cannot be read"),
        ([stream_state("activity_logs", {"page": 7})], "The state of stream activity_logs cannot be read"),
    ],
)
def test_state_that_cannot_be_used_fails_before_anything_is_read(
    simulate: Simulate, tmp_path: Path, state: Any, words: str
) -> None:
    simulator = simulate(10)
    run = run_source_here(tmp_path, config_for(simulator), state=state)
    assert run.status == 1
    (error,) = run.errors
    assert error["failure_type"] == "config_error"
    assert words in error["message"]
    assert len(simulator.requests) == 0
    assert run.of_type("RECORD") == run.of_type("STATE") == []


def test_unusable_state_names_its_own_stream(simulate: Simulate, tmp_path: Path) -> None:
    run = run_source_here(
        tmp_path,
        config_for(simulate(1)),
        catalog=configured("activity_log_items"),
        state=[stream_state("activity_log_items", {"cursor": 7})],
    )
    assert "The state of stream activity_log_items cannot be read" in run.errors[0]["message"]


@pytest.mark.parametrize(
    ("catalog", "words"),
    [
        (configured("invoices"), "there is no stream invoices, only activity_logs, activity_log_items"),
        (configured("activity_logs", sync_mode="INVALID"), "sync_mode of activity_logs must be"),
        ({"streams": [{"stream": {}}]}, "name"),
        ({}, "streams"),
        ([], "object"),
    ],
)
def test_catalog_that_cannot_be_followed_is_a_config_error(
    simulate: Simulate, tmp_path: Path, catalog: Any, words: str
) -> None:
    run = run_source_here(tmp_path, config_for(simulate(1)), catalog=catalog)
    assert run.status == 1
    (error,) = run.errors
    assert error["failure_type"] == "config_error"
    assert words in error["message"]


def test_catalog_without_a_stream_is_warned_of(simulate: Simulate, tmp_path: Path) -> None:
    run = run_source_here(tmp_path, config_for(simulate(1)), catalog={"streams": []})
    assert run.status == 0
    assert "selects no stream" in run.warnings[0]


def test_walks_begin_with_streams_without_a_state_and_end_with_lists_that_change_in_place() -> None:
    logs, items = STREAMS[:2]
    one, other = {"replication_key_value": "1"}, {"replication_key_value": "2"}

    def made(bookmarks: dict[str, Any], *streams: StreamSpec) -> list[tuple[list[str], Any]]:
        return [
            ([spec.endpoint.path for spec in walk.streams], walk.bookmark)
            for walk in walks_of(streams, bookmarks)
        ]

    path = ACTIVITY_LOGS.path
    assert made({}, logs, items) == [([path, path], {})]
    assert made({logs.name: one, items.name: one}, logs, items) == [([path, path], one)]
    assert made({logs.name: one, items.name: other}, logs, items) == [([path], one), ([path], other)]
    assert made({logs.name: one}, logs, items) == [([path], {}), ([path], one)]
    assert made({items.name: one}, IN_PLACE, items) == [([path], one), (["/users"], {})]


def test_list_that_changes_in_place_has_one_state_at_its_end() -> None:
    recorder = Recorder()
    source = Source(Settings(environment="demo"), logger=LOGGER)
    sink = AirbyteSink(recorder, source, [IN_PLACE])
    with sink.measuring(None) as page_done:  # type: ignore[arg-type]  # it is not used
        page_done(RecordPage([], read=0, seen=0, total=0))
    sink.checkpoint(None)
    assert [message["type"] for message in parse(recorder.text)] == ["TRACE"]  # an estimate
    sink.complete()
    sink.checkpoint(None)
    (state,) = [message["state"] for message in parse(recorder.text) if message["type"] == "STATE"]
    assert state["stream"]["stream_state"] == {"__ab_no_cursor_state_message": True}
    assert state["sourceStats"] == {"recordCount": 0.0}
