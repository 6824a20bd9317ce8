"""Messages on standard output: SCHEMA, RECORD and STATE."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tap_sequence.simulator import Fault, Simulator
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import Run, config_for, parse_lines, run_process

Simulate = Callable[..., Simulator]


def test_records_match_their_schema_and_equal_the_apis(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(2000)
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


def test_state_is_written_every_1000_records_and_at_the_end(simulate: Simulate, tmp_path: Path) -> None:
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


def test_unknown_field_is_in_unmapped_and_warned_of_once(simulate: Simulate, tmp_path: Path) -> None:
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


@pytest.mark.sample(3)
@pytest.mark.parametrize("fault", ["wrong-type", "deep", "surrogate", "endless-number"])
def test_undocumented_values_lose_no_log_and_warn_once(
    simulate: Simulate, tmp_path: Path, fault: str
) -> None:
    simulator = simulate(150, faults=[Fault.parse(f"1-={fault}")])
    for form in ("text", "json"):
        run = run_process(tmp_path, config_for(simulator, metadata=form))
        assert (run.status, [message["record"]["id"] for message in run.of_type("RECORD")]) == (
            0,
            simulator.store.ids(),
        )
        validator = jsonschema.Draft202012Validator(run.of_type("SCHEMA")[0]["schema"])
        # Of a page, the fault changes the first log.
        assert all(validator.is_valid(message["record"]) for message in run.of_type("RECORD")[::10])
        assert len(run.warnings) == (0 if form == "text" and fault in {"endless-number", "deep"} else 1)


@pytest.mark.parametrize("fault", ["no-id", "null-created-at"])
def test_invalid_logs_with_skip_are_skipped_and_counted(
    simulate: Simulate, tmp_path: Path, fault: str
) -> None:
    simulator = simulate(250, faults=[Fault.parse(f"2={fault}")], with_total=False)
    run = run_process(tmp_path, config_for(simulator, invalid_logs="skip", max_in_flight_requests=1))
    ids = simulator.store.ids()
    assert (run.status, run.ids) == (0, ids[:199] + ids[200:])
    assert len([line for line in run.warnings if "is skipped" in line]) == 1
    assert "1 log skipped as invalid" in run.stderr


@pytest.mark.parametrize(("fault", "field"), [("no-id", "id"), ("null-created-at", "createdAt")])
def test_invalid_log_ends_the_run_and_names_log_field_and_setting(
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
    # The STATE describes the records before it, and the next run emits the rest.
    assert run.messages[-1]["type"] == "STATE"
    after = run_process(tmp_path, config_for(simulator), state=run.state)
    assert run.ids + after.ids == simulator.store.ids()


def test_records_go_to_a_standard_output_that_is_only_text(simulate: Simulate) -> None:
    """As in a notebook, or where another program captures it."""
    simulator = simulate(300)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        SequenceTap(config=config_for(simulator)).sync_all()
    assert Run(0, parse_lines(output.getvalue())).records == simulator.store.logs()


def test_records_go_to_a_standard_output_without_a_file(simulate: Simulate) -> None:
    simulator = simulate(300)
    raw = io.BytesIO()
    with contextlib.redirect_stdout(io.TextIOWrapper(raw, encoding="utf-8", write_through=True)):
        SequenceTap(config=config_for(simulator)).sync_all()
        text = raw.getvalue().decode()
    assert Run(0, parse_lines(text)).records == simulator.store.logs()
