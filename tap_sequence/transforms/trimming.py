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


def without_field(schema: dict[str, Any], names: Sequence[str]) -> None:
    """Remove a field from a schema, if it has it, and from what the schema requires.

    Args:
        schema: The schema of an object, or of a list of objects.
        names: The names on the way to the field; the elements of lists have none.
    """
    holder = _object_at(schema, names[:-1])
    if holder is not None and holder["properties"].pop(names[-1], None) is not None:
        _drop_missing_from_required(holder)


def has_field(schema: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Return whether a schema has a field; names as for `without_field`."""
    holder = _object_at(schema, names[:-1])
    return bool(names) and holder is not None and names[-1] in holder["properties"]


def emptied_fields(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of the objects that have no field any more."""
    if before.get("properties") and not after["properties"]:
        yield path
    for name, definition in after.get("properties", {}).items():
        yield from emptied_fields(before["properties"][name], definition, f"{path}.{name}" if path else name)
    if isinstance(after.get("items"), dict):
        yield from emptied_fields(before["items"], after["items"], path)


def _object_at(schema: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """Return the schema of the object at the end of a way, through lists; None if there is none."""
    found: Any = schema
    for name in (*names, None):
        while isinstance(found, Mapping) and "properties" not in found and "items" in found:
            found = found["items"]
        if not isinstance(found, dict) or not isinstance(found.get("properties"), dict):
            return None
        if name is not None:
            found = found["properties"].get(name)
    return found  # type: ignore[no-any-return]  # checked above


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
