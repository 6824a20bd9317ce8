"""Progress of a run: a bar on a terminal, else a log message every 30 seconds."""

from __future__ import annotations

import logging
import os
import sys
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Self, TextIO

from tap_sequence.runtime.handlers import every_handler

if sys.version_info >= (3, 12):
    from typing import override
else:
    from typing_extensions import override

LINE_EVERY_SECONDS = 30.0
BAR_EVERY_SECONDS = 0.5

_MAX_PLAUSIBLE_TOTAL = 10**12
_SECONDS_BEFORE_ESTIMATE = 3.0
_MIN_COLUMNS_FOR_BAR = 70

_BAR = "{percentage:3.0f} % |{bar}| {desc}"
_BAR_WITHOUT_TOTAL = "{desc}"


@dataclass
class RunStats:
    """Counts of a run so far.

    Attributes:
        read: Entries of the list read.
        emitted: Entries emitted, whatever their number of records.
        seen: Entries skipped because they were emitted before.
        total: Number of entries in the list; None if the API does not return it, or if the run reads only some of them.
        seconds: Duration of the run.
        noun: What messages call an entry.
    """

    read: int = 0
    emitted: int = 0
    seen: int = 0
    total: int | None = None
    seconds: float = 0.0
    noun: str = "log"

    @property
    def rate(self) -> float:
        """Entries read per second, averaged over the whole run because pages arrive in bursts."""
        return self.read / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining seconds at the current rate; None if there is no estimate yet."""
        if self.total is None or not self.rate or self.seconds < _SECONDS_BEFORE_ESTIMATE:
            return None
        return max(0, self.total - self.read) / self.rate

    @property
    def share(self) -> float | None:
        """Fraction of the entries that was read, 0 to 1; None if the total is unknown."""
        return min(1.0, self.read / self.total) if self.total else None

    def describe(self, *, with_share: bool) -> str:
        """Return the progress in one line."""
        rate = f"{self.rate:,.0f} {self.noun}s/s"
        if self.total is None:
            return f"{counted(self.read, self.noun)} in {duration(self.seconds)}, {rate}"
        share = f" ({100 * self.share:.1f} %)" if with_share and self.share is not None else ""
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{self.read:,} of {self.total:,} {self.noun}s{share}, {rate}{left}"

    def summary(self) -> str:
        """Return the result in one line."""
        rate = self.emitted / self.seconds if self.seconds > 0 else 0.0
        return (
            f"{counted(self.emitted, self.noun)} emitted, {self.seen:,} skipped as already seen, in {self.seconds:.1f} s "
            f"({rate:,.0f} {self.noun}s/s)"
        )


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, in the singular or plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a duration in hours, minutes and seconds, at most two of them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Display(AbstractContextManager[None]):
    """Shows progress periodically while it is entered."""

    every_seconds: float

    @abstractmethod
    def show(self, stats: RunStats) -> None:
        """Show the counts."""

    @override
    def __enter__(self) -> None:
        """Prepare the display."""

    @override
    def __exit__(self, *_: object) -> None:
        """Remove the display."""


class Lines(Display):
    """Log messages, for a run that nobody watches."""

    every_seconds = LINE_EVERY_SECONDS

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @override
    def show(self, stats: RunStats) -> None:
        self._logger.info("Progress: %s.", stats.describe(with_share=True))


class Bar(Display):
    """A bar on a terminal, with log messages above it.

    Args:
        terminal: The terminal's stream.
    """

    every_seconds = BAR_EVERY_SECONDS

    def __init__(self, terminal: TextIO) -> None:
        # Imported for watched runs only.
        from tqdm import tqdm  # noqa: PLC0415

        class _Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
            monitor_interval = 0  # no thread: the run refreshes the bar

        self._terminal = terminal
        self._new_bar: Callable[..., Any] = _Bar
        self._bar: Any = None
        self._redirected: list[tuple[logging.StreamHandler[Any], Any]] = []

    @override
    def __enter__(self) -> None:
        # Each handler keeps its level, filters and format.
        for handler in _handlers_on_console():
            self._redirected.append((handler, handler.stream))
            handler.setStream(_AboveBar(handler.stream, self._new_bar))
        self._bar = self._new_bar(
            file=self._terminal, leave=False, dynamic_ncols=True, bar_format=_BAR_WITHOUT_TOTAL
        )

    @override
    def __exit__(self, *_: object) -> None:
        self._on_terminal(self._bar.close)
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()

    @override
    def show(self, stats: RunStats) -> None:
        self._bar.n = stats.read
        # tqdm ignores a total that is exceeded.
        self._bar.total = None if stats.total is None else max(stats.total, stats.read)
        has_bar = bool(stats.total) and _size(self._terminal).columns >= _MIN_COLUMNS_FOR_BAR
        self._bar.bar_format = _BAR if has_bar else _BAR_WITHOUT_TOTAL
        self._bar.set_description_str(stats.describe(with_share=not has_bar), refresh=False)
        self._on_terminal(self._bar.refresh)

    def _on_terminal(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            # The terminal was closed; the run continues.
            self._bar.disable = True


class Progress(AbstractContextManager["Progress"]):
    """Counts and displays the progress of a run while it is entered.

    Args:
        display: Shows it.
        monotonic: Monotonic clock in seconds.
        noun: What messages call an entry.
    """

    def __init__(
        self, display: Display, monotonic: Callable[[], float] = time.monotonic, *, noun: str = "log"
    ) -> None:
        self._display = display
        self._monotonic = monotonic
        self._began_at = self._due_at = 0.0
        self.stats = RunStats(noun=noun)

    @override
    def __enter__(self) -> Self:
        self._began_at = self._monotonic()
        self._due_at = self._began_at + self._display.every_seconds
        self._display.__enter__()
        return self

    @override
    def __exit__(self, *_: object) -> None:
        self._count_seconds()
        self._display.__exit__(None, None, None)

    def page_done(self, *, read: int, emitted: int, seen: int, total: int | None) -> None:
        """Add a page to `stats`; the parameters are those of RunStats."""
        self.stats.read += read
        self.stats.emitted += emitted
        self.stats.seen += seen
        # An impossible total gives no estimate.
        self.stats.total = total if total is not None and 0 <= total <= _MAX_PLAUSIBLE_TOTAL else None
        if self.seconds_to_tick() <= 0:
            self.tick()

    def seconds_to_tick(self) -> float:
        """Return the number of seconds until `tick` is due."""
        return self._due_at - self._monotonic()

    def tick(self) -> None:
        """Show the progress now."""
        self._count_seconds()
        self._due_at = self._monotonic() + self._display.every_seconds
        self._display.show(self.stats)

    def _count_seconds(self) -> None:
        self.stats.seconds = self._monotonic() - self._began_at


def display_for(logger: logging.Logger, stderr: TextIO | None, stdout: TextIO | None) -> Display:
    """Return a bar if standard error is a terminal that standard output does not share, else log messages."""
    is_watched = stderr is not None and stderr.isatty() and not (stdout is not None and stdout.isatty())
    # On a terminal without a size tqdm would draw nothing.
    if stderr is not None and is_watched and all(_size(stderr)):
        return Bar(stderr)
    return Lines(logger)


def _size(terminal: TextIO) -> os.terminal_size:
    """Return columns and lines; 80 and 24 if the terminal does not report them."""
    try:
        return os.get_terminal_size(terminal.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))


class _AboveBar:
    """A stream whose text is written above the bar.

    Args:
        stream: The terminal's stream.
        bar: The bar's type.
    """

    def __init__(self, stream: TextIO, bar: Any) -> None:
        self._stream = stream
        self._bar = bar

    def write(self, text: str) -> None:
        """Write whole lines."""
        self._bar.write(text, file=self._stream, end="")

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()


def _handlers_on_console() -> set[logging.StreamHandler[Any]]:
    """Return the handlers whose output would break the bar."""
    return {
        handler
        for handler in every_handler()
        if isinstance(handler, logging.StreamHandler) and handler.stream in {sys.stderr, sys.stdout}
    }
