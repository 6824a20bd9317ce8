"""The inputs of `--config`: files and environment variables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from tap_sequence.runtime.input_files import read_object


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
        """Read what `--config` names, each a file or `ENV`.

        Raises:
            InputFileError: A file cannot be read, or does not hold a JSON object.
        """
        result = cls()
        for value in values:
            if value == "ENV":
                result.parse_env = True
            else:
                result.config |= read_object(value, "config")
        return result
