"""Load streams into PyAirbyte's DuckDB cache: `load_pyairbyte.py EXECUTABLE CONFIG DATABASE`.

Importing PyAirbyte takes long, so one process makes several loads: each line of standard input names the streams of one, and
each line of standard output says what is in the cache then.
"""

import json
import os
import sys
from pathlib import Path

import airbyte
from airbyte.caches import DuckDBCache


def main() -> None:
    executable, config, database = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # PyAirbyte prints its progress.
    os.dup2(2, 1)
    for line in sys.stdin:
        streams = line.split()
        source = airbyte.get_source(
            "source-sequence",
            config=json.loads(Path(config).read_text(encoding="utf-8")),
            local_executable=Path(executable),
            streams=streams,
        )
        source.check()
        cache = DuckDBCache(db_path=database)
        result = source.read(cache=cache)
        # It is canceled when it is no longer referred to.
        some = source.get_records(streams[0], limit=3)
        found = {
            "processed": result.processed_records,
            "rows": {stream: [dict(row) for row in cache[stream]] for stream in streams},
            "types": {
                stream: {column.name: str(column.type) for column in cache[stream].to_sql_table().columns}
                for stream in streams
            },
            # Only the first records are taken, and the command is stopped.
            "first": [record["id"] for record in some],
        }
        answers.write(json.dumps(found, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
