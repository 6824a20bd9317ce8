"""`tap-sequence | TARGET`: any target in an environment of its own, and the table of those that are tried."""

from __future__ import annotations

import ast
import http.server
import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tap_sequence.simulator import Simulator
from tests.harness import (
    STREAMS,
    TAP,
    command_arguments,
    config_for,
    discover,
    environment,
    environment_of_others,
    free_port,
    is_listened_on,
    select,
    utc,
    uv,
)
from tests.loaders import COLUMNS, Row, Target, exactly
from tests.postgres import Postgres

SCRIPTS = Path(__file__).parent / "in_target"

# What old targets import and later versions of setuptools do not have.
PKG_RESOURCES = "setuptools<81"


@dataclass(frozen=True)
class Program:
    """What is installed into an environment of its own.

    Attributes:
        requirements: What is installed.
        overrides: Requirements in place of what those ask for, where that cannot be built or imported any more.
        python: The version of Python; that of the tests by default.
        startup: A line of Python to run at every start there.
    """

    requirements: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    python: str = ""
    startup: str = ""


class Environments:
    """Installs programs, each once, and starts what targets load into.

    Args:
        folder: Where all of it is.
        stack: What ends the services.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._services: dict[str, Any] = {}

    def bin(self, program: Program) -> Path:
        """Return where the commands of a program are, its `python` among them."""
        name = re.sub(r"\W+", "-", "-".join(program.requirements))
        path = self.folder / name
        if not path.exists():
            uv("venv", "--no-python-downloads", "--python", program.python or sys.executable, path)
            overrides = path / "overrides.txt"
            overrides.write_text("\n".join(program.overrides), encoding="utf-8")
            uv("pip", "install", "--python", path, "--override", overrides, *program.requirements)
            if program.startup:
                (packages,) = path.glob("lib/python*/site-packages")
                (packages / "startup.pth").write_text(program.startup, encoding="utf-8")
        return path / "bin"

    def service(self, start: Callable[[Environments, Path], Iterator[Any]]) -> Any:
        """Return what a service says of itself; the first time that one asks for it, it is started."""
        name = start.__name__
        if name not in self._services:
            folder = self.folder / name
            folder.mkdir()
            self._services[name] = self._stack.enter_context(contextmanager(start)(self, folder))
        return self._services[name]

    def script(self, program: Program, name: str, *arguments: str | Path, **variables: str) -> str:
        """Run one of SCRIPTS in a program's environment, and return what it prints."""
        done = subprocess.run(
            [self.bin(program) / "python", SCRIPTS / name, *arguments],
            env=target_environment(**variables),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def target_environment(**variables: str) -> dict[str, str]:
    """Return an environment for targets: nothing of this machine's that could lead them astray."""
    quiet = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    return environment_of_others("TARGET_", "PG", "AWS_", "GOOGLE_", **{**quiet, **keys, **variables})


# Services


@contextmanager
def _listening(command: Sequence[str | Path], port: int, folder: Path, **variables: str) -> Iterator[None]:
    """Run a server until the block ends, which begins when it listens."""
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [*command], stdout=log, stderr=log, cwd=folder, env=target_environment(**variables)
        ) as server,
    ):
        try:
            ticks = threading.Event()
            while not is_listened_on(port):
                assert server.poll() is None, (folder / "log").read_text(errors="replace")
                ticks.wait(0.1)
            yield
        finally:
            server.terminate()


MOTO = Program(("moto[server,s3]==5.2.5",))
LOCAL_BIGQUERY = Program(
    (
        "local-bigquery==0.3.2",
        "duckdb==1.5.5",
        *(f"duckdb-extension-{name}==1.5.5" for name in ("icu", "ducklake", "spatial")),
        "duckdb-extensions==1.5.5",
    ),
    python="3.13",
)
CHDB = Program(("chdb==4.4.0",))


def s3(environments: Environments, folder: Path) -> Iterator[str]:
    """Start moto's S3, and yield its URL. It has the bucket `logs`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--host", "127.0.0.1", "--port", str(port)]
    command: list[str | Path] = [environments.bin(MOTO) / "moto_server", *options]
    with _listening(command, port, folder):
        urllib.request.urlopen(urllib.request.Request(f"{url}/logs", method="PUT"), timeout=30).close()
        yield url


def clickhouse(environments: Environments, folder: Path) -> Iterator[int]:
    """Start ClickHouse's engine behind its HTTP interface, and yield the port."""
    port = free_port()
    python = environments.bin(CHDB) / "python"
    command: list[str | Path] = [python, SCRIPTS / "serve_clickhouse.py", folder / "data", str(port)]
    with _listening(command, port, folder):
        yield port


