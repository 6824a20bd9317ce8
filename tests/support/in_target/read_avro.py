"""Print the rows of a stream in Avro files: FOLDER STREAM."""

import json
import sys
from pathlib import Path

import fastavro

for path in sorted(Path(sys.argv[1]).glob(f"*.{sys.argv[2]}.avro")):
    with path.open("rb") as file:
        for row in fastavro.reader(file):
            print(json.dumps(row, default=str))
