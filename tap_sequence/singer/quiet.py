"""Messages of the SDK that help nobody who watches are at level debug."""

from __future__ import annotations

import logging
import sys

_DETAILS = {"Skipping parse of env var settings...", "Parsing env var for settings config..."}
"""Messages of the SDK about its own workings."""


def lower_details(logger: logging.Logger) -> None:
    """Log the SDK's messages about its own workings at debug."""
    logger.addFilter(_lower)


def _lower(record: logging.LogRecord) -> bool:
    if record.msg not in _DETAILS:
        return True
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def lower_metrics(logger: logging.Logger) -> None:
    """Show the SDK's metrics on a terminal only at debug: they are for programs, and the summary has the same numbers.

    A logger with handlers of its own was set up by the user (SINGER_SDK_LOG_CONFIG), and is left as it is.
    """
    is_watched = sys.stderr is not None and sys.stderr.isatty()
    if is_watched and not logger.handlers and logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)
