"""Finds the process's log handlers, whoever set them up."""

from __future__ import annotations

import logging
from collections.abc import Iterator


def every_handler() -> Iterator[logging.Handler]:
    """Yield the handlers of all loggers; one that several loggers share comes once for each of them."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        # A placeholder for a logger that nobody has asked for yet has none.
        yield from getattr(logger, "handlers", ())
