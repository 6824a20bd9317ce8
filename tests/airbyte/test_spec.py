"""`spec`: the tap's settings, in the form that Airbyte shows, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tap_sequence.airbyte.spec import ALWAYS_SHOWN, GROUPS, HIDDEN, specification
from tap_sequence.settings import CONFIG_JSONSCHEMA, SECRETS
from tests.support.airbyte import SOURCE, run_source_with
from tests.support.harness import environment

CONNECTION = specification()["connectionSpecification"]
PROPERTIES: dict[str, dict[str, Any]] = CONNECTION["properties"]


def test_spec_has_the_settings_of_the_tap_each_once_and_in_order() -> None:
    assert PROPERTIES.keys() == CONFIG_JSONSCHEMA["properties"].keys()
    assert sorted(name for _, names in GROUPS.values() for name in names) == sorted(PROPERTIES)
    assert [definition["order"] for definition in PROPERTIES.values()] == list(range(len(PROPERTIES)))
    assert {definition["group"] for definition in PROPERTIES.values()} == GROUPS.keys()
    assert [group["id"] for group in CONNECTION["groups"]] == list(GROUPS)
    assert set(HIDDEN) | set(ALWAYS_SHOWN) <= PROPERTIES.keys()


def test_spec_marks_secrets_and_what_the_form_hides() -> None:
    def marked(name: str) -> set[str]:
        return {setting for setting, definition in PROPERTIES.items() if definition.get(name)}

    assert marked("airbyte_secret") == set(SECRETS)
    assert "api_url" in marked("airbyte_hidden")
    assert marked("airbyte_hidden") == set(HIDDEN)
    assert marked("always_show") == set(ALWAYS_SHOWN)


def test_spec_is_flat_and_has_types_that_a_form_can_show() -> None:
    jsonschema.Draft7Validator.check_schema(CONNECTION)
    assert CONNECTION["additionalProperties"] is True
    for definition in PROPERTIES.values():
        assert definition["type"] in {"string", "integer", "number"}
        assert definition["title"]
        assert definition["description"]
        assert not {"oneOf", "anyOf", "allOf", "$ref"} & definition.keys()
    assert PROPERTIES["environment"]["enum"] == ["production", "sandbox", "demo"]
    assert (PROPERTIES["page_size"]["minimum"], PROPERTIES["page_size"]["maximum"]) == (1, 100)


@pytest.mark.parametrize(
    "config",
    [
        {"environment": "demo"},
        {"client_id": "id", "client_secret": "secret", "start_date": "2026-01-01", "page_size": 10},
        {"client_id": "id", "client_secret": "secret", "__injected_declarative_manifest": {}},
    ],
)
def test_configs_of_the_tap_fit_the_spec(config: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(CONNECTION).validate(config)


def test_spec_command_writes_one_message(tmp_path: Path) -> None:
    run = run_source_with(tmp_path, "spec")
    assert (run.status, run.stderr) == (0, "")
    assert run.messages == [{"type": "SPEC", "spec": specification()}]
    assert run.of_type("SPEC")[0]["documentationUrl"].endswith("/docs/airbyte.md")


def test_spec_imports_neither_an_http_client_nor_a_framework() -> None:
    script = (
        "import atexit, sys\n"
        "from tap_sequence.airbyte.cli import main\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "sys.argv[1:] = ['spec']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=True
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "msgspec" in loaded
    assert not {"requests", "urllib3", "singer_sdk", "click", "jsonschema", "tqdm"} & loaded
    assert "tap_sequence.source" not in done.stderr.split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["spec", "--no-such-option", "s3cr3t value"], "unrecognized arguments"),
        (["read", "--config", "config.json"], "--catalog"),
        (["s3cr3t"], "invalid choice"),
    ],
)
def test_wrong_command_line_is_explained_without_values(arguments: list[str], words: str) -> None:
    done = subprocess.run([*SOURCE, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "s3cr3t" not in done.stderr