class _Tokens(http.server.BaseHTTPRequestHandler):
    """Gives everyone a token, as Google's server does to a service account."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "token", "expires_in": 3600, "token_type": "Bearer"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def bigquery(environments: Environments, folder: Path) -> Iterator[dict[str, str]]:
    """Start an emulator of BigQuery, and yield the environment variables that lead its clients there."""
    port, grpc_port = free_port(), free_port()
    command = [environments.bin(LOCAL_BIGQUERY) / "python", SCRIPTS / "serve_bigquery.py"]
    options = [
        "--host=127.0.0.1",
        f"--port={port}",
        f"--grpc-port={grpc_port}",
        f"--data-dir={folder / 'data'}",
    ]
    account = folder / "account.json"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Tokens) as tokens:
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        content = {
            "type": "service_account",
            "project_id": "local",
            "private_key_id": "key",
            "private_key": environments.script(Z3_BIGQUERY, "make_key.py"),
            "client_email": "loader@example.com",
            "client_id": "1",
            "token_uri": f"http://127.0.0.1:{tokens.server_port}/token",
        }
        account.write_text(json.dumps(content), encoding="utf-8")
        # The extensions of DuckDB go into the home directory.
        with _listening([*command, *options], port, folder, HOME=str(folder)):
            yield {
                "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{port}",
                "STORAGE_WRITE_HOST": f"127.0.0.1:{grpc_port}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(account),
                "GOOGLE_CLOUD_PROJECT": "local",
            }
        tokens.shutdown()


# Targets


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
        text: What other texts in a column become.
        microseconds: To how many microseconds times are cut.
        list_of_items: What `activityLogItems` becomes.
        drops_nulls: Whether null, an empty list and an absent field are the same within nested values.
        is_exact: The streams whose values arrive as they are.
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
    text: Callable[[str], str] = str
    microseconds: int = 1
    list_of_items: Callable[[list[Row]], list[Row]] = list
    drops_nulls: bool = False
    is_exact: Sequence[str] = STREAMS
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
        self.name, self.upserts = kind.name, kind.upserts
        self.streams, self.is_exact = kind.streams, kind.is_exact
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
                result[name] = value
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
        if "activityLogItems" in result:
            result["activityLogItems"] = kind.list_of_items(result["activityLogItems"])
        return result


# What reads back


def _lines(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines()]


def _read_in(
    program: Program, script: str, arguments: Callable[[Place], Sequence[str | Path]]
) -> Callable[[Place, str], list[Row]]:
    """Return a reader that runs a script in a program's environment, with arguments and the stream."""

    def read(place: Place, stream: str) -> list[Row]:
        variables = place.environments.service(bigquery) if script == "read_bigquery.py" else {}
        return _lines(place.environments.script(program, script, *arguments(place), stream, **variables))

    return read


def _read_postgres(schema: str) -> Callable[[Place, str], list[Row]]:
    return lambda place, stream: place.postgres().rows(f"SELECT * FROM {schema}.{stream}")


def _read_child_tables(place: Place, stream: str) -> list[Row]:
    """Read what the datamill family makes of nested values: tables of their own."""

    def metadata(table: str, *levels: str) -> str:
        conditions = " AND ".join(
            ["m._sdc_source_key_id = r.key", *(f"m.{level} = r.{level}" for level in levels)]
        )
        return (
            f"(SELECT json_agg(m._sdc_value ORDER BY m._sdc_level_{len(levels)}_id)"
            f" FROM datamill.{table}__metadata m WHERE {conditions}) AS metadata"
        )

    if stream == "activity_log_items":
        return place.postgres().rows(
            f"SELECT *, {metadata(stream)} FROM (SELECT *, id AS key FROM datamill.{stream}) r"
        )
    child = f"{stream}__activitylogitems"
    items = (
        "(SELECT json_agg(row_to_json(i) ORDER BY i._sdc_level_0_id) FROM"
        f" (SELECT r.*, {metadata(child, '_sdc_level_0_id')} FROM"
        f"  (SELECT *, _sdc_source_key_id AS key FROM datamill.{child}) r) i WHERE i.key = l.id)"
    )
    found = place.postgres().rows(f"SELECT *, {items} AS activitylogitems FROM datamill.{stream} l")
    for row in found:
        for item in row["activitylogitems"] or []:
            for name in [name for name in item if name.startswith("_sdc") or name == "key"]:
                del item[name]
    return found


