"""The command line's edges: input files, help, exit statuses, and the one line that a failure ends in."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import click
from singer_sdk.about import AboutInfo, TextFormatter
from singer_sdk.plugin_base import SingerCommand

from tap_sequence.errors import InputFileError, TapSequenceError
from tap_sequence.stopping import StoppedError

if TYPE_CHECKING:
    from singer_sdk import Tap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

ABOUT_FORMAT = "text-with-descriptions"


class TapCommand(SingerCommand):
    """The SDK's command, with settings in its help and failures told in one line."""

    tap_class: type[Tap]

    @classmethod
    def from_sdk(cls, command: click.Command, tap_class: type[Tap]) -> Self:
        """Take over the SDK's command with all its options."""
        result = cls(
            name=command.name,
            callback=command.callback,
            params=command.params,
            help=command.help,
            context_settings=command.context_settings,
            logger=tap_class.logger,
        )
        result.tap_class = tap_class
        return result

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        prefix = f"{self.tap_class.name.upper().replace('-', '_')}_"
        title = f"Settings (in the --config file; with --config=ENV from {prefix}<NAME IN CAPITALS>)"
        with formatter.section(title):
            formatter.write_dl(
                [(name, _describe(definition)) for name, definition in _settings(self.tap_class).items()]
            )

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The target has gone. What Python still holds for it has nowhere to go either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.logger.info("Standard output was closed by the target; stopping.")
            ctx.exit(1)

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # Only where a caller asked for it: in standalone mode click has dealt with them.
        except StoppedError as stopped:
            # On the way out, a second signal could only spoil the exit status.
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, signal.SIG_IGN)
            self.logger.warning("%s. The last STATE says how far it came.", stopped)
            sys.exit(stopped.exit_status)
        except TapSequenceError as error:
            self._fail(str(error), error)
        except Exception as error:  # noqa: BLE001  # the edge: whatever it was, one line
            self._fail(
                f"Unexpected {type(error).__name__}: {error}. This is a defect of the tap; please report it.",
                error,
            )

    def _fail(self, message: str, error: Exception) -> NoReturn:
        debug = self.logger.isEnabledFor(logging.DEBUG)
        self.logger.error(" ".join(message.split()), exc_info=error if debug else None)
        sys.exit(1)


class SettingsFormatter(TextFormatter, format_name=ABOUT_FORMAT):
    """The SDK's `--about` text, with what each setting is for."""

    @override
    def format_about(self, about_info: AboutInfo) -> str:
        lines = []
        for line in super().format_about(about_info).splitlines():
            lines.append(line)
            name = line.removeprefix("  - Name: ")
            if name != line:
                lines.append(f"    Description: {_describe(about_info.settings['properties'][name])}")
        return "\n".join(lines)


def read_json_object(text: str, source: str) -> dict[str, Any]:
    """Parse a file that has to hold a JSON object.

    Raises:
        InputFileError: It does not.
    """
    if not text.strip():
        msg = f"{source} is empty; leave it out, or give it a JSON object."
        raise InputFileError(msg)
    try:
        value = json.loads(text)
    except ValueError as error:
        # The decoder's own message has no part of the text in it.
        msg = f"{source} is not JSON: {error}."
        raise InputFileError(msg) from None
    if not isinstance(value, dict):
        msg = f"{source} takes a JSON object, not a {type(value).__name__}."
        raise InputFileError(msg)
    return value


def check_config_file(path: str) -> None:
    """Make sure that a file named with `--config` can be read.

    Raises:
        InputFileError: It cannot.
    """
    source = f"The config file {path}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        msg = f"{source} cannot be read: {reason}."
        raise InputFileError(msg) from None
    read_json_object(text, source)


def _settings(tap_class: type[Tap]) -> dict[str, Any]:
    schema = tap_class.config_jsonschema
    tap_class.append_builtin_config(schema)
    properties: dict[str, Any] = schema["properties"]
    return properties


def _describe(definition: dict[str, Any]) -> str:
    text = str(definition.get("description", ""))
    if definition.get("default") is not None:
        text += f" Default: {definition['default']}."
    return text
