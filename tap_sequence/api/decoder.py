"""Turns the body of a response into a page of logs that fit the schema.

The types that msgspec checks with are derived from the JSON schema, so that there is one source of truth. The common
case costs one pass of compiled code. A log that does not fit is made to fit by `tap_sequence.api.conform`; a field that
it finds unknown is learned, so that logs that have it are read by compiled code from then on.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import repeat
from typing import Any

import msgspec

from tap_sequence.api.conform import (
    UNMAPPED,
    Difference,
    Kind,
    conform,
)
from tap_sequence.api.lenient_json import (
    BYTE_ORDER_MARK,
    MAX_DEPTH,
    Value,
    read_json,
    to_plain,
)
from tap_sequence.api.page_checks import check_encoding, check_size, has_nul
from tap_sequence.api.record_types import RecordTypes, UnusualError, check_value, type_from_schema
from tap_sequence.errors import RecordError, TransientRequestError
from tap_sequence.sync.models import Page, Record
from tap_sequence.sync.timestamps import parse_timestamp
from tap_sequence.text.redaction import excerpt

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""What decoding JSON may raise; the last two for JSON nested too deeply, and for a number too large for a Decimal."""


_LOOKED_AT_BYTES = 2**13
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
        self._types = RecordTypes(schema, {})
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
        check_size(body)
        types = self._types
        try:
            check_encoding(body)
            if has_nul(body):
                raise UnusualError  # noqa: TRY301  # the way of all bodies that are not plain
            page = types.page_decoder.decode(body)
            logs = tuple(self._to_logs(page.items or (), types))
            pagination = page.pagination
        except (*UNDECODABLE, ValueError, OverflowError, UnusualError) as error:
            items, pagination = _split(body, error)
            logs = tuple(self._decode_each(items))
        after, has_pagination = _after(pagination)
        return Page(
            records=logs,
            after=after,
            total=_total(pagination),
            asked_at=asked_at,
            size=len(body),
            has_pagination=has_pagination,
        )

    def _to_logs(self, records: Iterable[Any], types: RecordTypes) -> list[Record]:
        """Make logs of what compiled code decoded.

        Raises:
            ValueError, OverflowError: A createdAt is not a time.
            UnusualError, DecodeError: There is more to look at than compiled code does.
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
                raise UnusualError
            logs.append(Record(log_id, parse_timestamp(created_at), created_at, record, differences))
        return logs

    def _decode_each(self, items: Iterable[bytes]) -> Iterator[Record]:
        for place, item in enumerate(items, 1):
            log = self._decode_one(item, place)
            if log is not None:
                yield log

    def _decode_one(self, source: bytes, place: int) -> Record | None:
        """Decode one log; return None where it is left out."""
        if not has_nul(source):
            types = self._types
            try:
                return self._to_logs([types.log_decoder.decode(source)], types)[0]
            except (*UNDECODABLE, ValueError, OverflowError, UnusualError):
                pass
        try:
            return self._conform(read_json(source))
        except _InvalidLogError as error:
            self._reject(error, source, place)
            return None

    def _conform(self, value: Value) -> Record:
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
        return Record(log_id, moment, text, record, conformed.differences)

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
        check_encoding(body)
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
            check_value(bytes(raw))
    values: list[Any] = _ELEMENTS_DECODER.decode(source)
    return values
