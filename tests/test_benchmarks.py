"""The benchmarks through real processes, with small lists: who is measured does all of the work, and is in the table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contenders import BARE_LOOP, READ_AHEAD, SEQUENTIAL, TEMPLATE, Contender
from benchmarks.measure import ContenderError, measure, run
from benchmarks.stand_in import StandIn
from benchmarks.table import render
from tap_sequence.settings import CONFIG_JSONSCHEMA
from tap_sequence.simulator import Options, UnknownCursor
from tests.harness import ROOT, environment

HAS_READ_AHEAD = "max_in_flight_requests" in CONFIG_JSONSCHEMA["properties"]
TAPS = [SEQUENTIAL, READ_AHEAD] if HAS_READ_AHEAD else [SEQUENTIAL]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=120,
        check=False,
    )


def rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of the rows of the table below a title."""
    lines = text.partition(f"## {title}")[2].partition("##")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][
        2:
    ]


def test_every_mode_measures_everyone_that_it_names(tmp_path: Path) -> None:
    done = benchmark("all", "--quick", "--logs", "250", "--repeat", "1", "--json", str(tmp_path / "json"))
    assert done.returncode == 0, done.stderr
    everyone = [*TAPS, TEMPLATE, BARE_LOOP]
    assert [row[0] for row in rows(done.stdout, "No latency")][: len(everyone)] == everyone
    names = [(row[0], row[1], row[2]) for row in rows(done.stdout, "Network")]
    for name in everyone:
        assert (name, "id", "right-page") in names
    for name in TAPS:
        assert (name, "opaque", "refuse") in names
    for unknown in set(UnknownCursor) - {UnknownCursor.RIGHT_PAGE}:
        assert ((READ_AHEAD, "id", unknown) in names) is HAS_READ_AHEAD
    memory = [(row[0], row[1]) for row in rows(done.stdout, "Memory")]
    assert {(name, "10") for name in everyone} | {(name, "250") for name in TAPS} <= set(memory)
    assert [row[0] for row in rows(done.stdout, "Start-up")] == [
        "import singer_sdk",
        "tap --discover",
        "SDK template --discover",
    ]
    assert [(row[0], row[3]) for row in rows(done.stdout, "Incremental")] == [
        *((name, "0") for name in TAPS),
        (TEMPLATE, "250"),
    ]
    content = json.loads((tmp_path / "json").read_text())
    assert {"tap-sequence", "singer-sdk"} <= content["versions"].keys()
    assert {entry["mode"].partition(",")[0] for entry in content["runs"]} == {
        "no-latency",
        "network",
        "memory",
        "start-up",
        "incremental",
    }


def test_peers_that_are_not_installed_are_named() -> None:
    done = benchmark("no-latency", "--quick", "--logs", "1", "--only", BARE_LOOP)
    assert done.returncode == 0, done.stderr
    measured = [row[0] for row in rows(done.stdout, "No latency")]
    assert measured == [BARE_LOOP]
    for name in ("dlt", "airbyte-cdk"):
        assert f"Left out: {name}" in done.stdout or f"{name} " in done.stdout


def test_only_takes_contenders() -> None:
    done = benchmark("no-latency", "--only", "nobody")
    assert done.returncode == 2
    assert BARE_LOOP in done.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("pass", "wrote 0 logs"),
        ("""print('{"type": "RECORD", "record": {"id": "1"}}\\n' * 2, end='')""", "wrote 2 logs"),
        ("print('hello')", "no message"),
        ("raise SystemExit('no luck')", "no luck"),
    ],
)
def test_a_contender_that_does_not_do_its_work_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "idler.py").write_text(code)
    monkeypatch.setattr("benchmarks.measure.ROOT", tmp_path)
    with StandIn(2) as stand_in, pytest.raises(ContenderError, match=message):
        measure(Contender("idler", "idler"), stand_in)


def test_a_process_is_not_charged_for_the_memory_of_its_parent(tmp_path: Path) -> None:
    ballast = b"x" * 2**28
    assert run([sys.executable, "-c", "pass"], tmp_path).peak_bytes < len(ballast)


def test_the_stand_in_serves_its_logs_and_counts_requests() -> None:
    with StandIn(250) as stand_in:
        stand_in.behave(Options())
        found = measure(Contender(BARE_LOOP, "benchmarks.peers.bare_loop"), stand_in)
        assert (found.output.logs, found.traffic.requests, found.traffic.refused) == (250, 3, 0)
        # The bare loop has no patience: it shows that a limit is kept.
        stand_in.behave(Options(rate_limit=2, retry_after_seconds=1))
        with pytest.raises(ContenderError, match="429"):
            measure(Contender(BARE_LOOP, "benchmarks.peers.bare_loop"), stand_in)
        assert (stand_in.traffic.requests, stand_in.traffic.refused) == (3, 1)


def test_a_table_is_aligned() -> None:
    table = render("Title", ("who", "figure"), [("a", "1"), ("long name", "1,000")])
    assert table.splitlines() == [
        "## Title",
        "",
        "| who       | figure |",
        "| --------- | -----: |",
        "| a         |      1 |",
        "| long name |  1,000 |",
    ]
