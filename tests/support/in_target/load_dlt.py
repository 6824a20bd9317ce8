"""Loads streams into DuckDB with dlt, as often as there are lines on standard input: each a JSON object of what to do."""

import json
import os
import sys
from pathlib import Path

import dlt

from tap_sequence.dlt import sequence


def load(streams, fault=None, **settings):
    """Load streams, and return the number of rows that dlt counted. A fault ends the process, or the load, early."""
    folder = Path.cwd()
    pipeline = dlt.pipeline(
        "sequence",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(folder / "loaded.duckdb")),
        dataset_name="sequence",
    )
    source = sequence(**settings).with_resources(*streams)
    if fault == "killed in extract":
        seen = []

        def die(row):
            seen.append(row)
            if len(seen) == 150:
                os._exit(9)
            return row

        source.resources[streams[0]].add_map(die)
    if fault == "killed before load":
        pipeline.extract(source)
        pipeline.normalize()
        os._exit(9)
    pipeline.run(source)
    return dict(pipeline.last_trace.last_normalize_info.row_counts)


for line in sys.stdin:
    try:
        print(json.dumps(load(**json.loads(line))), flush=True)
    except Exception as error:  # noqa: BLE001  # reported
        print(json.dumps({"error": str(error)}), flush=True)
