"""The jobs of meltano.yml, each into its real target: what arrives is counted and compared, value for value."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tap_sequence.schema import SCHEMAS
from tap_sequence.simulator import SimulatedApi, Simulator
from tests.commands import PLACEHOLDER, commands_of
from tests.conftest import count
from tests.duckdb_file import ask_duckdb
from tests.harness import ROOT, utc
from tests.meltano_project import copy_project, meltano, own_account, run
from tests.pages import blocks_in
from tests.postgres import Postgres, run_postgres
from tests.test_items import expected_rows

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

Row = dict[str, Any]

FIRST, SECOND = 2000, 130

# What a log can hold that simulated ones do not: more digits than a float has, an empty text, a slash too many.
ODD_ITEMS = (
    '[{"id": "odd", "activityLogId": "ID", "verb": "", "name": "\\\\ \\" \\u2028 \\r\\n,;\\t", "summary": "🧮 山田",'
    '"reason": null, "metadata": [12345678901234567890.12345678901234567890, 123456789012345678901234567890, 1.50,'
    ' null, "", true, [[1, [null]], "a"], {"deep": [{"er": 0.1}]}], "activityLogActor": {"id": "a", "entityType": "USER"},'
    ' "activityLogObject": {"id": "o", "entityType": "INVOICE", "entityId": null}}]'
)
ODD_TEXT = " padded\t, \"quoted\" and 'so' \\ in\r\ntwo lines"


def _exactly(text: str) -> Any:
    """Parse JSON with every digit of its numbers."""
    return json.loads(text, parse_float=Decimal)


def _rounded(value: Any) -> Any:
    """Return JSON whose numbers with a fraction went through floats."""
    return json.loads(json.dumps(value, default=float))


@dataclass(frozen=True)
class StreamRows:
    """What rows a stream makes of a log.

    Attributes:
        rows: Makes the rows of some logs.
        objects: Column that holds an array of objects.
        json: Column that holds an array of whatever JSON there is.
    """

    rows: Callable[[list[Row]], list[Row]]
    objects: str = ""
    json: str = ""

    def columns(self, stream: str) -> dict[str, str]:
        """Return the kind of each column: text, time, objects or json."""
        kinds = {self.objects: "objects", self.json: "json", "createdAt": "time"}
        return {name: kinds.get(name, "text") for name in SCHEMAS[stream]["properties"]}


STREAMS = {
    "activity_logs": StreamRows(list, objects="activityLogItems"),
    "activity_log_items": StreamRows(expected_rows, json="metadata"),
}
COLUMNS = {stream: rows.columns(stream) for stream, rows in STREAMS.items()}


class Target(ABC):
    """A target, as a user of this project sees it.

    Args:
        project: Where meltano.yml is.
    """

    name: ClassVar[str]
    upserts: ClassVar[bool]
    types: ClassVar[dict[str, str]]

    def __init__(self, project: Path) -> None:
        self.project = project
        self.output = project / "output" / "prod"

    @property
    def job(self) -> str:
        return self.name.replace("target", "sequence-to")

    def variables(self) -> dict[str, str]:
        """Return environment variables that the user has to set."""
        return {}

    def column(self, name: str) -> str:
        """Return what the column for a field of the schema is called."""
        return name

    @abstractmethod
    def columns(self, stream: str) -> dict[str, str]:
        """Return the type of each column."""

    @abstractmethod
    def rows(self, stream: str) -> list[Row]:
        """Return what was loaded, with times as datetime and arrays as JSON."""

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        """Return the row that is to be found, with a value in each column."""
        return {name: utc(row[name]) if kind == "time" else row.get(name) for name, kind in columns.items()}


class JsonLines(Target):
    name = "target-jsonl"
    upserts = False
    types: ClassVar = {}

    def columns(self, stream: str) -> dict[str, str]:
        assert (self.output / f"{stream}.jsonl").exists()
        return {}

    def rows(self, stream: str) -> list[Row]:
        text = (self.output / f"{stream}.jsonl").read_text(encoding="utf-8")
        return [_exactly(line) for line in text.split("\n") if line]

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        assert set(row) <= set(columns)
        return row


class Csv(Target):
    name = "target-csv"
    upserts = False
    types: ClassVar = {}

    def files(self, stream: str) -> list[Path]:
        return sorted(self.output.glob(f"{stream}-*.csv"))

    def columns(self, stream: str) -> dict[str, str]:
        headers = {path.read_text(encoding="utf-8").split("\n")[0] for path in self.files(stream)}
        (header,) = headers
        assert header.split(",") == list(COLUMNS[stream])
        return {}

    def rows(self, stream: str) -> list[Row]:
        rows: list[Row] = []
        for path in self.files(stream):
            with path.open(encoding="utf-8", newline="") as file:
                rows += csv.DictReader(file)
        for row in rows:
            for name, kind in COLUMNS[stream].items():
                if kind == "time":
                    row[name] = utc(row[name])
                elif kind in {"objects", "json"}:
                    row[name] = _exactly(row[name]) if row[name] else None
        return rows

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        # CSV has no null.
        return {
            name: "" if value is None and columns[name] == "text" else value
            for name, value in super().expected(row, columns).items()
        }


class DuckDb(Target):
    name = "target-duckdb"
    upserts = True
    types: ClassVar = {"text": "VARCHAR", "time": "TIMESTAMP", "objects": "JSON", "json": "JSON"}

    def _query(self, query: str) -> list[Row]:
        """Run SQL with the DuckDB that the target has."""
        python = self.project / ".meltano" / "loaders" / self.name / "venv" / "bin" / "python"
        return ask_duckdb(python, self.output / "sequence.duckdb", query)

    def column(self, name: str) -> str:
        return name.lower()

    def columns(self, stream: str) -> dict[str, str]:
        return {row["column_name"]: row["column_type"] for row in self._query(f"DESCRIBE {stream}")}

    def rows(self, stream: str) -> list[Row]:
        columns = COLUMNS[stream]
        # Names in any case find the columns, which are in lower case.
        names = ", ".join(f'{name} AS "{name}"' for name in columns)
        found = self._query(f"SELECT {names} FROM {stream}")
        for row in found:
            for name, kind in columns.items():
                if kind == "time":
                    row[name] = utc(row[name])
                elif kind in {"objects", "json"} and row[name] is not None:
                    row[name] = json.loads(row[name])
        return found

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        # Numbers go through floats, and an empty text is stored as NULL.
        return {
            name: None if value == "" else value if isinstance(value, datetime) else _rounded(value)
            for name, value in super().expected(row, columns).items()
        }


class PostgreSql(Target):
    name = "target-postgres"
    upserts = True
    types: ClassVar = {
        "text": "text",
        "time": "timestamp without time zone",
        "objects": "jsonb[]",
        "json": "jsonb",
    }
    server: Postgres

    def variables(self) -> dict[str, str]:
        return self.server.variables()

    def columns(self, stream: str) -> dict[str, str]:
        found = self.server.rows(
            "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            f" WHERE attrelid = 'sequence_prod.{stream}'::regclass AND attnum > 0"
        )
        return {row["attname"]: row["type"] for row in found if not row["attname"].startswith("_sdc_")}

    def rows(self, stream: str) -> list[Row]:
        columns = COLUMNS[stream]
        names = ", ".join(f'"{name}"' for name in columns)
        found = self.server.rows(f"SELECT {names} FROM sequence_prod.{stream}")
        for row in found:
            for name, kind in columns.items():
                if kind == "time":
                    row[name] = utc(row[name])
        return found


TARGETS: list[type[Target]] = [JsonLines, Csv, DuckDb, PostgreSql]


@dataclass(frozen=True)
class Loaded:
    """What three runs left, and one more that read everything again.

    Attributes:
        target: Where they loaded to.
        logs: The logs that there were before each of them.
        rows: What was found after each of them, by stream.
    """

    target: Target
    logs: list[list[Row]]
    rows: list[dict[str, list[Row]]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [target.name for target in TARGETS]
    return copy_project(tmp_path_factory.mktemp("project"), "tap-sequence", *names)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    # A zone other than UTC, in which times would be moved by hours.
    with run_postgres("America/New_York") as server:
        yield server


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def loaded(request: pytest.FixtureRequest, project: Path) -> Loaded:
    target: Target = request.param(project)
    if isinstance(target, PostgreSql):
        target.server = request.getfixturevalue("postgres")
    api = SimulatedApi()
    result = Loaded(target, [], [])
    with Simulator(api) as simulator:
        select = json.dumps([f"{stream}.*" for stream in STREAMS])
        variables = {**own_account(simulator), **target.variables(), "TAP_SEQUENCE__SELECT": select}
        for new, options in ((FIRST, ()), (SECOND, ()), (1, ()), (0, ("--full-refresh",))):
            ids = api.store.grow(new)
            if new == FIRST:
                _make_odd(api, ids[-1])
            result.logs.append([_exactly(api.store.body(log_id).decode()) for log_id in api.store.ids()])
            done = meltano(project, "run", *options, target.job, **variables)
            assert done.returncode == 0, done.stderr
            result.rows.append({stream: target.rows(stream) for stream in STREAMS})
    return result


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def _make_odd(api: SimulatedApi, log_id: str) -> None:
    """Let a log have items that simulated logs have not."""
    log = json.loads(api.store.body(log_id))
    log |= {"activityType": "", "traceId": ODD_TEXT, "activityLogItems": "ITEMS"}
    text = json.dumps(log, ensure_ascii=False).replace('"ITEMS"', ODD_ITEMS.replace("ID", log_id))
    api.store._bodies[log_id] = text.encode()


def _ids(rows: list[Row]) -> list[str]:
    return sorted(row["id"] for row in rows)


def _typed(value: Any) -> Any:
    """Return a value that is equal to another one only if both are of one JSON type: true is not 1."""
    if isinstance(value, dict):
        return {name: _typed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return (isinstance(value, bool), Decimal(value) if isinstance(value, float) else value)


def _rows_of(logs: list[Row], stream: str) -> list[Row]:
    return STREAMS[stream].rows(logs)


def _is_found(loaded: Loaded, stream: str, index: int) -> None:
    """Check that what is found after a run is what the simulator holds, value for value."""
    columns = COLUMNS[stream]
    expected = {
        row["id"]: _typed(loaded.target.expected(row, columns))
        for row in _rows_of(loaded.logs[index], stream)
    }
    found = loaded.rows[index][stream]
    assert {row["id"] for row in found} == set(expected)
    for row in found:
        assert _typed(row) == expected[row["id"]]
    count(f"{loaded.target.name}, {stream}, run {index + 1}: rows equal to the simulator's", len(found))


def test_each_run_adds_what_is_new_and_nothing_twice(loaded: Loaded, stream: str) -> None:
    before = 0
    for number in range(3):
        found = _ids(loaded.rows[number][stream])
        name = f"{loaded.target.name}, {stream}, run {number + 1}"
        count(f"{name}: rows", len(found))
        count(f"{name}: rows, distinct ids", len(set(found)))
        count(f"{name}: rows added", len(found) - before)
        assert found == _ids(_rows_of(loaded.logs[number], stream))
        before = len(found)


def test_every_value_arrives(loaded: Loaded, stream: str) -> None:
    _is_found(loaded, stream, 2)


def test_columns_have_the_types_of_the_schema(loaded: Loaded, stream: str) -> None:
    types = loaded.target.types
    found = loaded.target.columns(stream)
    assert found == {
        loaded.target.column(name): types[kind] for name, kind in COLUMNS[stream].items() if types
    }


def test_what_comes_again_replaces_its_row_in_a_database_and_doubles_it_in_a_file(
    loaded: Loaded, stream: str
) -> None:
    ids = _ids(_rows_of(loaded.logs[3], stream))
    found = _ids(loaded.rows[3][stream])
    count(f"{loaded.target.name}, {stream}, everything again: rows", len(found))
    assert found == (ids if loaded.target.upserts else sorted(ids * 2))
    _is_found(loaded, stream, 3)


def test_every_command_and_query_of_the_page_on_targets_works_as_it_stands_there(
    project: Path, postgres: Postgres
) -> None:
    page = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
    commands = [each.text for each in commands_of("targets.md", page) if not PLACEHOLDER.fullmatch(each.text)]
    variables = {
        # `uv run` is to find what this process runs in, and to install nothing there.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
        "UV_NO_SYNC": "1",
        **postgres.variables(),
    }
    for command in commands:
        done = run(["bash", "-euo", "pipefail", "-c", command], project, **variables)
        assert done.returncode == 0, (command, done.stderr)
    for folder in ("demo", "pipe"):
        files = {
            re.sub(r"\d{8}T[\d.]+Z", "TIME", path.name) for path in (project / "output" / folder).iterdir()
        }
        assert files == {"activity_logs.jsonl", "activity_logs-TIME.csv", "sequence.duckdb"}
        ((loaded,),) = [
            row.values() for row in postgres.rows(f"SELECT count(*) FROM sequence_{folder}.activity_logs")
        ]
        assert loaded > 1000
    (block,) = blocks_in(page, language="sql")
    query, _, rest = block.text.partition(";")
    assert rest == "\n"
    assert [list(row) for row in postgres.rows(query)] == [["createdAt", "verb", "summary", "actor"]] * 10
    count("docs/targets.md: commands run", len(commands))
