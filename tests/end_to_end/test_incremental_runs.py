"""Consecutive runs, each with the state of the run before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from tap_sequence.simulator import CursorKind, EndOfList, Fault, LogIds, Simulator
from tests.support.harness import config_for, run_here, run_process

Simulate = Callable[..., Simulator]


@pytest.mark.sample(6)
@pytest.mark.parametrize("log_ids", LogIds)
@pytest.mark.parametrize("end_of_list", EndOfList)
@pytest.mark.parametrize("cursor_kind", CursorKind)
def test_run_after_a_finished_one_emits_only_new_logs(
    simulate: Simulate, cursor_kind: CursorKind, end_of_list: EndOfList, log_ids: LogIds
) -> None:
    simulator = simulate(1234, cursor_kind=cursor_kind, end_of_list=end_of_list, log_ids=log_ids)
    first = run_here(config_for(simulator))
    assert first.ids == simulator.store.ids()

    new = simulator.store.grow(250)
    simulator.api.forget_requests()
    second = run_here(config_for(simulator), first.state)
    assert sorted(second.ids) == sorted(new)
    assert len(simulator.requests) <= 5

    simulator.api.forget_requests()
    third = run_here(config_for(simulator), second.state)
    assert third.records == []
    assert len(simulator.requests) <= 2
    assert third.bookmark == second.bookmark


@pytest.mark.parametrize("cursor_kind", CursorKind)
def test_consecutive_processes_emit_each_log_once(
    simulate: Simulate, tmp_path: Path, cursor_kind: CursorKind
) -> None:
    simulator = simulate(1234, cursor_kind=cursor_kind, end_of_list=EndOfList.EMPTY_PAGE)
    first = run_process(tmp_path, config_for(simulator))
    simulator.store.grow(250)
    second = run_process(tmp_path, config_for(simulator), state=first.state)
    third = run_process(tmp_path, config_for(simulator), state=second.state)
    assert [run.status for run in (first, second, third)] == [0, 0, 0]
    assert [len(run.records) for run in (first, second, third)] == [1234, 250, 0]
    assert sorted(first.ids + second.ids) == sorted(simulator.store.ids())


def test_empty_account_emits_nothing_and_later_its_first_logs(simulate: Simulate) -> None:
    simulator = simulate(0)
    first = run_here(config_for(simulator))
    assert first.records == []
    simulator.store.grow(3)
    assert run_here(config_for(simulator), first.state).ids == simulator.store.ids()


@pytest.mark.parametrize("page_size", [1, 7, 100])
def test_any_page_size_emits_every_log(simulate: Simulate, page_size: int) -> None:
    simulator = simulate(40)
    first = run_here(config_for(simulator, page_size=page_size))
    assert first.ids == simulator.store.ids()
    assert {request.query["limit"] for request in simulator.requests} == {str(page_size)}
    simulator.store.grow(5)
    assert len(run_here(config_for(simulator), first.state).ids) == 5


def test_filters_are_sent_and_are_part_of_the_bookmark(simulate: Simulate) -> None:
    simulator = simulate(300)
    wanted = simulator.store.logs()[7]["activityLogItems"][0]["activityLogObject"]
    config = config_for(
        simulator, activity_log_object_id=wanted["id"], activity_log_object_entity_id=wanted["entityId"]
    )
    filtered = run_here(config)
    expected = [
        log["id"]
        for log in simulator.store.logs()
        if any(item["activityLogObject"]["id"] == wanted["id"] for item in log["activityLogItems"])
    ]
    assert 0 < len(expected) < 300
    assert filtered.ids == expected
    assert filtered.bookmark["query"]["activity_log_object_id"] == wanted["id"]
    # Without the filters the cursor is not valid, and every log of the wider query is emitted.
    assert run_here(config_for(simulator), filtered.state).ids == simulator.store.ids()


def test_start_date_is_a_lower_bound_of_emitted_logs(simulate: Simulate) -> None:
    simulator = simulate(250)
    logs = simulator.store.logs()
    run = run_here(config_for(simulator, start_date=logs[100]["createdAt"]))
    assert sorted(run.ids) == sorted(log["id"] for log in logs[100:])


# Over real processes


@pytest.mark.sample(2)
@pytest.mark.parametrize("moved_to", ["later", "earlier", "none"])
def test_start_date_changed_between_runs_loses_and_repeats_nothing(
    simulate: Simulate, tmp_path: Path, moved_to: str
) -> None:
    simulator = simulate(500)
    times = [log["createdAt"] for log in simulator.store.logs()]
    first = run_process(tmp_path, config_for(simulator, start_date=times[300]))
    new = simulator.store.grow(250)
    settings = {
        "later": {"start_date": simulator.store.logs()[700]["createdAt"]},
        "earlier": {"start_date": times[100]},
        "none": {},
    }[moved_to]
    second = run_process(tmp_path, config_for(simulator, **settings), state=first.state)
    assert (first.status, second.status) == (0, 0)
    older = simulator.store.ids()[100:300] if moved_to == "earlier" else []
    assert sorted(second.ids) == sorted([*older, *new])
    assert bool(second.warnings) is (moved_to == "later")


def test_start_date_in_the_future_is_refused_before_the_first_request(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(10)
    run = run_process(tmp_path, config_for(simulator, start_date="2962-01-01"))
    assert (run.status, run.messages, simulator.requests) == (1, [], [])
    assert "start_date 2962-01-01 is in the future" in run.errors[0]


def test_state_with_only_the_time_set_back_emits_all_logs_since(simulate: Simulate, tmp_path: Path) -> None:
    """What `meltano state merge` leaves."""
    simulator = simulate(400)
    state = run_process(tmp_path, config_for(simulator)).state
    state["bookmarks"]["activity_logs"]["replication_key_value"] = simulator.store.logs()[250]["createdAt"]
    run = run_process(tmp_path, config_for(simulator, lookback_seconds=0), state=state)
    assert set(simulator.store.ids()[250:]) <= set(run.ids) <= set(simulator.store.ids()[240:])
    assert "set back" in run.warnings[0]


@pytest.mark.sample(1)
@pytest.mark.parametrize("status", [400, 404, 409, 410, 422])
def test_saved_cursor_refused_with_any_status_falls_back_to_reading_backward(
    simulate: Simulate, tmp_path: Path, status: int
) -> None:
    simulator = simulate(400)
    first = run_process(tmp_path, config_for(simulator))
    new = simulator.store.grow(150)
    simulator.api.forget_requests()
    simulator.api.options = dataclasses.replace(simulator.api.options, faults=[Fault.parse(f"1={status}")])
    second = run_process(tmp_path, config_for(simulator), state=first.state)
    assert (second.status, sorted(second.ids)) == (0, sorted(new))
    assert "was rejected" in second.warnings[0]
    assert run_process(tmp_path, config_for(simulator), state=second.state).ids == []


def test_empty_page_in_an_incremental_run_loses_nothing(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(400)
    first = run_process(tmp_path, config_for(simulator))
    new = simulator.store.grow(350)
    simulator.api.forget_requests()
    simulator.api.options = dataclasses.replace(simulator.api.options, faults=[Fault.parse("2=empty-page")])
    second = run_process(tmp_path, config_for(simulator), state=first.state)
    assert (second.status, sorted(second.ids), second.warnings) == (0, sorted(new), [])
