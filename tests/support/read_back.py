"""Reads back what targets loaded, and says how some of them spell it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.loaders import Row
from tests.support.pipes import Place
from tests.support.services import Program, bigquery, clickhouse


def _lines(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines()]


def read_in(
    program: Program, script: str, arguments: Callable[[Place], Sequence[str | Path]]
) -> Callable[[Place, str], list[Row]]:
    """Return a reader that runs a script in a program's environment, with arguments and the stream."""

    def read(place: Place, stream: str) -> list[Row]:
        variables = place.environments.service(bigquery) if script == "read_bigquery.py" else {}
        return _lines(place.environments.script(program, script, *arguments(place), stream, **variables))

    return read


def read_postgres(schema: str) -> Callable[[Place, str], list[Row]]:
    return lambda place, stream: place.postgres().rows(f"SELECT * FROM {schema}.{stream}")


def read_child_tables(place: Place, stream: str) -> list[Row]:
    """Read what the datamill family makes of nested values: tables of their own."""

    def metadata(table: str, *levels: str) -> str:
        conditions = " AND ".join(
            ["m._sdc_source_key_id = r.key", *(f"m.{level} = r.{level}" for level in levels)]
        )
        return (
            f"(SELECT json_agg(m._sdc_value ORDER BY m._sdc_level_{len(levels)}_id)"
            f" FROM datamill.{table}__metadata m WHERE {conditions}) AS metadata"
        )

    if stream == "activity_log_items":
        return place.postgres().rows(
            f"SELECT *, {metadata(stream)} FROM (SELECT *, id AS key FROM datamill.{stream}) r"
        )
    child = f"{stream}__activitylogitems"
    items = (
        "(SELECT json_agg(row_to_json(i) ORDER BY i._sdc_level_0_id) FROM"
        f" (SELECT r.*, {metadata(child, '_sdc_level_0_id')} FROM"
        f"  (SELECT *, _sdc_source_key_id AS key FROM datamill.{child}) r) i WHERE i.key = l.id)"
    )
    found = place.postgres().rows(f"SELECT *, {items} AS activitylogitems FROM datamill.{stream} l")
    for row in found:
        for item in row["activitylogitems"] or []:
            for name in [name for name in item if name.startswith("_sdc") or name == "key"]:
                del item[name]
    return found


def flat(items: list[Row]) -> list[Row]:
    """Return items as the datamill family names their fields in a table."""
    result = []
    for item in items:
        flat: Row = {}
        for name, value in item.items():
            if isinstance(value, dict):
                flat |= {f"{name}__{inner}".lower(): each for inner, each in value.items()}
            else:
                flat[name.lower()] = value
        result.append(flat)
    return result


def lower_case_fields(items: list[Row]) -> list[Row]:
    """Return items with the fields that have no capital letter in their name."""
    return [{name: value for name, value in item.items() if name.islower()} for item in items]


def escaped(text: str) -> str:
    """Return a text whose line breaks and tabs are escapes."""
    for character, escape in (("\r", "\\r"), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return text


def read_clickhouse(place: Place, stream: str) -> list[Row]:
    url = f"http://127.0.0.1:{place.environments.service(clickhouse)}/"
    query = f"SELECT * FROM {stream} FINAL FORMAT JSONEachRow"
    with urllib.request.urlopen(url, data=query.encode(), timeout=60) as answer:
        return _lines(answer.read().decode())
