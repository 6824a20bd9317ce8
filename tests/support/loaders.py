"""Targets: their common interface, and those with a job in meltano.yml."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from tap_sequence.api.schemas import SCHEMAS
from tap_sequence.simulator import SimulatedApi, Simulator
from tests.support.duckdb_file import ask_duckdb
from tests.support.harness import utc
from tests.support.meltano_project import LOADERS, meltano, own_account
from tests.support.postgres import Postgres
from tests.transforms.test_items import expected_rows

Row = dict[str, Any]

# What a log can hold that simulated ones do not: more digits than a float has, an empty text, a slash too many, what
# no database stores.
ODD_ITEMS = (
    '[{"id": "odd", "activityLogId": "ID", "verb": "", "name": "\\\\ \\" \\u2028 \\r\\n,;\\t", "summary": "🧮 山田 \\u0000\\ud800",'
    '"reason": null, "metadata": [12345678901234567890.12345678901234567890, 123456789012345678901234567890, 1.50,'
    ' null, "", "\\u0000", true, [[1, [null]], "a"], {"deep": [{"er": 0.1}]}], "activityLogActor": {"id": "a", "entityType": "USER"},'
    ' "activityLogObject": {"id": "o", "entityType": "INVOICE", "entityId": null}}]'
)
ODD_TEXT = " padded\t, \"quoted\" and 'so' \\ in\r\ntwo lines"


def exactly(text: str) -> Any:
    """Parse JSON with every digit of its numbers."""
    return json.loads(text, parse_float=Decimal)


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
    """A target that logs are loaded into, run after run."""

    name: str
    program: str
    """Name and version."""
    real: str = "real"
    """Whether what it loads into is real."""
    upserts: bool
    streams: Sequence[str] = tuple(STREAMS)

    @abstractmethod
    def load(self, simulator: Simulator, *, full_refresh: bool) -> None:
        """Run tap and target once, from the state of the run before or from none."""

    @abstractmethod
    def rows(self, stream: str) -> list[Row]:
        """Return what was loaded, with times as datetime and arrays as JSON."""

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        """Return the row that is to be found, with a value in each column."""
        return {name: utc(row[name]) if kind == "time" else row.get(name) for name, kind in columns.items()}

    def comparable(self, row: Row) -> Row:
        """Return a row, found or expected, without what makes no difference."""
        # A simulated log has nothing in it that the schema does not know.
        return {name: value for name, value in row.items() if name != "unmapped" or value not in {None, ""}}

    def column(self, name: str) -> str:
        """Return what the column for a field of the schema is called."""
        return name

    def columns(self, stream: str) -> dict[str, str]:  # noqa: ARG002  # a database has them
        """Return the type of each column, where a target has such."""
        return {}

    def column_types(self, stream: str) -> dict[str, str]:  # noqa: ARG002  # the same
        """Return the types that the columns should have, by the names of the schema's fields."""
        return {}


class Job(Target):
    """A job of meltano.yml, as a user of this project runs it.

    Args:
        project: Where meltano.yml is.
        environment: One of Meltano's, and with it where the logs go.
    """

    types: ClassVar[dict[str, str]]

    def __init__(self, project: Path, environment: str = "prod") -> None:
        self.project = project
        self.environment = environment
        self.output = project / "output" / environment
        self.settings: dict[str, str] = {}
        """Further variables of the environment."""
        self.program = LOADERS[self.name]["pip_url"].replace("==", " ")

    def load(self, simulator: Simulator, *, full_refresh: bool) -> None:
        select = json.dumps([f"{stream}.*" for stream in STREAMS])
        variables = {
            **own_account(simulator),
            **self.variables(),
            **self.settings,
            "TAP_SEQUENCE__SELECT": select,
        }
        options = ["--full-refresh"] if full_refresh else []
        job = self.name.replace("target", "sequence-to")
        done = meltano(self.project, f"--environment={self.environment}", "run", *options, job, **variables)
        assert done.returncode == 0, done.stderr

    def variables(self) -> dict[str, str]:
        """Return environment variables that the user has to set."""
        return {}

    def column_types(self, stream: str) -> dict[str, str]:
        return {name: self.types[kind] for name, kind in COLUMNS[stream].items() if self.types}

    @abstractmethod
    def table(self, stream: str) -> str:
        """Return what a query names to read a stream."""

    def ask(self, query: str) -> list[Row]:
        """Return what a query finds: in DuckDB, which reads files too."""
        python = self.project / ".meltano" / "loaders" / "target-duckdb" / "venv" / "bin" / "python"
        return ask_duckdb(python, self.output / "sequence.duckdb" if self.upserts else ":memory:", query)


