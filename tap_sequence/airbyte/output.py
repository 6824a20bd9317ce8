"""Writes protocol messages to standard output, whole lines only, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from tap_sequence.runtime.output import StandardOutput
from tap_sequence.runtime.signals import StopSignals

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class MessageWriter:
    """Writes messages, several at once if they are given together.

    Args:
        stop_signals: Ends the wait for a platform that does not read.
    """

    def __init__(self, stop_signals: StopSignals) -> None:
        self._output = StandardOutput(stop_signals)
        # Threads that fetch pages log, too.
        self._lock = threading.Lock()

    def send(self, *messages: msgspec.Struct) -> None:
        """Write messages.

        Raises:
            RecursionError: One of them is nested too deeply. None was written.
            OSError: They cannot be written.
            StoppedError: Nobody read, and a signal asked the run to stop.
        """
        self.write(encode(messages))

    def write(self, lines: bytes) -> None:
        """Write messages as lines, as `encode` returns them; otherwise the same as `send`."""
        with self._lock:
            self._output.write(lines)


def encode(messages: Sequence[msgspec.Struct]) -> bytes:
    """Return messages as lines.

    Raises:
        RecursionError: One of them is nested too deeply.
    """
    return _ENCODER.encode_lines(messages)
