"""Runs the tap, in this process or as a separate one, and parses its output."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Any

from uv import find_uv_bin

from tap_sequence import catalog
from tap_sequence.simulator import DEMO_CREDENTIALS, Simulator
from tap_sequence.singer.output import LineWriter
from tap_sequence.singer.tap import SequenceTap
from tests.support.forks import SECONDS_TO_HANG, Fork, ForkServer

ROOT = Path(__file__).resolve().parents[2]
VENDOR_SCHEMA = ROOT / "tests" / "support" / "documented_api.json"
"""The fields, types and required fields of the vendor's published OpenAPI, without its texts and examples."""
STREAMS = tuple(spec.name for spec in catalog.STREAMS if spec.endpoint is catalog.ACTIVITY_LOGS)
"""The streams of the activity log."""
TAP = [sys.executable, "-m", "tap_sequence"]


@dataclass(frozen=True)
class Run:
    """The result of a run."""

    status: int
    messages: list[dict[str, Any]]
    stderr: str = ""

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records, in the shape that the API sends."""
        return [as_sent(message["record"]) for message in self.of_type("RECORD")]

    @property
    def ids(self) -> list[str]:
        return [record["id"] for record in self.records]

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE."""
        value: dict[str, Any] = self.of_type("STATE")[-1]["value"]
        return value

    @property
    def bookmark(self) -> dict[str, Any]:
        value: dict[str, Any] = self.state["bookmarks"]["activity_logs"]
        return value

    @property
    def errors(self) -> list[str]:
        """Lines of standard error at level ERROR, without time and name."""
        return [line.split(" | ")[-1] for line in self.stderr.splitlines() if " | ERROR" in line]

    @property
    def warnings(self) -> list[str]:
        return [line.split(" | ")[-1] for line in self.stderr.splitlines() if " | WARNING" in line]


def as_sent(record: Mapping[str, Any], parse: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """Return a record as the API sent it: without an `unmapped` of null, and with the elements of metadata as values."""
    result = dict(record)
    # A stream map may have left out what is looked for.
    if "unmapped" in result and result["unmapped"] is None:
        del result["unmapped"]
    if isinstance(result.get("activityLogItems"), list):
        result["activityLogItems"] = [item and as_sent(item, parse) for item in result["activityLogItems"]]
    if isinstance(result.get("metadata"), list):
        result["metadata"] = [parse(text) for text in result["metadata"]]
    return result


def config_for(simulator: Simulator, **settings: Any) -> dict[str, Any]:
    """Return a config that reads from a simulator, practically without a rate limit."""
    client_id, client_secret = DEMO_CREDENTIALS
    return {
        "api_url": simulator.base_url,
        "client_id": client_id,
        "client_secret": client_secret,
        "requests_per_minute": 60_000,
        **settings,
    }


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what could reach the tap from outside, and with `variables`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("TAP_", "MELTANO_"))
    }
    # A process that ends with an error does not wait for answers to what it asked ahead: their sockets end with it.
    return {**inherited, "PYTHONWARNINGS": "error,ignore:unclosed <socket:ResourceWarning", **variables}


def environment_of_others(*without: str, **variables: str) -> dict[str, str]:
    """Return `environment` for programs that are not this project's, in an environment of their own.

    Args:
        *without: What the names of further variables begin with that could reach them.
        **variables: What is added.
    """
    strangers = ("PYTHONWARNINGS", "VIRTUAL_ENV", *without)
    inherited = {name: value for name, value in environment().items() if not name.startswith(strangers)}
    return {**inherited, **variables}


def uv(*arguments: str | Path, **variables: str) -> None:
    """Run uv, with `variables` in the environment."""
    env = environment_of_others("UV_TOOL", **variables)
    subprocess.run([find_uv_bin(), *map(str, arguments), "--quiet"], check=True, env=env)


def free_port() -> int:
    """Return an unused port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listened_on(port: int) -> bool:
    """Whether a server listens on a port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


_STARTING = threading.Lock()


@cache
def _server() -> ForkServer:
    server = ForkServer(environment())
    atexit.register(server.close)
    return server


def start_tap(
    folder: Path,
    *arguments: str,
    stdout: IO[bytes] | int = subprocess.PIPE,
    stderr: IO[bytes] | int,
    env: Mapping[str, str] | None = None,
    server: ForkServer | None = None,
) -> Fork:
    """Start the tap's command line as a separate process, forked from one that has imported it."""
    if server is None:
        with _STARTING:
            server = _server()
    return server.start(
        arguments, folder=folder, env=environment(**(env or {})), stdout=stdout, stderr=stderr
    )


