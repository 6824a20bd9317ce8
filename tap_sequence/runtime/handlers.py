"""All log handlers of the process."""

from __future__ import annotations

import logging
from collections.abc import Iterator


def every_handler() -> Iterator[logging.Handler]:
    """Yield the handlers of all loggers. A handler that several loggers share is yielded once for each."""
    for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
        # A placeholder for a logger that does not exist yet has none.
        yield from getattr(logger, "handlers", ())
