"""Runs `source-sequence`, in this process or as a separate one, and parses its output with the official models."""

from __future__ import annotations

import argparse
import atexit
import json
import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from airbyte_protocol_dataclasses.models import AirbyteMessage

from tap_sequence.airbyte.cli import Run as Command
from tap_sequence.airbyte.cli import parser
from tap_sequence.airbyte.logs import LOGGER, MessageHandler
from tap_sequence.airbyte.output import MessageWriter
from tap_sequence.runtime.signals import StopSignals
from tests.support import harness
from tests.support.forks import SECONDS_TO_HANG, Fork, ForkServer
from tests.support.harness import STREAMS, as_sent, environment

SOURCE = [sys.executable, "-m", "tap_sequence.airbyte.cli"]
Message = dict[str, Any]


@dataclass(frozen=True)
class SourceRun:
    """The result of a run."""

    status: int
    messages: list[Message]
    stderr: str = ""

    def of_type(self, kind: str) -> list[Any]:
        """Return the contents of the messages of a type."""
        names = {"CONNECTION_STATUS": "connectionStatus"}
        return [
            message[names.get(kind, kind.lower())] for message in self.messages if message["type"] == kind
        ]

    def records(self, stream: str = "activity_logs") -> list[dict[str, Any]]:
        """Return a stream's records, in the shape that the API sends."""
        return [as_sent(record["data"]) for record in self.of_type("RECORD") if record["stream"] == stream]

    def ids(self, stream: str = "activity_logs") -> list[str]:
        return [record["data"]["id"] for record in self.of_type("RECORD") if record["stream"] == stream]

    def traces(self, kind: str) -> list[dict[str, Any]]:
        return [trace[kind.lower()] for trace in self.of_type("TRACE") if trace["type"] == kind]

    def statuses(self, stream: str = "activity_logs") -> list[str]:
        return [
            trace["status"]
            for trace in self.traces("STREAM_STATUS")
            if trace["stream_descriptor"]["name"] == stream
        ]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self.traces("ERROR")

    @property
    def warnings(self) -> list[str]:
        return [log["message"] for log in self.of_type("LOG") if log["level"] == "WARN"]

    @property
    def states(self) -> list[Message]:
        """The last STATE of each stream, as a platform passes them to the next run."""
        return list(
            {state["stream"]["stream_descriptor"]["name"]: state for state in self.of_type("STATE")}.values()
        )

    def bookmark(self, stream: str = "activity_logs") -> dict[str, Any]:
        (found,) = [
            state["stream"]["stream_state"]
            for state in self.states
            if state["stream"]["stream_descriptor"]["name"] == stream
        ]
        return dict(found)


def parse(text: str) -> list[Message]:
    """Parse standard output; anything that is not a message of the protocol is a failure."""
    messages = [json.loads(line) for line in text.split("\n") if line]
    for message in messages:
        assert_is_of_the_protocol(message)
    return messages


def assert_is_of_the_protocol(message: Message) -> None:
    """Hold a message against the official models: each key and each value is one of theirs."""
    parsed = msgspec.convert(message, AirbyteMessage)
    assert _without_nulls(msgspec.to_builtins(parsed)) == _without_nulls(_without_blob(message))


