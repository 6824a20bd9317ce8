"""How any failure of a process becomes an error with a line of its own, and output that cannot be written is given up."""

from __future__ import annotations

import errno
import logging
import os
import sys

from tap_sequence.errors import NestingError, OutputError, TapSequenceError, UnexpectedError
from tap_sequence.runtime.signals import StoppedError, ignore_signals
from tap_sequence.text.redaction import excerpt

_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


def as_tap_error(error: Exception) -> TapSequenceError:
    """Return the error that a failure is reported as. If standard output failed, what is left of it is discarded."""
    if isinstance(error, TapSequenceError):
        return error
    if isinstance(error, RecursionError):
        return NestingError()
    if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
        # The fronts write to nothing but standard output.
        discard_output()
        return OutputError("it is closed" if error.errno == errno.EBADF else str(error.strerror))
    return UnexpectedError(type(error).__name__, excerpt(str(error)))


def report_stop(stopped: StoppedError, logger: logging.Logger) -> int:
    """Report that a signal stopped the run, and return the exit status."""
    ignore_signals()
    logger.warning("%s. The last STATE describes all that was written; the next run resumes there.", stopped)
    return stopped.exit_status


def discard_output() -> None:
    """Redirect what Python still buffers for standard output to nowhere: it could not be written at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def replace_closed_output() -> None:
    """If standard output was closed from the start, put a file in its place that fails each write."""
    if sys.stdout is None:
        # A file that is not writable keeps its descriptor.
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
