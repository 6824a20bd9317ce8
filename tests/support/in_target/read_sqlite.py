"""Print the rows of a stream in SQLite: FILE STREAM."""

import json
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1])
database.row_factory = sqlite3.Row
for row in database.execute(f'SELECT * FROM "{sys.argv[2]}"'):
    print(json.dumps(dict(row)))
