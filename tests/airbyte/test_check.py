"""`check`: whether the settings work, as a result with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.simulator import Fault, Simulator
from tap_sequence.source import Source
from tests.support.airbyte import run_source, run_source_here
from tests.support.harness import config_for

Simulate = Callable[..., Simulator]


def test_check_with_working_settings_succeeds(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(250)
    run = run_source(tmp_path, config_for(simulator), "check")
    assert (run.status, run.stderr) == (0, "")
    (status,) = run.of_type("CONNECTION_STATUS")
    assert status["status"] == "SUCCEEDED"
    assert "250 logs in all" in status["message"]


@pytest.mark.parametrize(
    ("settings", "faults", "words"),
    [
        ({"client_secret": None}, [], ["client_secret is missing; set it to the value"]),
        ({"client_secret": "s3cr3t-42"}, [], ["credentials"]),
        ({"page_size": 0}, [], ["page_size must be an integer from 1 to 100"]),
        ({"start_date": "soon"}, [], ["start_date must be an ISO 8601 time"]),
        ({"api_url": "https://api.check.invalid/api", "retry_budget_seconds": 0}, [], ["api.check.invalid"]),
        ({"retry_budget_seconds": 0}, ["1-=500"], ["status 500"]),
    ],
)
def test_check_that_fails_says_why_and_exits_with_0(
    simulate: Simulate, tmp_path: Path, settings: dict[str, Any], faults: list[str], words: list[str]
) -> None:
    simulator = simulate(10, faults=[Fault.parse(fault) for fault in faults])
    run = run_source_here(tmp_path, config_for(simulator) | settings, "check")
    assert run.status == 0
    (status,) = run.of_type("CONNECTION_STATUS")
    assert status["status"] == "FAILED"
    for word in words:
        assert word in status["message"]
    assert "s3cr3t" not in str(run.messages)
    assert "--config" not in status["message"]


def test_check_without_a_readable_config_fails_with_the_reason(tmp_path: Path) -> None:
    run = run_source_here(tmp_path, [], "check")
    assert run.status == 0
    assert "must be a JSON object" in run.of_type("CONNECTION_STATUS")[0]["message"]


def test_check_that_raises_is_a_failure_of_the_run(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: Source) -> str:
        msg = "ada@example.com"
        raise LookupError(msg)

    monkeypatch.setattr(Source, "check", fail)
    run = run_source_here(tmp_path, config_for(simulate()), "check")
    assert run.status == 1
    (error,) = run.errors
    assert error["failure_type"] == "system_error"
    assert "LookupError" in error["message"]
    assert "ada@" not in str(run.messages)


def test_settings_that_are_unknown_are_warned_of_and_airbytes_own_are_not(
    simulate: Simulate, tmp_path: Path
) -> None:
    config = config_for(simulate(1), page_sise=1, __injected_manifest={}, start_date=None)
    run = run_source_here(tmp_path, config, "check")
    assert run.of_type("CONNECTION_STATUS")[0]["status"] == "SUCCEEDED"
    (warning,) = run.warnings
    assert "page_sise is not a setting" in warning
    assert "Did you mean page_size?" in warning
