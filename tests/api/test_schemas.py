"""The schemas of the streams, and the types derived from that of activity logs."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_sequence.api.record_types import type_from_schema
from tap_sequence.api.schemas import ACTIVITY_LOGS_SCHEMA, SCHEMAS
from tap_sequence.simulator import SimulatedApi
from tap_sequence.transforms.metadata import JSON, TEXT, to_schema
from tests.support.harness import VENDOR_SCHEMA

_API = SimulatedApi()
_API.store.grow(60)
LOGS = _API.store.logs()
# A log with every optional field, so that each can be changed.
FULL_LOG: dict[str, Any] = json.loads(
    """
    {"id": "0199c82c-c000-745c-80c4-8412902ea288", "sequenceAccountId": "a", "activityType": "CHANGE",
     "apiVersion": "V1", "origin": "API", "traceId": "t", "createdAt": "2025-10-09T08:53:20.5Z",
     "activityLogItems": [{"id": "i", "activityLogId": "l", "verb": "SENT", "name": "n", "summary": "s",
       "reason": "r", "metadata": [{"key": 1}, "text", null],
       "activityLogActor": {"id": "a", "entityType": "USER", "entityId": "e", "email": "ada@example.com"},
       "activityLogObject": {"id": "o", "entityType": "INVOICE", "entityId": "e"},
       "activityLogTarget": {"id": "t", "entityType": "SEQUENCE_USER", "entityId": "e"}}]}
    """
)
# The schema


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a schema and all schemas within it, each with its path."""
    yield path, schema
    for field, definition in schema.get("properties", {}).items():
        yield from nodes(definition, f"{path}.{field}" if path else field)
    if "items" in schema:
        yield from nodes(schema["items"], path + "[]")


NODES = dict(nodes(ACTIVITY_LOGS_SCHEMA))
METADATA_ELEMENT = "activityLogItems[].metadata[]"


def test_schema_is_valid_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(ACTIVITY_LOGS_SCHEMA)


@pytest.mark.parametrize("stream", SCHEMAS)
def test_schemas_require_only_id_and_the_created_at_of_logs(stream: str) -> None:
    required = ["id", "createdAt"] if stream.startswith("activity_log") else ["id"]
    for path, node in nodes(SCHEMAS[stream]):
        if path in required:
            assert node["type"] == "string"
        elif path and node:
            assert "null" in node["type"], path
        assert node.get("required") == (None if path else required), path


@pytest.mark.parametrize("path", sorted(NODES.keys() - {METADATA_ELEMENT}))
def test_schema_fields_are_described_and_not_enumerations(path: str) -> None:
    assert NODES[path]["description"].endswith(".")
    assert NODES[path].keys().isdisjoint({"enum", "const", "pattern"})


def test_schema_formats_created_at_and_leaves_metadata_open() -> None:
    assert {path for path, node in NODES.items() if "format" in node} == {"createdAt"}
    assert NODES["createdAt"]["format"] == "date-time"
    assert NODES[METADATA_ELEMENT] == {}


def vendor_nodes() -> dict[str, Mapping[str, Any]]:
    """Return the vendor's schema of a log and all schemas within it, each with its path."""
    components = json.loads(VENDOR_SCHEMA.read_text(encoding="utf-8"))["components"]["schemas"]

    def resolve(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "$ref" in schema:
                return resolve(components[schema["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in schema.items() if key != "example"}
        return schema

    return dict(nodes(resolve(components["ActivityLogResponse"])))


def test_schema_agrees_with_the_vendors() -> None:
    vendors = vendor_nodes()
    assert NODES.keys() - {"unmapped"} == vendors.keys()
    for path, theirs in vendors.items():
        node = NODES[path]
        kinds = [node.get("type")] if isinstance(node.get("type"), str) else node.get("type", [])
        assert [kind for kind in kinds if kind != "null"] == ([theirs["type"]] if theirs else []), path
        assert node.get("format") == theirs.get("format"), path
        assert "enum" not in theirs, path


# The types derived from it

FIELDS = sorted({path.rpartition(".")[2].rstrip("[]") for path in NODES if path} | {"unknown"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda values: (
        st.lists(values, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), values, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every place in a JSON value, as the container and the key or index in it."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value))
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@st.composite
def changed_logs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw valid logs with one to three fields removed, set to null or of another type."""
    log: dict[str, Any] = copy.deepcopy(draw(st.sampled_from([FULL_LOG, *LOGS])))
    for _ in range(draw(st.integers(1, 3))):
        container, key = draw(st.sampled_from(places(log) or [({"gone": None}, "gone")]))
        if draw(st.booleans()):
            del container[key]
        else:
            container[key] = draw(st.none() | VALUES)
    return log


def without_unknown(value: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        return {key: without_unknown(inner, known[key]) for key, inner in value.items() if key in known}
    if isinstance(value, list) and "items" in schema:
        return [without_unknown(element, schema["items"]) for element in value]
    return value


def is_accepted(log: dict[str, Any]) -> bool:
    """Whether msgspec accepts a log, apart from unknown fields."""
    try:
        msgspec.convert(
            without_unknown(log, ACTIVITY_LOGS_SCHEMA), type_from_schema(ACTIVITY_LOGS_SCHEMA, "Log")
        )
    except msgspec.ValidationError:
        return False
    return True


def test_derived_types_accept_what_the_schema_accepts() -> None:
    validator = jsonschema.Draft202012Validator(ACTIVITY_LOGS_SCHEMA)
    verdicts = set()

    @given(changed_logs())
    def check(log: dict[str, Any]) -> None:
        verdict = validator.is_valid(log)
        verdicts.add(verdict)
        assert is_accepted(log) is verdict

    check()
    assert verdicts == {True, False}  # Otherwise the comparison would prove little.


def test_type_from_schema_of_unknown_type_raises() -> None:
    with pytest.raises(NotImplementedError, match="integer"):
        type_from_schema({"type": "object", "properties": {"count": {"type": "integer"}}}, "Log")


# Metadata


def test_metadata_schema_follows_the_setting() -> None:
    metadata = ["properties", "activityLogItems", "items", "properties", "metadata"]
    for stream, path in (("activity_logs", metadata), ("activity_log_items", ["properties", "metadata"])):
        own = SCHEMAS[stream]
        as_text, as_json = to_schema(own, TEXT), to_schema(own, JSON)
        assert at(as_text, path)["type"] == ["array", "null"]
        assert at(as_text, path)["items"] == {"type": "string"}
        assert as_json == to_schema(as_text, JSON) == own
        assert to_schema(as_json, TEXT) == as_text
        del at(as_text, path)["items"]
        at(as_json, path).pop("items", None)
        assert as_text == as_json


@pytest.mark.parametrize("schema", [{}, {"properties": {"id": {"type": "string"}, "activityLogItems": True}}])
def test_metadata_schema_without_metadata_is_unchanged(schema: dict[str, Any]) -> None:
    assert to_schema(schema, TEXT) == to_schema(schema, JSON) == schema


def at(schema: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for key in path:
        schema = schema[key]
    return schema
