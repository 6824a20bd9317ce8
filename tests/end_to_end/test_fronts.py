"""One config file, three fronts: the tap, `source-sequence` and the Python interface yield the same rows, value for value."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tap_sequence import Account
from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.simulator import Drift, Simulator
from tests.support.airbyte import SOURCE, configured
from tests.support.harness import TAP, config_for, discover, environment, select

Simulate = Callable[..., Simulator]
Rows = dict[str, list[dict[str, Any]]]

STREAMS = tuple(SCHEMAS)


def run(command: list[Any]) -> list[dict[str, Any]]:
    """Return the messages of a command, with numbers as they are written."""
    done = subprocess.run(
        command, env=environment(), capture_output=True, encoding="utf-8", check=True, timeout=200
    )
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.split("\n") if line]


def through_the_tap(folder: Path, config_file: Path) -> Rows:
    catalog = folder / "catalog.json"
    discovered = discover(json.loads(config_file.read_text(encoding="utf-8")))
    catalog.write_text(json.dumps(select(discovered, streams=STREAMS)), encoding="utf-8")
    rows: Rows = defaultdict(list)
    for message in run([*TAP, "--config", config_file, "--catalog", catalog]):
        if message["type"] == "RECORD":
            rows[message["stream"]].append(message["record"])
    return rows


def through_source_sequence(folder: Path, config_file: Path) -> Rows:
    catalog = folder / "configured.json"
    catalog.write_text(json.dumps(configured(*STREAMS, sync_mode="full_refresh")), encoding="utf-8")
    rows: Rows = defaultdict(list)
    for message in run([*SOURCE, "read", "--config", config_file, "--catalog", catalog]):
        if message["type"] == "RECORD":
            rows[message["record"]["stream"]].append(message["record"]["data"])
    return rows


def through_python(config_file: Path) -> Rows:
    account = Account(**json.loads(config_file.read_text(encoding="utf-8")))
    rows: Rows = defaultdict(list)
    for page in account.pages(STREAMS):
        for stream, part in page.rows.items():
            rows[stream] += part
    return rows


@pytest.mark.parametrize(
    ("logs", "settings"),
    [
        (300, {"metadata": "json", "actor_email": "hash"}),
        pytest.param(5000, {}, marks=pytest.mark.long),
        pytest.param(5000, {"metadata": "json"}, marks=pytest.mark.long),
    ],
)
def test_one_config_file_gives_the_same_rows_through_every_front(
    simulate: Simulate, tmp_path: Path, logs: int, settings: dict[str, Any]
) -> None:
    drift = [Drift.parse(name) for name in ("unknown-field", "verb-number")]
    simulator = simulate(logs, drift=drift)
    config_file = tmp_path / "config.json"
    config_file.write_text(json.dumps(config_for(simulator, **settings)), encoding="utf-8")
    tap, source, python = (
        through_the_tap(tmp_path, config_file),
        through_source_sequence(tmp_path, config_file),
        through_python(config_file),
    )
    assert [row["id"] for row in tap["activity_logs"]] == simulator.store.ids()
    assert set(tap) == set(STREAMS)
    assert any(row["unmapped"] for row in tap["activity_logs"])
    assert tap == source
    assert tap == python


def test_python_interface_of_the_wheel_needs_no_front(tmp_path: Path) -> None:
    script = (
        "import sys, tap_sequence; tap_sequence.Account; print({'singer_sdk', 'click'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "set()"
