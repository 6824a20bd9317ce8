"""Runs stopped by a signal, at any line."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from tap_sequence.runtime.interruptible_wait import InterruptibleWait
from tap_sequence.runtime.signals import PATIENCE_SECONDS, StoppedError, StopSignals
from tap_sequence.simulator import Fault, Simulator
from tests.support.harness import (
    TAP,
    Run,
    command_arguments,
    config_for,
    environment,
    parse_lines,
    run_process,
    start_tap,
)

Simulate = Callable[..., Simulator]

STATUSES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


def run_and_stop(
    folder: Path,
    config: Mapping[str, Any],
    signum: signal.Signals,
    *,
    after_lines: int,
    state: Mapping[str, Any] | None = None,
) -> Run:
    """Start the tap, send it a signal after so many lines, and read the rest of its output."""
    with (folder / "stderr").open("wb") as stderr, _start(folder, config, stderr, state=state) as process:
        lines: list[bytes] = []
        while len(lines) < after_lines and (line := process.stdout.readline()):
            lines.append(line)
        process.send_signal(signum)
        lines.append(process.stdout.read())
        process.wait(60)
    whole, _, cut = b"".join(lines).rpartition(b"\n")
    # Only SIGKILL can cut a line, and only the last one.
    assert not cut or signum is signal.SIGKILL
    return Run(process.returncode, parse_lines(whole.decode()), (folder / "stderr").read_text())


def _start(
    folder: Path,
    config: Mapping[str, Any],
    stderr: IO[bytes] | int,
    *,
    state: Mapping[str, Any] | None = None,
) -> Any:
    """Start the tap with its standard output on a pipe, whose buffered reader must be used to the end."""
    return start_tap(folder, *command_arguments(folder, config, state=state), stderr=stderr)


def _start_new(folder: Path, config: Mapping[str, Any], **env: str) -> Any:
    """Do the same with a new interpreter, and with this process's signals."""
    command = [*TAP, *command_arguments(folder, config)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(**env)
    )


@pytest.mark.sample(4)
@pytest.mark.parametrize("after_lines", [3, 150, 777, 1501, 2950])
@pytest.mark.parametrize("signum", STATUSES)
def test_stopped_run_loses_nothing_and_exits_with_the_signals_status(
    simulate: Simulate, tmp_path: Path, signum: signal.Signals, after_lines: int
) -> None:
    # A little latency, so that the run is still in progress when it receives the signal.
    simulator = simulate(3000, latency=(0.005, 0.005))
    stopped = run_and_stop(tmp_path, config_for(simulator), signum, after_lines=after_lines)
    assert stopped.status == STATUSES[signum]
    assert "Traceback" not in stopped.stderr
    states = stopped.of_type("STATE")
    described = 0
    if states:
        last = len(stopped.messages) - 1 - stopped.messages[::-1].index(states[-1])
        described = sum(message["type"] == "RECORD" for message in stopped.messages[:last])
    if signum is not signal.SIGKILL:
        assert stopped.messages[-1]["type"] == "STATE"

    after = run_process(tmp_path, config_for(simulator), state=states[-1]["value"] if states else None)
    assert after.status == 0
    assert set(stopped.ids) | set(after.ids) == set(simulator.store.ids())
    # Only records after the last STATE are emitted again.
    assert not set(stopped.ids[:described]) & set(after.ids)


