"""The files named on the command line: each holds a JSON object, and is read and parsed once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Self

from tap_sequence.errors import (
    EmptyFileError,
    InlineConfigError,
    InvalidJsonError,
    NotAnObjectError,
    UnreadableFileError,
)


@dataclass
class ConfigInput:
    """What `--config` gave.

    Attributes:
        config: The settings of all files; later files override earlier ones.
        parse_env: Whether settings are also read from environment variables.
    """

    config: dict[str, Any] = field(default_factory=dict)
    parse_env: bool = False

    @classmethod
    def read(cls, values: Iterable[str]) -> Self:
        """Read the files named by `--config`, each a path or `ENV`.

        Raises:
            InputFileError: A file cannot be read, or does not hold a JSON object.
        """
        result = cls()
        for value in values:
            if value == "ENV":
                result.parse_env = True
            elif value.lstrip().startswith("{"):
                raise InlineConfigError
            else:
                result.config |= _read_config(value)
        return result


def _read_config(path: str) -> dict[str, Any]:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return read_object(file, "config")
    except OSError as error:
        raise UnreadableFileError(
            file=f"The config file {path}", reason=str(error.strerror), option="--config"
        ) from None


def read_object(file: IO[str], name: str) -> dict[str, Any]:
    """Return the JSON object in a file, with Decimals for numbers that have a fraction, as the SDK reads it.

    Args:
        file: The file.
        name: Name of the option that names the file, without dashes.

    Raises:
        InputFileError: The file cannot be read, or does not hold a JSON object.
    """
    shown, option = f"The {name} file {file.name}", f"--{name}"
    try:
        text = file.read()
        if not text.strip():
            raise EmptyFileError(shown, option)
        value = json.loads(text, parse_float=Decimal, object_pairs_hook=_to_object)
    except UnicodeDecodeError:
        raise UnreadableFileError(file=shown, reason="not UTF-8 text", option=option) from None
    except RecursionError:
        raise InvalidJsonError(file=shown, reason="it is nested too deeply") from None
    except ValueError as error:
        # The decoder's message quotes nothing of the text.
        raise InvalidJsonError(shown, str(error)) from None
    if not isinstance(value, dict):
        raise NotAnObjectError(shown, type(value).__name__)
    return value


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
