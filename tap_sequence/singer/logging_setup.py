"""Logging as the environment says, with one line if it cannot be set up."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from singer_sdk.logging import ConsoleFormatter

from tap_sequence.errors import LogConfigError, LoggingError, LogLevelError
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.settings import PREFIX

_LEVEL_VARIABLES = (f"{PREFIX}LOGLEVEL", "LOGLEVEL")
_CONFIG_VARIABLE = "SINGER_SDK_LOG_CONFIG"
_LEVELS = "debug, info, warning, error, critical"

_Result = TypeVar("_Result")


class LogConfigProblem(StrEnum):
    """Why a logging configuration cannot be used."""

    NOT_YAML = "it is not valid YAML"
    NOT_UTF8 = "it is not UTF-8 text"
    NOT_A_MAPPING = "it is empty or not a mapping"


def set_up_logging(set_up: Callable[[], _Result], logger: logging.Logger) -> _Result:
    """Return what `set_up` returns, which sets up logging; exit with status 1 and one line if that fails."""
    for variable in (*_LEVEL_VARIABLES, _CONFIG_VARIABLE):
        if (text := os.environ.get(variable, "").strip()) != os.environ.get(variable):
            os.environ[variable] = text
        if not text:
            del os.environ[variable]
    try:
        _check_level()
        return _configured(set_up)
    except LoggingError as error:
        # The configuration may have been applied in part.
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(ConsoleFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
        logger.disabled = False
        clean_log_records()
        logger.error("%s", error)  # noqa: TRY400  # no traceback: the line says all
        sys.exit(1)


def _check_level() -> None:
    variable = next((name for name in _LEVEL_VARIABLES if name in os.environ), None)
    if variable and os.environ[variable].upper() not in logging.getLevelNamesMapping():
        raise LogLevelError(variable, _LEVELS)


def _configured(set_up: Callable[[], _Result]) -> _Result:
    try:
        return set_up()
    except Exception as error:
        if _CONFIG_VARIABLE not in os.environ:
            raise
        raise LogConfigError(_problem(error)) from None


def _problem(error: Exception) -> str:
    """Return a reason that quotes nothing of the file: the secrets in it are not known."""
    if mark := getattr(error, "problem_mark", None):
        return f"{LogConfigProblem.NOT_YAML} (line {mark.line + 1})"
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, UnicodeDecodeError):
        return LogConfigProblem.NOT_UTF8
    if isinstance(error, TypeError | AttributeError) or str(error).startswith("dictionary update"):
        return LogConfigProblem.NOT_A_MAPPING
    if type(error) is ValueError:
        # The logging module names the part that is wrong, and keeps the details in the cause.
        cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
        return f"{error}{cause}"
    return type(error).__name__
