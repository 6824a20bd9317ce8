"""How far a run is, for the person who waits for it: a bar on a terminal, else a log line now and then."""

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

_MOST_LOGS = 10**12
_SECONDS_TO_SETTLE = 3.0
_NARROWEST_WITH_BAR = 70

_BAR = "{percentage:3.0f} % |{bar}| {desc}"
_BAR_WITHOUT_TOTAL = "{desc}"


@dataclass
class RunStats:
    """What a run has done so far.

    Attributes:
        read: Logs read.
        emitted: Logs emitted, however many records each of them gives.
        seen: Logs passed over, because they were emitted before.
        total: How many logs the API says there are; None where it does not, or where this run reads only some of them.
        seconds: How long the run has been going on.
    """

    read: int = 0
    emitted: int = 0
    seen: int = 0
    total: int | None = None
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Logs read in a second. Over the whole run: pages come in bursts."""
        return self.read / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the run will take if it goes on as it did; None where nothing tells yet."""
        if self.total is None or not self.rate or self.seconds < _SECONDS_TO_SETTLE:
            return None
        return max(0, self.total - self.read) / self.rate

    @property
    def share(self) -> float | None:
        """Which part of the logs was read, 0 to 1; None where nothing tells."""
        return min(1.0, self.read / self.total) if self.total else None

    def describe(self, *, with_share: bool) -> str:
        """Return how far the run is, in one line."""
        rate = f"{self.rate:,.0f} logs/s"
        if self.total is None:
            return f"{counted(self.read, 'log')} in {duration(self.seconds)}, {rate}"
        share = f" ({100 * self.share:.1f} %)" if with_share and self.share is not None else ""
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{self.read:,} of {self.total:,} logs{share}, {rate}{left}"

    def summary(self) -> str:
        """Return what there is to say of the logs when all is done."""
        rate = self.emitted / self.seconds if self.seconds > 0 else 0.0
        return (
            f"{counted(self.emitted, 'log')} emitted, {self.seen:,} skipped as already seen, in {self.seconds:.1f} s "
            f"({rate:,.0f} logs/s)"
        )


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number of things, in words for one of them or for many."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Return a duration as one would say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Display(AbstractContextManager[None]):
    """Shows a tally every so many seconds, from when it is entered until it is left."""

    every_seconds: float

    @abstractmethod
    def show(self, stats: RunStats) -> None:
        """Show how it stands."""

    @override
    def __enter__(self) -> None:
        """Begin to show."""

    @override
    def __exit__(self, *_: object) -> None:
        """Show no more."""


class Lines(Display):
    """Log lines, for a run that nobody sits before."""

    every_seconds = LINE_EVERY_SECONDS

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    @override
    def show(self, stats: RunStats) -> None:
        self._logger.info("Progress: %s.", stats.describe(with_share=True))


class Bar(Display):
    """A bar on a terminal, with log lines going by above it.

    Args:
        terminal: What it is drawn on.
    """

    every_seconds = BAR_EVERY_SECONDS

    def __init__(self, terminal: TextIO) -> None:
        # Only a run that someone watches needs it.
        from tqdm import tqdm  # noqa: PLC0415

        class _Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
            monitor_interval = 0  # no thread of its own: the run says when to look

        self._terminal = terminal
        self._new_bar: Callable[..., Any] = _Bar
        self._bar: Any = None
        self._redirected: list[tuple[logging.StreamHandler[Any], Any]] = []

    @override
    def __enter__(self) -> None:
        # Each handler keeps what it lets through, and how it writes it.
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
        # tqdm takes a total that is exceeded for none.
        self._bar.total = None if stats.total is None else max(stats.total, stats.read)
        has_bar = bool(stats.total) and _size(self._terminal).columns >= _NARROWEST_WITH_BAR
        self._bar.bar_format = _BAR if has_bar else _BAR_WITHOUT_TOTAL
        self._bar.set_description_str(stats.describe(with_share=not has_bar), refresh=False)
        self._on_terminal(self._bar.refresh)

    def _on_terminal(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            # The terminal is gone, the run is not.
            self._bar.disable = True


class Progress(AbstractContextManager["Progress"]):
    """Counts what a run does and has it shown, from when it is entered until it is left.

    Args:
        display: What shows it.
        monotonic: Seconds, for measuring.
    """

    def __init__(self, display: Display, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._display = display
        self._monotonic = monotonic
        self._began_at = self._due_at = 0.0
        self.stats = RunStats()

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
        """Count a page; for the parameters see Tally, whose counts it adds to."""
        self.stats.read += read
        self.stats.emitted += emitted
        self.stats.seen += seen
        # A total that cannot be right says nothing of how far the run is.
        self.stats.total = total if total is not None and 0 <= total <= _MOST_LOGS else None
        if self.seconds_to_tick() <= 0:
            self.tick()

    def seconds_to_tick(self) -> float:
        """Return in how many seconds `tick` is due."""
        return self._due_at - self._monotonic()

    def tick(self) -> None:
        """Show how it stands."""
        self._count_seconds()
        self._due_at = self._monotonic() + self._display.every_seconds
        self._display.show(self.stats)

    def _count_seconds(self) -> None:
        self.stats.seconds = self._monotonic() - self._began_at


def display_for(logger: logging.Logger, stderr: TextIO | None, stdout: TextIO | None) -> Display:
    """Return what suits: a bar where someone looks at standard error and nothing else is written there."""
    is_watched = stderr is not None and stderr.isatty() and not (stdout is not None and stdout.isatty())
    # On a terminal without a size tqdm would draw nothing.
    if stderr is not None and is_watched and all(_size(stderr)):
        return Bar(stderr)
    return Lines(logger)


def _size(terminal: TextIO) -> os.terminal_size:
    """Return columns and lines, those of old if the terminal does not tell."""
    try:
        return os.get_terminal_size(terminal.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))


class _AboveBar:
    """A stream on the terminal whose text goes by above the bar.

    Args:
        stream: Where the text is written to.
        bar: The bar's type.
    """

    def __init__(self, stream: TextIO, bar: Any) -> None:
        self._stream = stream
        self._bar = bar

    def write(self, text: str) -> None:
        """Write whole lines."""
        self._bar.write(text, file=self._stream, end="")

    def flush(self) -> None:
        """Hand on what was written."""
        self._stream.flush()


def _handlers_on_console() -> set[logging.StreamHandler[Any]]:
    """Return the handlers whose lines would go through the bar."""
    return {
        handler
        for handler in every_handler()
        if isinstance(handler, logging.StreamHandler) and handler.stream in {sys.stderr, sys.stdout}
    }
