"""Writes Singer messages to standard output, whole lines only."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecWriter, encoder

if TYPE_CHECKING:
    from singer_sdk.singerlib import Message

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class _RecordMessage(msgspec.Struct, tag_field="type", tag="RECORD", gc=False):
    """The SDK's RecordMessage, but what it holds need be no dictionary."""

    stream: str
    record: Any
    version: int | msgspec.UnsetType
    time_extracted: datetime


class LineWriter(MsgSpecWriter):
    """The SDK's fast writer, made safe against short writes, and able to write many records at once.

    With PYTHONUNBUFFERED set, standard output is a raw pipe: a write that a signal interrupts returns early, and the
    rest of the line would be missing.
    """

    @override
    def write_message(self, message: Message) -> None:
        self.write_lines(bytes(self.format_message(message)))

    def encode_records(self, stream: str, records: Iterable[Any], *, version: int | None) -> bytes:
        """Return a RECORD line for each of some decoded records.

        Raises:
            RecursionError: One of them is nested too deeply.
        """
        now = datetime.now(UTC)
        known_version = msgspec.UNSET if version is None else version
        return encoder.encode_lines(
            [_RecordMessage(stream, record, known_version, now) for record in records]
        )

    def write_lines(self, lines: bytes) -> None:
        """Write whole lines, and hand them on at once."""
        rest = memoryview(lines)
        while rest:
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.flush()
