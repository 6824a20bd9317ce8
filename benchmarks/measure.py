"""Runs one contender as a process, measures it, and checks that it read every log."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from benchmarks.contenders import ROOT, Contender
from benchmarks.stand_in import StandIn, Traffic
from tap_sequence.simulator import DEMO_CREDENTIALS

_LONGEST_SECONDS = 3600.0
_LAUNCH = ROOT / "benchmarks" / "launch.py"
LOGS, ITEMS = "activity_logs", "activity_log_items"
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class ContenderError(Exception):
    """A contender failed, or did not write exactly the logs that there are."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Resources that a process used.

    Attributes:
        seconds: From its start to its exit.
        cpu_seconds: User and system, of the process alone.
        peak_bytes: Most memory that it had resident.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Output:
    """What a contender wrote.

    Attributes:
        records: How many records, by stream.
        ids: Digest of the logs' ids, in order.
        lines: Digest of all lines but STATE, without `time_extracted`; None where it was not asked for. The cursor in
            a STATE depends on where pages begin, which a guess moves.
        state: The last Singer STATE.
    """

    records: Mapping[str, int]
    ids: str
    lines: str | None
    state: dict[str, Any] | None

    @property
    def logs(self) -> int:
        """How many logs."""
        return self.records.get(LOGS, 0)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A contender's run."""

    contender: str
    cost: Cost
    output: Output
    traffic: Traffic


class _Body(msgspec.Struct):
    id: str = ""
    data: _Body | None = None  # Airbyte's records have the log in here.


class _Line(msgspec.Struct):
    type: str
    # Airbyte's have it elsewhere, and no other.
    stream: str = LOGS
    record: _Body | None = None
    value: msgspec.Raw = msgspec.Raw()


def measure(  # noqa: PLR0913  # what a run is given, each named
    contender: Contender,
    stand_in: StandIn,
    settings: Mapping[str, Any] | None = None,
    *,
    state: Mapping[str, Any] | None = None,
    catalog: Mapping[str, Any] | None = None,
    digest_lines: bool = False,
) -> Measurement:
    """Let a contender read a stand-in, which counts requests from when it was last told how to behave.

    Args:
        contender: Who.
        stand_in: What it reads.
        settings: Settings for this project's fronts alone.
        state: Where it goes on from; without, it has to write exactly the stand-in's logs.
        catalog: What is selected; without activity_logs in it, no logs are expected.
        digest_lines: Whether the digest of the lines is wanted.

    Raises:
        ContenderError: It failed, or did not write the logs.
    """
    client_id, client_secret = DEMO_CREDENTIALS
    config = {"api_url": stand_in.url, "client_id": client_id, "client_secret": client_secret}
    config |= {**contender.settings, **(settings or {})} if contender.is_own else contender.settings
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        arguments = [contender.python, "-m", contender.module, *contender.command]
        given = {"config": config, "state": state, "catalog": catalog or contender.catalog}
        for option, content in given.items():
            if content is not None:
                path = folder / f"{option}.json"
                path.write_text(json.dumps(content), encoding="utf-8")
                arguments += [f"--{option}", str(path)]
        # A file for all alike: it never makes a writer wait, as a reader at the other end of a pipe may, and unlike
        # /dev/null it can be checked afterwards.
        with (folder / "output").open("w+b") as output:
            cost = run(arguments, folder, output)
            output.seek(0)
            found = _examine(output, digest_lines=digest_lines)
    is_complete = (found.logs, found.ids) == (stand_in.logs, stand_in.digest)
    has_logs = state is None and (catalog is None or LOGS in selected_streams(catalog))
    if has_logs and not is_complete:
        msg = f"{contender.name} wrote {found.logs} logs, which are not the stand-in's {stand_in.logs} in order."
        raise ContenderError(msg)
    return Measurement(contender.name, cost, found, stand_in.traffic)


def run(arguments: Sequence[str], folder: Path, output: IO[bytes] | int = subprocess.DEVNULL) -> Cost:
    """Run a command to its end.

    Raises:
        ContenderError: It failed.
    """
    result = folder / "result"
    launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(result), *arguments]
    with (folder / "errors").open("w+b") as errors:
        # A group of its own, so that nothing outlives this one.
        process = subprocess.Popen(
            launch, stdout=output, stderr=errors, cwd=folder, env=_environment(), start_new_session=True
        )
        try:
            process.wait(_LONGEST_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        seconds, cpu_seconds, peak, status = map(float, result.read_text(encoding="utf-8").split())
        if status:
            errors.seek(0)
            last = errors.read().decode(errors="replace")[-2000:]
            msg = f"{' '.join(arguments)} ended with status {status:.0f}:\n{last}"
            raise ContenderError(msg)
    return Cost(seconds, cpu_seconds, int(peak) * _RSS_UNIT)


def selected_streams(catalog: Mapping[str, Any]) -> list[str]:
    """Return the names of the streams that a catalog selects."""
    return [
        stream["tap_stream_id"]
        for stream in catalog["streams"]
        if any(entry["metadata"].get("selected") for entry in stream["metadata"] if not entry["breadcrumb"])
    ]


def _environment() -> dict[str, str]:
    """Return this process's environment without what would change a contender's behaviour."""
    # PYTHONUNBUFFERED and PYTHONDONTWRITEBYTECODE would each slow one contender more than another.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TAP_", "MELTANO_", "PYTHON"))
    }
    return inherited | {
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "*",
        "no_proxy": "*",
        # Nothing leaves this machine.
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
    }


def _examine(lines: Iterable[bytes], *, digest_lines: bool) -> Output:
    decoder = msgspec.json.Decoder(_Line)
    records: Counter[str] = Counter()
    last_state = None
    ids, all_lines = hashlib.sha256(), hashlib.sha256()
    for line in lines:
        message = None
        with contextlib.suppress(msgspec.DecodeError):
            message = decoder.decode(line)
        if message is None:
            msg = f"A line is no message: {line[:200]!r}"
            raise ContenderError(msg)
        if message.type == "RECORD" and message.record is not None:
            records[message.stream] += 1
            if message.stream == LOGS:
                log = message.record.data or message.record
                ids.update(log.id.encode() + b"\n")
        elif message.type == "STATE" and message.value:
            last_state = bytes(message.value)
        if digest_lines and message.type != "STATE":
            content = msgspec.json.decode(line)
            content.pop("time_extracted", None)
            all_lines.update(msgspec.json.encode(content) + b"\n")
    return Output(
        records,
        ids.hexdigest(),
        all_lines.hexdigest() if digest_lines else None,
        msgspec.json.decode(last_state) if last_state else None,
    )
