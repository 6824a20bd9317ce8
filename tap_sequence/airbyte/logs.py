"""Log records as LOG messages."""

from __future__ import annotations

import contextlib
import logging
import sys

from tap_sequence.airbyte.messages import LogMessage
from tap_sequence.airbyte.output import MessageWriter
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.runtime.signals import StoppedError

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

# Messages of this logger are known to have text from outside in their arguments alone (runtime/log_records.py).
LOGGER = logging.getLogger("tap-sequence")

_LEVELS = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}


class MessageHandler(logging.Handler):
    """Writes log records as LOG messages.

    Args:
        writer: Writes them.
    """

    def __init__(self, writer: MessageWriter) -> None:
        super().__init__()
        self._writer = writer
        self._formatter = logging.Formatter()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        content = {"level": _LEVELS.get(record.levelno, record.levelname), "message": record.getMessage()}
        if record.exc_info:
            content["stack_trace"] = self._formatter.formatException(record.exc_info)
        # A message that cannot be written must not end a thread. The run's next message fails, too, and ends the run.
        with contextlib.suppress(OSError, StoppedError):
            self._writer.send(LogMessage(content))


def set_up_logging(writer: MessageWriter, *, is_debug: bool) -> None:
    """Write all log records of the process as LOG messages, without secrets and e-mail addresses.

    Args:
        writer: Writes them.
        is_debug: Whether to write debug messages, of libraries as well.
    """
    logging.basicConfig(
        level=logging.DEBUG if is_debug else logging.WARNING, handlers=[MessageHandler(writer)], force=True
    )
    LOGGER.setLevel(logging.DEBUG if is_debug else logging.INFO)
    clean_log_records()
