"""The base of streams that are made of the same pages: how their records are written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from singer_sdk import Stream, Tap, metrics
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE, Metadata, MetadataMapping

from tap_sequence.catalog import StreamSpec
from tap_sequence.singer.catalogs import breadcrumbs_of, deselected_fields
from tap_sequence.singer.output import LineWriter
from tap_sequence.singer.stream_maps import failing_at
from tap_sequence.sync.models import Record
from tap_sequence.transforms.rows import Rows
from tap_sequence.transforms.trimming import missing_fields, trim

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context

    from tap_sequence.source import Source

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class SharedPageStream(Stream):
    """A stream whose records are made of the entries of a list, which its parent, a `ReaderStream`, reads."""

    spec: ClassVar[StreamSpec]
    # The decoder has already checked every value against the schema.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: Tap, source: Source) -> None:
        super().__init__(tap, schema=source.schema_of(self.name))
        self.logger.addFilter(_is_not_announcement)
        self._source = source
        self._index = 0
        self._counter: metrics.Counter | None = None
        self.records = 0
        """Number of records emitted by the current run, or the last one."""

    # The SDK does not list the fields within lists, so that Meltano could not deselect them.
    @property
    @override
    def metadata(self) -> MetadataMapping:
        """The catalog's metadata, or that of discovery: an entry for each field, at any depth."""
        metadata = super().metadata
        if self._tap.input_catalog is None:
            for breadcrumb in breadcrumbs_of(self.schema):
                metadata.setdefault(breadcrumb, Metadata(inclusion=Metadata.InclusionType.AVAILABLE))
        return metadata

    @cached_property
    def rows(self) -> Rows:
        """Makes the stream's records of decoded logs."""
        return self.spec.rows(self.schema)

    def lines(self, logs: Sequence[Record]) -> int:
        """Return the maximum number of RECORD lines of logs: stream maps may copy records, or omit some."""
        return self.rows.count(logs) * len(self.stream_maps)

    @contextmanager
    def emitting(self) -> Iterator[None]:
        """Prepare for a run, and count its records in the SDK's metrics. A full-table run gets a version."""
        self._index = self.records = 0
        deselected = set(deselected_fields(self.mask))
        missing = [path for path in self._missing_fields if _names(path) not in deselected]
        if missing:
            self.logger.warning(
                "The catalog's schema of %s lacks these fields, so its records are emitted without them: %s. Run --discover "
                "again to get them.",
                self.name,
                ", ".join(missing),
            )
        self._stream_version = self._tap.initialized_at // 1000 if self.is_full_table else None
        with self.get_record_counter() as self._counter:
            yield

    def count(self, records: int) -> None:
        """Count records that were emitted."""
        self.records += records
        if self._counter is not None:
            self._counter.increment(records)

    @override
    def _sync_records(
        self, context: Context | None = None, *, write_messages: bool = True
    ) -> Generator[dict[str, Any], Any, Any]:
        """Yield nothing: the reader calls `sync` for the SCHEMA alone, and writes the records itself."""
        yield from ()

    @property
    def is_full_table(self) -> bool:
        """Whether the catalog asks for a full refresh in each run."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        # The SDK would write it before the records, but a target deletes all older rows when it receives it.
        return False

    def activate_version(self) -> None:
        """Write ACTIVATE_VERSION: all records of a full-table run are written. Other runs have no version."""
        if self._stream_version is not None:
            self._write_activate_version_message(self._stream_version)

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Return None: the bookmark describes what was emitted, and needs no upper limit."""

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Yield the records of a run without a state, for callers that embed the stream. A sync does not use it."""
        for entry in self._source.records(self.spec.endpoint):
            yield from map(_to_plain, self.rows.of([self._source.actor_email.apply(entry.data)]))

    @cached_property
    def _missing_fields(self) -> Sequence[str]:
        """Paths of the fields that the catalog's schema lacks, deselected ones within lists among them."""
        return list(missing_fields(self.schema, self.effective_schema))

    @property
    def is_written_as_decoded(self) -> bool:
        """Whether the SDK's processing of a record would leave it unchanged."""
        return (
            all(
                type(stream_map) is SameRecordTransform and not stream_map.flattening_enabled
                for stream_map in self.stream_maps
            )
            and len(self.stream_maps) == 1
            and all(self.mask.values())
            and not self._missing_fields
            and type(self).post_process is Stream.post_process
            and self.ABORT_AT_RECORD_COUNT is None
        )

    def encode(self, writer: LineWriter, rows: Iterable[Any]) -> bytes:
        """Return the lines of many records, if the stream `is_written_as_decoded`."""
        return writer.encode_records(self.name, rows, version=self._stream_version)

    def send(self, rows: Iterable[Any], log_id: str) -> int:
        """Write a log's records one by one, as the SDK processes them; return how many stream maps left.

        Raises:
            StreamMapRecordError: A stream map failed.
        """
        sent = 0
        for row in rows:
            self._check_max_record_limit(current_record_index=self._index)
            plain = _to_plain(row)
            if self._missing_fields:
                plain = trim(plain, self.effective_schema)
            record = self.post_process(plain)
            if record is not None:
                with failing_at(log_id, self.name):
                    messages = list(self._generate_record_messages(record))
                for message in messages:
                    self._tap.write_message(message)
                sent += len(messages)
            self._index += 1
        return sent


def _names(path: str) -> tuple[str, ...]:
    return tuple(path.replace("[]", "").split("."))


def _to_plain(row: Any) -> dict[str, Any]:
    """Return a record as a dictionary, which the SDK's stream maps, flattening and selection need."""
    record: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(Decimal,))
    return record


def _is_not_announcement(record: logging.LogRecord) -> bool:
    """Drop the SDK's message that an error occurred: the error has a line of its own."""
    return not str(record.msg).startswith("An unhandled error occurred while syncing")
