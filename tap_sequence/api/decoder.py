"""Turns the body of a response into a page of logs that fit the schema.

The types that msgspec checks with are derived from the JSON schema, so that there is one source of truth. The common
case costs one pass of compiled code. A log that does not fit is made to fit by `tap_sequence.api.conform`; a field that
it finds unknown is learned, so that logs that have it are read by compiled code from then on.
"""

from __future__ import annotations

import codecs
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import repeat
from types import GenericAlias
from typing import Any, NamedTuple, Self

import msgspec

from tap_sequence.api.conform import (
    UNMAPPED,
    Difference,
    Kind,
    conform,
    join,
)
from tap_sequence.api.lenient_json import (
    BYTE_ORDER_MARK,
    MAX_DEPTH,
    MAX_DIGITS,
    Value,
    quoted,
    read_json,
    to_plain,
)
from tap_sequence.errors import PageTooLargeError, RecordError, TransientRequestError
from tap_sequence.sync.models import Log, Page
from tap_sequence.sync.timestamps import parse_timestamp
from tap_sequence.text.redaction import excerpt

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""What decoding JSON may raise; the last two for JSON nested too deeply, and for a number too large for a Decimal."""

MAX_VALUES = 500_000
"""JSON values on a page. Each takes memory, however short it is."""

_LOOKED_AT_BYTES = 2**13
_CHUNK_BYTES = 2**16
_MANY_BYTES = 2**20
_NUL = rb"\u0000"
_FEW_BACKSLASHES = 200
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LONG_NUMBER = re.compile(rb"[0-9.]{%d}" % (MAX_DIGITS + 1))
_LONGEST_TOTAL = 15  # digits
_MAX_LEARNED_FIELDS = 50
_MAX_REMEMBERED_LOGS = 100_000
_NAME_THAT_IS_NOT_LEARNED = re.compile(r'["\\\x00-\x1f]')
_ELEMENTS_DECODER = msgspec.json.Decoder(list[Any], float_hook=Decimal)
_MANY_BYTES_OF_ELEMENTS = 2 * MAX_DEPTH
"""Elements of fewer bytes than these in all are neither nested too deeply nor too long."""


class _Envelope(msgspec.Struct):
    """What a response has to be before its logs are looked at one by one."""

    items: list[msgspec.Raw] | None
    pagination: Any = None


_ENVELOPE_DECODER = msgspec.json.Decoder(_Envelope, float_hook=Decimal)


class _UnusualError(Exception):
    """Compiled code takes a log, but something in it needs a closer look."""


class _InvalidLogError(Exception):
    """The id or createdAt of a log cannot be used.

    Attributes:
        log_id: The log's id, if it has one.
        kind: The problem, without what differs from log to log.
    """

    def __init__(self, log_id: str | None, kind: str, detail: str = "") -> None:
        super().__init__(kind + detail)
        self.log_id = log_id
        self.kind = kind


Learned = Mapping[str, Mapping[str, str]]
"""Fields that the schema does not know, by the path of the object that has them: their attribute in the struct, and name."""


def type_from_schema(
    schema: Mapping[str, Any],
    name: str,
    *,
    any_type: Any = Any,
    learned: Learned | None = None,
    path: str = "",
) -> Any:
    """Derive the type that msgspec checks and decodes with from a JSON schema.

    Objects become structs that refuse unknown fields; a field that is not required may be absent, and stays absent
    when it is written again. One that can only be null is null when it is absent.

    Args:
        schema: The JSON schema.
        name: What to call the type.
        any_type: The type of what the schema gives no type.
        learned: Fields to take as they are, beside those in the schema.
        path: Where the schema is within that of a log.
    """
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    options: list[Any] = []
    for kind in kinds:
        match kind:
            case "object":
                options.append(_struct_from_schema(schema, name, any_type, learned or {}, path))
            case "array":
                element = type_from_schema(
                    schema["items"], name + "Element", any_type=any_type, learned=learned, path=path + "[]"
                )
                options.append(GenericAlias(list, (element,)))
            case "string":
                options.append(str)
            case "null":
                options.append(None)
            case _:
                msg = f"{name}: no type for {kind!r} in a stream schema"
                raise NotImplementedError(msg)
    if not options:
        return any_type
    result = options[0]
    for option in options[1:]:
        result |= option
    return result


def _struct_from_schema(
    schema: Mapping[str, Any], name: str, any_type: Any, learned: Learned, path: str
) -> type[msgspec.Struct]:
    required = set(schema.get("required", []))
    fields: list[Any] = []
    for field, definition in schema["properties"].items():
        type_name = name + field[0].upper() + field[1:]
        field_type = type_from_schema(
            definition, type_name, any_type=any_type, learned=learned, path=join(path, field)
        )
        if field in required:
            fields.append((field, field_type))
        elif field_type is None:
            fields.append((field, None, None))
        else:
            fields.append((field, field_type | msgspec.UnsetType, msgspec.UNSET))
    names = learned.get(path, {})
    fields += [(attribute, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for attribute in names]
    return msgspec.defstruct(
        name, fields, kw_only=True, forbid_unknown_fields=True, gc=False, rename=dict(names)
    )


class _Learned(NamedTuple):
    """A field that the schema does not know, and that compiled code reads all the same.

    Attributes:
        attribute: Its attribute in the struct.
        suffix: What it adds to the place of its object, as it stands in a JSON text.
        difference: What it is reported as.
    """

    attribute: str
    suffix: str
    difference: Difference


class _Gatherer(NamedTuple):
    """Takes learned fields out of a decoded object.

    Attributes:
        own: The object's learned fields.
        inner: The fields in which there are further ones, what they add to the object's place, and what takes them out.
    """

    own: Sequence[_Learned]
    inner: Sequence[tuple[str, str, _Gatherer]]

    @classmethod
    def of(cls, schema: Mapping[str, Any], learned: Learned, path: str = "") -> Self | None:
        """Return what takes out all that is learned, or None where that is nothing."""
        inner = []
        for field, definition in schema.get("properties", {}).items():
            where = join(path, field)
            if "items" in definition:
                found = cls.of(definition["items"], learned, where + "[]")
            else:
                found = cls.of(definition, learned, where)
            if found:
                inner.append((field, where.removeprefix(path), found))
        own = []
        for attribute, name in learned.get(path, {}).items():
            where = join(path, name)
            suffix = quoted(where.removeprefix(path))[1:-1]
            own.append(_Learned(attribute, suffix, Difference(Kind.UNKNOWN_FIELD, where, path, name)))
        return cls(own, inner) if own or inner else None

    def gather(self, decoded: Any, place: str, found: list[str], differences: dict[str, Difference]) -> None:
        """Move the values of learned fields to `found`, as members of a JSON object."""
        for attribute, suffix, difference in self.own:
            raw = getattr(decoded, attribute)
            if raw is not msgspec.UNSET:
                found.append(f'"{place}{suffix}":{_plain_text(raw)}')
                setattr(decoded, attribute, msgspec.UNSET)
                differences[difference.field] = difference
        for field, suffix, gatherer in self.inner:
            value = getattr(decoded, field)
            if isinstance(value, list):
                for number, element in enumerate(value):
                    if element is not None:
                        gatherer.gather(element, f"{place}{suffix}[{number}]", found, differences)
            elif value:
                gatherer.gather(value, place + suffix, found, differences)


class _Types:
    """What logs are decoded with.

    Args:
        schema: The stream's JSON schema.
        learned: Fields beside those in the schema.
    """

    def __init__(self, schema: Mapping[str, Any], learned: Learned) -> None:
        self.learned = learned
        # What the API calls `unmapped` is not the tap's.
        as_sent = {**schema, "properties": {**schema["properties"], UNMAPPED: {"type": "null"}}}
        log_type = type_from_schema(as_sent, "ActivityLog", any_type=msgspec.Raw, learned=learned)
        page_type = msgspec.defstruct(
            "Page", [("items", GenericAlias(list, (log_type,)) | None), ("pagination", Any, None)]
        )
        self.page_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(page_type, float_hook=Decimal)
        self.log_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(log_type)
        self.gatherer = _Gatherer.of(schema, learned)

    def with_field(self, schema: Mapping[str, Any], path: str, name: str) -> _Types:
        """Return types that know one field more."""
        fields = self.learned.get(path, {})
        return _Types(schema, {**self.learned, path: {**fields, f"learned_{len(fields)}": name}})


class PageDecoder:
    """Decodes response bodies for one stream. Thread-safe.

    Args:
        schema: The stream's JSON schema, as the API documents it.
        logger: Where logs that are left out are warned of.
        metadata_as_text: Whether elements that the schema gives no type become their JSON text.
        skip_invalid_logs: Whether to leave out logs whose id or createdAt cannot be used.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        logger: logging.Logger,
        *,
        metadata_as_text: bool = True,
        skip_invalid_logs: bool = False,
    ) -> None:
        self._schema = schema
        self._logger = logger
        self._metadata_as_text = metadata_as_text
        self._skips_invalid_logs = skip_invalid_logs
        self._to_elements: Callable[[list[msgspec.Raw]], list[Any]] = (
            _to_texts if metadata_as_text else _to_values
        )
        self._conformed_type = type_from_schema(schema, "ActivityLog")
        self._types = _Types(schema, {})
        self._lock = threading.Lock()
        self._skipped: set[int] = set()
        self._problems: set[str] = set()

    @property
    def skipped_logs(self) -> int:
        """How many different logs were left out."""
        return len(self._skipped)

    def decode(self, body: bytes, *, asked_at: int) -> Page:
        """Turn a body into a page.

        Raises:
            TransientRequestError: The body is not what the endpoint answers with; another try may mend it.
            PageTooLargeError: There are too many values in it.
            RecordError: The id or createdAt of a log cannot be used, and such logs are not left out.
        """
        body = body.removeprefix(BYTE_ORDER_MARK)
        _check_size(body)
        types = self._types
        try:
            _check_encoding(body)
            if _has_nul(body):
                raise _UnusualError  # noqa: TRY301  # the way of all bodies that are not plain
            page = types.page_decoder.decode(body)
            logs = tuple(self._to_logs(page.items or (), types))
            pagination = page.pagination
        except (*UNDECODABLE, ValueError, OverflowError, _UnusualError) as error:
            items, pagination = _split(body, error)
            logs = tuple(self._decode_each(items))
        after, has_pagination = _after(pagination)
        return Page(
            logs=logs,
            after=after,
            total=_total(pagination),
            asked_at=asked_at,
            size=len(body),
            has_pagination=has_pagination,
        )

    def _to_logs(self, records: Iterable[Any], types: _Types) -> list[Log]:
        """Make logs of what compiled code decoded.

        Raises:
            ValueError, OverflowError: A createdAt is not a time.
            _UnusualError, DecodeError: There is more to look at than compiled code does.
        """
        to_elements, gatherer = self._to_elements, types.gatherer
        logs = []
        differences: tuple[Difference, ...] = ()
        for record in records:
            for item in record.activityLogItems or ():
                if item is not None and item.metadata:
                    item.metadata = to_elements(item.metadata)
            if gatherer is not None:
                found: list[str] = []
                by_field: dict[str, Difference] = {}
                gatherer.gather(record, "", found, by_field)
                if found:
                    record.unmapped = "{" + ",".join(found) + "}"
                differences = tuple(by_field.values())
            log_id, created_at = record.id, record.createdAt
            if not log_id:
                raise _UnusualError
            logs.append(Log(log_id, parse_timestamp(created_at), created_at, record, differences))
        return logs

    def _decode_each(self, items: Iterable[bytes]) -> Iterator[Log]:
        for place, item in enumerate(items, 1):
            log = self._decode_one(item, place)
            if log is not None:
                yield log

    def _decode_one(self, source: bytes, place: int) -> Log | None:
        """Decode one log; return None where it is left out."""
        if not _has_nul(source):
            types = self._types
            try:
                return self._to_logs([types.log_decoder.decode(source)], types)[0]
            except (*UNDECODABLE, ValueError, OverflowError, _UnusualError):
                pass
        try:
            return self._conform(read_json(source))
        except _InvalidLogError as error:
            self._reject(error, source, place)
            return None

    def _conform(self, value: Value) -> Log:
        if not isinstance(value.content, dict):
            raise _InvalidLogError(None, "it is not an object")
        conformed = conform(value, self._schema, metadata_as_text=self._metadata_as_text)
        log_id, text = conformed.record.get("id"), conformed.record.get("createdAt")
        if not log_id:
            raise _InvalidLogError(log_id, "it has no id")
        if text is None:
            raise _InvalidLogError(log_id, "it has no createdAt")
        if type(value.content["createdAt"].content) is not str:
            raise _InvalidLogError(log_id, "createdAt is not a text")
        try:
            moment = parse_timestamp(text)
        except (ValueError, OverflowError):
            raise _InvalidLogError(log_id, "createdAt is not a time", f": {excerpt(repr(text))}") from None
        for difference in conformed.differences:
            if difference.kind is Kind.UNKNOWN_FIELD:
                self._learn(difference.parent, difference.name)
        record = msgspec.convert(conformed.record, self._conformed_type)
        return Log(log_id, moment, text, record, conformed.differences)

    def _learn(self, path: str, name: str) -> None:
        """Have compiled code read a field from now on that the schema does not know."""
        if _NAME_THAT_IS_NOT_LEARNED.search(name) or (path, name) == ("", UNMAPPED):
            return
        with self._lock:
            learned = self._types.learned
            is_known = name in learned.get(path, {}).values()
            if not is_known and sum(map(len, learned.values())) < _MAX_LEARNED_FIELDS:
                self._types = self._types.with_field(self._schema, path, name)

    def _reject(self, error: _InvalidLogError, source: bytes, place: int) -> None:
        """Leave out a log that cannot be used, or raise RecordError."""
        name = excerpt(repr(error.log_id)) if error.log_id else f"number {place} of the page"
        if not self._skips_invalid_logs:
            msg = (
                f"Log {name} cannot be loaded: {error}. The last STATE stands before this log. Set invalid_logs to skip "
                "to leave such logs out, and report this one to Sequence's support."
            )
            raise RecordError(msg)
        with self._lock:
            # A page may be read more than once.
            if len(self._skipped) < _MAX_REMEMBERED_LOGS:
                self._skipped.add(hash(source))
            is_first = error.kind not in self._problems
            self._problems.add(error.kind)
        if is_first:
            self._logger.warning(
                "Log %s is left out, as invalid_logs is skip: %s. Report it to Sequence's support. Others for the same reason "
                "are only counted.",
                name,
                error,
            )


