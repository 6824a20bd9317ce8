"""The messages of the Airbyte protocol that a source writes, one JSON object a line."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from tap_sequence.errors import FailureKind, TapSequenceError
from tap_sequence.text.redaction import MASK, clean

FULL_REFRESH, INCREMENTAL = "full_refresh", "incremental"

FAILURE_TYPES = {
    FailureKind.CONFIG: "config_error",
    FailureKind.TRANSIENT: "transient_error",
    FailureKind.SYSTEM: "system_error",
}
"""The protocol's `failure_type` of each kind of failure."""


class StreamStatus(StrEnum):
    """How far a stream is in this run."""

    STARTED = "STARTED"
    RUNNING = "RUNNING"
    """Its first record follows."""
    COMPLETE = "COMPLETE"
    INCOMPLETE = "INCOMPLETE"
    """It failed, or the run was stopped."""


class _Message(msgspec.Struct, tag_field="type", omit_defaults=True):
    """A line of output."""


class LogMessage(_Message, tag="LOG"):
    """A message to the operator. `log` has a level, a message and sometimes a stack trace."""

    log: Mapping[str, str]


class SpecMessage(_Message, tag="SPEC"):
    """The settings that the source has."""

    spec: Mapping[str, Any]


class ConnectionStatusMessage(_Message, tag="CONNECTION_STATUS"):
    """Whether the settings work. `connectionStatus` has a status and a message."""

    connectionStatus: Mapping[str, str]  # noqa: N815  # the protocol's name


class CatalogMessage(_Message, tag="CATALOG"):
    """The streams that there are. `catalog` has a list of them."""

    catalog: Mapping[str, Sequence[Any]]


class TraceMessage(_Message, tag="TRACE"):
    """What the platform is to know about the run."""

    trace: Mapping[str, Any]


class StateMessage(_Message, tag="STATE"):
    """Where the next run of a stream resumes."""

    state: Mapping[str, Any]


class Row(msgspec.Struct, gc=False):
    """The content of a RECORD.

    Attributes:
        stream: The stream's name.
        data: The row.
        emitted_at: Milliseconds since 1970.
    """

    stream: str
    data: Any
    emitted_at: int


class RecordMessage(_Message, tag="RECORD", gc=False):
    """A row of a stream."""

    record: Row


class Stream(msgspec.Struct, omit_defaults=True):
    """A stream of the catalog, in the protocol's names."""

    name: str
    json_schema: Mapping[str, Any]
    supported_sync_modes: Sequence[str]
    is_resumable: bool
    source_defined_primary_key: Sequence[Sequence[str]]
    source_defined_cursor: bool | None = None
    default_cursor_field: Sequence[str] | None = None


def records(stream: str, rows: Sequence[Any]) -> list[RecordMessage]:
    """Return the messages of a stream's rows."""
    now = int(milliseconds())
    return [RecordMessage(Row(stream, row, now)) for row in rows]


def state(stream: str, content: Mapping[str, Any], records_since: int) -> StateMessage:
    """Return a stream's state.

    Args:
        stream: The stream's name.
        content: The state itself.
        records_since: The number of the stream's records since its previous state.
    """
    return StateMessage(
        {
            "type": "STREAM",
            "stream": {"stream_descriptor": {"name": stream}, "stream_state": content},
            # The protocol counts in floats, against overflows.
            "sourceStats": {"recordCount": float(records_since)},
        }
    )


def stream_status(stream: str, status: StreamStatus) -> TraceMessage:
    """Return a change of a stream's status."""
    content = {"stream_descriptor": {"name": stream}, "status": status}
    return _trace("STREAM_STATUS", "stream_status", content)


def estimate(stream: str, rows: int) -> TraceMessage:
    """Return the number of rows that a stream is expected to have in this run."""
    return _trace("ESTIMATE", "estimate", {"name": stream, "type": "STREAM", "row_estimate": rows})


def failure(error: TapSequenceError, streams: Sequence[str] = ()) -> TraceMessage:
    """Return the report of a failure, without secrets and e-mail addresses.

    Args:
        error: The failure.
        streams: The streams that failed; none if the run failed as a whole.
    """
    content: dict[str, Any] = {
        "message": message_of(error),
        "internal_message": type(error).__name__,
        "failure_type": FAILURE_TYPES[error.kind],
    }
    if len(streams) == 1:
        content["stream_descriptor"] = {"name": streams[0]}
    return _trace("ERROR", "error", content)


def message_of(error: TapSequenceError) -> str:
    """Return the one line that an error is reported with."""
    return one_line(str(error))


def one_line(text: str) -> str:
    """Return a text on one line, without secrets and e-mail addresses."""
    return " ".join(clean(MASK.apply(text)).split())


def milliseconds() -> float:
    """Return the current time in milliseconds since 1970."""
    return time.time() * 1000


def _trace(kind: str, name: str, content: Mapping[str, Any]) -> TraceMessage:
    return TraceMessage({"type": kind, "emitted_at": milliseconds(), name: content})
