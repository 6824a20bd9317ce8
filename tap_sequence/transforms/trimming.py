"""Removes fields from records that their SCHEMA lacks: a catalog may be older than the tap, or edited by hand."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def catalog_schema(own: Mapping[str, Any], given: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a catalog's schema of a stream in the form for a SCHEMA message.

    It has the stream's keys, requires only fields that it has, and has no `$schema`: some targets accept no value other
    than Draft 4's.

    Args:
        own: The tap's schema of the stream.
        given: The catalog's schema of the stream.
        keys: The stream's primary and replication keys.
    """
    result: dict[str, Any] = copy.deepcopy(dict(given))
    result.pop("$schema", None)
    if isinstance(result.get("properties"), dict):
        for key in keys:
            result["properties"].setdefault(key, copy.deepcopy(own["properties"][key]))
    _drop_missing_from_required(result)
    return result


def missing_fields(own: Mapping[str, Any], given: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of the fields that `trim` removes from a stream's records.

    A path that ends in `.*` means every field that `given` lacks, if `own` names no fields.
    """
    if _is_closed(given):
        if "properties" not in own:
            yield f"{path}.*"
            return
        for name, definition in own["properties"].items():
            place = f"{path}.{name}" if path else name
            if name in given["properties"]:
                yield from missing_fields(definition, given["properties"][name], place)
            else:
                yield place
    elif isinstance(given.get("items"), dict):
        yield from missing_fields(own.get("items", {}), given["items"], path + "[]")


def trim(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a decoded JSON value without the fields, at any depth, that a JSON schema lacks.

    Objects stay as they are if the schema names no fields, or allows additional ones.
    """
    if isinstance(value, dict) and _is_closed(schema):
        fields = schema["properties"]
        return {name: trim(inner, fields[name]) for name, inner in value.items() if name in fields}
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [trim(element, schema["items"]) for element in value]
    return value


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema limits an object's fields. As in the SDK, additional ones must be allowed explicitly."""
    return isinstance(schema.get("properties"), dict) and not schema.get("additionalProperties")


def _drop_missing_from_required(schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    fields = schema.get("properties")
    if isinstance(fields, dict):
        if isinstance(schema.get("required"), list):
            schema["required"] = [name for name in schema["required"] if name in fields]
        for definition in fields.values():
            _drop_missing_from_required(definition)
    _drop_missing_from_required(schema.get("items"))
