"""Generates meltano-plugin.yml, the definition of the tap for other Meltano projects, from the settings.

Run `python -m tests.support.plugin_definition` to write the file. tests/test_settings.py fails if it is out of date.
"""

from __future__ import annotations

import copy
import re
import tomllib
from typing import Any

import yaml

from tap_sequence.catalog import STREAMS
from tap_sequence.settings import CONFIG_JSONSCHEMA
from tap_sequence.singer.tap import SequenceTap
from tests.support.harness import ROOT

FILE = ROOT / "meltano-plugin.yml"

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

_HEADER = """\
# Defines the tap for a Meltano project of yours, in the form of Meltano Hub:
#   meltano add --plugin-type extractor tap-sequence --from-ref meltano-plugin.yml
# Generated from tap_sequence/settings.py: uv run python -m tests.support.plugin_definition
"""


def definition() -> dict[str, Any]:
    """Return the definition, in the form of Meltano Hub."""
    name, repository = PROJECT["name"], PROJECT["urls"]["Repository"]
    return {
        "name": name,
        "variant": "original",
        "namespace": name.replace("-", "_"),
        "label": "Sequence",
        "description": "Activity log (audit trail) of Sequence, the billing platform",
        "docs": PROJECT["urls"]["Documentation"],
        "repo": repository,
        "domain_url": "https://www.sequencehq.com",
        "maintenance_status": "beta",
        "keywords": ["api", "audit log", "billing", "meltano_sdk"],
        "pip_url": f"git+{repository}.git",
        "executable": name,
        "supported_python_versions": [
            found[1]
            for line in PROJECT["classifiers"]
            if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
        ],
        "capabilities": [capability.value for capability in SequenceTap.capabilities],
        # Meltano's own default is every stream.
        "select": [f"{stream.name}.*" for stream in STREAMS if stream.is_selected_by_default],
        "settings_group_validation": [["client_id", "client_secret"], ["environment"]],
        "settings": settings(),
    }


def settings() -> list[dict[str, Any]]:
    """Return the settings of the tap, and then those of the SDK, as Meltano declares settings."""
    schema = copy.deepcopy(CONFIG_JSONSCHEMA)
    SequenceTap.append_builtin_config(schema)
    # Meltano reads metadata as its own extra of this name; metadata_format replaces it.
    return [_setting(name, each) for name, each in schema["properties"].items() if name != "metadata"]


def _setting(name: str, declared: dict[str, Any]) -> dict[str, Any]:
    setting = {
        "name": name,
        "kind": _kind(name, declared),
        "label": declared["title"],
        "description": declared["description"],
    }
    if declared.get("secret"):
        setting["sensitive"] = True
    if "enum" in declared:
        setting["options"] = [{"label": value.capitalize(), "value": value} for value in declared["enum"]]
    # The tap knows its own version.
    if "default" in declared and name != "user_agent":
        setting["value"] = declared["default"]
    return setting


def _kind(name: str, declared: dict[str, Any]) -> str:
    if "enum" in declared:
        return "options"
    if name.endswith("_date"):
        return "date_iso8601"
    kind: str = declared["type"][0]
    # Meltano cannot pass on a decimal that it read from text.
    return "integer" if kind == "number" else kind


def make_file() -> str:
    """Return the content of the file."""
    return _HEADER + yaml.safe_dump(definition(), sort_keys=False, allow_unicode=True, width=110)


def main() -> None:
    """Write the file."""
    FILE.write_text(make_file(), encoding="utf-8")


if __name__ == "__main__":
    main()
