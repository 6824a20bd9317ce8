"""The command line's edges: help, exit statuses, and the one line that a failure ends in."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import click
from singer_sdk import mapper
from singer_sdk.exceptions import MappingError
from singer_sdk.plugin_base import SingerCommand

from tap_sequence.errors import StreamMapError, TapSequenceError
from tap_sequence.runtime.failures import as_tap_error, discard_output, replace_closed_output, report_stop
from tap_sequence.runtime.input_files import without_values
from tap_sequence.runtime.log_records import clean_log_records
from tap_sequence.runtime.signals import StoppedError
from tap_sequence.settings import PREFIX
from tap_sequence.singer.about import describe_settings
from tap_sequence.text.redaction import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from singer_sdk import Tap

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

_TEST_HELP = "Use --test to request one log and report whether that worked. Use --test=schema to write the SCHEMA messages alone."


class TapCommand(SingerCommand):
    """The SDK's command, with settings in its help, and one line for each failure."""

    tap_class: type[Tap]

    @classmethod
    def from_sdk(cls, command: click.Command, tap_class: type[Tap]) -> Self:
        """Return the SDK's command, with all its options, as this class."""
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
            if param.name in {"state", "catalog"}:
                # The tap reads these files itself, as it reads those of --config.
                param.type, param.metavar = click.STRING, "FILENAME"
        return result

    @override
    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        given = [*args]
        try:
            return super().make_context(info_name, args, *more, **extra)
        except click.UsageError as error:
            raise click.UsageError(without_values(error.format_message(), given), error.ctx) from None

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        title = f"Settings (in the --config file; with --config=ENV from {PREFIX}<NAME IN CAPITALS>)"
        with formatter.section(title):
            formatter.write_dl(describe_settings(self.tap_class))

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            self._stop_for_target()

    @override
    def main(self, *args: Any, **kwargs: Any) -> Any:
        clean_log_records()
        replace_closed_output()
        try:
            with _tap_errors():
                try:
                    return super().main(*args, **kwargs)
                except SystemExit:
                    # A write that fails only at exit could not be reported.
                    sys.stdout.flush()
                    raise
        except StoppedError as stopped:
            sys.exit(report_stop(stopped, self.logger))
        except BrokenPipeError:
            self._stop_for_target()
        except TapSequenceError as error:
            self._fail(error)

    def _fail(self, error: TapSequenceError) -> NoReturn:
        debug = self.logger.isEnabledFor(logging.DEBUG)
        self.logger.error(" ".join(str(error).split()), exc_info=error if debug else None)
        sys.exit(1)

    def _stop_for_target(self) -> NoReturn:
        discard_output()
        self.logger.info("Standard output was closed by the target; stopping.")
        sys.exit(1)


@contextmanager
def _tap_errors() -> Iterator[None]:
    """Turn every error that needs a line of its own into a TapSequenceError."""
    try:
        yield
    except (TapSequenceError, BrokenPipeError, click.ClickException, click.exceptions.Exit, click.Abort):
        # Those of click get here only if the caller turned its standalone mode off.
        raise
    except Exception as error:
        if not isinstance(error, OSError | RecursionError) and _is_from_stream_map(error):
            raise StreamMapError(excerpt(f"{type(error).__name__}: {error}").rstrip(".")) from error
        raise as_tap_error(error) from error


def _is_from_stream_map(error: Exception) -> bool:
    files = {Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)}
    return isinstance(error, MappingError) or Path(mapper.__file__) in files


@contextmanager
def without_info(logger: logging.Logger) -> Iterator[None]:
    """Suppress messages at level info, unless a log level was set that shows more than the default."""
    level = logger.level
    if logger.getEffectiveLevel() == logging.INFO:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def blocking_output() -> Iterator[None]:
    """Make standard output block in between: Python's own writes lose what does not fit into a pipe that does not block."""
    try:
        fd = sys.stdout.fileno()
        was_blocking = os.get_blocking(fd)
    except OSError:
        # It is closed, or inside another program not a file.
        yield
        return
    os.set_blocking(fd, True)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.set_blocking(fd, was_blocking)
