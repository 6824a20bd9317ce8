"""Print the rows of a stream in BigQuery: DATASET STREAM. A table of one JSON column has the record in it."""

import json
import sys

from google.cloud import bigquery

dataset, stream = sys.argv[1:]
client = bigquery.Client(project="local")
for found in client.query(f"SELECT * FROM {dataset}.{stream}").result():
    row = dict(found)
    data = row.get("data", row)
    print(json.dumps(json.loads(data) if isinstance(data, str) else data, default=str))