# The envelope


def _split(body: bytes, why: Exception) -> tuple[Iterable[bytes], Any]:
    """Take a body apart into its logs, and return them with its pagination.

    Args:
        body: The body.
        why: What made it necessary; told where the body is not a page.

    Raises:
        TransientRequestError: The body is not a page.
    """
    try:
        _check_encoding(body)
        try:
            envelope = _ENVELOPE_DECODER.decode(body)
        except UNDECODABLE as error:
            why = error
        else:
            return map(bytes, envelope.items or ()), envelope.pagination
        page = msgspec.convert(read_json(body).content, dict[str, Any])
        items = msgspec.convert(page["items"].content, list[Any] | None)
    except (ValueError, LookupError):
        msg = f"the answer is not a page of activity logs ({excerpt(str(why))}); it begins with {quote(body)}"
        raise TransientRequestError(msg) from None
    return [item.source for item in items or ()], _plain_pagination(page.get("pagination"))


def _plain_pagination(pagination: Value | None) -> Any:
    """Return what `pagination` holds, with empty lists for values that are of no use in it."""
    if pagination is None or not isinstance(pagination.content, dict):
        return None
    return {
        name: [] if value.depth or value.is_oversized else to_plain(value)
        for name, value in pagination.content.items()
    }


def _after(pagination: Any) -> tuple[str | None, bool]:
    """Return the cursor of the next page, and whether the page says at all whether there is one."""
    if not isinstance(pagination, dict):
        return None, False
    after = pagination.get("after")
    if isinstance(after, bool):
        return None, not after
    if isinstance(after, int | float | Decimal):
        return str(after), True
    if isinstance(after, str | None):
        return after or None, True
    return None, False


