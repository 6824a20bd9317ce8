"""The catalog: what `discover` returns, and which streams a configured catalog selects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tap_sequence.airbyte.messages import FULL_REFRESH, INCREMENTAL, Stream
from tap_sequence.catalog import STREAMS, STREAMS_BY_NAME, StreamSpec
from tap_sequence.errors import ConfiguredCatalogError
from tap_sequence.source import Source
from tap_sequence.text.redaction import excerpt


class _Stream(msgspec.Struct):
    name: str


class _ConfiguredStream(msgspec.Struct):
    stream: _Stream
    sync_mode: str = FULL_REFRESH


class _ConfiguredCatalog(msgspec.Struct):
    streams: list[_ConfiguredStream]


def discover(source: Source) -> list[Stream]:
    """Return the streams, with schemas that follow the settings."""
    return [_describe(spec, source.schema_of(spec.name)) for spec in STREAMS]


def _describe(spec: StreamSpec, schema: Mapping[str, Any]) -> Stream:
    cursor = spec.replication_key
    return Stream(
        name=spec.name,
        json_schema=to_airbyte(schema),
        supported_sync_modes=sync_modes(spec),
        is_resumable=cursor is not None,
        source_defined_primary_key=[[key] for key in spec.primary_keys],
        source_defined_cursor=None if cursor is None else True,
        default_cursor_field=None if cursor is None else [cursor],
    )


def sync_modes(spec: StreamSpec) -> Sequence[str]:
    """Return the sync modes that a stream supports."""
    return [FULL_REFRESH] if spec.replication_key is None else [FULL_REFRESH, INCREMENTAL]


def to_airbyte(schema: Any) -> Any:
    """Return a JSON schema with `airbyte_type` for times, which destinations make columns of."""
    if isinstance(schema, list):
        return [to_airbyte(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: to_airbyte(value) for key, value in schema.items()}
    if result.get("format") == "date-time":
        result["airbyte_type"] = "timestamp_with_timezone"
    return result


def selected_streams(configured: Any) -> list[StreamSpec]:
    """Return the streams that a configured catalog selects, in its order, each once.

    Raises:
        ConfiguredCatalogError: It is not a configured catalog, or asks for a stream or sync mode that there is not.
    """
    try:
        catalog = msgspec.convert(configured, _ConfiguredCatalog)
    except msgspec.ValidationError as error:
        raise ConfiguredCatalogError(excerpt(str(error))) from None
    names = [each.stream.name for each in catalog.streams]
    if unknown := [name for name in names if name not in STREAMS_BY_NAME]:
        problem = f"there is no stream {excerpt(', '.join(unknown))}, only {', '.join(STREAMS_BY_NAME)}"
        raise ConfiguredCatalogError(problem)
    for each in catalog.streams:
        modes = sync_modes(STREAMS_BY_NAME[each.stream.name])
        if each.sync_mode not in modes:
            problem = f"sync_mode of {each.stream.name} must be {' or '.join(modes)}"
            raise ConfiguredCatalogError(problem)
    return [STREAMS_BY_NAME[name] for name in dict.fromkeys(names)]
