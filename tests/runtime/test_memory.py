"""The maximum memory of a run, whatever the API responds with: SECURITY.md documents it."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tap_sequence.api.byte_budget import MAX_AHEAD_BYTES
from tap_sequence.api.transport import MAX_BODY_BYTES
from tap_sequence.simulator import Simulator, UnknownCursor
from tap_sequence.simulator.faults import Response
from tests.conftest import tabulate
from tests.support.harness import ROOT, TAP, command_arguments, config_for, environment

Simulate = Callable[..., Simulator]
Change = Callable[[list[dict[str, Any]], int], None]

PROMISED_MIB = int(
    re.findall(r"at most (\d+) MiB of memory", " ".join((ROOT / "SECURITY.md").read_text().split()))[0]
)

PAGES_BEFORE = 3
"""Number of normal pages first, so that the tap prefetches."""

FILLED = 0.98
"""Size of a bomb, as a fraction of the largest page that the tap accepts."""


def _nested(element: str) -> Change:
    def change(logs: list[dict[str, Any]], size: int) -> None:
        elements = ",".join([element] * (size // (len(element) + 1)))
        logs[0]["activityLogItems"][0]["metadata"] = [msgspec.Raw(f"[{elements}]".encode())]

    return change


def _texts(text: str) -> Change:
    def change(logs: list[dict[str, Any]], size: int) -> None:
        for log in logs:
            # With one character outside the first plane, Python uses four bytes for each character.
            log["activityLogItems"][0]["summary"] = "\N{GRINNING FACE}" + text * (
                size // len(logs) // len(text)
            )

    return change


def _items(logs: list[dict[str, Any]], size: int) -> None:
    item = logs[0]["activityLogItems"][0]
    part = {"id": "", "entityType": ""}
    item |= {"name": "", "summary": "", "verb": "", "metadata": []}
    item |= {"activityLogActor": part, "activityLogObject": part, "activityLogTarget": part}
    logs[0]["activityLogItems"] = [item] * (size // len(msgspec.json.encode(item)))


BOMBS: Mapping[str, Change] = {
    "empty lists": _nested("[]"),
    "empty objects": _nested("{}"),
    "numbers": _nested("0.5"),
    "long texts with one emoji": _texts("x"),
    "small items": _items,
}


def arm(simulator: Simulator, change: Change, size: int) -> None:
    """Make every page from the fourth request on decompress to so many bytes."""
    respond = simulator.api.respond
    responses = 0

    def bomb(path: str, query: dict[str, str], headers: dict[str, str]) -> Response:
        nonlocal responses
        responses += 1
        response = respond(path, query, headers)
        if responses <= PAGES_BEFORE or response.status != HTTPStatus.OK:
            return response
        page = msgspec.json.decode(response.body)
        if page["items"]:
            change(page["items"], int(FILLED * size) - len(response.body))
        body = gzip.compress(msgspec.json.encode(page), 1)
        return replace(response, body=body, headers={**response.headers, "Content-Encoding": "gzip"})

    vars(simulator.api)["respond"] = bomb


# A process inherits its parent's peak memory, so a small process starts it.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_mib(folder: Path, config: Mapping[str, Any]) -> tuple[int, float]:
    """Run the tap; return its exit status and its peak memory in bytes."""
    with (folder / "stderr").open("wb") as stderr:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *TAP, *command_arguments(folder, config)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            check=True,
        )
    status, peak = map(int, done.stdout.split())
    # Linux counts in KiB.
    return status, peak / 1024


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("max_in_flight_requests", [1, 4, 16])
@pytest.mark.parametrize("size", [MAX_BODY_BYTES, MAX_AHEAD_BYTES // 4])
@pytest.mark.parametrize("bomb", BOMBS)
def test_page_needs_no_more_memory_than_documented(
    simulate: Simulate, tmp_path: Path, bomb: str, size: int, max_in_flight_requests: int
) -> None:
    # Guessed cursors are accepted, so that as many requests as possible are in flight.
    simulator = simulate(3000, unknown_cursor=UnknownCursor.RIGHT_PAGE)
    arm(simulator, BOMBS[bomb], size)
    config = config_for(simulator, max_in_flight_requests=max_in_flight_requests)
    status, peak = peak_mib(tmp_path, config)
    page = f"{size // 2**20} MiB a page"
    tabulate(
        "Peak memory, in MiB", f"{bomb}, {page}", **{f"{max_in_flight_requests} in flight": f"{peak:.0f}"}
    )
    assert peak < PROMISED_MIB, (tmp_path / "stderr").read_text()[-2000:]
    # A page of too many values ends the run, and the message names the setting to change.
    problem = (tmp_path / "stderr").read_text()
    assert status == 0 or ("JSON values" in problem and "page_size" in problem)
