"""Follows docs/getting-started.md, then docs/schema.md. Installs Meltano's plugins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from uv import find_uv_bin

from tap_sequence.simulator import SimulatedApi, Simulator
from tests.support.harness import ROOT, environment_of_others
from tests.support.meltano_project import copy_project, own_account
from tests.support.pages import blocks

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PAGE = ROOT / "docs" / "getting-started.md"
SCHEMA_PAGE = ROOT / "docs" / "schema.md"
LOGS = 250
SANDBOX = "sandbox.sequencehq.com/api"


def follow(project: Path, commands: str) -> str:
    """Run commands of the page; return what they print."""
    # `pip install uv` is done.
    stub = project / "stubs" / "pip"
    stub.parent.mkdir(exist_ok=True)
    stub.write_text("#!/bin/sh\n", encoding="utf-8")
    stub.chmod(0o755)
    env = environment_of_others("UV_PROJECT_ENVIRONMENT")
    env["PATH"] = f"{stub.parent}:{Path(find_uv_bin()).parent}:{env['PATH']}"
    env["UV_PYTHON"] = sys.executable
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=project,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_getting_started_as_written_loads_every_log_once(tmp_path: Path) -> None:
    install, test, load, count, doubles, production = (block.text for block in blocks(PAGE, "shell"))
    (example,) = (block.text for block in blocks(PAGE, "text"))
    project = copy_project(tmp_path, "tap-sequence", "target-jsonl")
    (project / ".env.example").write_bytes((ROOT / ".env.example").read_bytes())
    for environment_name in ("dev", "prod"):
        (project / "output" / environment_name).mkdir(exist_ok=True)
    api = SimulatedApi()
    api.store.grow(LOGS)
    with Simulator(api) as simulator:
        follow(project, install)
        env_file = project / ".env"
        for name, value in own_account(simulator).items():
            # The page's reader edits the file; the address is the simulator's in place of the sandbox's.
            text = env_file.read_text(encoding="utf-8")
            assert f"# {name}=" in text or name == "TAP_SEQUENCE_API_URL"
            env_file.write_text(text.replace(f"# {name}=", "") + f"\n{name}={value}\n", encoding="utf-8")

        said = follow(project, test)
        assert said.splitlines()[-1:] == [
            re.sub(
                r"(?<=newest log is from )[^,]+",
                api.store.logs()[-1]["createdAt"],
                example.strip().replace(SANDBOX, simulator.base_url.removeprefix("http://")),
            )
        ]

        said = follow(project, load)
        assert f"Summary: {LOGS} logs emitted" in said
        assert int(follow(project, count)) == LOGS
        assert int(follow(project, doubles)) == 0

        api.store.grow(20)
        follow(project, load)
        assert int(follow(project, count)) == LOGS + 20
        assert int(follow(project, doubles)) == 0

        assert "Summary: " in follow(project, production)
        assert loaded_ids(project / "output" / "prod" / "activity_logs.jsonl") == api.store.ids()
        assert not list(project.glob("output/*/activity_log_items.jsonl"))

        turn_items_on(project / "meltano.yml")
        api.store.grow(20)
        assert "Earlier runs did not load activity_log_items" in follow(project, production)
        new = loaded_ids(project / "output" / "prod" / "activity_log_items.jsonl")
        assert new == item_ids(api.store.logs()[-20:])

        follow(project, "uv run meltano --environment=prod run --full-refresh sequence-to-jsonl")
        items = loaded_ids(project / "output" / "prod" / "activity_log_items.jsonl")
        assert items == new + item_ids(api.store.logs())


def turn_items_on(meltano_yml: Path) -> None:
    """Follow the selection in docs/schema.md."""
    content = yaml.safe_load(meltano_yml.read_text(encoding="utf-8"))
    (block,) = (block.text for block in blocks(SCHEMA_PAGE, "yaml"))
    (said,) = yaml.safe_load(block)["plugins"]["extractors"]
    (extractor,) = (each for each in content["plugins"]["extractors"] if each["name"] == said["name"])
    assert set(extractor["select"]) < set(said["select"])
    extractor["select"] = said["select"]
    meltano_yml.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def loaded_ids(file: Path) -> list[str]:
    return [json.loads(line)["id"] for line in file.read_text(encoding="utf-8").split("\n") if line]


def item_ids(logs: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for log in logs for item in log["activityLogItems"]]
