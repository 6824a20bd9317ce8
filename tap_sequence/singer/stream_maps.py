"""The SDK's stream maps: what is wrong with them, in a line that names the log and the field."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from tap_sequence.catalog import STREAMS
from tap_sequence.errors import StreamMapRecordError
from tap_sequence.text.redaction import excerpt


class StreamMapProblem(StrEnum):
    """Why a stream map failed at a log. Completes the text of StreamMapRecordError."""

    MISSING = "the record has no field {field}; check its name, or write record.get('{field}') if only some logs have it"
    NULL = "an expression got null ({error}); make it depend on the value, such as: sha256(actorEmail) if actorEmail else None"
    OTHER = "{error}"


@contextmanager
def failing_at(log_id: str, stream: str) -> Iterator[None]:
    """Name the log and the stream in what a stream map raises.

    Raises:
        StreamMapRecordError: A stream map failed.
    """
    try:
        yield
    except RecursionError:
        # The log is nested too deeply: not the map's fault.
        raise
    except Exception as error:
        raise StreamMapRecordError(stream, excerpt(log_id), _reason(error)) from error


def _reason(error: Exception) -> str:
    # The SDK's own error names the expression alone.
    cause = error.__cause__ or error
    field = _missing_field(cause)
    if field:
        return StreamMapProblem.MISSING.format(field=excerpt(field))
    text = excerpt(f"{type(cause).__name__}: {cause}").rstrip(".")
    problem = StreamMapProblem.NULL if "NoneType" in text else StreamMapProblem.OTHER
    return problem.format(error=text)


def _missing_field(cause: BaseException) -> str | None:
    """Return the name that an expression did not find, if it can be that of a field."""
    # Those of simpleeval, by name: the SDK's dependency is not the tap's.
    match type(cause).__name__:
        case "KeyError":
            name = cause.args[0]
        case "NameNotDefined":
            name = getattr(cause, "name", None)
        case "AttributeDoesNotExist" if re.search(
            rf"\b(record|_)\.{getattr(cause, 'attr', '')}\b", str(cause)
        ):
            name = getattr(cause, "attr", None)
        case _:
            return None
    return name if isinstance(name, str) else None


def warn_of_unknown_streams(stream_maps: Mapping[str, Any], logger: logging.Logger) -> None:
    """Warn of stream maps that no stream has."""
    for name, definition in stream_maps.items():
        source = definition.get("__source__", name) if isinstance(definition, Mapping) else name
        if not name.startswith("__") and not any(fnmatch.fnmatch(spec.name, str(source)) for spec in STREAMS):
            logger.warning(
                "stream_maps has a map for %s, which no stream is called, so that it has no effect. The streams are: %s.",
                excerpt(str(source)),
                ", ".join(spec.name for spec in STREAMS),
            )
