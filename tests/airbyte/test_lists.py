"""Streams of lists that change in place, through `source-sequence`: read in full in each run, without a cursor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tap_sequence.simulator import Simulator
from tests.support.airbyte import configured, run_source, run_source_here, stream_state
from tests.support.harness import config_for

Simulate = Callable[..., Simulator]

LISTS = ("users", "sequence_accounts")
DONE = {"__ab_no_cursor_state_message": True}


def test_lists_are_read_in_full_in_each_run_after_the_log(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(300)
    catalog = configured("users", "activity_logs", "sequence_accounts", sync_mode="full_refresh")
    first = run_source(tmp_path, config_for(simulator), catalog=catalog)
    assert (first.status, first.stderr) == (0, "")
    again = run_source_here(tmp_path, config_for(simulator), catalog=catalog, state=first.states)
    assert again.ids() == []
    for run in (first, again):
        for stream, entries in zip(LISTS, (simulator.api.users, simulator.api.accounts), strict=True):
            assert sorted(run.records(stream), key=str) == sorted(entries.entries(), key=str)
            assert run.bookmark(stream) == DONE
            assert run.statuses(stream) == ["STARTED", "RUNNING", "COMPLETE"]
        # A list that cannot be read does not delay the log.
        assert run.traces("STREAM_STATUS")[0]["stream_descriptor"]["name"] == "activity_logs"
    states = [state for state in first.of_type("STATE") if state["stream"]["stream_state"] == DONE]
    assert [state["sourceStats"]["recordCount"] for state in states] == [
        len(first.records(stream)) for stream in LISTS
    ]


def test_lists_are_not_read_incrementally_and_ignore_a_bookmark(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(1)
    run = run_source_here(tmp_path, config_for(simulator), catalog=configured("users"))
    assert run.errors[0]["failure_type"] == "config_error"
    assert "sync_mode of users must be full_refresh" in run.errors[0]["message"]
    given = [stream_state("users", {"cursor": 7})]
    catalog = configured("users", sync_mode="full_refresh")
    assert run_source_here(tmp_path, config_for(simulator), catalog=catalog, state=given).status == 0


@pytest.mark.parametrize("action", ["hash", "drop"])
def test_addresses_of_users_are_handled_as_configured(
    simulate: Simulate, tmp_path: Path, action: str
) -> None:
    catalog = configured("users", sync_mode="full_refresh")
    run = run_source_here(tmp_path, config_for(simulate(1), actor_email=action), catalog=catalog)
    assert run.records("users")
    assert "@" not in str(run.of_type("RECORD"))
