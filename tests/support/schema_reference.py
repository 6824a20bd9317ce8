"""The reference of the streams' schemas: docs/schema.md, made from schemas/.

`python -m tests.support.schema_reference` writes the page; tests/project/test_schema_reference.py fails where it is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.transforms.metadata import TEXT, to_schema
from tests.support.harness import ROOT

PAGE = ROOT / "docs" / "schema.md"


@dataclass(frozen=True)
class Keys:
    """What a schema file does not say about its stream.

    Attributes:
        primary: The primary key.
        replication: The replication key.
        foreign: Field and, as `stream.field`, what it points to.
    """

    primary: str
    replication: str
    foreign: tuple[str, str] | None = None


STREAMS = {
    "activity_logs": Keys("id", "createdAt"),
    "activity_log_items": Keys("id", "createdAt", ("activityLogId", "activity_logs.id")),
}

_INTRODUCTION = """\
# Schema

What the streams hold. This page is made from [schemas/](../schemas) by `uv run python -m tests.support.schema_reference`; to
change it, change them.

| Stream | One row for each | Selected by default |
| --- | --- | --- |
| [`activity_logs`](#activity_logs) | log | yes |
| [`activity_log_items`](#activity_log_items) | item of a log | no: [how to turn it on](#turning-activity_log_items-on) |

`a.b` is field `b` of object `a`, and `a[].b` the same in each element of list `a`. A field that is not required may be
null or missing. With the setting `actor_email`, addresses are kept, hashed or left out: the
[README](../README.md#e-mail-addresses) says how. With the setting `metadata: json`, elements of `metadata` can be of any
type.
"""

_DIFFERENCES = """\
## Where the API differs from its documentation

Only `id` and `createdAt` have to be as documented. Every other value is loaded, whatever it is, so that a change of the API
does not stop your pipeline. The first log with each kind of difference is named in a warning; the summary at the end of the
run counts the logs.

| The API sends | The record holds |
| --- | --- |
| no value, or null | the same |
| a field that the schema does not list | the field in `unmapped` |
| a number, a boolean, an object or a list in place of a text | its JSON text |
| another value in place of a list | a list of that one value |
| another value in place of an object | null, and the value in `unmapped` |
| an item without `id` | as sent; its row in `activity_log_items` has the log's id, a colon and the item's place as `id` |
| NUL, or half of a surrogate pair, in a text | U+FFFD in its place |
| NaN or an infinity | null, and its text in `unmapped` |
| with `metadata: json`, a value nested more than 100 levels deep, or a number of more than 4,300 digits | its JSON text |
| a log without `id`, or whose `createdAt` is not a time | with `invalid_logs: fail`, the run ends; with `skip`, the log is left out |

`unmapped` is a JSON object as text, of places and values: `{"brandNew":1,"activityLogItems[0].verbNew":"x"}`. A name that
is not a plain word is quoted: `activityLogItems[0]["odd name"]`. The row of an item has the places within the item:
`{"verbNew":"x"}`.
"""

_TURNING_ON = """\
## Turning activity_log_items on

Both streams are fed from the same pages, so items cost no extra requests; either can be selected without the other.
With Meltano, take the `#` off `- activity_log_items.*` in `meltano.yml`:

```yaml
plugins:
  extractors:
    - name: tap-sequence
      select:
        - activity_logs.*
        - activity_log_items.*
```

This reaches every job, the demo's too, whose next run warns that the items of older logs are not loaded.

Without Meltano, write the catalog to a file with `tap-sequence --config config.json --discover`, set `selected` in the
stream's own metadata, the entry whose breadcrumb is empty, and give the file to `--catalog`:

```json
{"breadcrumb": [], "metadata": {"selected": true}}
```

Turned on after the first run, items begin with the logs that are new, and a warning says so. To have those of the older
logs too, run once without a state: with Meltano, `meltano run --full-refresh` and the name of the job. A target that upserts
then has each log and each item once.
"""


def make_page() -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, *map(_section, STREAMS), _DIFFERENCES, _TURNING_ON])


def _section(stream: str) -> str:
    schema, keys = to_schema(SCHEMAS[stream], TEXT), STREAMS[stream]
    lines = [
        f"## {stream}",
        "",
        schema["description"],
        "",
        f"- Primary key: `{keys.primary}`",
        f"- Replication key: `{keys.replication}`",
    ]
    if keys.foreign:
        field, points_to = keys.foreign
        lines.append(f"- Foreign key: `{field}`, to `{points_to}`")
    lines += [
        f"- As JSON schema: [schemas/{stream}.json](../schemas/{stream}.json)",
        "",
        "| Field | Type | Format | Required | Description |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| `{path}` | {_types(field)} | {field.get('format', '')} | {'yes' if is_required else 'no'} | "
            f"{field['description']} |"
            for path, field, is_required in fields(schema)
        ),
    ]
    return "\n".join(lines) + "\n"


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield every field of an object and of what it holds: its path, its definition, whether it is required."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, field, name in schema.get("required", [])
        yield from fields(field, place)
        yield from fields(field.get("items", {}), f"{place}[]")


def _types(field: Mapping[str, Any]) -> str:
    types = [field["type"]] if isinstance(field["type"], str) else field["type"]
    names = {"array": f"array of {field.get('items', {}).get('type', 'any type')}"}
    return " or ".join(names.get(kind, kind) for kind in types)


def main() -> None:
    """Write the page."""
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