def _without_blob(message: Message) -> Message:
    """Return a message without the content of a state: the model has no fields for it."""
    if message["type"] != "STATE":
        return message
    stream = {**message["state"]["stream"], "stream_state": {}}
    return {**message, "state": {**message["state"], "stream": stream}}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def configured(*streams: str, sync_mode: str = "incremental") -> dict[str, Any]:
    """Return a configured catalog that selects streams; by default the activity log."""
    return {
        "streams": [
            {
                "stream": {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
                "sync_mode": sync_mode,
                "destination_sync_mode": "append",
            }
            for name in streams or STREAMS[:1]
        ]
    }


def stream_state(stream: str, content: Any) -> dict[str, Any]:
    """Return the state of a stream, as a platform passes it."""
    return {
        "type": "STREAM",
        "stream": {"stream_descriptor": {"name": stream}, "stream_state": content},
    }


def arguments_of(
    folder: Path, command: str, config: Any, *, catalog: Any = None, state: Any = None, debug: bool = False
) -> list[str]:
    """Write the input files of a run; return the arguments that name them."""
    arguments = [command, *(["--debug"] if debug else [])]
    if command == "read" and catalog is None:
        catalog = configured()
    for name, content in {"config": config, "catalog": catalog, "state": state}.items():
        if content is not None:
            path = folder / f"source-{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            arguments += [f"--{name}", str(path)]
    return arguments


# In this process


class Recorder(MessageWriter):
    """Keeps messages in place of writing them."""

    def __init__(self) -> None:
        super().__init__(StopSignals())
        self.text = ""
        self._recording = threading.Lock()

    def write(self, lines: bytes) -> None:
        with self._recording:
            self.text += lines.decode()


def run_source_here(folder: Path, config: Any, command: str = "read", **files: Any) -> SourceRun:
    """Run the command in this process: the same code over the same HTTP, without the second that a process takes."""
    given: argparse.Namespace = parser().parse_args(arguments_of(folder, command, config, **files))
    recorder = Recorder()
    with _logging_to(recorder):
        status = Command(given, recorder, StopSignals()).status()
    return SourceRun(status, parse(recorder.text))


@contextmanager
def _logging_to(writer: MessageWriter) -> Iterator[None]:
    handler, level = MessageHandler(writer), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


# As a process of its own


@cache
def _server() -> ForkServer:
    server = ForkServer(environment(), "tap_sequence.airbyte.cli:main")
    atexit.register(server.close)
    return server


_STARTING = threading.Lock()


def start_source(
    folder: Path, *arguments: str, stderr: Any = subprocess.DEVNULL, env: Mapping[str, str] | None = None
) -> Fork:
    """Start the command line as a separate process, forked from one that has imported it."""
    with _STARTING:
        server = _server()
    return harness.start_tap(folder, *arguments, stderr=stderr, env=env, server=server)


def run_source(
    folder: Path,
    config: Any,
    command: str = "read",
    *,
    env: Mapping[str, str] | None = None,
    **files: Any,
) -> SourceRun:
    """Run the command as a separate process, to its end."""
    return run_source_with(folder, *arguments_of(folder, command, config, **files), env=env)


def run_source_with(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> SourceRun:
    """Run the command with these arguments as a separate process, to its end."""
    with tempfile.TemporaryFile() as stderr:
        with start_source(folder, *arguments, stderr=stderr, env=env) as process:
            assert process.stdout is not None
            stdout = process.stdout.read().decode()
        stderr.seek(0)
        return SourceRun(process.wait(SECONDS_TO_HANG), parse(stdout), stderr.read().decode())


def run_source_and_stop(
    folder: Path, config: Any, signum: int, *, after_lines: int, **files: Any
) -> SourceRun:
    """Start the command, send it a signal after so many lines, and read the rest of its output."""
    with (
        (folder / "stderr").open("wb") as stderr,
        start_source(folder, *arguments_of(folder, "read", config, **files), stderr=stderr) as process,
    ):
        assert process.stdout is not None
        lines: list[bytes] = []
        while len(lines) < after_lines and (line := process.stdout.readline()):
            lines.append(line)
        process.send_signal(signum)
        lines.append(process.stdout.read())
        status = process.wait(60)
    whole, _, _ = b"".join(lines).rpartition(b"\n")
    return SourceRun(status, parse(whole.decode()), (folder / "stderr").read_text())


# In the tap's terms, so that tests of the tap run through this front, too


def run_as_tap(
    folder: Path,
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> harness.Run:
    """Run the command with the state of a tap, and return what a tap would have written."""
    debug = bool(env and env.get("TAP_SEQUENCE_LOGLEVEL") == "debug")
    run = run_source(folder, config, state=states_from_singer(state), debug=debug, env=env)
    return as_tap_run(run)


def run_as_tap_and_stop(
    folder: Path,
    config: Mapping[str, Any],
    signum: int,
    *,
    after_lines: int,
    state: Mapping[str, Any] | None = None,
) -> harness.Run:
    """Run the command until a signal; otherwise the same as `run_as_tap`."""
    return as_tap_run(
        run_source_and_stop(folder, config, signum, after_lines=after_lines, state=states_from_singer(state))
    )


def states_from_singer(state: Mapping[str, Any] | None) -> list[Message] | None:
    """Return a tap's state as states of streams."""
    if state is None:
        return None
    return [stream_state(name, content) for name, content in state["bookmarks"].items()]


@dataclass
class _AsTap:
    messages: list[Message] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bookmarks: dict[str, Any] = field(default_factory=dict)

    def add(self, message: Message) -> None:
        match message:
            case {"type": "RECORD", "record": record}:
                self.messages.append({"type": "RECORD", "stream": record["stream"], "record": record["data"]})
            case {"type": "STATE", "state": {"stream": stream}}:
                self.bookmarks[stream["stream_descriptor"]["name"]] = stream["stream_state"]
                self.messages.append({"type": "STATE", "value": {"bookmarks": dict(self.bookmarks)}})
            case {"type": "LOG", "log": log}:
                level = {"WARN": "WARNING"}.get(log["level"], log["level"])
                self._line(level, log["message"])
                self.lines += log.get("stack_trace", "").splitlines()
            case {"type": "TRACE", "trace": {"type": "ERROR", "error": error}}:
                self._line("ERROR", error["message"])

    def _line(self, level: str, text: str) -> None:
        self.lines.append(f"2026-01-01 00:00:00,000 | {level} | source-sequence | {text}")


def as_tap_run(run: SourceRun) -> harness.Run:
    """Return what a tap would have written: records, states, and log lines on standard error."""
    result = _AsTap()
    for message in run.messages:
        result.add(message)
    return harness.Run(run.status, result.messages, "\n".join([*result.lines, run.stderr]))


def counts_of(messages: Sequence[Message], stream: str) -> Iterator[tuple[int, float]]:
    """Yield, for each STATE of a stream, its records since the previous one, counted and as the STATE says."""
    count = 0
    for message in messages:
        if message["type"] == "RECORD":
            count += message["record"]["stream"] == stream
        elif message["type"] == "STATE" and message["state"]["stream"]["stream_descriptor"]["name"] == stream:
            yield count, message["state"]["sourceStats"]["recordCount"]
            count = 0
