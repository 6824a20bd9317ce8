"""Environment variables, and the file `.env` with further ones."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import singer_sdk
from dotenv import dotenv_values

from tap_sequence.settings import PREFIX

ENV_FILES = [folder / ".env" for folder in Path(singer_sdk.__file__).parents]
"""Where `.env` may be: in the folders above the installation, as in every tap built with the SDK."""


def read_variables(logger: logging.Logger) -> dict[str, str]:
    """Return the environment variables, and the settings in the first file `.env`. Exported variables override the file.

    The file may belong to something else: its other variables are ignored, and if it cannot be read, a warning says so.
    """
    path = next((each for each in ENV_FILES if _is_file(each)), None)
    return {**({} if path is None else _read_settings(path, logger)), **os.environ}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that this user may not enter
        return False


def _read_settings(path: Path, logger: logging.Logger) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        logger.warning("Settings in %s are ignored, because the file cannot be read: %s.", path, reason)
        return {}
    if PREFIX not in text:
        return {}
    return {
        name: value
        for name, value in dotenv_values(stream=io.StringIO(text)).items()
        if value is not None and name.upper().startswith(PREFIX)
    }