def _flat(items: list[Row]) -> list[Row]:
    """Return items as the datamill family names their fields in a table."""
    result = []
    for item in items:
        flat: Row = {}
        for name, value in item.items():
            if isinstance(value, dict):
                flat |= {f"{name}__{inner}".lower(): each for inner, each in value.items()}
            else:
                flat[name.lower()] = value
        result.append(flat)
    return result


def _lower_case_fields(items: list[Row]) -> list[Row]:
    """Return items with the fields that have no capital letter in their name."""
    return [{name: value for name, value in item.items() if name.islower()} for item in items]


def _escaped(text: str) -> str:
    """Return a text whose line breaks and tabs are escapes."""
    for character, escape in (("\r", "\\r"), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return text


def _read_clickhouse(place: Place, stream: str) -> list[Row]:
    url = f"http://127.0.0.1:{place.environments.service(clickhouse)}/"
    query = f"SELECT * FROM {stream} FINAL FORMAT JSONEachRow"
    with urllib.request.urlopen(url, data=query.encode(), timeout=60) as answer:
        return _lines(answer.read().decode())


# The table

SQLITE = Program(
    ("target-sqlite==0.2.0", PKG_RESOURCES),
    # Those that it asks for import what Python 3.10 removed.
    overrides=("sqlalchemy==1.4.54",),
    startup="import collections, collections.abc; collections.MutableMapping = collections.abc.MutableMapping",
)
AVRO = Program(("target-avro==0.2.0", PKG_RESOURCES))
PIPELINEWISE_POSTGRES = Program(("pipelinewise-target-postgres==2.1.2",))
DATAMILL_POSTGRES = Program(
    ("singer-target-postgres==0.2.4", PKG_RESOURCES),
    overrides=('psycopg2; python_version < "3"', "psycopg2-binary==2.9.10"),
)
PARQUET = Program(("plinxore-target-s3==0.1.7",))
S3_CSV = Program(("pipelinewise-target-s3-csv==2.0.0",))
Z3_BIGQUERY = Program(("z3-target-bigquery==0.7.2", "protobuf<5", PKG_RESOURCES))
PIPELINEWISE_BIGQUERY = Program(
    ("pipelinewise-target-bigquery==1.5.0", PKG_RESOURCES),
    overrides=("orjson>=3.10", "pyarrow>=15", "fastavro>=1.9", "google-cloud-bigquery>=3.25,<4"),
)
CLICKHOUSE = Program(("shaped-target-clickhouse==0.2.5", PKG_RESOURCES))
SNOWFLAKE = Program(("meltanolabs-target-snowflake==0.20.4",))


def _postgres_config(in_schema: str, **names: str) -> Callable[[Place], dict[str, Any]]:
    """Return what makes a config of the server, with the names that a target has for its settings."""

    def config(place: Place) -> dict[str, Any]:
        server = place.postgres()
        server.run(f"CREATE SCHEMA IF NOT EXISTS {in_schema}")
        values = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": server.user,
            "password": server.password,
            "database": server.database,
            "schema": in_schema,
        }
        return {names[name]: value for name, value in values.items()}

    return config


def _parquet_config(place: Place) -> dict[str, Any]:
    aws = {"aws_region": "us-east-1", "aws_bucket": "logs"}
    endpoint = {"aws_endpoint_override": place.environments.service(s3)}
    return {
        "format": {"format_type": "parquet", "format_parquet": {"get_schema_from_tap": True}},
        "compression": "none",
        "cloud_provider": {"cloud_provider_type": "aws", "aws": {**aws, **endpoint}},
        "prefix": "parquet",
    }


_Z3 = Kind(
    name="z3-target-bigquery",
    program=Z3_BIGQUERY,
    command="start_bigquery.py",
    config=lambda _: {"project": "local", "dataset": "fixed", "method": "storage_write_api"},
    variables=lambda place: place.environments.service(bigquery),
    read=_read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["fixed"]),
    upserts=False,
    drops_nulls=True,
    real="emulated",
)

