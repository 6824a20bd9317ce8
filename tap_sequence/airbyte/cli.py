"""The command `source-sequence`: spec, check, discover and read, as the Airbyte protocol defines them.

Each command imports what it needs when it runs: a platform starts `spec` and `check` often.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

from tap_sequence import __version__
from tap_sequence.airbyte.logs import LOGGER, set_up_logging
from tap_sequence.airbyte.messages import (
    CatalogMessage,
    ConnectionStatusMessage,
    SpecMessage,
    failure,
    message_of,
    one_line,
)
from tap_sequence.airbyte.output import MessageWriter
from tap_sequence.errors import OutputError, TapSequenceError
from tap_sequence.runtime import startup
from tap_sequence.runtime.failures import as_tap_error, discard_output, replace_closed_output, report_stop
from tap_sequence.runtime.input_files import without_values
from tap_sequence.runtime.interruptible_wait import InterruptibleWait
from tap_sequence.runtime.signals import StoppedError, StopSignals, handle_hangup

if TYPE_CHECKING:
    from tap_sequence.source import Source

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

FAILED = 1

_T = TypeVar("_T")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors do not quote values, which may be secrets."""

    given: Sequence[str] = ()

    @override
    def error(self, message: str) -> NoReturn:
        super().error(without_values(message, self.given))


class Run:
    """One run of the command.

    Args:
        given: The parsed command line.
        writer: Writes the messages.
        stop_signals: Signals that end the run.
    """

    def __init__(self, given: argparse.Namespace, writer: MessageWriter, stop_signals: StopSignals) -> None:
        self._given = given
        self._writer = writer
        self._stop_signals = stop_signals

    def status(self) -> int:
        """Run the command to its end, and return the exit status."""
        try:
            return COMMANDS[self._given.command](self)
        except StoppedError as stopped:
            return report_stop(stopped, LOGGER)
        except BrokenPipeError:
            discard_output()
            return FAILED
        except Exception as error:  # noqa: BLE001  # each failure is reported in one way
            return self._fail(as_tap_error(error))

    def _fail(self, error: TapSequenceError) -> int:
        if isinstance(error, OutputError):
            # There is nowhere else to report it.
            sys.stderr.write(f"{error}\n")
            return FAILED
        LOGGER.debug("The run failed.", exc_info=error)
        # If the platform is gone, nobody is there to report it to.
        with contextlib.suppress(OSError, StoppedError):
            self._writer.send(failure(error))
        return FAILED

    def spec(self) -> int:
        """Write which settings there are."""
        from tap_sequence.airbyte.spec import specification  # noqa: PLC0415

        self._writer.send(SpecMessage(specification()))
        return 0

    def check(self) -> int:
        """Write whether the settings work. A reason why they do not is a result, not a failure."""
        try:
            result = {"status": "SUCCEEDED", "message": one_line(self._source().check())}
        except TapSequenceError as error:
            LOGGER.debug("The check failed.", exc_info=error)
            result = {"status": "FAILED", "message": message_of(error)}
        self._writer.send(ConnectionStatusMessage(result))
        return 0

    def discover(self) -> int:
        """Write which streams there are."""
        from tap_sequence.airbyte.catalogs import discover  # noqa: PLC0415

        self._writer.send(CatalogMessage({"streams": discover(self._source())}))
        return 0

    def read(self) -> int:
        """Read the selected streams."""
        from tap_sequence.airbyte.catalogs import selected_streams  # noqa: PLC0415
        from tap_sequence.airbyte.read import read, walks_of  # noqa: PLC0415
        from tap_sequence.airbyte.states import states_of  # noqa: PLC0415
        from tap_sequence.runtime.input_files import read_json  # noqa: PLC0415

        source = self._source()
        streams = selected_streams(self._wait(partial(read_json, self._given.catalog, "catalog")))
        state_file = self._given.state
        state = None if state_file is None else self._wait(partial(read_json, state_file, "state"))
        bookmarks = states_of(state)
        startup.end()
        is_complete = read(source, walks_of(streams, bookmarks), self._writer, LOGGER)
        return 0 if is_complete else FAILED

    def _source(self) -> Source:
        from tap_sequence.airbyte.config import read_settings  # noqa: PLC0415
        from tap_sequence.source import Source  # noqa: PLC0415

        settings = self._wait(partial(read_settings, self._given.config, LOGGER))
        source = Source(settings, logger=LOGGER, stop_signals=self._stop_signals)
        # Airbyte has a display of its own.
        source.shows_bar = False
        return source

    def _wait(self, read: Callable[[], _T]) -> _T:
        """Read a file, which may be a pipe that nobody writes to: a signal ends the wait."""
        return InterruptibleWait(self._stop_signals).call(read)


COMMANDS: Mapping[str, Callable[[Run], int]] = {
    "spec": Run.spec,
    "check": Run.check,
    "discover": Run.discover,
    "read": Run.read,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = _Parser(
        prog="source-sequence",
        description="Airbyte source for the activity log (audit trail) of Sequence, the billing platform.",
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=f"source-sequence {__version__}")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__, allow_abbrev=False)
        command.add_argument("--debug", action="store_true", help="write debug messages, too")
        if name == "spec":
            continue
        command.add_argument("--config", required=True, metavar="FILE", help="JSON file with the settings")
        if name == "read":
            command.add_argument("--catalog", required=True, metavar="FILE", help="the configured catalog")
            command.add_argument("--state", metavar="FILE", help="the STATE messages of the last run")
    return result


def main() -> NoReturn:
    """Run the command line."""
    startup.begin()
    _Parser.given = sys.argv[1:]
    given = parser().parse_args()
    replace_closed_output()
    stop_signals = StopSignals()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: stop_signals.handle(number))
    handle_hangup(lambda number, _: stop_signals.handle(number))
    writer = MessageWriter(stop_signals)
    set_up_logging(writer, is_debug=given.debug)
    sys.exit(Run(given, writer, stop_signals).status())


if __name__ == "__main__":
    main()
