"""A catalog as it was given: checked, and completed with the streams' own values where it has none."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from singer_sdk.singerlib import Catalog, SelectionMask
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE, REPLICATION_INCREMENTAL, Breadcrumb

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.catalog import STREAMS_BY_NAME, StreamSpec
from tap_sequence.errors import UnusableCatalogError
from tap_sequence.text.redaction import excerpt
from tap_sequence.transforms.trimming import emptied_fields, has_field, without_field

_METHODS = (REPLICATION_INCREMENTAL, REPLICATION_FULL_TABLE)


class CatalogProblem(StrEnum):
    """What is wrong with a catalog. Completes the text of UnusableCatalogError."""

    STREAMS = "its streams must be a list of objects"
    ENTRY = "stream number {number} must be an object"
    NO_ID = "stream number {number} has no tap_stream_id, which must be one of: {streams}"
    TWICE = "it has two entries for {stream}"
    RENAMED = (
        "stream of {stream} must be {stream}; to load it under another name, set __alias__ in stream_maps"
    )
    METADATA = "metadata of {stream} must be a list of objects with breadcrumb (a list of texts) and metadata (an object)"
    SELECTED = "selected in metadata of {stream} must be true or false"
    SCHEMA = "schema of {stream} must be a JSON schema, an object with an object under properties"
    KEYS = "key_properties of {stream} must be a list of fields that it has"
    METHOD = "replication-method of {stream} must be INCREMENTAL or FULL_TABLE (got {found})"
    EMPTIED = (
        "{field} of {stream} is selected, but none of its fields is; select some of them (with Meltano, all of them by "
        "{stream}.{field}*), or deselect it"
    )


def complete_catalog(given: Catalog | Mapping[str, Any], logger: logging.Logger) -> dict[str, Any]:
    """Return a catalog that says everything that the SDK needs, and has only streams that exist.

    Args:
        given: The catalog.
        logger: Where warnings about parts without effect go.

    Raises:
        UnusableCatalogError: It does not have the shape of a catalog, or asks for something that is impossible.
    """
    result: dict[str, Any] = given.to_dict() if isinstance(given, Catalog) else copy.deepcopy(dict(given))
    # An empty object is an empty catalog; any other without streams is another file.
    streams = result.get("streams", None if result else [])
    if not isinstance(streams, list):
        raise UnusableCatalogError(CatalogProblem.STREAMS)
    entries: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(streams, 1):
        name = _id_of(entry, number)
        if name in entries:
            raise UnusableCatalogError(CatalogProblem.TWICE.format(stream=excerpt(name)))
        entries[name] = entry
    unknown = [excerpt(name) for name in entries if name not in STREAMS_BY_NAME]
    if unknown:
        logger.warning(
            "The catalog has streams that this tap does not have: %s. They are not loaded. Its streams are: %s.",
            ", ".join(unknown),
            ", ".join(STREAMS_BY_NAME),
        )
    return {
        "streams": [
            _complete_entry(STREAMS_BY_NAME[name], entry, logger)
            for name, entry in entries.items()
            if name in STREAMS_BY_NAME
        ]
    }


def selected_schema(stream: str, schema: Mapping[str, Any], mask: SelectionMask) -> dict[str, Any]:
    """Return a stream's schema without the deselected fields of lists, which the SDK would keep.

    Raises:
        UnusableCatalogError: No field is left of an object that is selected itself.
    """
    result = copy.deepcopy(dict(schema))
    if not mask[()]:
        return result
    deselected = set(deselected_fields(mask))
    for names in deselected:
        # The SDK leaves out whole columns, and with an object go its fields.
        if len(names) > 1 and not any(names[:length] in deselected for length in range(1, len(names))):
            without_field(result, names)
    for field in emptied_fields(schema, result):
        raise UnusableCatalogError(CatalogProblem.EMPTIED.format(field=field, stream=stream))
    return result


def deselected_fields(mask: SelectionMask) -> Iterator[tuple[str, ...]]:
    """Yield the names on the way to each deselected field."""
    for breadcrumb, is_selected in mask.items():
        names = _names(breadcrumb)
        if names and not is_selected:
            yield names


def breadcrumbs_of(schema: Mapping[str, Any], parent: Breadcrumb = ()) -> Iterator[Breadcrumb]:
    """Yield the breadcrumb of each field of a schema, at any depth.

    Those within lists do without `items`, so that Meltano's `!activity_logs.activityLogItems.verb` matches.
    """
    for name, definition in schema.get("properties", {}).items():
        breadcrumb = (*parent, "properties", name)
        yield breadcrumb
        yield from breadcrumbs_of(definition, breadcrumb)
    if schema.get("items"):
        yield from breadcrumbs_of(schema["items"], parent)


def warn_if_nothing_is_selected(selected: Sequence[str], logger: logging.Logger) -> None:
    """Warn if a run will load nothing."""
    if not selected:
        logger.warning(
            "No stream is selected, so nothing is loaded. To load logs, set selected to true in the catalog, in the metadata of "
            "activity_logs whose breadcrumb is empty; with Meltano, list activity_logs.* under select (a list of exclusions "
            "alone selects nothing)."
        )


def _id_of(entry: Any, number: int) -> str:
    if not isinstance(entry, dict):
        raise UnusableCatalogError(CatalogProblem.ENTRY.format(number=number))
    name = entry.get("tap_stream_id")
    if not isinstance(name, str) or not name:
        raise UnusableCatalogError(
            CatalogProblem.NO_ID.format(number=number, streams=", ".join(STREAMS_BY_NAME))
        )
    return name


def _complete_entry(spec: StreamSpec, entry: dict[str, Any], logger: logging.Logger) -> dict[str, Any]:
    stream, own = spec.name, SCHEMAS[spec.name]
    if entry.get("stream") not in (None, stream):
        raise UnusableCatalogError(CatalogProblem.RENAMED.format(stream=stream))
    schema = entry.get("schema", {})
    if not _is_schema(schema):
        raise UnusableCatalogError(CatalogProblem.SCHEMA.format(stream=stream))
    metadata = _checked_metadata(stream, entry.get("metadata", []))
    fields: dict[tuple[str, ...], dict[str, Any]] = {
        tuple(part["breadcrumb"]): part["metadata"] for part in metadata
    }
    root = fields.get((), {})
    if isinstance(entry.get("selected"), bool) and root.get("selected") is None:
        # Older catalogs have it in the entry.
        root = {**root, "selected": entry["selected"]}
        metadata = [*metadata, {"breadcrumb": [], "metadata": root}]
    keys = _keys(spec, entry, root)
    _warn_of_replication_key(spec, entry, root, logger)
    for key in {*keys, *spec.keys}:
        if ("properties", key) in fields:
            fields["properties", key]["inclusion"] = "automatic"
    unknown = [
        excerpt(".".join(breadcrumb))
        for breadcrumb, values in fields.items()
        if breadcrumb and values.get("selected") is False and not has_field(own, _names(breadcrumb))
    ]
    if unknown:
        logger.warning(
            "The catalog deselects fields that %s does not have, which has no effect: %s. Check their breadcrumbs.",
            stream,
            ", ".join(unknown),
        )
    return {
        **entry,
        "stream": stream,
        "key_properties": keys,
        "replication_key": spec.replication_key,
        "replication_method": _method(spec, entry, root, logger),
        "schema": schema if "properties" in schema else copy.deepcopy(own),
        "metadata": metadata,
    }


def _checked_metadata(stream: str, metadata: Any) -> list[dict[str, Any]]:
    if not isinstance(metadata, list) or not all(map(_is_metadata, metadata)):
        raise UnusableCatalogError(CatalogProblem.METADATA.format(stream=stream))
    for part in metadata:
        for name in ("selected", "selected-by-default"):
            if not isinstance(part["metadata"].get(name), bool | None):
                raise UnusableCatalogError(CatalogProblem.SELECTED.format(stream=stream))
    return metadata


def _is_metadata(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and isinstance(part.get("metadata"), dict)
        and isinstance(part.get("breadcrumb"), list)
        and all(isinstance(each, str) for each in part["breadcrumb"])
    )


def _is_schema(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    fields = schema.get("properties", {})
    return isinstance(fields, dict) and all(
        map(_is_schema, [*fields.values(), *([schema["items"]] if "items" in schema else [])])
    )


def _keys(spec: StreamSpec, entry: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """Return the primary keys: what the catalog changed, in the entry or in its metadata; else the stream's own."""
    own = list(spec.primary_keys)
    given = [
        keys for keys in (entry.get("key_properties"), root.get("table-key-properties")) if keys is not None
    ]
    keys = next((keys for keys in given if keys != own), own)
    known = SCHEMAS[spec.name]["properties"]
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in known for key in keys):
        raise UnusableCatalogError(CatalogProblem.KEYS.format(stream=spec.name))
    return keys