PIPES = (
    Kind(
        name="target-sqlite",
        program=SQLITE,
        command="target-sqlite",
        config=lambda place: {"database": str(place.folder / "logs.db")},
        read=_read_in(SQLITE, "read_sqlite.py", lambda place: [place.folder / "logs.db"]),
        upserts=True,
    ),
    Kind(
        name="target-avro",
        program=AVRO,
        command="target-avro",
        config=lambda place: {"prefix": str(place.folder / str(place.run)), "disable_collection": True},
        read=_read_in(AVRO, "read_avro.py", lambda place: [place.folder]),
        upserts=False,
        microseconds=1_000_000,
        drops_nulls=True,
    ),
    Kind(
        name="pipelinewise-target-postgres",
        program=PIPELINEWISE_POSTGRES,
        command="target-postgres",
        config=_postgres_config(
            "pipelinewise",
            **{name: name for name in ("host", "port", "user", "password")},
            database="dbname",
            schema="default_target_schema",
        ),
        variables=lambda _: {"PGTZ": "UTC"},
        read=_read_postgres("pipelinewise"),
        upserts=True,
        empty_text=None,
        text=_escaped,
    ),
    Kind(
        name="singer-target-postgres",
        program=DATAMILL_POSTGRES,
        command="target-postgres",
        config=lambda place: {
            **_postgres_config(
                "datamill",
                **{name: f"postgres_{name}" for name in ("host", "port", "password", "database", "schema")},
                user="postgres_username",
            )(place),
            "disable_collection": True,
        },
        read=_read_child_tables,
        upserts=True,
        list_of_items=_flat,
        drops_nulls=True,
    ),
    Kind(
        name="plinxore-target-s3, Parquet",
        program=PARQUET,
        command="target-s3",
        config=_parquet_config,
        read=_read_in(
            PARQUET, "read_s3.py", lambda place: [place.environments.service(s3), "logs", "parquet/"]
        ),
        upserts=False,
        microseconds=1000,
        drops_nulls=True,
        real="emulated",
    ),
    Kind(
        name="pipelinewise-target-s3-csv",
        program=S3_CSV,
        command="target-s3-csv",
        config=lambda place: {
            "s3_bucket": "logs",
            "s3_key_prefix": "csv/",
            "aws_endpoint_url": place.environments.service(s3),
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "temp_dir": str(place.folder),
        },
        read=_read_in(S3_CSV, "read_s3.py", lambda place: [place.environments.service(s3), "logs", "csv/"]),
        upserts=False,
        # Rows of logs that lack a field are shifted.
        is_exact=("activity_log_items",),
        real="emulated",
    ),
)
"""Targets that the gate has time for."""

SLOW_PIPES = (
    _Z3,
    replace(
        _Z3,
        name="z3-target-bigquery, denormalized, logs",
        config=lambda _: {
            "project": "local",
            "dataset": "denormalized",
            "method": "streaming_insert",
            "denormalized": True,
            "upsert": True,
        },
        read=_read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["denormalized"]),
        upserts=True,
        streams=("activity_logs",),
    ),
    replace(
        _Z3,
        name="z3-target-bigquery, denormalized, items",
        config=lambda _: {
            "project": "local",
            "dataset": "denormalized",
            "method": "storage_write_api",
            "denormalized": True,
            "upsert": True,
        },
        read=_read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["denormalized"]),
        upserts=True,
        streams=("activity_log_items",),
    ),
    Kind(
        name="pipelinewise-target-bigquery",
        program=PIPELINEWISE_BIGQUERY,
        command="target-bigquery",
        config=lambda _: {"project_id": "local", "default_target_schema": "pipelinewise", "location": "US"},
        variables=lambda place: place.environments.service(bigquery),
        read=_read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["pipelinewise"]),
        upserts=True,
        list_of_items=_lower_case_fields,
        drops_nulls=True,
        real="emulated",
    ),
    Kind(
        name="shaped-target-clickhouse",
        program=CLICKHOUSE,
        command="target-clickhouse",
        config=lambda place: {
            "driver": "http",
            "host": "127.0.0.1",
            "port": place.environments.service(clickhouse),
            "username": "default",
            "password": "",
            "database": "default",
            "secure": False,
            "verify": False,
            "engine_type": "ReplacingMergeTree",
            "order_by_keys": ["id"],
        },
        read=_read_clickhouse,
        upserts=True,
        microseconds=1_000_000,
        real="emulated",
    ),
    Kind(
        name="meltanolabs-target-snowflake",
        program=SNOWFLAKE,
        command="start_snowflake.py",
        config=lambda _: {
            "account": "account",
            "user": "loader",
            "password": "secret",
            "database": "LOGS",
            "default_target_schema": "sequence",
        },
        variables=lambda place: {"STAGE": str(place.folder)},
        read=_read_in(SNOWFLAKE, "read_snowflake.py", lambda place: [place.folder]),
        upserts=True,
        real="its translation",
    ),
)
"""Targets that take minutes each: before a release."""
