"""Writes Singer messages to standard output, whole lines only."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.contrib.msgspec import MsgSpecWriter, encoder

from tap_sequence.runtime.output import StandardOutput
from tap_sequence.runtime.signals import StopSignals

if TYPE_CHECKING:
    from singer_sdk.singerlib import Message

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override


class _RecordMessage(msgspec.Struct, tag_field="type", tag="RECORD", gc=False):
    """The SDK's RecordMessage, for records that are not dictionaries."""

    stream: str
    record: Any
    version: int | msgspec.UnsetType
    time_extracted: datetime


class LineWriter(MsgSpecWriter):
    """The SDK's fast writer, which in addition never cuts a line, does not hang with its target, and writes many records at once.

    Args:
        stop_signals: Ends the wait for a target that does not read.
    """

    def __init__(self, stop_signals: StopSignals | None = None) -> None:
        super().__init__()
        self._output = StandardOutput(stop_signals or StopSignals())
        self._held: list[bytes] | None = None

    @override
    def write_message(self, message: Message) -> None:
        line = bytes(self.format_message(message))
        if self._held is None:
            self.write_lines(line)
        else:
            self._held.append(line)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Collect the block's messages and write them at once; write none if the block raises."""
        self._held = []
        try:
            yield
            lines = b"".join(self._held)
        finally:
            self._held = None
        self.write_lines(lines)

    def encode_records(self, stream: str, records: Iterable[Any], *, version: int | None) -> bytes:
        """Return the RECORD lines of decoded records.

        Raises:
            RecursionError: One of them is nested too deeply.
        """
        now = datetime.now(UTC)
        known_version = msgspec.UNSET if version is None else version
        return encoder.encode_lines(
            [_RecordMessage(stream, record, known_version, now) for record in records]
        )

    def write_lines(self, lines: bytes) -> None:
        """Write whole lines, and flush them.

        Raises:
            OSError: They cannot be written.
            StoppedError: The target did not read, and a signal asked the run to stop.
        """
        self._output.write(lines)