class JsonLines(Job):
    name = "target-jsonl"
    upserts = False
    types: ClassVar = {}

    def columns(self, stream: str) -> dict[str, str]:
        assert (self.output / f"{stream}.jsonl").exists()
        return {}

    def table(self, stream: str) -> str:
        columns = "{id: 'VARCHAR', unmapped: 'VARCHAR'}"
        return f"read_json('{self.output}/{stream}.jsonl', columns = {columns}, format = 'newline_delimited')"

    def rows(self, stream: str) -> list[Row]:
        text = (self.output / f"{stream}.jsonl").read_text(encoding="utf-8")
        return [exactly(line) for line in text.split("\n") if line]

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        assert set(row) <= set(columns)
        return row


class Csv(Job):
    name = "target-csv"
    upserts = False
    types: ClassVar = {}

    def table(self, stream: str) -> str:
        return f"read_csv('{self.output}/{stream}-*.csv', header = true, all_varchar = true)"

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
                    row[name] = exactly(row[name]) if row[name] else None
        return rows

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        # CSV has no null.
        return {
            name: "" if value is None and columns[name] == "text" else value
            for name, value in super().expected(row, columns).items()
        }


class DuckDb(Job):
    name = "target-duckdb"
    upserts = True
    types: ClassVar = {"text": "VARCHAR", "time": "TIMESTAMP", "objects": "JSON", "json": "JSON"}

    def table(self, stream: str) -> str:
        return stream

    def column(self, name: str) -> str:
        return name.lower()

    def columns(self, stream: str) -> dict[str, str]:
        return {row["column_name"]: row["column_type"] for row in self.ask(f"DESCRIBE {stream}")}

    def rows(self, stream: str) -> list[Row]:
        columns = COLUMNS[stream]
        # Names in any case find the columns, which are in lower case.
        names = ", ".join(f'{name} AS "{name}"' for name in columns)
        found = self.ask(f"SELECT {names} FROM {stream}")
        for row in found:
            for name, kind in columns.items():
                if kind == "time":
                    row[name] = utc(row[name])
                elif kind in {"objects", "json"} and row[name] is not None:
                    row[name] = json.loads(row[name])
        return found

    def expected(self, row: Row, columns: dict[str, str]) -> Row:
        # An empty text is stored as NULL.
        return {
            name: None if value == "" else value for name, value in super().expected(row, columns).items()
        }


class PostgreSql(Job):
    name = "target-postgres"
    upserts = True
    types: ClassVar = {
        "text": "text",
        "time": "timestamp without time zone",
        "objects": "jsonb[]",
        "json": "text[]",
    }
    server: Postgres

    def variables(self) -> dict[str, str]:
        return self.server.variables()

    def table(self, stream: str) -> str:
        return f"sequence_{self.environment}.{stream}"

    def ask(self, query: str) -> list[Row]:
        return self.server.rows(query)

    def columns(self, stream: str) -> dict[str, str]:
        found = self.ask(
            "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
            f" WHERE attrelid = '{self.table(stream)}'::regclass AND attnum > 0"
        )
        return {row["attname"]: row["type"] for row in found if not row["attname"].startswith("_sdc_")}

    def rows(self, stream: str) -> list[Row]:
        columns = COLUMNS[stream]
        names = ", ".join(f'"{name}"' for name in columns)
        found = self.ask(f"SELECT {names} FROM {self.table(stream)}")
        for row in found:
            for name, kind in columns.items():
                if kind == "time":
                    row[name] = utc(row[name])
        return found


def as_passed_on(body: bytes) -> Row:
    """Return a log of the API, with U+FFFD in place of what the tap does not pass on."""
    text = body.decode().replace(r"\u0000", "\ufffd").replace(r"\ud800", "\ufffd")
    log: Row = exactly(text)
    return log


def make_odd(api: SimulatedApi, log_id: str) -> None:
    """Let a log have items that simulated logs have not."""
    log = json.loads(api.store.body(log_id))
    log |= {"activityType": "", "traceId": ODD_TEXT, "activityLogItems": "ITEMS"}
    text = json.dumps(log, ensure_ascii=False).replace('"ITEMS"', ODD_ITEMS.replace("ID", log_id))
    api.store._bodies[log_id] = text.encode()


JOBS: list[type[Job]] = [JsonLines, Csv, DuckDb, PostgreSql]
