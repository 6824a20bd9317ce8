"""Records hold no field that their SCHEMA does not name. A catalog may be older than the tap, or cut down by hand."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def catalog_schema(own: Mapping[str, Any], given: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a catalog's schema of a stream as it can be written into a SCHEMA message.

    The stream's keys are always in it, no field is required that is not in it, and it has no `$schema`: some targets
    refuse every value of that but Draft 4's.

    Args:
        own: The stream's schema, as the tap has it.
        given: The same from the catalog.
        keys: The fields that the stream's records are told apart and ordered by.
    """
    result: dict[str, Any] = copy.deepcopy(dict(given))
    result.pop("$schema", None)
    if isinstance(result.get("properties"), dict):
        for key in keys:
            result["properties"].setdefault(key, copy.deepcopy(own["properties"][key]))
    _drop_missing_from_required(result)
    return result


def missing_fields(own: Mapping[str, Any], given: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of the fields that `trim` takes out of a stream's records.

    `.*` at the end stands for every field that `given` does not name, where `own` names none.
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
    """Return a decoded JSON value without the fields, at any depth, that a JSON schema does not name.

    A schema that names no fields at all, or allows additional ones, leaves an object as it is.
    """
    if isinstance(value, dict) and _is_closed(schema):
        fields = schema["properties"]
        return {name: trim(inner, fields[name]) for name, inner in value.items() if name in fields}
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [trim(element, schema["items"]) for element in value]
    return value


def _is_closed(schema: Mapping[str, Any]) -> bool:
    """Whether a schema says which fields an object has. As in the SDK, further ones have to be allowed explicitly."""
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
