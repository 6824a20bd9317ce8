"""Load streams into PyAirbyte's DuckDB cache, and print what came: `load_pyairbyte.py EXECUTABLE CONFIG FOLDER STREAM...`."""

import json
import sys
from pathlib import Path

import airbyte
from airbyte.caches import DuckDBCache


def main() -> None:
    executable, config, folder, *streams = sys.argv[1:]
    source = airbyte.get_source(
        "source-sequence",
        config=json.loads(Path(config).read_text(encoding="utf-8")),
        local_executable=Path(executable),
        streams=streams,
    )
    source.check()
    cache = DuckDBCache(db_path=Path(folder) / "cache.duckdb")
    result = source.read(cache=cache)
    found = {
        "available": source.get_available_streams(),
        "processed": result.processed_records,
        "rows": {stream: [dict(row) for row in cache[stream]] for stream in streams},
        "types": {
            stream: {column.name: str(column.type) for column in cache[stream].to_sql_table().columns}
            for stream in streams
        },
        # Only the first records are taken, and the command is stopped.
        "first": [record["id"] for record in source.get_records(streams[0], limit=3)],
    }
    (Path(folder) / "found.json").write_text(json.dumps(found, default=str), encoding="utf-8")


if __name__ == "__main__":
    main()
