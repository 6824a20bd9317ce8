"""Turns the body of a response into a page of logs, checked against the schema on the way.

The types that msgspec checks with are derived from the JSON schema, so that there is one source of truth. The common
case costs one pass of compiled code; only a body that does not fit is looked at again, to say what is wrong with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import GenericAlias
from typing import Any

import msgspec

from tap_sequence.errors import RecordError, TransientRequestError
from tap_sequence.pages import Log, Page
from tap_sequence.redact import excerpt
from tap_sequence.timestamps import parse_timestamp

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""What decoding JSON may raise; the last two for JSON nested too deeply, and for a number too large for a Decimal."""

_LOOKED_AT_BYTES = 2**13


class _Pagination(msgspec.Struct):
    """`pagination`: every field may be absent or null (published OpenAPI; sister endpoints mark them nullable)."""

    after: str | None = None
    total: int | None = msgspec.field(name="totalResultSize", default=None)


class _Envelope(msgspec.Struct):
    """What a response has to be before its logs are looked at one by one."""

    items: list[msgspec.Raw]
    pagination: _Pagination


class _Identified(msgspec.Struct):
    """What a log is called by, whatever else is in it."""

    id: str | None = None


def type_from_schema(schema: Mapping[str, Any], name: str) -> Any:
    """Derive the type that msgspec checks and decodes with from a JSON schema.

    Objects become structs that refuse unknown fields; a field that is not required may be absent, and stays absent
    when it is written again. A schema without a type is any JSON value.
    """
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    options: list[Any] = []
    for kind in kinds:
        match kind:
            case "object":
                options.append(_struct_from_schema(schema, name))
            case "array":
                options.append(GenericAlias(list, (type_from_schema(schema["items"], name + "Element"),)))
            case "string":
                options.append(str)
            case "null":
                options.append(None)
            case _:
                msg = f"{name}: no type for {kind!r} in a stream schema"
                raise NotImplementedError(msg)
    if not options:
        return Any
    result = options[0]
    for option in options[1:]:
        result |= option
    return result


def _struct_from_schema(schema: Mapping[str, Any], name: str) -> type[msgspec.Struct]:
    required = set(schema.get("required", []))
    fields: list[Any] = []
    for field, definition in schema["properties"].items():
        field_type = type_from_schema(definition, name + field[0].upper() + field[1:])
        if field in required:
            fields.append((field, field_type))
        else:
            fields.append((field, field_type | msgspec.UnsetType, msgspec.UNSET))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True, gc=False)


class PageDecoder:
    """Decodes and checks response bodies for one stream.

    Args:
        schema: The stream's JSON schema.
        logger: Where unknown fields are warned of, each once.
    """

    def __init__(self, schema: Mapping[str, Any], logger: logging.Logger) -> None:
        self._schema = schema
        self._logger = logger
        self._warned: set[str] = set()
        log_type = type_from_schema(schema, "ActivityLog")
        self._log_type = log_type
        envelope: Any = msgspec.defstruct(
            "Envelope", [("items", GenericAlias(list, (log_type,))), ("pagination", _Pagination)]
        )
        # Decimals keep every digit of a number in metadata.
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(envelope, float_hook=Decimal)

    def decode(self, body: bytes, *, asked_at: int) -> Page:
        """Turn a body into a page.

        Raises:
            TransientRequestError: The body is not what the endpoint answers with; another try may mend it.
            RecordError: A log lacks a required field, or holds a value of the wrong type.
        """
        try:
            _check_encoding(body)
            envelope = self._decoder.decode(body)
            records, pagination = envelope.items, envelope.pagination
        except UNDECODABLE:
            records, pagination = self._decode_carefully(body)
        return Page(
            logs=tuple(_to_log(record) for record in records),
            after=pagination.after or None,
            total=pagination.total,
            asked_at=asked_at,
            size=len(body),
        )

    def _decode_carefully(self, body: bytes) -> tuple[list[Any], _Pagination]:
        """Decode a body with unknown fields in it, or say what is wrong with it."""
        try:
            _check_encoding(body)
            envelope = msgspec.json.decode(body, type=_Envelope)
            items = [_decode_item(raw, place) for place, raw in enumerate(envelope.items, 1)]
        except UNDECODABLE as error:
            _check_text(body)
            msg = f"the answer is not a page of activity logs ({excerpt(str(error))}); it begins with {quote(body)}"
            raise TransientRequestError(msg) from None
        return [self._convert(item, place) for place, item in enumerate(items, 1)], envelope.pagination

    def _convert(self, item: Any, place: int) -> Any:
        for path in _drop_unknown_fields(item, self._schema, ""):
            field = excerpt(path)
            if field not in self._warned:
                self._warned.add(field)
                self._logger.warning(
                    "The API returned a field that the schema does not know; left out: %s. See whether a newer version of this "
                    "tap knows it.",
                    field,
                )
        try:
            return msgspec.convert(item, self._log_type)
        except msgspec.ValidationError as error:
            raise _misfit(_name(item, place), excerpt(str(error))) from None


