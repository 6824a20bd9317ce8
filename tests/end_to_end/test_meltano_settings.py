"""Every setting, including the Singer SDK's, reaches the tap in every way that Meltano offers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tap_sequence.simulator import DEMO_CREDENTIALS, SimulatedApi, Simulator
from tap_sequence.singer.tap import SequenceTap
from tests.conftest import tabulate
from tests.support.meltano_project import copy_project, meltano, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

LOGS = 5
OTHER_VERSION = "2024-01-02"

# Keeps the config that Meltano made for the tap, and runs the tap.
WRAPPER = """#!/usr/bin/env bash
while [ "$1" != --config ]; do shift; done
cp "$2" {seen}
exec {tap} "$@"
"""

# Runs `meltano config set` for each of a list of settings, with the start-up paid once.
SET_ALL = """
import json, sys
from meltano.cli import cli
for name, value in json.loads(sys.argv[1]).items():
    try:
        cli(["--environment=prod", "config", "set", "tap-sequence", name, value], standalone_mode=False)
    except SystemExit as ended:
        assert not ended.code, name
"""


def definitions() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of every setting that Meltano can set."""
    schema = SequenceTap.config_jsonschema
    SequenceTap.append_builtin_config(schema)
    # Meltano reserves metadata for an extra of its own; metadata_format replaces it.
    return {name: each for name, each in schema["properties"].items() if name != "metadata"}


def value_for(name: str, definition: dict[str, Any], simulator: Simulator) -> Any:
    """Return a value that is not the default, and with which a run passes."""
    values = {
        "client_id": DEMO_CREDENTIALS[0],
        "client_secret": DEMO_CREDENTIALS[1],
        "environment": "sandbox",
        "api_url": simulator.base_url,
        "api_version": OTHER_VERSION,
        "start_date": "2001-02-03T04:05:06Z",
        "end_date": "2101-02-03T04:05:06Z",
        "actor_email": "hash",
        "stream_maps": {"activity_logs": {"kind": "activityType", "who": "config['who']"}},
        "stream_map_config": {"who": "mapped"},
        "faker_config": {"seed": 7, "locale": "en_GB"},
        "flattening_max_key_length": 40,
        "flattening_separator": "___",
    }
    if name in values:
        return values[name]
    if "enum" in definition:
        return next(value for value in definition["enum"] if value != definition.get("default"))
    kind = definition["type"][0] if isinstance(definition["type"], list) else definition["type"]
    return {
        "string": f"a {name}",
        "integer": definition.get("minimum", 0) + 7,
        "number": 21,
        "boolean": True,
    }[kind]


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class Project:
    """A Meltano project whose tap records its config.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen = folder / "seen.json"
        self.file = folder / "meltano.yml"
        self._original = self.file.read_text(encoding="utf-8")
        tap = folder / ".meltano" / "extractors" / "tap-sequence" / "venv" / "bin" / "tap-sequence"
        tap.rename(tap.with_suffix(".real"))
        tap.write_text(WRAPPER.format(seen=self.seen, tap=tap.with_suffix(".real")), encoding="utf-8")
        tap.chmod(0o755)

    def restore(self) -> None:
        self.file.write_text(self._original, encoding="utf-8")
        for file in (self.folder / ".env", self.seen):
            file.unlink(missing_ok=True)
        for file in (self.folder / "output" / "prod").glob("*.jsonl"):
            file.unlink()

    def environment_config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return meltano.yml, and in it the settings of the tap in the environment prod."""
        content: dict[str, Any] = yaml.safe_load(self._original)
        (prod,) = (each for each in content["environments"] if each["name"] == "prod")
        (extractor,) = prod["config"]["plugins"]["extractors"]
        config: dict[str, Any] = extractor["config"]
        return content, config


def by_variables(_: Project, values: dict[str, Any]) -> dict[str, str]:
    """Put the settings into the environment."""
    return {f"TAP_SEQUENCE_{name.upper()}": as_text(value) for name, value in values.items()}


def by_env_file(project: Project, values: dict[str, Any]) -> dict[str, str]:
    """Put the settings into `.env`."""
    quoted = {name: value.replace("'", r"\'") for name, value in by_variables(project, values).items()}
    lines = [f"{name}='{value}'\n" for name, value in quoted.items()]
    (project.folder / ".env").write_text("".join(lines), encoding="utf-8")
    return {}


def by_file(project: Project, values: dict[str, Any]) -> dict[str, str]:
    """Put the settings into meltano.yml."""
    content, config = project.environment_config()
    config.update(values)
    project.file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return {}


def by_command(project: Project, values: dict[str, Any]) -> dict[str, str]:
    """Let `meltano config set` store the settings."""
    texts = json.dumps({name: as_text(value) for name, value in values.items()})
    done = run([sys.executable, "-c", SET_ALL, texts], project.folder)
    assert done.returncode == 0, done.stderr
    return {}


WAYS: dict[str, Callable[[Project, dict[str, Any]], dict[str, str]]] = {
    "environment variables": by_variables,
    ".env": by_env_file,
    "meltano.yml": by_file,
    "meltano config set": by_command,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(copy_project(tmp_path_factory.mktemp("project"), "tap-sequence", "target-jsonl"))


@pytest.fixture
def restored(project: Project) -> Iterator[Project]:
    project.restore()
    yield project
    project.restore()


@pytest.mark.parametrize("way", WAYS)
def test_every_setting_reaches_the_tap_and_the_run_passes(
    restored: Project, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    project = restored
    monkeypatch.setattr("tap_sequence.simulator.api.VERSION", OTHER_VERSION)
    api = SimulatedApi()
    api.store.grow(LOGS)
    actor = api.store.logs()[0]["activityLogItems"][0]["activityLogObject"]
    with Simulator(api) as simulator:
        values = {name: value_for(name, each, simulator) for name, each in definitions().items()}
        values |= {"activity_log_object_id": actor["id"], "activity_log_object_entity_id": actor["entityId"]}
        for name, definition in definitions().items():
            assert values[name] != definition.get("default"), name
        done = meltano(
            project.folder, "--environment=prod", "run", "sequence-to-jsonl", **WAYS[way](project, values)
        )
        received = simulator.requests
    assert done.returncode == 0, done.stderr
    got = json.loads(project.seen.read_text(encoding="utf-8"))
    for name, value in values.items():
        # In Python, 1 equals true.
        arrived = got.get(name) == value and type(got[name]) is type(value)
        tabulate("Settings by the ways that Meltano has", name, **{way: "arrives" if arrived else "NO"})
    assert got == values
    assert {name: type(value) for name, value in got.items()} == {
        name: type(value) for name, value in values.items()
    }

    assert {request.headers["sequence-version"] for request in received} == {values["api_version"]}
    assert {request.query["activityLogObjectId"] for request in received} == {actor["id"]}
    lines = (project.folder / "output" / "prod" / "activity_logs.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in lines.splitlines()]
    assert records
    assert all(record["who"] == "mapped" for record in records)
    # Flattened: what is left of the list is its JSON.
    assert all(isinstance(record["activityLogItems"], str) for record in records)
