"""`tap-sequence | TARGET`, for any target."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tap_sequence.simulator import Simulator
from tests.support.harness import (
    STREAMS,
    TAP,
    command_arguments,
    config_for,
    discover,
    environment,
    select,
    utc,
)
from tests.support.loaders import COLUMNS, Row, Target, exactly
from tests.support.postgres import Postgres
from tests.support.services import SCRIPTS, Environments, Program, target_environment


@dataclass(frozen=True)
class Place:
    """What a target needs to know to load, and a reader to read.

    Attributes:
        environments: Where programs are.
        folder: A folder of the target's own.
        run: The number of the run, from 1.
        postgres: A server.
    """

    environments: Environments
    folder: Path
    run: int
    postgres: Callable[[], Postgres]


@dataclass(frozen=True)
class Kind:
    """One row of the table: a target, and what it makes of values.

    Attributes:
        name: What it is called here; versions are in `program`.
        program: What is installed.
        command: What is run: a command of the program, or one of SCRIPTS.
        config: Makes its config.
        read: Returns the rows of a stream, with columns named as the target does.
        upserts: Whether a record that comes again replaces its row.
        variables: Makes environment variables.
        streams: The streams that it is tried with.
        empty_text: What an empty text in a column becomes.
        null_text: What null becomes in a column for texts.
        text: What other texts in a column become.
        microseconds: To how many microseconds times are cut.
        list_of_items: What `activityLogItems` becomes.
        drops_nulls: Whether null, an empty list and an absent field are the same within nested values.
        real: What it loads into.
    """

    name: str
    program: Program
    command: str
    config: Callable[[Place], Mapping[str, Any]]
    read: Callable[[Place, str], list[Row]]
    upserts: bool
    variables: Callable[[Place], Mapping[str, str]] = lambda _: {}
    streams: Sequence[str] = STREAMS
    empty_text: str | None = ""
    null_text: str | None = None
    text: Callable[[str], str] = str
    microseconds: int = 1
    list_of_items: Callable[[list[Row]], list[Row]] = list
    drops_nulls: bool = False
    real: str = "real"


def _bare(value: Any) -> Any:
    """Return a value without nulls and empty lists in objects, at any depth."""
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items() if inner is not None and inner != []}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


def _spelt(name: str) -> str:
    return name.lower().replace("_", "")


class Pipe(Target):
    """A target at the end of a pipe.

    Args:
        kind: Which.
        environments: Where it is installed.
        folder: A folder of its own.
        postgres: Starts a server.
    """

    def __init__(
        self, kind: Kind, environments: Environments, folder: Path, postgres: Callable[[], Postgres]
    ) -> None:
        self.kind = kind
        self.name, self.upserts, self.real = kind.name, kind.upserts, kind.real
        version = kind.program.requirements[0].partition("==")[2]
        self.program = f"{kind.name} {version}"
        self.streams = kind.streams
        self.place = Place(environments, folder, 0, postgres)
        self._state: dict[str, Any] | None = None

    def load(self, simulator: Simulator, *, full_refresh: bool) -> None:
        self.place = replace(self.place, run=self.place.run + 1)
        folder, kind = self.place.folder, self.kind
        config = config_for(simulator)
        state = None if full_refresh else self._state
        files = {"catalog": select(discover(config), streams=kind.streams), "state": state}
        tap = [*TAP, *command_arguments(folder, config, **files)]
        commands = self.place.environments.bin(kind.program)
        path = folder / "target.json"
        path.write_text(json.dumps(kind.config(self.place)), encoding="utf-8")
        is_script = kind.command.endswith(".py")
        start = [commands / "python", SCRIPTS / kind.command] if is_script else [commands / kind.command]
        with (
            (folder / "errors").open("wb") as errors,
            subprocess.Popen(tap, stdout=subprocess.PIPE, stderr=errors, env=environment()) as source,
        ):
            done = subprocess.run(
                [*start, "--config", path],
                stdin=source.stdout,
                capture_output=True,
                encoding="utf-8",
                cwd=folder,
                env=target_environment(**kind.variables(self.place)),
                timeout=400,
                check=False,
            )
            assert source.stdout is not None
            source.stdout.close()
        assert (source.returncode, done.returncode) == (0, 0), done.stderr[-5000:]
        self._state = json.loads(done.stdout.splitlines()[-1])
        assert self._state is not None
        assert "bookmarks" in self._state

    def rows(self, stream: str) -> list[Row]:
        names = {_spelt(name): name for name in COLUMNS[stream]}
        return [
            self._plain(
                {names[_spelt(name)]: value for name, value in row.items() if _spelt(name) in names}, stream
            )
            for row in self.kind.read(self.place, stream)
        ]

    def _plain(self, row: Row, stream: str) -> Row:
        """Return a row that was read with times as datetime and lists as such."""
        result: Row = {}
        for name, kind in COLUMNS[stream].items():
            value = row.get(name)
            if value is None or value == "":
                result[name] = value if kind == "text" else None
            elif kind == "time":
                result[name] = utc(value)
            elif kind in {"objects", "json"} and isinstance(value, str):
                result[name] = ast.literal_eval(value) if value.startswith(("[{'", "['")) else exactly(value)
            else:
                result[name] = value
        return result

    def comparable(self, row: Row) -> Row:
        row = super().comparable(row)
        return _bare(row) if self.kind.drops_nulls else row

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        kind = self.kind
        result = super().expected(row, columns)
        for name, value in result.items():
            if isinstance(value, datetime):
                result[name] = value - timedelta(microseconds=value.microsecond % kind.microseconds)
            elif isinstance(value, str):
                result[name] = kind.text(value) if value else kind.empty_text
            elif value is None and columns[name] == "text":
                result[name] = kind.null_text
        if "activityLogItems" in result:
            result["activityLogItems"] = kind.list_of_items(result["activityLogItems"])
        return result
