"""Complete lines to standard output, whatever that is: a pipe, a file, or what another program has put in its place."""

from __future__ import annotations

import sys

from tap_sequence.runtime.signals import StopSignals

if sys.platform != "win32":
    from tap_sequence.runtime.stdout import LineOutput


class StandardOutput:
    """Writes whole lines, and does not hang with a reader that has stopped reading.

    After a failed write every further one fails: its lines would come after half a line, or after a gap.

    Args:
        stop_signals: Ends the wait for a reader that does not read.
    """

    def __init__(self, stop_signals: StopSignals) -> None:
        self._stop_signals = stop_signals
        self._output: LineOutput | _Buffered | None = None
        self._failure: BaseException | None = None

    def write(self, lines: bytes) -> None:
        """Write whole lines, and flush them.

        Raises:
            OSError: They cannot be written.
            StoppedError: Nobody read, and a signal asked the run to stop.
        """
        if self._failure is not None:
            raise self._failure
        try:
            if self._output is None:
                self._output = _open(self._stop_signals)
            self._output.write(lines)
        except BaseException as error:
            self._failure = error
            raise


class _Buffered:
    """Standard output without a file descriptor (inside another program), or on Windows."""

    def write(self, lines: bytes) -> None:
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            # It takes text alone, as io.StringIO does.
            sys.stdout.write(lines.decode())
        else:
            # With PYTHONUNBUFFERED a write may be partial.
            rest = memoryview(lines)
            while rest:
                rest = rest[buffer.write(rest) :]
        sys.stdout.flush()


def _open(stop_signals: StopSignals) -> LineOutput | _Buffered:
    """Return standard output, below Python's buffer if possible: a signal could leave half a line in that."""
    try:
        fd = sys.stdout.fileno()
    except (AttributeError, OSError):
        return _Buffered()
    if sys.platform == "win32":
        return _Buffered()
    # Keeps the order with what was printed before.
    sys.stdout.flush()
    return LineOutput(fd, stop_signals.check_patience)
