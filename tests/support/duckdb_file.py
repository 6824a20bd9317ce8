"""Queries a DuckDB file with the DuckDB of the target that wrote it, in that target's environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

# Takes a file and a query; prints a JSON object for each row.
_ASK = """
import datetime, json, sys
import duckdb

def plain(value):
    return value.isoformat() if isinstance(value, datetime.datetime) else float(value)

found = duckdb.connect(sys.argv[1], read_only=sys.argv[1] != ":memory:").execute(sys.argv[2])
names = [column[0] for column in found.description]
for row in found.fetchall():
    print(json.dumps(dict(zip(names, row)), default=plain))
"""


def ask_duckdb(python: Path, file: Path | str, query: str) -> list[dict[str, Any]]:
    """Return what a query finds: times as text, all numbers but integers as floats.

    Args:
        python: Interpreter of the environment.
        file: The database, or `:memory:`.
        query: SQL.
    """
    done = subprocess.run(
        [python, "-c", _ASK, file, query], capture_output=True, encoding="utf-8", timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