def _total(pagination: Any) -> int | None:
    """Return the number of logs in the list, where the API gives one that can be one."""
    total = pagination.get("totalResultSize") if isinstance(pagination, dict) else None
    if isinstance(total, bool) or not isinstance(total, int | Decimal | str):
        return None
    try:
        number = Decimal(total)
    except ArithmeticError:
        return None
    if not number.is_finite() or number < 0 or number.adjusted() > _LONGEST_TOTAL or number % 1:
        return None
    return int(number)


# Checks that compiled code leaves out


def _check_encoding(body: bytes) -> None:
    """Raise UnicodeDecodeError where a body is not UTF-8.

    msgspec looks at what it keeps only: a broken byte in the key `after` would make it an unknown field, and the list
    end there.
    """
    # In parts: one emoji makes the text of all of it four times as large as the body, and to get so much memory from the
    # system for each page takes longer than all else that is done with it.
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for start in range(0, len(body), _CHUNK_BYTES):
        decode(body[start : start + _CHUNK_BYTES])
    decode(b"", final=True)


def _has_nul(body: bytes) -> bool:
    """Whether a body may have a NUL in a text."""
    # Few bodies have many backslashes, and a search for one byte takes a hundredth of the time.
    at = -1
    for _ in range(_FEW_BACKSLASHES):
        at = body.find(b"\\", at + 1)
        if at < 0:
            return False
        if body.startswith(_NUL, at):
            return True
    return body.find(_NUL, at) >= 0


