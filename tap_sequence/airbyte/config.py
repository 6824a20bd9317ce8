"""The settings of a connection, from the file that `--config` names."""

from __future__ import annotations

import logging
from typing import Any

from tap_sequence.runtime.input_files import read_object
from tap_sequence.settings import CONFIG_JSONSCHEMA, Settings
from tap_sequence.settings_checks import check_settings, did_you_mean, hide_secrets
from tap_sequence.text.redaction import excerpt


def read_settings(path: str, logger: logging.Logger) -> Settings:
    """Return the settings in a file.

    Args:
        path: Name of the file.
        logger: Where warnings go.

    Raises:
        InputFileError: The file cannot be read, or does not hold a JSON object.
        SettingsError: A setting is wrong.
    """
    config = read_object(path, "config")
    hide_secrets(config)
    _drop_unknown(config, logger)
    return check_settings(config, logger)


def _drop_unknown(config: dict[str, Any], logger: logging.Logger) -> None:
    """Remove what is not a setting, with a warning: a platform adds keys of its own, which begin with two underscores."""
    for name in [name for name in config if name not in CONFIG_JSONSCHEMA["properties"]]:
        del config[name]
        if not name.startswith("__"):
            hint = did_you_mean(name, CONFIG_JSONSCHEMA["properties"])
            logger.warning("%s is not a setting of this source and has no effect.%s", excerpt(name), hint)
