"""The files in integrations/airbyte/ and the lines of docs/airbyte.md fit the project."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import yaml

from tap_sequence.airbyte.spec import specification
from tap_sequence.airbyte.states import states_of
from tap_sequence.api.addresses import API_URLS
from tests.support.airbyte import stream_state
from tests.support.harness import ROOT
from tests.support.pages import blocks

FOLDER = ROOT / "integrations" / "airbyte"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = ROOT / "docs" / "airbyte.md"


def test_metadata_name_the_version_and_the_hosts_of_the_api() -> None:
    data = yaml.safe_load((FOLDER / "metadata.yaml").read_text(encoding="utf-8"))["data"]
    assert data["dockerImageTag"] == PROJECT["version"]
    assert data["dockerRepository"].endswith("/source-sequence")
    assert data["license"] == PROJECT["license"]
    assert data["documentationUrl"] == specification()["documentationUrl"]
    assert sorted(data["allowedHosts"]["hosts"]) == sorted(
        str(urlsplit(url).hostname) for url in API_URLS.values()
    )


def test_dockerfile_copies_what_there_is_and_starts_the_command() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"pyproject.toml", "tap_sequence", "schemas"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', text, re.MULTILINE)
    assert entry in PROJECT["scripts"]


def test_configs_of_the_standard_tests_fit_the_spec() -> None:
    config = yaml.safe_load((FOLDER / "acceptance-test-config.yml").read_text(encoding="utf-8"))
    paths = {
        test["config_path"] for section in config["acceptance_tests"].values() for test in section["tests"]
    }
    assert paths == {path.relative_to(FOLDER).as_posix() for path in (FOLDER / "integration_tests").iterdir()}
    validator = jsonschema.Draft7Validator(specification()["connectionSpecification"])
    for path in paths:
        validator.validate(json.loads((FOLDER / path).read_text(encoding="utf-8")))


def test_page_shows_code_that_compiles_and_a_state_that_is_read() -> None:
    for block in blocks(PAGE, "python"):
        compile(block.text, str(block), "exec")
    (state,) = [json.loads(block.text) for block in blocks(PAGE, "json")]
    assert states_of([stream_state("activity_logs", state)]) == {"activity_logs": state}