def run_command(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, server: ForkServer | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the tap's command line to its end, as `start_tap` does."""
    with tempfile.TemporaryFile() as stderr:
        process = start_tap(folder, *arguments, stderr=stderr, env=env, server=server)
        with process:
            assert process.stdout is not None
            stdout = process.stdout.read().decode()
        stderr.seek(0)
        status = process.wait(SECONDS_TO_HANG)
        return subprocess.CompletedProcess(arguments, status, stdout, stderr.read().decode())


def run_process(
    folder: Path,
    config: Mapping[str, Any],
    *arguments: str,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    server: ForkServer | None = None,
) -> Run:
    """Run the tap with settings, a state and a catalog, to its end, as `start_tap` does."""
    arguments = (*command_arguments(folder, config, state=state, catalog=catalog), *arguments)
    done = run_command(folder, *arguments, env=env, server=server)
    return Run(done.returncode, parse_lines(done.stdout), done.stderr)


def run_new_process(
    folder: Path,
    config: Mapping[str, Any],
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> Run:
    """Do the same as `run_process` in a new process, including Python's own start."""
    done = subprocess.run(
        [*TAP, *command_arguments(folder, config, state=state, catalog=catalog)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(**(env or {})),
        timeout=120,
        check=False,
    )
    return Run(done.returncode, parse_lines(done.stdout), done.stderr)


def run_with_env_file(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the tap's command line as if it were installed in `folder`, which may have a file `.env`."""
    script = (
        "from pathlib import Path; from tap_sequence.singer import environment; "
        f"environment.ENV_FILES[:] = [Path({str(folder / '.env')!r})]; "
        "from tap_sequence.__main__ import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(**(env or {})),
        timeout=SECONDS_TO_HANG,
        check=False,
    )


def command_arguments(
    folder: Path, config: Mapping[str, Any], **files: Mapping[str, Any] | None
) -> list[str]:
    """Write the input files of a run; return the arguments that name them."""
    arguments = []
    for name, content in {"config": config, **files}.items():
        if content is not None:
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content), encoding="utf-8")
            arguments += [f"--{name}", str(path)]
    return arguments


def utc(text: str) -> datetime:
    """Return a time; one that names no offset is in UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_lines(text: str) -> list[dict[str, Any]]:
    """Parse standard output; anything that is not a Singer message is a failure."""
    messages = [json.loads(line) for line in text.split("\n") if line]
    assert all(message["type"] in {"SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION"} for message in messages)
    return messages


class Recorder(LineWriter):
    """Keeps messages as they were when they were written, in place of writing them.

    Args:
        parse_float: What becomes of numbers with a fraction.
    """

    def __init__(self, parse_float: Callable[[str], Any] = float) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = []
        self.writes: list[bytes] = []
        self._parse_float = parse_float

    def write_lines(self, lines: bytes) -> None:
        self.writes.append(lines)
        self.messages += [json.loads(line, parse_float=self._parse_float) for line in lines.splitlines()]


def run_here(
    config: Mapping[str, Any],
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
) -> Run:
    """Run the tap in this process: the same code over the same HTTP, without the seconds that a process takes."""
    recorder = Recorder()
    tap = SequenceTap(
        config=dict(config),
        state=json.loads(json.dumps(state)) if state is not None else None,
        catalog=json.loads(json.dumps(catalog)) if catalog is not None else None,
        message_writer=recorder,
    )
    tap.sync_all()
    return Run(0, recorder.messages)


def discover(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog that the tap discovers."""
    catalog: dict[str, Any] = json.loads(SequenceTap(config=dict(config)).catalog_json_text)
    return catalog


def catalog_entry(catalog: Mapping[str, Any], stream: str = "activity_logs") -> dict[str, Any]:
    """Return a stream's entry in a catalog."""
    found: dict[str, Any] = next(entry for entry in catalog["streams"] if entry["tap_stream_id"] == stream)
    return found


def select(
    catalog: dict[str, Any],
    deselected: Sequence[Sequence[str]] = (),
    *,
    streams: Sequence[str] = ("activity_logs",),
    **metadata: Any,
) -> dict[str, Any]:
    """Return a catalog with streams selected, some breadcrumbs deselected, and metadata set on the streams."""
    for stream in catalog["streams"]:
        if stream["tap_stream_id"] not in streams:
            continue
        stream["replication_method"] = metadata.get("replication-method", stream["replication_method"])
        for entry in stream["metadata"]:
            if not entry["breadcrumb"]:
                entry["metadata"].update({"selected": True, **metadata})
            elif entry["breadcrumb"] in [list(breadcrumb) for breadcrumb in deselected]:
                entry["metadata"]["selected"] = False
    return catalog
