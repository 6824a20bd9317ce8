"""What `--help` and `--about` say of settings and streams, which the SDK leaves out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from singer_sdk.about import AboutInfo, TextFormatter

from tap_sequence.api.schemas import SCHEMAS

if TYPE_CHECKING:
    from singer_sdk import Tap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

ABOUT_FORMAT = "text-with-descriptions"


class SettingsFormatter(TextFormatter, format_name=ABOUT_FORMAT):
    """The SDK's `--about` text, with a description of each setting."""

    @override
    def format_about(self, about_info: AboutInfo) -> str:
        lines = []
        for line in super().format_about(about_info).splitlines():
            lines.append(line)
            name = line.removeprefix("  - Name: ")
            if name != line:
                lines.append(f"    Description: {_describe(about_info.settings['properties'][name])}")
        return "\n".join(lines)


def describe_settings(tap_class: type[Tap]) -> list[tuple[str, str]]:
    """Return name and description of each setting, the SDK's included."""
    schema = tap_class.config_jsonschema
    tap_class.append_builtin_config(schema)
    return [(name, _describe(definition)) for name, definition in schema["properties"].items()]


def describe_streams(stream_types: Iterable[Any]) -> str:
    """Return the streams as a section in Markdown, for `--about --format=markdown`."""
    rows = [
        f"| {each.name} | {', '.join(each.primary_keys)} | {each.replication_key} "
        f"| {'yes' if each.selected_by_default else 'no'} | {SCHEMAS[each.name]['description']} |"
        for each in stream_types
    ]
    head = [
        "## Streams",
        "",
        "| Stream | Primary key | Replication key | Selected by default | Description |",
        "|:-------|:------------|:----------------|:-------------------:|:------------|",
    ]
    return "\n".join([*head, *rows, ""])


def _describe(definition: dict[str, Any]) -> str:
    text = str(definition.get("description", ""))
    if definition.get("default") is not None:
        text += f" Default: {definition['default']}."
    return text
