"""What streams that are fed from the same logs have in common: how a log becomes their records."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk import Stream, Tap, metrics
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.mapper import SameRecordTransform
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_sequence.singer.output import LineWriter
from tap_sequence.sync.models import Record
from tap_sequence.sync.state import REPLICATION_KEY
from tap_sequence.transforms.trimming import missing_fields, trim

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context

    from tap_sequence.source import Source

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class SharedPageStream(Stream):
    """A stream whose records are made of logs. One of them reads the logs for all (`tap_sequence.singer.streams`)."""

    primary_keys = ("id",)
    replication_key = REPLICATION_KEY

    # The decoder has checked every value against the schema already.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE

    def __init__(self, tap: Tap, source: Source) -> None:
        super().__init__(tap, schema=source.schema_of(self.name))
        self._source = source
        self._index = 0
        self._counter: metrics.Counter | None = None
        self.records = 0
        """Records emitted by the run under way, or the last."""

    @abstractmethod
    def rows(self, logs: Sequence[Any]) -> Sequence[Any]:
        """Return the records, as structs, that decoded logs give."""

    @abstractmethod
    def size(self, logs: Sequence[Record]) -> int:
        """Return how many records logs give."""

    def lines(self, logs: Sequence[Record]) -> int:
        """Return how many RECORD lines logs give at most: stream maps may copy records, or leave some out."""
        return self.size(logs) * len(self.stream_maps)

    @contextmanager
    def feeding(self) -> Iterator[None]:
        """Count records meanwhile, and give them the load's version where the whole log is loaded."""
        self._index = self.records = 0
        if self._missing_fields:
            self.logger.warning(
                "The catalog's schema of %s does not have these fields, so they are left out of its records: %s. Run "
                "--discover again to get them.",
                self.name,
                ", ".join(self._missing_fields),
            )
        self._stream_version = self._tap.initialized_at // 1000 if self.is_full_table else None
        with self.get_record_counter() as self._counter:
            yield

    def count(self, records: int) -> None:
        """Count records that were emitted."""
        self.records += records
        if self._counter is not None:
            self._counter.increment(records)

    @property
    def is_full_table(self) -> bool:
        """Whether a catalog asks for the whole log in each run."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        # Not where the SDK writes it, before the records: a target deletes the older rows when the message comes.
        return False

    def activate_version(self) -> None:
        """Tell the target that all rows of this load are written; only a load of the whole log has a version."""
        if self._stream_version is not None:
            self._write_activate_version_message(self._stream_version)

    @override
    def get_replication_key_signpost(self, context: Context | None = None) -> None:
        """Return nothing: the bookmark holds what was emitted, not a limit to it."""

    @override
    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:
        """Return what a run without state would emit, for callers that want no messages."""
        for log in self._source.logs():
            yield from map(_to_plain, self.rows([self._source.actor_email.apply(log.data)]))

    @cached_property
    def _missing_fields(self) -> Sequence[str]:
        """The fields that a catalog's schema does not have."""
        return list(missing_fields(self.schema, self.effective_schema))

    @property
    def is_written_as_decoded(self) -> bool:
        """Whether what the SDK would do with each record leaves it as it was decoded."""
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
        """Return the lines of many records, for a stream that `is_written_as_decoded`."""
        return writer.encode_records(self.name, rows, version=self._stream_version)

    def send(self, rows: Iterable[Any], context: Context | None) -> int:
        """Send records one by one through what the SDK does with each, and return how many are left."""
        sent = 0
        for row in rows:
            self._check_max_record_limit(current_record_index=self._index)
            plain = _to_plain(row)
            if self._missing_fields:
                plain = trim(plain, self.effective_schema)
            record = self.post_process(plain, context)
            if record is not None:
                self._write_record_message(record)
                sent += 1
            self._index += 1
        return sent


def _to_plain(row: Any) -> dict[str, Any]:
    """Return a record as the plain dictionary that the SDK's stream maps, flattening and selection work on."""
    record: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(Decimal,))
    return record
