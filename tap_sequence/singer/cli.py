"""The command line's edges: input files, help, exit statuses, and the one line that a failure ends in."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import click
from singer_sdk import mapper
from singer_sdk.about import AboutInfo, TextFormatter
from singer_sdk.exceptions import MappingError
from singer_sdk.plugin_base import SingerCommand

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.errors import InputFileError, TapSequenceError
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.runtime.signals import StoppedError, ignore_signals
from tap_sequence.text.redaction import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from singer_sdk import Tap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

ABOUT_FORMAT = "text-with-descriptions"
_TEST_HELP = (
    "Use --test to ask the API for one log and say whether that worked. Use --test=schema to write the SCHEMA messages "
    "alone."
)
_TOO_DEEP = (
    "The log behind the last record is nested too deeply to be written. Nothing is lost: the last STATE stands before it. "
    "Ask Sequence's support what it holds."
)
_WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}


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
        for param in result.params:
            if param.name == "test" and isinstance(param, click.Option):
                param.help = _TEST_HELP
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
            self._stop_for_target()

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        clean_log_records()
        if sys.stdout is None:
            # Closed from the start. A file that cannot be written to makes each write fail, and keeps the place.
            sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
        try:
            try:
                return super().main(*args, **kwargs)
            except SystemExit:
                # What is written at exit alone could no longer be told of.
                sys.stdout.flush()
                raise
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # Only where a caller asked for it: in standalone mode click has dealt with them.
        except StoppedError as stopped:
            ignore_signals()
            self.logger.warning(
                "%s. The last STATE says how far it came; the next run goes on from there.", stopped
            )
            sys.exit(stopped.exit_status)
        except TapSequenceError as error:
            self._fail(str(error), error)
        except BrokenPipeError:
            self._stop_for_target()
        except OSError as error:
            self._fail(_output_problem(error) or _defect(error), error)
        except RecursionError as error:
            self._fail(_TOO_DEEP, error)
        except Exception as error:  # noqa: BLE001  # the edge: whatever it was, one line
            self._fail(_stream_map_problem(error) or _defect(error), error)

    def _stop_for_target(self) -> NoReturn:
        _forget_output()
        self.logger.info("Standard output was closed by the target; stopping.")
        sys.exit(1)

    def _fail(self, message: str, error: Exception) -> NoReturn:
        debug = self.logger.isEnabledFor(logging.DEBUG)
        self.logger.error(" ".join(message.split()), exc_info=error if debug else None)
        sys.exit(1)


def _output_problem(error: OSError) -> str | None:
    """Say what is wrong with standard output, where that is what failed. The tap writes to nothing else."""
    if error.errno not in _WRITE_ERRORS:
        return None
    _forget_output()
    reason = "it is closed" if error.errno == errno.EBADF else error.strerror
    return (
        f"Standard output cannot be written to: {reason}. See where it leads to; then run again with the last STATE "
        "that was written whole."
    )


def _stream_map_problem(error: Exception) -> str | None:
    """Say that a stream map is wrong, where that is what failed."""
    files = {Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}
    if not isinstance(error, MappingError) and Path(mapper.__file__) not in files:
        return None
    reason = excerpt(f"{type(error).__name__}: {error}").rstrip(".")
    return f"stream_maps cannot be applied: {reason}. Look at stream_maps in the settings."


def _defect(error: Exception) -> str:
    return f"Unexpected {type(error).__name__}: {excerpt(str(error))}. This is a defect of the tap; please report it."


def _forget_output() -> None:
    """Let what Python still holds for standard output go nowhere: it could not be written at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


@contextmanager
def without_info(logger: logging.Logger) -> Iterator[None]:
    """Keep out lines that are no warnings, unless more was asked for than there is by default."""
    level = logger.level
    if logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def describe_streams(stream_types: Iterable[Any]) -> str:
    """Return the part of `--about --format=markdown` that the SDK leaves out, from the streams' classes."""
    rows = [
        f"| {each.name} | {', '.join(each.primary_keys)} | {each.replication_key} "
        f"| {'yes' if each.selected_by_default else 'no'} | {SCHEMAS[each.name]['description']} |"
        for each in stream_types
    ]
    head = [
        "## Streams",
        "",
        "| Stream | Primary key | Replication key | Selected by default | Description |",
        "|:-------|:------------|:----------------|:-------------------:|:------------|",
    ]
    return "\n".join([*head, *rows, ""])


def read_json_object(text: str, source: str) -> dict[str, Any]:
    """Parse a file that has to hold a JSON object.

    Raises:
        InputFileError: It does not.
    """
    if not text.strip():
        msg = f"{source} is empty; leave it out, or give it a JSON object."
        raise InputFileError(msg)
    try:
        value = json.loads(text, parse_constant=_Constant, object_pairs_hook=_without_constants)
    except ValueError as error:
        # The decoder's own message has no part of the text in it.
        msg = f"{source} is not JSON: {error}. Mend the file."
        raise InputFileError(msg) from None
    except RecursionError:
        msg = f"{source} is nested too deeply to be right. Mend the file."
        raise InputFileError(msg) from None
    if not isinstance(value, dict):
        msg = f"{source} takes a JSON object, not a {type(value).__name__}. Mend the file."
        raise InputFileError(msg)
    return value


class _Constant(str):
    """NaN or an infinity: Python's reader takes them, the SDK's does not, and JSON does not know them."""

    __slots__ = ()


def _without_constants(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for name, value in pairs:
        if isinstance(value, _Constant):
            msg = f"{name} is {value}, which is no JSON number"
            raise ValueError(msg)  # noqa: TRY004  # as the decoder does
    return dict(pairs)


def check_config_file(path: str) -> dict[str, Any]:
    """Return what is in a file named with `--config`.

    Raises:
        InputFileError: It cannot be read, or is not a JSON object.
    """
    if path.lstrip().startswith("{"):
        msg = "--config must be the name of a file (got its content). Write the settings to a file, or use --config=ENV."
        raise InputFileError(msg)
    source = f"The config file {path}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        msg = f"{source} cannot be read: {reason}. Look at --config."
        raise InputFileError(msg) from None
    return read_json_object(text, source)


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
