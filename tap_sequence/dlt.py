"""A dlt source, for `pip install 'tap-sequence[dlt]'`. docs/dlt.md describes it.

pipeline = dlt.pipeline("sequence", destination="duckdb", dataset_name="activity")
pipeline.run(sequence())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Unpack

import msgspec

from tap_sequence.account import Account
from tap_sequence.catalog import STREAMS, StreamSpec
from tap_sequence.settings_arguments import AccountSettings, settings_signature
from tap_sequence.sync.timestamps import format_timestamp, parse_timestamp

try:
    import dlt
except ModuleNotFoundError as error:
    if error.name != "dlt":
        raise
    msg = "dlt is not installed. Run pip install 'tap-sequence[dlt]'."
    raise ModuleNotFoundError(msg, name="dlt") from None

_encode = msgspec.json.Encoder(decimal_format="number").encode


def _sequence(**settings: Unpack[AccountSettings]) -> Iterator[Any]:
    """The streams of an account at Sequence, as resources. The arguments are the tap's settings.

    `activity_logs` is selected; select others with `with_resources`. Each resource has a state of its own, so that one that
    is selected later starts with its whole history.
    """
    account = Account(**settings)
    for spec in STREAMS:
        schema = account.schema(spec.name)
        columns = {
            name: _hints(definition, is_nullable=name not in schema["required"])
            for name, definition in schema["properties"].items()
        }
        yield dlt.resource(
            _rows,
            name=spec.name,
            columns=columns,
            primary_key=spec.primary_keys,
            write_disposition="merge" if spec.endpoint.is_append_only else "replace",
            selected=spec.is_selected_by_default,
        )(account, spec, _conversions(schema["properties"]))


# dlt injects arguments by the signature.
_sequence.__signature__ = settings_signature(dlt.secrets.value)  # type: ignore[attr-defined]  # functions may have one
sequence = dlt.source(_sequence, name="sequence", section="sequence")


def _rows(
    account: Account, spec: StreamSpec, conversions: Mapping[str, Callable[[Any], Any]]
) -> Iterator[list[dict[str, Any]]]:
    state = dlt.current.resource_state()
    for page in account.pages(spec.name, {"bookmarks": state.get("bookmarks", {})}):
        # dlt saves it together with the rows.
        state["bookmarks"] = page.state["bookmarks"]
        rows = page.rows[spec.name]
        for row in rows:
            for name, convert in conversions.items():
                if row.get(name) is not None:
                    row[name] = convert(row[name])
        yield rows


def _hints(definition: Mapping[str, Any], *, is_nullable: bool) -> dict[str, Any]:
    """Return the hints for a column, given the JSON schema of its field."""
    kinds = {definition["type"]} if isinstance(definition["type"], str) else {*definition["type"]}
    if definition.get("format") == "date-time":
        data_type = "timestamp"
    elif "boolean" in kinds:
        data_type = "bool"
    else:
        data_type = "json" if kinds & {"array", "object"} and not _may_hold_numbers(definition) else "text"
    return {"data_type": data_type, "nullable": is_nullable, "description": definition["description"]}


def _conversions(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Callable[[Any], Any]]:
    """Return what is to be done with the values of some fields, by name."""
    conversions: dict[str, Callable[[Any], Any]] = {}
    for name, definition in properties.items():
        if definition.get("format") == "date-time":
            conversions[name] = _to_datetime
        elif _may_hold_numbers(definition):
            conversions[name] = _to_json
    return conversions


def _may_hold_numbers(definition: Mapping[str, Any]) -> bool:
    """Whether a field may hold any JSON. dlt's own JSON turns numbers with a fraction into texts, and refuses long ones."""
    if "array" in definition.get("type", ()):
        return not definition.get("items") or _may_hold_numbers(definition["items"])
    return any(map(_may_hold_numbers, definition.get("properties", {}).values()))


def _to_datetime(text: str) -> datetime:
    return datetime.fromisoformat(format_timestamp(parse_timestamp(text)))


def _to_json(value: Any) -> str:
    return _encode(value).decode()
