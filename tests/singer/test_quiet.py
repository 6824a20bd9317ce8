"""What a run of the demo shows, and at which level."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.harness import TAP, environment, run_process
from tests.support.terminal import watch

DEMO = {"environment": "demo"}


def test_demo_reports_no_details_of_the_sdk_and_no_refused_guess(tmp_path: Path) -> None:
    errors = run_process(tmp_path, DEMO).stderr
    assert "Summary: " in errors
    assert "METRIC: " in errors  # Programs read them.
    assert "env var" not in errors
    assert "Prefetching is off" not in errors


@pytest.mark.parametrize(("level", "shows"), [("info", False), ("debug", True)])
def test_metrics_on_a_terminal_are_shown_at_debug_only(tmp_path: Path, level: str, shows: bool) -> None:  # noqa: FBT001
    config = tmp_path / "config.json"
    config.write_text(json.dumps(DEMO), encoding="utf-8")
    env = environment(TAP_SEQUENCE_LOGLEVEL=level, TERM="xterm")
    *_, last = watch([*TAP, "--config", str(config)], stdout=tmp_path / "out", env=env)
    shown = "".join(last.lines)
    assert "Summary: " in shown
    assert ("METRIC: " in shown) is shows


def test_details_of_the_sdk_are_shown_at_debug(tmp_path: Path) -> None:
    errors = run_process(tmp_path, DEMO, env=environment(TAP_SEQUENCE_LOGLEVEL="debug")).stderr
    assert "| DEBUG    | tap-sequence                   | Skipping parse of env var settings..." in errors
