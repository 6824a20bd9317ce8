"""The targets that read from a pipe: packages, configuration, and how each changes values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support.pipes import Kind, Place
from tests.support.read_back import (
    escaped,
    flat,
    lower_case_fields,
    read_child_tables,
    read_clickhouse,
    read_in,
    read_postgres,
)
from tests.support.services import PKG_RESOURCES, Z3_BIGQUERY, Program, bigquery, clickhouse, s3

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
    read=read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["fixed"]),
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
        read=read_in(SQLITE, "read_sqlite.py", lambda place: [place.folder / "logs.db"]),
        upserts=True,
    ),
    Kind(
        name="target-avro",
        program=AVRO,
        command="target-avro",
        config=lambda place: {"prefix": str(place.folder / str(place.run)), "disable_collection": True},
        read=read_in(AVRO, "read_avro.py", lambda place: [place.folder]),
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
        read=read_postgres("pipelinewise"),
        upserts=True,
        empty_text=None,
        text=escaped,
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
        read=read_child_tables,
        upserts=True,
        microseconds=100,
        list_of_items=flat,
        drops_nulls=True,
    ),
)
"""Targets that the gate tests."""

SLOW_PIPES = (
    Kind(
        name="plinxore-target-s3, Parquet",
        program=PARQUET,
        command="target-s3",
        config=_parquet_config,
        read=read_in(
            PARQUET, "read_s3.py", lambda place: [place.environments.service(s3), "logs", "parquet/"]
        ),
        upserts=False,
        microseconds=1_000_000,
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
        read=read_in(S3_CSV, "read_s3.py", lambda place: [place.environments.service(s3), "logs", "csv/"]),
        upserts=False,
        # It shifts the cells of a log that lacks a field, the id among them.
        streams=("activity_log_items",),
        # CSV has no null.
        null_text="",
        real="emulated",
    ),
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
        read=read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["denormalized"]),
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
        read=read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["denormalized"]),
        upserts=True,
        streams=("activity_log_items",),
    ),
    Kind(
        name="pipelinewise-target-bigquery",
        program=PIPELINEWISE_BIGQUERY,
        command="target-bigquery",
        config=lambda _: {"project_id": "local", "default_target_schema": "pipelinewise", "location": "US"},
        variables=lambda place: place.environments.service(bigquery),
        read=read_in(Z3_BIGQUERY, "read_bigquery.py", lambda _: ["pipelinewise"]),
        upserts=True,
        list_of_items=lower_case_fields,
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
        },
        read=read_clickhouse,
        upserts=True,
        null_text="",
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
        read=read_in(SNOWFLAKE, "read_snowflake.py", lambda place: [place.folder]),
        upserts=True,
        real="its translation",
    ),
)
"""Targets tested before a release only: their stand-ins for a warehouse are slow to install and to run."""
