"""README.md and meltano.yml list the same settings as the code."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tap_sequence.prefetch.plan import MAX_HELD_BYTES
from tap_sequence.settings import CONFIG_JSONSCHEMA, Settings
from tap_sequence.singer.tap import SequenceTap
from tests.support import plugin_definition
from tests.support.harness import ROOT

PROPERTIES: dict[str, dict[str, Any]] = CONFIG_JSONSCHEMA["properties"]


def _meltano() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "meltano.yml").read_text(encoding="utf-8"))
    return content


def _extractor() -> dict[str, Any]:
    extractor, demo = _meltano()["plugins"]["extractors"]
    assert demo == {
        "name": "tap-sequence--demo",
        "inherit_from": extractor["name"],
        "config": {"environment": "demo"},
    }
    result: dict[str, Any] = extractor
    return result


def test_settings_struct_has_properties_of_json_schema() -> None:
    assert list(Settings.__struct_fields__) == list(PROPERTIES)


def test_settings_are_described_and_only_credentials_and_salt_are_secret() -> None:
    assert all(definition["description"].endswith(".") for definition in PROPERTIES.values())
    secret = [name for name, definition in PROPERTIES.items() if definition.get("secret")]
    assert secret == ["client_id", "client_secret", "actor_email_salt"]


def test_plugin_definition_is_up_to_date() -> None:
    assert plugin_definition.FILE.read_text(encoding="utf-8") == plugin_definition.make_file()


def test_meltano_yml_declares_what_the_plugin_definition_declares() -> None:
    extractor, defined = _extractor(), plugin_definition.definition()
    for key in ("namespace", "executable", "capabilities", "select", "settings_group_validation", "settings"):
        assert extractor[key] == defined[key], key


def test_plugin_definition_names_every_setting_with_its_kind_and_no_default_for_user_agent() -> None:
    defined = {setting["name"]: setting for setting in plugin_definition.settings()}
    assert set(PROPERTIES) - {"metadata"} < set(defined)
    assert {"stream_maps", "flattening_enabled", "flattening_max_depth"} < set(defined)
    assert [name for name, setting in defined.items() if setting.get("sensitive")] == [
        "client_id",
        "client_secret",
        "actor_email_salt",
    ]
    kinds = {name: setting["kind"] for name, setting in defined.items()}
    assert kinds["environment"] == "options"
    assert kinds["start_date"] == "date_iso8601"
    assert kinds["page_size"] == kinds["request_timeout_seconds"] == "integer"
    assert kinds["flattening_enabled"] == "boolean"
    assert defined["environment"]["value"] == "production"
    assert "value" not in defined["user_agent"]


def test_meltano_yml_sends_no_usage_statistics_and_holds_no_secrets() -> None:
    content = _meltano()
    assert content["send_anonymous_usage_stats"] is False
    for environment in content["environments"]:
        (extractor,) = environment["config"]["plugins"]["extractors"]
        assert not {"client_id", "client_secret", "actor_email_salt"} & set(extractor["config"])


def test_readme_lists_settings_of_code() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = ["| Setting | Default | Description |", "| --- | --- | --- |"]
    for name, definition in PROPERTIES.items():
        default = str(definition.get("default", ""))
        default = re.sub(r"/\d.*", "/VERSION", default) if name == "user_agent" else default
        rows.append(f"| `{name}` | {f'`{default}`' if default else ''} | {definition['description']} |")
    assert "\n".join(rows) in readme


def test_performance_page_has_defaults_and_bounds_of_code() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\S*) ?\|", page, re.MULTILINE)
    assert len(rows) == 4
    for name, default in rows:
        assert default == str(PROPERTIES[name].get("default", "")), name
    assert f"{MAX_HELD_BYTES // 2**20} MiB" in page


def test_meltano_yml_pins_and_describes_every_target_and_has_its_job() -> None:
    content = _meltano()
    (extractor, _) = content["plugins"]["extractors"]
    jobs = {job["name"]: job["tasks"] for job in content["jobs"]}
    loaders = [loader for loader in content["plugins"]["loaders"] if "inherit_from" not in loader]
    for loader in loaders:
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", part) for part in loader["pip_url"].split())
        for setting in loader["settings"]:
            assert setting["label"], setting
            assert setting["description"].endswith("."), setting
        assert set(loader["config"]) <= {setting["name"] for setting in loader["settings"]}
        job = "sequence-to-" + loader["name"].removeprefix("target-")
        assert jobs[job] == [f"{extractor['name']} {loader['name']}"]


def test_env_example_names_secrets_and_database_and_sets_nothing() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") for line in lines)
    named = [line for line in lines if line.endswith("=")]
    secret = [name for name, definition in PROPERTIES.items() if definition.get("secret")]
    database = ["HOST", "PORT", "USER", "PASSWORD", "DATABASE"]
    assert named == [
        *(f"# TAP_SEQUENCE_{name.upper()}=" for name in secret),
        *(f"# TARGET_POSTGRES_{name}=" for name in database),
    ]


@pytest.mark.parametrize(
    "url", ["https://Api.Example.com", "https://api.example.com:443/", "https://api.example.com"]
)
def test_query_host_is_the_same_however_url_is_written(url: str) -> None:
    tap = SequenceTap(config={"client_id": "id", "client_secret": "secret", "api_url": url})
    assert tap.source.query.host == "api.example.com"
    assert SequenceTap(
        config={"environment": "production", "client_id": "i", "client_secret": "s"}
    ).source.query.host == ("eu.sequencehq.com/api")
