"""Progress of a run: a bar on a terminal, a message every 30 seconds elsewhere, and a summary at the end."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tap_sequence.runtime.progress import Bar, Display, Lines, Progress, RunStats, display_for, duration
from tap_sequence.simulator import Simulator
from tap_sequence.simulator.faults import Fault
from tests.support.harness import (
    STREAMS,
    TAP,
    Run,
    command_arguments,
    config_for,
    discover,
    environment,
    parse_lines,
    run_process,
    select,
)
from tests.support.terminal import Frame, watch

Simulate = Callable[..., Simulator]

BAR = re.compile(r"^ *(\d+) % \|.*\| ([\d,]+) of ([\d,]+) logs, [\d,]+ logs/s(?:, (.+) left)?$")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Shown(Display):
    every_seconds = 30.0

    def __init__(self) -> None:
        self.texts: list[str] = []

    def show(self, stats: RunStats) -> None:
        self.texts.append(stats.describe(with_share=True))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# Text


@pytest.mark.parametrize(
    ("stats", "text"),
    [
        (RunStats(read=250_000, total=1_000_000, seconds=100.0), "250,000 of 1,000,000 logs (25.0 %), 2,500 logs/s, 5 min 0 s left"),
        (RunStats(read=1000, total=1000, seconds=10.0), "1,000 of 1,000 logs (100.0 %), 100 logs/s, 0 s left"),
        # More logs than the API counted.
        (RunStats(read=1100, total=1000, seconds=10.0), "1,100 of 1,000 logs (100.0 %), 110 logs/s, 0 s left"),
        (RunStats(read=0, total=1000, seconds=10.0), "0 of 1,000 logs (0.0 %), 0 logs/s"),
        (RunStats(read=0, total=0, seconds=1.0), "0 of 0 logs, 0 logs/s"),
        # Too early for an estimate.
        (RunStats(read=500, total=1000, seconds=2.9), "500 of 1,000 logs (50.0 %), 172 logs/s"),
        (RunStats(read=1500, seconds=90.0), "1,500 logs in 1 min 30 s, 17 logs/s"),
        (RunStats(), "0 logs in 0 s, 0 logs/s"),
    ],
)  # fmt: skip
def test_run_stats_describe_logs_share_rate_and_time_left(stats: RunStats, text: str) -> None:
    assert stats.describe(with_share=True) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")],
)
def test_duration_uses_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_run_stats_summary_counts_emitted_and_skipped() -> None:
    stats = RunStats(read=1234, emitted=1000, seen=234, seconds=4.0)
    assert stats.summary() == "1,000 logs emitted, 234 skipped as already seen, in 4.0 s (250 logs/s)"
    assert RunStats(emitted=1, seconds=1.0).summary().startswith("1 log emitted, ")


# Timing


def test_progress_is_shown_every_30_seconds_with_or_without_pages() -> None:
    clock, shown = Clock(), Shown()
    with Progress(shown, clock) as progress:
        for _ in range(60):
            clock.now += 1
            progress.page_done(read=100, emitted=90, seen=10, total=100_000)
        assert [text.split()[0] for text in shown.texts] == ["3,000", "6,000"]
        clock.now += 29
        assert progress.seconds_to_tick() == 1
        clock.now += 1
        progress.tick()
        assert progress.seconds_to_tick() == 30
        clock.now += 4
    assert len(shown.texts) == 3
    assert progress.stats == RunStats(read=6000, emitted=5400, seen=600, total=100_000, seconds=94.0)


@pytest.mark.parametrize("total", [-1, 10**400])
def test_progress_ignores_an_impossible_total(total: int) -> None:
    clock, shown = Clock(), Shown()
    with Progress(shown, clock) as progress:
        clock.now += 30
        progress.page_done(read=100, emitted=100, seen=0, total=total)
    assert shown.texts == ["100 logs in 30 s, 3 logs/s"]


def test_lines_log_at_info(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Lines(logging.getLogger("test")).show(RunStats(read=5, total=10, seconds=5.0))
    assert caplog.messages == ["Progress: 5 of 10 logs (50.0 %), 1 logs/s, 5 s left."]


def test_display_is_a_bar_only_on_a_terminal_of_its_own() -> None:
    logger = logging.getLogger("test")
    file = io.StringIO()
    assert isinstance(display_for(logger, Terminal(), file), Bar)
    assert isinstance(display_for(logger, Terminal(), None), Bar)
    for stderr, stdout in ((file, file), (file, Terminal()), (Terminal(), Terminal()), (None, file)):
        assert isinstance(display_for(logger, stderr, stdout), Lines)


@pytest.mark.parametrize("size", [(0, 0), (80, 0), (0, 24)])
def test_display_on_terminal_without_size_is_lines(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size(size))
    assert isinstance(display_for(logging.getLogger("test"), terminal, None), Lines)


# The bar


def test_bar_on_narrow_terminal_shows_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    for columns, has_bar in ((69, False), (70, True)):
        monkeypatch.setattr(
            "os.get_terminal_size", lambda _, columns=columns: os.terminal_size((columns, 24))
        )
        terminal.truncate(0)
        bar = Bar(terminal)
        with bar:
            bar.show(RunStats(read=5, total=10, seconds=5.0))
        assert ("|" in terminal.getvalue()) == has_bar
        assert ("5 of 10 logs (50.0 %), 1 logs/s" in terminal.getvalue()) == (not has_bar)


def test_bar_shows_log_messages_above_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("test.bar")
    handler = logging.StreamHandler(terminal)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    monkeypatch.setattr(logger, "handlers", [handler])
    bar = Bar(terminal)
    with bar:
        bar.show(RunStats(read=5, total=10, seconds=1.0))
        logger.warning("look")
        bar.show(RunStats(read=6, total=10, seconds=1.0))
    assert logger.handlers == [handler]
    lines = re.split("[\r\n]", terminal.getvalue())
    assert "<look>" in lines
    assert [line for line in lines if BAR.match(line.rstrip())]


def test_bar_keeps_each_handlers_level(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logger = logging.getLogger("test.bar")
    monkeypatch.setattr(logger, "level", logging.INFO)
    handlers = []
    for name, level in (("error", logging.ERROR), ("info", logging.INFO), ("warning", logging.WARNING)):
        handler = logging.StreamHandler(terminal)
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter(f"<{name}: %(message)s>"))
        handlers.append(handler)
    monkeypatch.setattr(logger, "handlers", handlers)
    with Bar(terminal):
        logger.info("look")
        logger.warning("see")
    assert [handler.stream for handler in handlers] == [terminal] * 3
    lines = re.split("[\r\n]", terminal.getvalue())
    assert [line for line in lines if line.startswith("<")] == [
        "<info: look>",
        "<info: see>",
        "<warning: see>",
    ]


def test_bar_survives_a_closed_terminal() -> None:
    """The run continues without the bar."""

    class Gone(Terminal):
        is_gone = False

        def write(self, text: str) -> int:
            if self.is_gone:
                raise OSError(5, "Input/output error")
            return super().write(text)

    terminal = Gone()
    bar = Bar(terminal)
    with bar:
        bar.show(RunStats(read=5, total=10, seconds=1.0))
        terminal.is_gone = True
        for read in (6, 7):
            bar.show(RunStats(read=read, total=10, seconds=1.0))


# Runs


def summary_of(stderr: str) -> str:
    (line,) = [line.split(" | ")[-1] for line in stderr.splitlines() if "Summary: " in line]
    return line


def test_run_ends_with_a_summary(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(450)
    config = config_for(simulator)
    first = run_process(tmp_path, config)
    assert re.fullmatch(
        r"Summary: 450 logs emitted, 0 skipped as already seen, in [\d.]+ s \([\d,]+ logs/s\), "
        r"(\d+) requests, 0 retries, 0 refusals \(429\)\.",
        summary_of(first.stderr),
    )
    assert f", {len(simulator.requests)} requests," in summary_of(first.stderr)
    simulator.store.grow(20)
    second = summary_of(run_process(tmp_path, config, state=first.state).stderr)
    emitted, skipped = re.findall(r"(\d+) (?:logs emitted|skipped)", second)
    assert (emitted, int(skipped) > 0) == ("20", True)


def test_summary_counts_retries_refusals_and_items(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(300, faults=[Fault.parse("1=429"), Fault.parse("3=500")])
    config = config_for(simulator, max_in_flight_requests=1)
    catalog = select(discover(config), streams=STREAMS)
    run = run_process(tmp_path, config, catalog=catalog)
    items = sum(len(log["activityLogItems"]) for log in simulator.store.logs())
    assert summary_of(run.stderr).endswith(
        f", 300 records of activity_logs, {items} records of activity_log_items, "
        f"{len(simulator.requests)} requests, 2 retries, 1 refusal (429)."
    )


def test_failed_run_logs_that_it_stopped_early_before_the_error_and_no_summary(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(500, faults=[Fault.parse("3-=401")])
    run = run_process(tmp_path, config_for(simulator, max_in_flight_requests=1))
    assert run.status == 1
    assert "Stopped early: 200 logs emitted" in run.stderr
    assert "Summary:" not in run.stderr
    assert "ERROR" in run.stderr.splitlines()[-1]


def bars(frames: list[Frame]) -> Iterator[tuple[float, int, int, str | None]]:
    """Yield seconds, logs read, total and time left of each frame that shows a bar."""
    for frame in frames:
        for line in frame.lines:
            match = BAR.match(line)
            if match:
                read, total = (int(text.replace(",", "")) for text in match.group(2, 3))
                yield frame.seconds, read, total, match[4]


def seconds_of(text: str) -> int:
    units = {"h": 3600, "min": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+) (\w+)", text))


def run_on_terminal(simulator: Simulator, folder: Path, **settings: Any) -> list[Frame]:
    arguments = command_arguments(folder, config_for(simulator, **settings))
    return list(watch([*TAP, *arguments], stdout=folder / "out.jsonl", env=environment()))


def test_run_on_terminal_moves_the_bar_and_keeps_standard_output_clean(
    simulate: Simulate, tmp_path: Path
) -> None:
    simulator = simulate(3000, latency=(0.08, 0.08))
    frames = run_on_terminal(simulator, tmp_path, max_in_flight_requests=1)
    seen = [read for _, read, _, _ in bars(frames)]
    assert len(set(seen)) >= 3
    assert seen == sorted(seen)
    messages = parse_lines((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert Run(0, messages).records == simulator.store.logs()
    # At the end the summary replaces it.
    assert not list(bars(frames[-1:]))
    assert "Summary: 3,000 logs emitted" in "\n".join(frames[-1].lines)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_time_left_of_a_long_load_is_right_within_a_fifth(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(150_000)
    # The limit sets the pace, 1,500 logs a second, on a busy machine too.
    frames = run_on_terminal(simulator, tmp_path, requests_per_minute=900)
    seen = list(bars(frames))
    # The last page is read just before the end.
    end = next(seconds for seconds, read, total, _ in reversed(seen) if read > 0.99 * total)
    estimates = [
        (read / total, seconds_of(left), end - seconds)
        for seconds, read, total, left in seen
        if left is not None and 0.1 * total <= read < 0.95 * total
    ]
    assert len(estimates) > 20
    wrong = [each for each in estimates if abs(each[1] - each[2]) > 0.2 * each[2] + 1]
    assert wrong == []
    assert len({read for _, read, _, _ in seen}) > 20
    with (tmp_path / "out.jsonl").open("rb") as output:
        assert sum(line.startswith(b'{"type":"RECORD"') for line in output) == 150_000
