"""Generates docs/schema.md, the reference of the streams' fields, from schemas/.

Run `python -m tests.support.schema_reference` to write the page. tests/project/test_schema_reference.py fails if it is out of date.
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
    """The keys of a stream, which its schema file does not contain.

    Attributes:
        primary: The primary key.
        replication: The replication key; None if the stream is read in full in each run.
        foreign: The foreign key and the `stream.field` that it refers to.
    """

    primary: str
    replication: str | None
    foreign: tuple[str, str] | None = None


STREAMS = {
    "activity_logs": Keys("id", "createdAt"),
    "activity_log_items": Keys("id", "createdAt", ("activityLogId", "activity_logs.id")),
    "users": Keys("id", None),
    "sequence_accounts": Keys("id", None),
}

_INTRODUCTION = """\
# Schema

This page lists the fields of all streams. It is generated: to change it, edit [schemas/](../schemas) and run
`uv run python -m tests.support.schema_reference`.

| Stream | One row for each | Selected by default |
| --- | --- | --- |
| [`activity_logs`](#activity_logs) | log | yes |
| [`activity_log_items`](#activity_log_items) | item of a log | no ([turn it on](#turning-other-streams-on)) |
| [`users`](#users) | user | no |
| [`sequence_accounts`](#sequence_accounts) | account | no |

"By default" means without a catalog, and in this repository's `meltano.yml`. **In another Meltano project all streams are loaded**
unless the extractor has a `select`, because Meltano's own default is `*.*`.

- `a.b` is field `b` of object `a`. `a[].b` is field `b` of each element of list `a`.
- "Required" applies within the parent object. Optional fields may be null or absent, and elements of `activityLogItems` may be
  null.
- The setting `actor_email` determines whether e-mail addresses are kept, hashed or dropped
  ([README](../README.md#e-mail-addresses)).
- With the setting `metadata: json`, elements of `metadata` can be of any type.
"""

_DIFFERENCES = """\
## Where the API differs from its documentation

A change in the API does not stop your pipeline: every value is loaded, whatever it is. Only `id`, and the `createdAt` of a
log, must be as documented. A warning names the first log with each kind of difference, and the summary at the end of the run counts the logs.

| The API sends | The record holds |
| --- | --- |
| no value, or null | the same |
| a field that the schema does not list | the field in `unmapped` |
| a number, a boolean, an object or a list instead of text | its JSON text |
| another value instead of a list | a list with that one value |
| another value instead of an object, of true or false, or of the time in `sequence_accounts.createdAt` | null, and the value in `unmapped` |
| an item without `id` | the item as sent; its row in `activity_log_items` has the log's id, a colon and the item's position as `id` |
| NUL or a lone surrogate in text | U+FFFD instead |
| NaN or an infinity | null, and its text in `unmapped` |
| with `metadata: json`, a value nested more than 100 levels deep, or a number of more than 4,300 digits | its JSON text |
| a log without `id`, or whose `createdAt` is not a time | no record: with `invalid_logs: fail`, the run ends; with `skip`, the log is left out |

`unmapped` is a JSON object, as text, that maps paths to values: `{"brandNew":1,"activityLogItems[0].verbNew":"x"}`. In
`activity_log_items`, paths are relative to the item: `{"verbNew":"x"}`. A name that is not a plain word is quoted:
`activityLogItems[0]["odd name"]`.
"""

_TURNING_ON = """\
## Turning other streams on

With Meltano, `select` lists what is loaded. In this repository's `meltano.yml`, remove the `#` before a stream, such as
`- activity_log_items.*`. In a project of your own, write the list, or run `meltano select tap-sequence activity_log_items "*"` (and the same for
`activity_logs`):

```yaml
plugins:
  extractors:
    - name: tap-sequence
      select:
        - activity_logs.*
        - activity_log_items.*
```

This applies to every job, including the demo. To load activity_logs alone, list only that line; without `select`, Meltano loads
all streams.

Without Meltano, write the catalog to a file with `tap-sequence --config config.json --discover`. Set `selected` in the stream's
metadata, in the entry with an empty breadcrumb, and pass the file to `--catalog`:

```json
{"breadcrumb": [], "metadata": {"selected": true}}
```

Items cost no extra requests, because they are read from the same pages as the logs. You can select any stream without the others.

If you turn items on after the first run, only those of new logs are loaded, and a warning says so. To load the others too, run
once without a state: with Meltano, `meltano run --full-refresh` and the name of the job. A target that upserts then has each log
and each item once.

## Leaving out fields

With Meltano, exclude the field under `select`: `!activity_logs.traceId`, or within the list of items `!activity_logs.*email`. If you
list fields instead, `activity_logs.activityLogItems*` is the list with all of its fields.

Without Meltano, set `selected` to `false` in the entry of the stream's metadata with the field's breadcrumb. `items` may be left out:

```json
{"breadcrumb": ["properties", "activityLogItems", "items", "properties", "reason"], "metadata": {"selected": false}}
```

The `id` of a row, and `createdAt` of the log's streams, are always emitted. A value that was moved to `unmapped` is only left out with `unmapped` itself.
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
        f"- Replication key: {f'`{keys.replication}`' if keys.replication else 'none, because each run reads all rows'}",
    ]
    if keys.foreign:
        field, points_to = keys.foreign
        lines.append(f"- Foreign key: `{field}`, refers to `{points_to}`")
    lines += [
        f"- JSON schema: [schemas/{stream}.json](../schemas/{stream}.json)",
        "",
        "| Field | Type | Required | Description |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{path}` | {_type(field)} | {'yes' if is_required else 'no'} | {field['description']} |"
            for path, field, is_required in fields(schema)
        ),
    ]
    return "\n".join(lines) + "\n"


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Yield the path, the definition and whether it is required of each field of an object, nested ones included."""
    for name, field in schema.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        yield place, field, name in schema.get("required", [])
        yield from fields(field, place)
        yield from fields(field.get("items", {}), f"{place}[]")


def _type(field: Mapping[str, Any]) -> str:
    """Name a field's type. The page says of all optional fields at once that they may be null."""
    (kind,) = _kinds(field)
    if kind == "array":
        (element,) = _kinds(field["items"])
        return f"array of {element}s"
    return f"{kind} ({field['format']})" if "format" in field else kind


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kinds = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    return kinds - {"null"}


def main() -> None:
    """Write the page."""
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
