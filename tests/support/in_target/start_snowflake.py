"""Start meltanolabs-target-snowflake with no Snowflake: what it would create, stage and merge is kept in files.

No emulator can do all of its statements (`PUT`, `MERGE` from a stage, `REMOVE`). So this holds the target's own translation of
SCHEMA messages and records against what the API has, and nothing of what Snowflake does with it.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlparse

import sqlalchemy
from snowflake.sqlalchemy.snowdialect import SnowflakeDialect
from target_snowflake.connector import DEFAULT_RESERVED_WORDS, SnowflakeConnector
from target_snowflake.target import TargetSnowflake

FOLDER = Path(os.environ["STAGE"])


def _connect():
    msg = "a statement was about to be sent to Snowflake"
    raise AssertionError(msg)


def _create_engine(self):
    # The target's own connects at once.
    engine = sqlalchemy.create_engine(self.sqlalchemy_url, creator=_connect)
    engine.dialect.identifier_preparer.reserved_words |= DEFAULT_RESERVED_WORDS
    return engine


def _prepare_table(self, full_table_name, schema, primary_keys, **_):
    columns = {
        name: str(self.to_sql_type(definition).compile(dialect=SnowflakeDialect()))
        for name, definition in schema["properties"].items()
    }
    table = str(full_table_name).rsplit(".", 1)[-1].strip('"').lower()
    (FOLDER / f"{table}.columns.json").write_text(json.dumps(columns))
    (FOLDER / f"{table}.keys.json").write_text(json.dumps(list(primary_keys)))


def _put(_self, sync_id, files):
    stream = sync_id.split("-", 1)[0]
    for file in files:
        path = Path(urlparse(file).path)
        shutil.copy(path, FOLDER / f"{stream}-{len(list(FOLDER.iterdir())):06}.json.gz")


def _nothing(*_, **__):
    return 0


SnowflakeConnector.create_engine = _create_engine
SnowflakeConnector.prepare_table = _prepare_table
SnowflakeConnector.put_batches_to_stage = _put
for name in (
    "prepare_schema",
    "invalidate_table_cache",
    "create_file_format",
    "drop_file_format",
    "merge_from_stage",
    "copy_from_stage",
    "remove_staged_files",
):
    setattr(SnowflakeConnector, name, _nothing)
sys.exit(TargetSnowflake.cli())
