"""The files named on the command line: each holds JSON, and is read and parsed once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from tap_sequence.errors import (
    EmptyFileError,
    InlineInputError,
    InvalidJsonError,
    NotAnObjectError,
    UnreadableFileError,
)
from tap_sequence.text.redaction import excerpt

STANDARD_INPUT = "-"

_CONTENT = re.compile(r"""\s*[{\["']|.*[{}\n]|.*:\s""", re.DOTALL)
_OPTION_NAME = re.compile(r"--?[a-z][a-z-]*")
_PATH = re.compile(r"(?:\.{0,2}/|~/|[A-Za-z]:\\)[\w./\\ +~@-]*|[\w./\\ +~@-]*\.\w{1,5}")


def names_a_file(value: str) -> bool:
    """Return whether an argument is the name of a file, so that a message may quote it.

    Anything else may be a secret that the mask does not know yet: settings given in place of their file, for example.
    """
    return os.path.lexists(value) or _PATH.fullmatch(value) is not None


def without_values(message: str, arguments: Iterable[str]) -> str:
    """Return a message about the command line without arguments that may be settings."""
    for argument in arguments:
        for value in (argument, argument.partition("=")[2]):
            if value and not names_a_file(value) and not _OPTION_NAME.fullmatch(value):
                for form in (value, repr(value)[1:-1]):
                    message = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", "…", message)
    return message


def read_object(path: str, name: str) -> dict[str, Any]:
    """Return the JSON object in a file. Arguments and errors are those of `read_json`.

    Raises:
        NotAnObjectError: The file holds other JSON.
    """
    value = read_json(path, name)
    if not isinstance(value, dict):
        raise NotAnObjectError(_shown(path, name), type(value).__name__)
    return value


def read_json(path: str, name: str) -> Any:
    """Return the JSON value in a file, with Decimals for numbers that have a fraction, as the SDK reads it.

    Args:
        path: Name of the file, which may be a pipe; `-` is standard input. It is UTF-8, whatever the locale, with or without
            a byte order mark.
        name: Name of the option that names the file, without dashes.

    Raises:
        InputFileError: The file cannot be read, or does not hold JSON.
    """
    shown, option = _shown(path, name), f"--{name}"
    if path != STANDARD_INPUT and not names_a_file(path) and _CONTENT.match(path):
        raise InlineInputError(option)
    try:
        with open(0 if path == STANDARD_INPUT else path, "rb", closefd=path != STANDARD_INPUT) as file:
            text = file.read().decode("utf-8-sig")
        if not text.strip():
            raise EmptyFileError(shown, option)
        return json.loads(text, parse_float=Decimal, object_pairs_hook=_to_object)
    except OSError as error:
        raise UnreadableFileError(file=shown, reason=str(error.strerror), option=option) from None
    except UnicodeDecodeError:
        raise UnreadableFileError(file=shown, reason="not UTF-8 text", option=option) from None
    except RecursionError:
        raise InvalidJsonError(file=shown, reason="it is nested too deeply") from None
    except ValueError as error:
        # The decoder's message quotes nothing of the text.
        raise InvalidJsonError(shown, str(error)) from None


def _shown(path: str, name: str) -> str:
    """Return what a message calls a file."""
    if path == STANDARD_INPUT:
        return f"The {name} on standard input"
    return f"The {name} file {excerpt(path)}" if names_a_file(path) else f"The {name} file"


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse NaN and infinities: Python's decoder accepts them, JSON does not have them."""
    for name, value in pairs:
        for constant in _constants(value):
            msg = f"{name} is {json.dumps(constant)}, which is not a JSON number"
            raise ValueError(msg)
    return dict(pairs)


def _constants(value: Any) -> Iterator[float]:
    # All other numbers with a fraction are Decimals.
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        for element in value:
            yield from _constants(element)