@pytest.mark.parametrize("logs", [5_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_run_after_kill_late_in_backfill_reads_only_the_rest(
    simulate: Simulate, tmp_path: Path, logs: int
) -> None:
    simulator = simulate(logs)
    left = logs // 4
    killed = run_and_stop(tmp_path, config_for(simulator), signal.SIGKILL, after_lines=logs - left)
    simulator.api.forget_requests()
    after = run_process(tmp_path, config_for(simulator), state=killed.state)
    assert set(killed.ids) | set(after.ids) == set(simulator.store.ids())
    assert len(after.ids) <= left + 1_200
    assert len(simulator.requests) <= left // 100 + 20


def test_stopped_run_with_unbuffered_output_cuts_no_line(simulate: Simulate, tmp_path: Path) -> None:
    """With PYTHONUNBUFFERED a signal can interrupt a write to a full pipe."""
    simulator = simulate(3000)
    with _start_new(tmp_path, config_for(simulator), PYTHONUNBUFFERED="1") as process:
        first = process.stdout.readline() + process.stdout.readline()
        # Nobody reads, so the pipe fills up, and the signal arrives during a write.
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        output = first + process.stdout.read()
        assert process.wait(60) == 143
    messages = [json.loads(line) for line in output.split(b"\n") if line]
    assert messages[-1]["type"] == "STATE"
    assert 0 < len([message for message in messages if message["type"] == "RECORD"]) < 3000


def test_signal_stops_a_run_that_waits_for_a_response(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(300, faults=[Fault.parse("3-=slow:30")])
    stopped = run_and_stop(tmp_path, config_for(simulator), signal.SIGTERM, after_lines=201)
    assert stopped.status == 143
    assert stopped.ids == simulator.store.ids()[:200]
    assert stopped.bookmark["recent_ids"][-1] == stopped.ids[-1]


def test_several_signals_stop_a_run_like_one(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(3000, latency=(0.005, 0.005))
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        _start(tmp_path, config_for(simulator), stderr) as process,
    ):
        lines = [process.stdout.readline() for _ in range(500)]
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            process.send_signal(signum)
            # Signals that arrive together are handled by number, not in order.
            time.sleep(0.01)
        lines.append(process.stdout.read())
        assert process.wait(60) == 143
    messages = parse_lines(b"".join(lines).decode())
    assert messages[-1]["type"] == "STATE"
    assert "Traceback" not in (tmp_path / "stderr").read_text()
    stopped = [message["record"]["id"] for message in messages if message["type"] == "RECORD"]
    after = run_process(tmp_path, config_for(simulator), state=messages[-1]["value"])
    assert sorted([*stopped, *after.ids]) == sorted(simulator.store.ids())


# Targets that do not read


def start_against_a_hanging_target(folder: Path, config: Mapping[str, Any]) -> Any:
    """Start the tap with a pipe that nobody reads, and return when the pipe is full."""
    with (folder / "stderr").open("wb") as stderr:
        process = _start(folder, config, stderr)
    used = -1.0
    while (now := cpu_seconds(process.pid)) - used > 0.03 or not unread(process.stdout):
        assert process.poll() is None
        used = now
        time.sleep(0.5)
    return process


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def unread(file: IO[bytes]) -> int:
    """Return the number of unread bytes in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, bytes(4)))
    return int(count)


def lengthen_logs(simulator: Simulator) -> None:
    """Make some logs longer than an atomic write to a pipe, and a few longer than the pipe."""
    for place, log in enumerate(simulator.store.logs()):
        if place % 7 == 0:
            length = 100_000 if place % 49 == 48 else 1000 * place % 30_000
            log["activityLogItems"][0]["summary"] = "x" * length
            simulator.store._bodies[log["id"]] = msgspec.json.encode(log)


@pytest.mark.sample(2)
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT] * 2, [signal.SIGHUP, signal.SIGTERM]])
def test_run_with_hanging_target_stops_at_the_end_of_a_line(
    simulate: Simulate, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    """Some seconds after one signal, or at the second one; the next run emits the rest."""
    simulator = simulate(1500)
    lengthen_logs(simulator)
    with start_against_a_hanging_target(tmp_path, config_for(simulator)) as process:
        began = time.monotonic()
        for signum in signals:
            process.send_signal(signum)
            time.sleep(0.2)
        assert process.wait(60) == 128 + signals[0]
        seconds = time.monotonic() - began
        output = process.stdout.read()
    if len(signals) == 1:
        assert seconds > PATIENCE_SECONDS - 1
    assert seconds < (PATIENCE_SECONDS if len(signals) > 1 else 3 * PATIENCE_SECONDS)
    assert output.endswith(b"\n")
    messages = parse_lines(output.decode())
    errors = (tmp_path / "stderr").read_text()
    assert f"Stopped by {signals[0].name}, while the target was not reading." in errors
    assert "Traceback" not in errors

    states = [message["value"] for message in messages if message["type"] == "STATE"]
    after = run_process(tmp_path, config_for(simulator), state=states[-1] if states else None)
    written = {message["record"]["id"] for message in messages if message["type"] == "RECORD"}
    assert written | set(after.ids) == set(simulator.store.ids())


def test_target_that_resumes_reading_gets_the_last_state(simulate: Simulate, tmp_path: Path) -> None:
    simulator = simulate(1500)
    with start_against_a_hanging_target(tmp_path, config_for(simulator)) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        messages = parse_lines(process.stdout.read().decode())
        assert process.wait(60) == 143
    assert messages[-1]["type"] == "STATE"
    written = [message["record"]["id"] for message in messages if message["type"] == "RECORD"]
    after = run_process(tmp_path, config_for(simulator), state=messages[-1]["value"])
    assert sorted([*written, *after.ids]) == sorted(simulator.store.ids())


def test_hanging_target_costs_no_cpu(simulate: Simulate, tmp_path: Path) -> None:
    """Even if standard output is non-blocking."""
    simulator = simulate(1500)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = [*TAP, *command_arguments(tmp_path, config_for(simulator))]
    with (
        os.fdopen(reader, "rb") as output,
        subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL, env=environment()) as process,
    ):
        os.close(writer)
        while unread(output) < 40_000:
            time.sleep(0.1)
        time.sleep(1)
        before = cpu_seconds(process.pid)
        time.sleep(2)
        assert cpu_seconds(process.pid) - before < 0.2
        messages = parse_lines(output.read().decode())
        assert process.wait(60) == 0
    written = [message["record"]["id"] for message in messages if message["type"] == "RECORD"]
    assert written == simulator.store.ids()


def test_ignored_hangup_stays_ignored(simulate: Simulate, tmp_path: Path) -> None:
    """As under `nohup`."""
    simulator = simulate(1000, latency=(0.005, 0.005))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = _start_new(tmp_path, config_for(simulator))
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        lines = [process.stdout.readline() for _ in range(150)]
        process.send_signal(signal.SIGHUP)
        lines.append(process.stdout.read())
        assert process.wait(60) == 0
    messages = parse_lines(b"".join(lines).decode())
    written = [message["record"]["id"] for message in messages if message["type"] == "RECORD"]
    assert written == simulator.store.ids()


def test_signal_during_import_ends_the_process_without_traceback() -> None:
    interrupted_import = """
import os, signal, sys
from tap_sequence.__main__ import main

class Finder:
    def find_spec(name, path, target=None):
        if name == "singer_sdk":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
main()
"""
    run = subprocess.run([sys.executable, "-c", interrupted_import], capture_output=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGINT, b"", b"")


def test_check_after_signals_raises_for_the_first() -> None:
    signals = StopSignals()
    signals.check()
    signals.handle(signal.SIGTERM)
    signals.handle(signal.SIGINT)
    with pytest.raises(StoppedError) as stopped:
        signals.check()
    assert stopped.value.exit_status == 143
    with pytest.raises(StoppedError):
        InterruptibleWait(signals).call(lambda: None)


def test_check_patience_raises_after_some_seconds_or_a_second_signal() -> None:
    clock = [100.0]
    signals = StopSignals(monotonic=lambda: clock[0])
    signals.check_patience()
    signals.handle(signal.SIGHUP)
    signals.check_patience()
    clock[0] += PATIENCE_SECONDS
    with pytest.raises(StoppedError, match="was not reading") as stopped:
        signals.check_patience()
    assert stopped.value.exit_status == 129

    signals = StopSignals(monotonic=lambda: clock[0])
    signals.handle(signal.SIGTERM)
    signals.handle(signal.SIGTERM)
    with pytest.raises(StoppedError):
        signals.check_patience()


def test_pause_ends_at_a_signal() -> None:
    signals = StopSignals()
    timer = threading.Timer(0.05, signals.handle, [signal.SIGINT])
    timer.start()
    with pytest.raises(StoppedError):
        signals.pause(60)
    timer.join()


def test_call_that_hangs_ends_at_a_signal() -> None:
    signals = StopSignals()
    hung = threading.Event()
    timer = threading.Timer(0.05, signals.handle, [signal.SIGINT])
    timer.start()
    with pytest.raises(StoppedError):
        InterruptibleWait(signals).call(lambda: hung.wait(60))
    hung.set()
    timer.join()


def test_call_ticks_until_it_returns_or_raises() -> None:
    ticked = threading.Event()
    waiting = InterruptibleWait(StopSignals(), seconds_to_tick=lambda: 0.01, tick=ticked.set)
    assert waiting.call(lambda: ticked.wait(60))

    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # it has no text
        waiting.call(fail)
