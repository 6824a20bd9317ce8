"""The contract's section "Output"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tap_sequence.simulator import Fault, Simulator
from tests.harness import config_for, run_process

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
    assert not [error.message for record in run.records for error in validator.iter_errors(record)]
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


def test_a_field_that_the_schema_does_not_know_is_left_out_and_warned_of_once(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(250, faults=[Fault.parse("1-=unknown-field")])
    run = run_process(tmp_path, config_for(simulator))
    assert run.status == 0
    assert run.records == simulator.store.logs()
    assert len([line for line in run.warnings if "brandNew" in line]) == 1


@pytest.mark.parametrize(
    ("fault", "field"), [("no-id", "id"), ("null-created-at", "createdAt"), ("wrong-type", "verb")]
)
def test_a_log_that_does_not_fit_the_schema_ends_the_run_and_names_log_and_field(
    simulate: Simulate, tmp_path: Path, fault: str, field: str
) -> None:
    simulator = simulate(250, faults=[Fault.parse(f"2={fault}")])
    run = run_process(tmp_path, config_for(simulator))
    assert run.status == 1
    (error,) = run.errors
    assert field in error
    assert fault == "no-id" or simulator.store.ids()[199] in error
    assert "Traceback" not in run.stderr
    # The STATE describes what came before, and the next run brings the rest.
    assert run.messages[-1]["type"] == "STATE"
    after = run_process(tmp_path, config_for(simulator), state=run.state)
    assert run.ids + after.ids == simulator.store.ids()
