"""The benchmarks, run as processes on small lists: each contender does all of the work and is in the table."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.contenders import BARE_LOOP, FRONTS, PREFETCHING, SEQUENTIAL, TEMPLATE, Contender
from benchmarks.measure import ContenderError, measure, run
from benchmarks.modes import DRIFTS
from benchmarks.stand_in import StandIn
from benchmarks.table import render
from tap_sequence.simulator import Options, UnknownCursor
from tests.support.harness import ROOT, environment

BOTH = "activity_logs and activity_log_items"
TAPS = [SEQUENTIAL, PREFETCHING]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
        timeout=220,
        check=False,
    )


def rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of the rows of the table below a title."""
    lines = text.partition(f"## {title}")[2].partition("##")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][
        2:
    ]


@pytest.mark.long
def test_every_mode_measures_all_of_its_contenders(tmp_path: Path) -> None:
    small = ("--quick", "--logs", "250", "--repeat", "1", "--json")
    with ThreadPoolExecutor() as pool:
        # The network mode mostly waits, so the others run at the same time.
        behind_network = pool.submit(benchmark, "network", *small, str(tmp_path / "1.json"))
        done = benchmark(
            *("no-latency", "fronts", "drift", "memory", "start-up", "incremental", "streams"),
            *(*small, str(tmp_path / "2.json")),
        )
    assert done.returncode == 0, done.stderr
    assert behind_network.result().returncode == 0, behind_network.result().stderr
    everyone = [*TAPS, TEMPLATE, BARE_LOOP]
    assert [row[0] for row in rows(done.stdout, "No latency")][: len(everyone)] == everyone
    assert [row[0] for row in rows(done.stdout, "Fronts")] == [front.name for front in FRONTS]
    drift = {(row[0], row[1]) for row in rows(done.stdout, "Drift")}
    assert drift == {(name, pages) for name in everyone for pages in DRIFTS}
    memory = [(row[0], row[1]) for row in rows(done.stdout, "Memory")]
    assert {(name, "10") for name in everyone} | {(name, "250") for name in TAPS} <= set(memory)
    commands = [row[0] for row in rows(done.stdout, "Start-up")]
    assert commands == ["import singer_sdk", "tap --discover", "SDK template --discover"]
    written_again = [(row[0], row[3]) for row in rows(done.stdout, "Incremental")]
    assert written_again == [*((name, "0") for name in TAPS), (TEMPLATE, "250")]
    streams = {row[0]: row for row in rows(done.stdout, "Streams")}
    logs, items, both = (int(streams[name][4]) for name in ("activity_logs", "activity_log_items", BOTH))
    assert (logs, both) == (250, 250 + items)
    assert len({row[5] for row in streams.values()}) == 1
    network = {(row[0], row[1], row[2]) for row in rows(behind_network.result().stdout, "Network")}
    failures = set(UnknownCursor) - {UnknownCursor.RIGHT_PAGE}
    assert network >= {
        *((name, "id", "right-page") for name in everyone),
        *((name, "opaque", "refuse") for name in TAPS),
        *((PREFETCHING, "id", unknown) for unknown in failures),
    }
    content = json.loads((tmp_path / "2.json").read_text())
    assert {"tap-sequence", "singer-sdk"} <= content["versions"].keys()
    modes = {entry["mode"].partition(",")[0] for entry in content["runs"]}
    assert modes == {"no-latency", "fronts", "drift", "memory", "start-up", "incremental", "streams"}


def test_missing_peers_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    main(["no-latency", "--quick", "--logs", "1", "--only", BARE_LOOP])
    text = capsys.readouterr().out
    assert [row[0] for row in rows(text, "No latency")] == [BARE_LOOP]
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    for name in ("dlt", "airbyte-cdk"):
        assert (f"Left out: {name}" in text) is (name not in installed)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (("--only", "nobody"), BARE_LOOP),
        (("--peers-python", "/nowhere/python"), "/nowhere/python is no program"),
        (("--logs", "0"), "0 is not a number above 0"),
    ],
)
def test_invalid_option_is_refused(
    argument: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["no-latency", *argument])
    assert message in capsys.readouterr().err


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("pass", "wrote 0 logs"),
        ("""print('{"type": "RECORD", "record": {"id": "1"}}\\n' * 2, end='')""", "wrote 2 logs"),
        ("print('hello')", "no message"),
        ("raise SystemExit('no luck')", "no luck"),
    ],
)
def test_contender_with_incomplete_output_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "idler.py").write_text(code)
    monkeypatch.setattr("benchmarks.measure.ROOT", tmp_path)
    with StandIn(2) as stand_in, pytest.raises(ContenderError, match=message):
        measure(Contender("idler", "idler"), stand_in)


def test_peak_memory_excludes_that_of_the_parent_process(tmp_path: Path) -> None:
    ballast = b"x" * 2**28
    assert run([sys.executable, "-c", "pass"], tmp_path).peak_bytes < len(ballast)


def test_stand_in_serves_its_logs_and_counts_requests() -> None:
    with StandIn(250) as stand_in:
        stand_in.behave(Options())
        found = measure(Contender(BARE_LOOP, "benchmarks.peers.bare_loop"), stand_in)
        assert (found.output.logs, found.traffic.requests, found.traffic.refused) == (250, 3, 0)
        # The bare loop does not retry, which shows that the limit is enforced.
        stand_in.behave(Options(rate_limit=2, retry_after_seconds=1))
        with pytest.raises(ContenderError, match="429"):
            measure(Contender(BARE_LOOP, "benchmarks.peers.bare_loop"), stand_in)
        assert (stand_in.traffic.requests, stand_in.traffic.refused) == (3, 1)


def test_table_is_aligned() -> None:
    table = render("Title", ("who", "figure"), [("a", "1"), ("long name", "1,000")])
    assert table.splitlines() == [
        "## Title",
        "",
        "| who       | figure |",
        "| --------- | -----: |",
        "| a         |      1 |",
        "| long name |  1,000 |",
    ]
