"""Print the rows of a stream as a merge of the staged files, by the table's keys, leaves them: FOLDER STREAM."""

import gzip
import json
import sys
from pathlib import Path

folder, stream = Path(sys.argv[1]), sys.argv[2]
keys = json.loads((folder / f"{stream}.keys.json").read_text())
columns = json.loads((folder / f"{stream}.columns.json").read_text())
rows = {}
for path in sorted(folder.glob(f"{stream}-*.json.gz")):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            # Snowflake's own names know no case.
            assert {name.lower() for name in row} <= columns.keys(), (row, columns)
            rows[tuple(row[key] for key in keys)] = row
for row in rows.values():
    print(json.dumps(row))