def _method(
    spec: StreamSpec, entry: Mapping[str, Any], root: Mapping[str, Any], logger: logging.Logger
) -> str:
    """Return the replication method. That of the metadata overrides the entry's, which discovery wrote."""
    given = (
        root.get("replication-method"),
        root.get("forced-replication-method"),
        entry.get("replication_method"),
    )
    own = REPLICATION_INCREMENTAL if spec.replication_key else REPLICATION_FULL_TABLE
    found = next((value for value in given if value is not None), own)
    method = found.strip().upper() if isinstance(found, str) else None
    if method not in _METHODS:
        raise UnusableCatalogError(CatalogProblem.METHOD.format(stream=spec.name, found=excerpt(str(found))))
    if spec.replication_key is None and method != own:
        logger.warning(
            "The catalog asks for %s to be read incrementally, which has no effect: its rows change, so it is read in full in "
            "each run.",
            spec.name,
        )
        return own
    return method


def _warn_of_replication_key(
    spec: StreamSpec, entry: Mapping[str, Any], root: Mapping[str, Any], logger: logging.Logger
) -> None:
    for key in (entry.get("replication_key"), root.get("replication-key")):
        if key not in (None, "", spec.replication_key):
            logger.warning(
                "The catalog's replication key %s of %s has no effect: this stream is always read %s.",
                excerpt(str(key)),
                spec.name,
                f"by {spec.replication_key}" if spec.replication_key else "in full",
            )
            return


def _names(breadcrumb: Sequence[str]) -> tuple[str, ...]:
    """Return the names on the way to a field, with or without `items` for a list's elements; () if it leads nowhere."""
    names: list[str] = []
    rest = list(breadcrumb)
    while rest:
        if rest[0] == "items" and names:
            del rest[0]
        elif rest[0] == "properties" and len(rest) > 1:
            names.append(rest[1])
            del rest[:2]
        else:
            return ()
    return tuple(names)
