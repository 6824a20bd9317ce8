"""The contract's section "Output"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tap_sequence.simulator import Fault, Simulator
from tests.support.harness import config_for, run_process

Simulate = Callable[..., Simulator]


def test_records_validate_against_the_schema_before_them_and_equal_what_the_api_served(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(5000)
    run = run_process(tmp_path, config_for(simulator))
    assert run.status == 0

    kinds = [message["type"] for message in run.messages]
    assert kinds.index("SCHEMA") < kinds.index("RECORD")
    validator = jsonschema.Draft202012Validator(
        run.of_type("SCHEMA")[0]["schema"], format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    written = [message["record"] for message in run.of_type("RECORD")]
    assert not [error.message for record in written for error in validator.iter_errors(record)]
    # Field by field, value for value, and in the API's ascending order.
    assert run.records == simulator.store.logs()


def test_a_state_stands_at_least_every_1000_records_and_at_the_end(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(2345)
    run = run_process(tmp_path, config_for(simulator, page_size=30))
    since_state = 0
    for message in run.messages:
        since_state = (
            since_state + 1
            if message["type"] == "RECORD"
            else 0
            if message["type"] == "STATE"
            else since_state
        )
        assert since_state <= 1000
    assert run.messages[-1]["type"] == "STATE"
    assert len(run.of_type("STATE")) == 3


def test_a_field_that_the_schema_does_not_list_is_kept_apart_and_warned_of_once(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(250, faults=[Fault.parse("1-=unknown-field")])
    run = run_process(tmp_path, config_for(simulator))
    assert run.status == 0
    expected = simulator.store.logs()
    for log in expected[::100]:
        log["unmapped"] = '{"brandNew":{"a":1}}'
    assert run.records == expected
    (warning,) = run.warnings
    assert expected[0]["id"] in warning
    assert "brandNew" in warning
    assert "brandNew (not in the schema) in 3" in run.stderr


@pytest.mark.parametrize("fault", ["wrong-type", "surrogate", "endless-number", "deep"])
def test_values_that_are_not_as_documented_cost_no_log_and_no_warning_comes_twice(
    simulate: Simulate, tmp_path: Path, fault: str
) -> None:
    simulator = simulate(250, faults=[Fault.parse(f"1-={fault}")])
    for form in ("text", "json"):
        run = run_process(tmp_path, config_for(simulator, metadata=form))
        assert (run.status, [message["record"]["id"] for message in run.of_type("RECORD")]) == (
            0,
            simulator.store.ids(),
        )
        validator = jsonschema.Draft202012Validator(run.of_type("SCHEMA")[0]["schema"])
        assert all(validator.is_valid(message["record"]) for message in run.of_type("RECORD"))
        assert len(run.warnings) == (0 if form == "text" and fault in {"endless-number", "deep"} else 1)


@pytest.mark.parametrize("fault", ["no-id", "null-created-at"])
def test_with_skip_logs_that_cannot_be_used_are_left_out_and_counted(
    simulate: Simulate, tmp_path: Path, fault: str
) -> None:
    simulator = simulate(250, faults=[Fault.parse(f"2={fault}")], with_total=False)
    run = run_process(tmp_path, config_for(simulator, invalid_logs="skip", max_in_flight_requests=1))
    ids = simulator.store.ids()
    assert (run.status, run.ids) == (0, ids[:199] + ids[200:])
    assert len([line for line in run.warnings if "is skipped (invalid_logs is skip)" in line]) == 1
    assert "1 log skipped as invalid" in run.stderr


@pytest.mark.parametrize(("fault", "field"), [("no-id", "id"), ("null-created-at", "createdAt")])
def test_a_log_that_cannot_be_used_ends_the_run_and_names_log_field_and_setting(
    simulate: Simulate, tmp_path: Path, fault: str, field: str
) -> None:
    simulator = simulate(250, faults=[Fault.parse(f"2={fault}")])
    run = run_process(tmp_path, config_for(simulator))
    assert run.status == 1
    (error,) = run.errors
    assert field in error
    assert "invalid_logs" in error
    assert fault == "no-id" or simulator.store.ids()[199] in error
    assert "Traceback" not in run.stderr
    # The STATE describes what came before, and the next run brings the rest.
    assert run.messages[-1]["type"] == "STATE"
    after = run_process(tmp_path, config_for(simulator), state=run.state)
    assert run.ids + after.ids == simulator.store.ids()