def _check_encoding(body: bytes) -> None:
    """Raise UnicodeDecodeError where a body is not UTF-8.

    msgspec looks at what it keeps only: a broken byte in the key `after` would make it an unknown field, and the list
    end there.
    """
    body.decode()


def quote(body: bytes) -> str:
    """Return the beginning of a body, cleaned, for a message."""
    return repr(excerpt(body[:_LOOKED_AT_BYTES].decode("utf-8", errors="replace")))


def _quote_value(value: Any) -> str:
    return excerpt(repr(value))


def _decode_item(raw: msgspec.Raw, place: int) -> Any:
    try:
        return msgspec.json.Decoder(float_hook=Decimal).decode(raw)
    except (msgspec.ValidationError, ArithmeticError):
        raise _misfit(_name(raw, place), "a number in it has too many digits") from None
    except RecursionError:
        raise _misfit(_name(raw, place), "it is nested too deeply") from None


def _check_text(body: bytes) -> None:
    r"""Look for what is JSON, but no text: half a surrogate pair (`"\ud800"`), which UTF-8 cannot hold.

    Raises:
        RecordError: A log has one in it. No other try would bring anything else.
    """
    try:
        # The standard library takes them. Numbers are of no interest here, and may be of any size.
        page = json.loads(body, parse_int=str, parse_float=str)
        items = page["items"]
        msgspec.convert(page["pagination"], dict)
    except (ValueError, RecursionError, LookupError, TypeError):
        return
    for place, item in enumerate(items if isinstance(items, list) else [], 1):
        try:
            msgspec.json.encode(item)
        except UnicodeEncodeError:
            raise _misfit(_name(item, place), "a text in it has half a surrogate pair") from None


def _name(item: Any, place: int) -> str:
    """Return how to call a log in a message: by its id, or its place on the page, from 1."""
    if isinstance(item, msgspec.Raw):
        try:
            item = msgspec.json.decode(item, type=_Identified)
        except UNDECODABLE:
            item = None
    log_id = item.get("id") if isinstance(item, dict) else getattr(item, "id", None)
    return _quote_value(log_id) if log_id is not None else f"number {place} of the page"


def _misfit(name: str, problem: str) -> RecordError:
    return RecordError(
        f"Log {name} does not fit the schema: {problem}. The run ends here, so that nothing is lost or wrong: the last "
        "STATE stands before this log. See whether a newer version of this tap knows the change, or report it to "
        "Sequence's support with the log's id."
    )


def _to_log(record: Any) -> Log:
    try:
        created_at = parse_timestamp(record.createdAt)
    except (ValueError, OverflowError):
        problem = f"createdAt is {_quote_value(record.createdAt)}, which is not a time"
        raise _misfit(_quote_value(record.id), problem) from None
    return Log(record.id, created_at, record.createdAt, record)


def _drop_unknown_fields(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Remove from `value` what the schema does not know; yield the paths of what was removed."""
    if isinstance(value, dict) and "properties" in schema:
        for field in list(value):
            where = f"{path}.{field}" if path else field
            if field in schema["properties"]:
                yield from _drop_unknown_fields(value[field], schema["properties"][field], where)
            else:
                del value[field]
                yield where
    elif isinstance(value, list) and "items" in schema:
        for element in value:
            yield from _drop_unknown_fields(element, schema["items"], path + "[]")
