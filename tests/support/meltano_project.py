"""A copy of the project that a test runs with real Meltano."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tap_sequence.simulator import DEMO_CREDENTIALS, Simulator
from tests.support.harness import ROOT, environment_of_others
from tests.support.plugin_definition import FILE as PLUGIN

MELTANO = Path(sys.executable).with_name("meltano")
LOADERS: dict[str, dict[str, Any]] = {
    loader["name"]: loader
    for loader in yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))["plugins"]["loaders"]
}


def meltano(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Meltano in a project, with `variables` in the environment."""
    return run([MELTANO, *arguments], project, **variables)


def run(command: Sequence[str | Path], project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a project, with nothing in the environment that could reach plugins but `variables`."""
    env = environment_of_others("TARGET_", "PG", **variables)
    return subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=200, check=False
    )


def copy_project(folder: Path, *plugins: str) -> Path:
    """Copy the checkout into `folder` and install some of Meltano's plugins there; return where it is."""
    project = folder / "tap-sequence"
    project.mkdir()
    for name in ("meltano.yml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in ("tap_sequence", "schemas"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("demo", "prod"):
        (project / "output" / name).mkdir(parents=True)
    for plugin in plugins:
        done = meltano(project, "install", plugin)
        assert done.returncode == 0, done.stderr
    return project


def new_project(folder: Path, pip_url: str | Path) -> Path:
    """Make a project as a user has one, with target-jsonl, and next to it a copy of meltano-plugin.yml.

    Args:
        folder: Where both are made.
        pip_url: What to install the tap from, in place of the address that meltano-plugin.yml names.
    """
    done = meltano(folder, "init", "project", "--no-usage-stats")
    assert done.returncode == 0, done.stderr
    project = folder / "project"
    text, replaced = re.subn(
        "^pip_url: .*$", f"pip_url: {pip_url}", PLUGIN.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert replaced == 1
    (folder / "tap-sequence.yml").write_text(text, encoding="utf-8")
    meltano_yml = project / "meltano.yml"
    content = yaml.safe_load(meltano_yml.read_text(encoding="utf-8"))
    loader = {**LOADERS["target-jsonl"], "config": {"destination_path": "output", "do_timestamp_file": False}}
    content["plugins"] = {"loaders": [loader]}
    meltano_yml.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    installed = meltano(project, "install", "target-jsonl")
    assert installed.returncode == 0, installed.stderr
    return project


def own_account(simulator: Simulator) -> dict[str, str]:
    """Return the environment variables of a user whose account a simulator holds."""
    client_id, client_secret = DEMO_CREDENTIALS
    return {
        "TAP_SEQUENCE_CLIENT_ID": client_id,
        "TAP_SEQUENCE_CLIENT_SECRET": client_secret,
        "TAP_SEQUENCE_API_URL": simulator.base_url,
    }
