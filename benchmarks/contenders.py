"""The contenders: the tap with and without prefetching, and others that read the same list."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

SEQUENTIAL = "tap, sequential"
PREFETCHING = "tap, prefetching"
TEMPLATE = "SDK template"
BARE_LOOP = "bare loop"
AIRBYTE = "source-sequence"
PYTHON = "Python interface"
OPTIONAL_PEERS = {"dlt": "dlt_source", "airbyte-cdk": "airbyte_source"}
"""Module of each, by the distribution that it needs."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that reads the whole list and writes a line for each log.

    Attributes:
        name: What it is called in tables.
        module: What `python -m` runs; it takes `--config FILE`.
        settings: What the file holds beside address and credentials.
        python: The interpreter that has what it needs.
        command: What comes before the options.
        catalog: The catalog that it is given.
    """

    name: str
    module: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    command: tuple[str, ...] = ()
    catalog: Mapping[str, Any] | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is a front of this project, with its settings."""
        return self.module.startswith("tap_sequence") or self.name == PYTHON

    @property
    def is_tap(self) -> bool:
        """Whether it is this tap."""
        return self.module == "tap_sequence"

    @property
    def is_singer(self) -> bool:
        """Whether it accepts `--discover` and `--state`."""
        return self.name in {SEQUENTIAL, PREFETCHING, TEMPLATE}


FRONTS = (
    Contender(PREFETCHING, "tap_sequence"),
    Contender(
        AIRBYTE,
        "tap_sequence.airbyte.cli",
        command=("read",),
        catalog={"streams": [{"stream": {"name": "activity_logs"}, "sync_mode": "incremental"}]},
    ),
    Contender(PYTHON, "benchmarks.peers.account_pages"),
)
"""The fronts of this project, the tap first."""


@dataclass(frozen=True, slots=True)
class Field:
    """Who can be measured here.

    Attributes:
        contenders: Those that can.
        absent: Why others cannot, a line for each.
        versions: Versions of what they are made of.
    """

    contenders: list[Contender]
    absent: list[str]
    versions: dict[str, str]


def find_contenders(peers_python: str) -> Field:
    """Return who can be measured with this tap and what is installed.

    Args:
        peers_python: The interpreter that may have dlt and airbyte-cdk.
    """
    contenders = [
        Contender(SEQUENTIAL, "tap_sequence", {"max_in_flight_requests": 1}),
        Contender(PREFETCHING, "tap_sequence"),
        Contender(TEMPLATE, "benchmarks.peers.template_tap"),
        Contender(BARE_LOOP, "benchmarks.peers.bare_loop"),
    ]
    absent = []
    versions = _versions(
        sys.executable, ["tap-sequence", "singer-sdk", "requests", "urllib3", "msgspec"]
    ) | _versions(peers_python, list(OPTIONAL_PEERS))
    for name, module in OPTIONAL_PEERS.items():
        if name in versions:
            contenders.append(Contender(name, f"benchmarks.peers.{module}", python=peers_python))
        else:
            absent.append(f"{name}: it is not installed in {peers_python}.")
    return Field(contenders, absent, versions)


def _versions(python: str, distributions: list[str]) -> dict[str, str]:
    found: dict[str, str] = _ask(
        python,
        "from importlib.metadata import distributions as d\n"
        "have = {x.name.lower().replace('_', '-'): x.version for x in d()}\n"
        f"out = {{name: have[name] for name in {distributions!r} if name in have}}",
    )
    return found


def _ask(python: str, code: str) -> Any:
    done = subprocess.run(
        [python, "-c", f"{code}\nimport json; print(json.dumps(out))"],
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    return json.loads(done.stdout)
