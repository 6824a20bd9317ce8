"""A command imports only what it needs: it starts as fast as the SDK allows."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from tests.support.harness import environment

SCRIPT = """
import atexit, gc, sys
from tap_sequence.__main__ import main

atexit.register(lambda: print(gc.isenabled(), *sys.modules, file=sys.stderr))
main()
"""


def test_discover_imports_nothing_that_only_a_sync_needs(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"environment": "demo"}))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--config", config, "--discover"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["streams"]
    collects_garbage, *modules = done.stderr.splitlines()[-1].split()
    assert collects_garbage == "True"
    assert "tap_sequence.singer.streams" in modules
    not_needed = {
        "api.client",
        "api.transport",
        "api.rate_limit",
        "api.decoder",
        "api.responses",
        "simulator",
    }
    assert all(importlib.util.find_spec(f"tap_sequence.{name}") for name in not_needed)
    assert not {f"tap_sequence.{name}" for name in not_needed} & set(modules)
    assert not {"pyrate_limiter", "tenacity", "tqdm"} & set(modules)
