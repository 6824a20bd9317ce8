"""`source-sequence` under Airbyte's own tools: PyAirbyte, its validator, and the standard tests of airbyte-cdk.

Installs them, each into an environment of its own. None reports what it is used for, and none leaves this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from tap_sequence.simulator import Simulator
from tests.conftest import count, tabulate
from tests.support.harness import ROOT, config_for, utc
from tests.support.services import SCRIPTS, Environments, Program, target_environment
from tests.transforms.test_items import expected_rows

Simulate = Callable[..., Simulator]

PYAIRBYTE = Program(("airbyte==0.71.3",))
AIRBYTE_CDK = Program(("airbyte-cdk==7.39.1", "pytest>=8"))
SOURCE = Path(sys.executable).parent / "source-sequence"
INTEGRATION = ROOT / "integrations" / "airbyte"
QUIET = {"DO_NOT_TRACK": "1", "AIRBYTE_OFFLINE_MODE": "1"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    with ExitStack() as stack:
        yield Environments(tmp_path_factory.mktemp("airbyte"), stack)


def variables_of(environments: Environments, program: Program, **more: str) -> dict[str, str]:
    """Return the environment for a program: uv, and the Python that it makes environments with, are found."""
    variables = target_environment(**QUIET, **more)
    found = [
        str(environments.bin(program)),
        str(Path(find_uv_bin()).parent),
        str(Path(sys.executable).parent),
    ]
    return {
        **variables,
        "PATH": os.pathsep.join([*found, variables["PATH"]]),
        "UV_PYTHON": sys.executable,
    }


def run_python(
    environments: Environments, folder: Path, program: Program, *arguments: Any, **env: str
) -> str:
    """Run a program's Python, and return what it prints."""
    done = subprocess.run(
        [environments.bin(program) / "python", *map(str, arguments)],
        cwd=folder,
        env=variables_of(environments, program, **env),
        capture_output=True,
        encoding="utf-8",
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def pyairbyte(
    environments: Environments, folder: Path, config: Any
) -> Iterator[Callable[..., dict[str, Any]]]:
    """Start PyAirbyte, and yield a function that loads streams and returns what is in the cache then."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    script = [SCRIPTS / "load_pyairbyte.py", SOURCE, folder / "config.json", folder / "cache.duckdb"]
    with (
        (folder / "stderr").open("w+") as stderr,
        subprocess.Popen(
            [environments.bin(PYAIRBYTE) / "python", *script],
            cwd=folder,
            env=variables_of(environments, PYAIRBYTE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def load(*streams: str) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(" ".join(streams) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer, (folder / "stderr").read_text(encoding="utf-8")
            found: dict[str, Any] = json.loads(answer)
            return found

        yield load
        process.stdin.close()
    assert process.returncode == 0


def test_pyairbyte_loads_what_is_new_and_the_history_of_an_added_stream(
    environments: Environments, simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(926)
    with pyairbyte(environments, tmp_path, config_for(simulator)) as load:
        first = load("activity_logs")
        simulator.store.grow(138)
        second = load("activity_logs")
        third = load("activity_logs")
        simulator.store.grow(12)
        fourth = load("activity_logs", "activity_log_items")

    logs = simulator.store.logs()
    items = expected_rows(logs)
    assert [run["processed"] for run in (first, second, third)] == [926, 138, 0]
    assert fourth["processed"] == 12 + len(items)
    assert first["first"] == simulator.store.ids()[:3]
    rows = {stream: {row["id"]: row for row in found} for stream, found in fourth["rows"].items()}
    # Nothing is doubled.
    assert [len(found) for found in fourth["rows"].values()] == [len(logs), len(items)]
    assert rows["activity_logs"].keys() == set(simulator.store.ids())
    assert rows["activity_log_items"].keys() == {item["id"] for item in items}
    for log in logs:
        row = rows["activity_logs"][log["id"]]
        assert utc(row["createdat"]) == utc(log["createdAt"])
        assert row["activitytype"] == log["activityType"]
    assert "TIMESTAMP" in fourth["types"]["activity_logs"]["createdat"]
    count("records loaded through PyAirbyte", sum(run["processed"] for run in (first, second, third, fourth)))


def test_pyairbytes_validator_installs_and_runs_the_source(
    environments: Environments, simulate: Simulate, tmp_path: Path
) -> None:
    # What it installs is a folder with metadata.yaml: the project as it is, without what git does not have.
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("tap_sequence", "schemas", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(INTEGRATION / "metadata.yaml", tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(config_for(simulate(300))), encoding="utf-8")
    validate = "from airbyte.validate import run; run()"
    options = ["--connector-dir", ".", "--sample-config", config]
    output = run_python(environments, tmp_path, PYAIRBYTE, "-c", validate, *options)
    assert "Running check" in output
    assert "Could not read" not in output
    assert "Unhandled error" not in output


def test_standard_tests_of_the_cdk_pass(environments: Environments, tmp_path: Path) -> None:
    folder = tmp_path / "source-sequence"
    shutil.copytree(INTEGRATION, folder)
    shutil.copy(SCRIPTS / "airbyte_standard_tests.py", folder / "test_standard.py")
    hooks = "airbyte_cdk.test.standard_tests.pytest_hooks"
    # The tests of an image need Docker.
    options = ["-ra", "-p", hooks, "-k", "not docker", "-W", "ignore"]
    strict = ["-W", "error::airbyte_cdk.test.standard_tests.DiscoveredCatalogWarning"]
    output = run_python(
        environments,
        folder,
        AIRBYTE_CDK,
        *["-m", "pytest", *options, *strict, "test_standard.py"],
        SOURCE=str(SOURCE),
        PYTEST_ADDOPTS="",  # The gate's are for this project's tests.
    )
    summary = output.splitlines()[-1]
    assert "7 passed" in summary
    # Each config is only used by the commands that acceptance-test-config.yml lists it for.
    assert "4 skipped" in summary
    tabulate("Airbyte's own tests of source-sequence", "airbyte-cdk", result=summary.strip("= "))


def test_spec_starts_in_half_the_time_of_importing_the_cdk(
    environments: Environments, tmp_path: Path
) -> None:
    python = environments.bin(AIRBYTE_CDK) / "python"
    commands = {"spec": [str(SOURCE), "spec"], "import": [str(python), "-c", "import airbyte_cdk"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - began)
    spec, imported = (statistics.median(seconds[name]) for name in commands)
    tabulate(
        "Start-up of source-sequence",
        "source-sequence spec",
        seconds=f"{spec:.2f}",
        ratio=f"{spec / imported:.2f} of import airbyte_cdk ({imported:.2f} s)",
    )
    assert spec <= 0.5 * imported
