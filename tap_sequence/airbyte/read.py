"""A run: which streams share a walk, and how each walk ends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tap_sequence.airbyte.messages import StreamStatus, failure, stream_status
from tap_sequence.airbyte.output import MessageWriter
from tap_sequence.airbyte.sink import AirbyteSink
from tap_sequence.airbyte.states import with_streams
from tap_sequence.catalog import StreamSpec
from tap_sequence.errors import FailureKind, TapSequenceError, UnreadableStateError
from tap_sequence.runtime.signals import StoppedError
from tap_sequence.source import Source


@dataclass(frozen=True, slots=True)
class Walk:
    """Streams of one list that resume at the same position, so that one walk reads for all.

    Attributes:
        streams: The streams.
        bookmark: Their bookmark; empty if they have none.
    """

    streams: Sequence[StreamSpec]
    bookmark: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        """The names of the streams."""
        return [spec.name for spec in self.streams]


def walks_of(streams: Sequence[StreamSpec], bookmarks: Mapping[str, Mapping[str, Any]]) -> list[Walk]:
    """Return the walks to make, in their order: those from the start first, and lists that change in place last.

    Args:
        streams: The selected streams.
        bookmarks: The bookmark of each stream that has one.
    """
    walks: list[Walk] = []
    for spec in streams:
        bookmark = bookmarks.get(spec.name, {}) if spec.endpoint.is_append_only else {}
        for number, walk in enumerate(walks):
            if walk.streams[0].endpoint is spec.endpoint and walk.bookmark == bookmark:
                walks[number] = Walk([*walk.streams, spec], bookmark)
                break
        else:
            walks.append(Walk([spec], bookmark))
    return sorted(walks, key=lambda walk: (not walk.streams[0].endpoint.is_append_only, bool(walk.bookmark)))


def read(source: Source, walks: Sequence[Walk], writer: MessageWriter, logger: logging.Logger) -> bool:
    """Read the streams, and return whether all are complete.

    A walk that fails does not keep the others from being made, unless they would fail like it.

    Args:
        source: The account.
        walks: The walks, as `walks_of` returns them.
        writer: Writes the messages.
        logger: Where warnings go.

    Raises:
        StateError: A state cannot be used. Nothing was read.
        StoppedError: A signal stopped the run.
    """
    if not walks:
        logger.warning("The configured catalog selects no stream, so nothing is read.")
    for walk in walks:
        _check(source, walk)
    is_complete = True
    for walk in walks:
        try:
            _make(source, walk, writer)
        except TapSequenceError as error:
            logger.debug("The walk failed.", exc_info=error)
            writer.send(failure(error, walk.names))
            is_complete = False
            if error.kind is FailureKind.TRANSIENT:
                # The next walk would wait for the same API as long.
                break
    return is_complete


def _check(source: Source, walk: Walk) -> None:
    try:
        source.bookmark(walk.bookmark, walk.names)
    except UnreadableStateError as error:
        error.stream = " and ".join(walk.names)
        raise


def _make(source: Source, walk: Walk, writer: MessageWriter) -> None:
    """Make a walk, and report the status of its streams."""
    writer.send(*(stream_status(name, StreamStatus.STARTED) for name in walk.names))
    try:
        source.read(
            walk.names, with_streams(walk.bookmark, walk.names), AirbyteSink(writer, source, walk.streams)
        )
    except BaseException:
        # Output that failed, fails again.
        with contextlib.suppress(OSError, StoppedError):
            writer.send(*(stream_status(name, StreamStatus.INCOMPLETE) for name in walk.names))
        raise
    writer.send(*(stream_status(name, StreamStatus.COMPLETE) for name in walk.names))
