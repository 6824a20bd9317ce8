"""Removes secrets and addresses from every log record as it is made, so that no handler can write them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tap_sequence.runtime.handlers import every_handler
from tap_sequence.text.redaction import MASK, clean, hide, withheld

_OWN_LOGGERS = {"tap-sequence", "tap_sequence", "singer_sdk"}
"""Loggers whose messages come from this package or the SDK, with text from outside in their arguments alone. Other loggers,
and messages at level debug, may have it anywhere."""

_OWN_TYPES = __name__.partition(".")[0]
"""The package whose types never show a secret."""

_STANDARD_ATTRIBUTES = {*logging.makeLogRecord({}).__dict__, "message", "asctime"}


def clean_log_records() -> None:
    """Clean all records of all loggers from now on."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, CleaningFactory):
        logging.setLogRecordFactory(CleaningFactory(factory))
    for handler in every_handler():
        # `extra` is added to a record after it is made.
        if _clean_extra not in handler.filters:
            handler.addFilter(_clean_extra)


def clean_record(record: logging.LogRecord) -> bool:
    """Clean a record: a filter for a logger of this package, in a program that sets up logging itself."""
    _clean_message(record)
    return True


class CleaningFactory:
    """Makes clean log records.

    Args:
        inner: The factory before, which makes the raw records.
    """

    def __init__(self, inner: Callable[..., logging.LogRecord]) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Return a clean record. The arguments are those of `logging.LogRecord`."""
        record = self._inner(*args, **kwargs)
        _clean_message(record)
        if record.exc_info and record.exc_info[1] is not None:
            error = _stand_in(record.exc_info[1], set())
            record.exc_info = (type(error), error, record.exc_info[2])
        return record


def _clean_message(record: logging.LogRecord) -> None:
    try:
        if _is_own(record):
            if isinstance(record.args, tuple):
                record.args = tuple(_clean_value(argument) for argument in record.args)
            raw = record.getMessage()
            text = clean(MASK.apply(raw))
        else:
            raw = record.getMessage()
            text = _shown(raw)
        # Handlers that send a record as an object send its arguments too.
        arguments = repr(record.args) if record.args else ""
        is_clean = isinstance(record.msg, str) and text == raw and hide(arguments) == arguments
    except Exception:  # noqa: BLE001  # logging would report the raw message
        text, is_clean = f"(a message of {record.module} that cannot be formatted)", False
    if not is_clean:
        record.msg, record.args = text, ()


def _is_own(record: logging.LogRecord) -> bool:
    return (record.levelno or 0) > logging.DEBUG and str(record.name).partition(".")[0] in _OWN_LOGGERS


def _clean_value(value: Any) -> Any:
    """Return a value unchanged if every way to write it may be shown, else the text that may be shown."""
    if value is None or isinstance(value, int | float) or _is_of_own_type(value):
        return value
    shown = _shown(value)
    return (
        value
        if shown == str(value) and (isinstance(value, str) or _shown(repr(value)) == repr(value))
        else shown
    )


def _is_of_own_type(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == _OWN_TYPES


def _shown(value: object) -> str:
    text = str(value)
    shown = hide(text)
    return withheld(text) if shown is None else shown


def _clean_extra(record: logging.LogRecord) -> bool:
    for name in record.__dict__.keys() - _STANDARD_ATTRIBUTES:
        try:
            shown = _clean_value(getattr(record, name))
        except Exception:  # noqa: BLE001  # its text is unknown
            shown = None
        setattr(record, name, shown)
    return True


def _stand_in(error: BaseException, seen: set[int]) -> BaseException:
    """Return an error of the same name, traceback and causes, with clean messages."""
    seen.add(id(error))
    kind = type(error)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    try:
        text = _shown(error)
    except Exception:  # noqa: BLE001  # an error without a message is still an error
        text = ""
    result: BaseException = type(kind.__name__, (Exception,), names)(text)
    result.__traceback__ = error.__traceback__
    for name in ("__cause__", "__context__"):
        origin = getattr(error, name)
        if origin is not None and id(origin) not in seen:
            setattr(result, name, _stand_in(origin, seen))
    result.__suppress_context__ = error.__suppress_context__
    return result