def _check_size(body: bytes) -> None:
    """Raise PageTooLargeError where a body has so many values that decoding it would take too much memory."""
    if len(body) < _MANY_BYTES or _values(body) <= MAX_VALUES:
        return
    # Counted again, without what stands in texts.
    values, at = 0, 0
    for text in _TEXT.finditer(body):
        values += _values(body[at : text.start()])
        at = text.end()
        if values > MAX_VALUES:
            break
    if values + _values(body[at:]) > MAX_VALUES:
        msg = f"status 200 with a body of more than {MAX_VALUES:,} JSON values, which no page of logs is"
        raise PageTooLargeError(msg)


def _values(body: bytes) -> int:
    """Return how many values begin in a part of a body at most."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def quote(body: bytes) -> str:
    """Return the beginning of a body, cleaned, for a message."""
    return repr(excerpt(body[:_LOOKED_AT_BYTES].decode("utf-8", errors="replace")))


# Values without a type


def _to_texts(elements: list[msgspec.Raw]) -> list[Any]:
    return list(map(str, elements, repeat("utf-8")))


def _to_values(elements: list[msgspec.Raw]) -> list[Any]:
    # All at once: for one element after another the calls cost more than what they do.
    source = b"[%b]" % b",".join(elements)
    if len(source) > _MANY_BYTES_OF_ELEMENTS:
        for raw in elements:
            _check_value(bytes(raw))
    values: list[Any] = _ELEMENTS_DECODER.decode(source)
    return values


def _plain_text(raw: msgspec.Raw) -> str:
    """Return the JSON text of a value for `unmapped`."""
    source = bytes(raw)
    _check_value(source)
    return source.decode()


def _check_value(source: bytes) -> None:
    """Raise _UnusualError where a value may be nested too deeply, or have too long a number in it."""
    if len(source) > 2 * MAX_DEPTH and source.count(b"[") + source.count(b"{") > MAX_DEPTH:
        raise _UnusualError
    if len(source) > MAX_DIGITS and _LONG_NUMBER.search(source):
        raise _UnusualError
