"""Decodes the body of a response into a page of records that fit the schema.

The types that msgspec validates with are derived from the JSON schema, the single source of truth. The common case takes one
pass of compiled code. A record that does not fit is converted by `tap_sequence.api.conform`; a field that the schema does not
list is learned, so that compiled code decodes later records with it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from itertools import repeat
from typing import Any

import msgspec

from tap_sequence.api.conform import UNMAPPED, Difference, Kind, conform
from tap_sequence.api.envelope import UNDECODABLE, next_cursor, split, total_of
from tap_sequence.api.lenient_json import BYTE_ORDER_MARK, MAX_DEPTH, NonFinite, Value, read_json
from tap_sequence.api.page_checks import check_encoding, check_size, has_nul
from tap_sequence.api.record_types import RecordTypes, UnusualError, check_value, type_from_schema
from tap_sequence.errors import RecordError
from tap_sequence.sync.models import Page, Record
from tap_sequence.sync.timestamps import parse_timestamp
from tap_sequence.text.redaction import excerpt

_MAX_LEARNED_FIELDS = 50
_MAX_REMEMBERED = 100_000
_UNLEARNABLE_NAME = re.compile(r'["\\\x00-\x1f]')
_ELEMENTS_DECODER = msgspec.json.Decoder(list[Any], float_hook=Decimal)
_MIN_SUSPICIOUS_BYTES = 2 * MAX_DEPTH
"""Elements of fewer bytes than this in all can be neither nested too deeply nor too long."""


class RecordProblem(StrEnum):
    """Why a record cannot be used. Completes messages."""

    NOT_AN_OBJECT = "it is not an object"
    NO_ID = "it has no id"
    NO_CREATED_AT = "it has no createdAt"
    CREATED_AT_NOT_A_STRING = "createdAt is not a string"
    CREATED_AT_NOT_A_TIME = "createdAt is not a time"


class _InvalidRecordError(Exception):
    """The id or createdAt of a record cannot be used.

    Attributes:
        record_id: The record's id, if it has one.
        problem: The problem.
    """

    def __init__(self, record_id: str | None, problem: RecordProblem, detail: str = "") -> None:
        super().__init__(problem + detail)
        self.record_id = record_id
        self.problem = problem


class PageDecoder:
    """Decodes response bodies. Thread-safe.

    Args:
        schema: The stream's JSON schema, as the API documents it.
        logger: Logger for warnings about skipped records.
        metadata_as_text: Whether elements without a type in the schema become their JSON text.
        skip_invalid: Whether to skip records whose id or createdAt cannot be used.
        needs_created_at: Whether the list is read by `createdAt`; else a record needs an id alone.
        noun: What messages call a record.
    """

    def __init__(  # noqa: PLR0913  # each is named
        self,
        schema: Mapping[str, Any],
        logger: logging.Logger,
        *,
        metadata_as_text: bool = True,
        skip_invalid: bool = False,
        needs_created_at: bool = True,
        noun: str = "log",
    ) -> None:
        self._schema = schema
        self._logger = logger
        self._metadata_as_text = metadata_as_text
        self._skips_invalid = skip_invalid
        self._needs_created_at = needs_created_at
        self._noun = noun
        self._has_items = "activityLogItems" in schema["properties"]
        self._times = [
            name for name, field in schema["properties"].items() if field.get("format") == "date-time"
        ]
        self._to_elements: Callable[[list[msgspec.Raw]], list[Any]] = (
            _to_texts if metadata_as_text else _to_values
        )
        self._conformed_type = type_from_schema(schema, "Record")
        self._types = RecordTypes(schema, {})
        self._lock = threading.Lock()
        self._skipped: set[int] = set()
        self._problems: set[RecordProblem] = set()

    @property
    def skipped(self) -> int:
        """Number of different records that were skipped."""
        return len(self._skipped)

    def decode(self, body: bytes, *, asked_at: int) -> Page:
        """Decode a body into a page.

        Args:
            body: The body, decompressed.
            asked_at: `Page.asked_at`.

        Raises:
            TransientRequestError: The body is not a page; a retry may succeed.
            PageTooLargeError: There are too many values in it.
            RecordError: The id or createdAt of a record cannot be used, and such records are not skipped.
        """
        body = body.removeprefix(BYTE_ORDER_MARK)
        check_size(body)
        types = self._types
        try:
            check_encoding(body)
            if has_nul(body):
                raise UnusualError  # noqa: TRY301  # handled like all unusual bodies
            page = types.page_decoder.decode(body)
            records = tuple(self._to_records(page.items or (), types))
            pagination = page.pagination
        except (*UNDECODABLE, ValueError, OverflowError, UnusualError) as error:
            items, pagination = split(body, error)
            records = tuple(self._decode_each(items))
        after, has_pagination = next_cursor(pagination)
        return Page(
            records=records,
            after=after,
            total=total_of(pagination),
            asked_at=asked_at,
            size=len(body),
            has_pagination=has_pagination,
        )

    def _to_records(self, decoded: Iterable[Any], types: RecordTypes) -> list[Record]:
        """Make records of what compiled code decoded.

        Raises:
            ValueError, OverflowError: A createdAt is not a time.
            UnusualError, DecodeError: A record needs a closer look than compiled code takes.
        """
        to_elements, gatherer = self._to_elements, types.gatherer
        has_items, needs_created_at = self._has_items, self._needs_created_at
        records = []
        differences: tuple[Difference, ...] = ()
        for each in decoded:
            for item in (has_items and each.activityLogItems) or ():
                if item is not None and item.metadata:
                    item.metadata = to_elements(item.metadata)
            if gatherer is not None:
                found: list[str] = []
                by_field: dict[str, Difference] = {}
                gatherer.gather(each, "", found, by_field)
                if found:
                    each.unmapped = "{" + ",".join(found) + "}"
                differences = tuple(by_field.values())
            if not each.id:
                raise UnusualError
            if needs_created_at:
                moment, text = parse_timestamp(each.createdAt), each.createdAt
            else:
                moment, text = 0, ""
                for name in self._times:
                    if isinstance(value := getattr(each, name), str):
                        parse_timestamp(value)
            records.append(Record(each.id, moment, text, each, differences))
        return records

    def _decode_each(self, items: Iterable[bytes]) -> Iterator[Record]:
        for place, item in enumerate(items, 1):
            record = self._decode_one(item, place)
            if record is not None:
                yield record

    def _decode_one(self, source: bytes, place: int) -> Record | None:
        """Decode one record; return None if it is skipped."""
        if not has_nul(source):
            types = self._types
            try:
                return self._to_records([types.record_decoder.decode(source)], types)[0]
            except (*UNDECODABLE, ValueError, OverflowError, UnusualError):
                pass
        try:
            return self._conform(read_json(source))
        except _InvalidRecordError as error:
            self._reject(error, source, place)
            return None

    def _conform(self, value: Value) -> Record:
        if not isinstance(value.content, dict):
            raise _InvalidRecordError(None, RecordProblem.NOT_AN_OBJECT)
        conformed = conform(value, self._schema, metadata_as_text=self._metadata_as_text)
        record_id = conformed.record.get("id")
        if not record_id:
            raise _InvalidRecordError(record_id, RecordProblem.NO_ID)
        moment, text = (
            _time_of(record_id, value.content.get("createdAt")) if self._needs_created_at else (0, "")
        )
        for difference in conformed.differences:
            if difference.kind is Kind.UNKNOWN_FIELD:
                self._learn(difference.parent, difference.name)
        record = msgspec.convert(conformed.record, self._conformed_type)
        return Record(record_id, moment, text, record, conformed.differences)

    def _learn(self, path: str, name: str) -> None:
        """Let compiled code decode a field from now on that the schema does not list."""
        if _UNLEARNABLE_NAME.search(name) or (path, name) == ("", UNMAPPED):
            return
        with self._lock:
            learned = self._types.learned
            is_known = name in learned.get(path, {}).values()
            if not is_known and sum(map(len, learned.values())) < _MAX_LEARNED_FIELDS:
                self._types = self._types.with_field(self._schema, path, name)

    def _reject(self, error: _InvalidRecordError, source: bytes, place: int) -> None:
        """Skip a record that cannot be used, or raise RecordError."""
        name = excerpt(repr(error.record_id)) if error.record_id else f"number {place}"
        if not self._skips_invalid:
            raise RecordError(name, str(error), noun=self._noun.capitalize())
        with self._lock:
            # A page may be read more than once.
            if len(self._skipped) < _MAX_REMEMBERED:
                self._skipped.add(hash(source))
            is_first = error.problem not in self._problems
            self._problems.add(error.problem)
        if is_first:
            self._logger.warning(
                "%s %s of a page is skipped (invalid_logs is skip): %s. Report it to Sequence's support. Further ones with "
                "this problem are only counted.",
                self._noun.capitalize(),
                name,
                error,
            )


def _time_of(record_id: str, created_at: Value | None) -> tuple[int, str]:
    """Return `createdAt` in microseconds since 1970, and as it was sent."""
    if created_at is None or created_at.content is None or isinstance(created_at.content, NonFinite):
        raise _InvalidRecordError(record_id, RecordProblem.NO_CREATED_AT)
    text = created_at.content
    if type(text) is not str:
        raise _InvalidRecordError(record_id, RecordProblem.CREATED_AT_NOT_A_STRING)
    try:
        return parse_timestamp(text), text
    except (ValueError, OverflowError):
        detail = f": {excerpt(repr(text))}"
        raise _InvalidRecordError(record_id, RecordProblem.CREATED_AT_NOT_A_TIME, detail) from None


# Values without a type


def _to_texts(elements: list[msgspec.Raw]) -> list[Any]:
    return list(map(str, elements, repeat("utf-8")))


def _to_values(elements: list[msgspec.Raw]) -> list[Any]:
    # All at once: decoding them one by one costs more in calls than in work.
    source = b"[%b]" % b",".join(elements)
    if len(source) > _MIN_SUSPICIOUS_BYTES:
        for raw in elements:
            check_value(bytes(raw))
    values: list[Any] = _ELEMENTS_DECODER.decode(source)
    return values
