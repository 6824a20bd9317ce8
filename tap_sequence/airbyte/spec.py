"""What `spec` returns: the tap's settings, with hints for Airbyte's form."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import metadata
from typing import Any

from tap_sequence.settings import CONFIG_JSONSCHEMA

GROUPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "credentials": ("Account", ("client_id", "client_secret", "environment", "api_url", "api_version")),
    "scope": (
        "What to read",
        (
            "start_date",
            "activity_log_object_id",
            "activity_log_object_entity_id",
            "lookback_seconds",
            "metadata",
            "metadata_format",
            "invalid_logs",
        ),
    ),
    "speed": (
        "Speed",
        (
            "requests_per_minute",
            "max_in_flight_requests",
            "page_size",
            "request_timeout_seconds",
            "retry_budget_seconds",
            "user_agent",
        ),
    ),
    "privacy": ("Privacy", ("actor_email", "actor_email_salt")),
}
"""The groups of settings in the form: title and settings, both in the order in which they are shown."""

HIDDEN = ("api_url", "metadata_format", "user_agent")
"""Settings that the form does not show: for tests and for Meltano."""

ALWAYS_SHOWN = ("client_id", "client_secret", "environment", "start_date")
"""Settings that the form shows at once. None is required, because the demo needs no credentials; `check` says what is missing."""

WITHOUT_DEFAULT = ("api_version", "user_agent")
"""Settings whose defaults change with the source's version: a form would save the present one."""


def specification() -> dict[str, Any]:
    """Return the source's specification."""
    definitions = CONFIG_JSONSCHEMA["properties"]
    names = [(group, name) for group, (_, settings) in GROUPS.items() for name in settings]
    return {
        "documentationUrl": _documentation_url(),
        "supportsIncremental": True,
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Sequence",
            "type": "object",
            # Airbyte adds keys of its own.
            "additionalProperties": True,
            "groups": [{"id": group, "title": title} for group, (title, _) in GROUPS.items()],
            "properties": {
                name: {**_definition(name, definitions[name]), "group": group, "order": order}
                for order, (group, name) in enumerate(names)
            },
        },
    }


def _definition(name: str, setting: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in setting.items() if key not in {"secret", "writeOnly"}}
    # A form has no null: a field that is not filled in is absent.
    result["type"] = next(kind for kind in setting["type"] if kind != "null")
    if setting.get("secret"):
        result["airbyte_secret"] = True
    if name in HIDDEN:
        result["airbyte_hidden"] = True
    if name in ALWAYS_SHOWN:
        result["always_show"] = True
    if name in WITHOUT_DEFAULT:
        result.pop("default", None)
    if name == "start_date":
        result["format"] = "date-time"
    return result


def _documentation_url() -> str:
    """Return the page about this front, next to the index that the package's metadata name."""
    urls = dict(url.split(", ", 1) for url in metadata("tap-sequence").get_all("Project-URL") or ())
    return str(urls["Documentation"]).replace("README.md", "airbyte.md")
