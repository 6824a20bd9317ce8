"""Print the rows of a stream in a bucket of Parquet or CSV files: URL BUCKET PREFIX STREAM."""

import csv
import io
import json
import sys

import boto3

url, bucket, prefix, stream = sys.argv[1:]
client = boto3.client("s3", endpoint_url=url)
for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
    key = entry["Key"]
    if not key.rsplit("/", 1)[-1].startswith((f"{stream}-", f"{stream}2")):
        continue
    content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    if key.endswith(".parquet"):
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    else:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
    for row in rows:
        print(json.dumps(row, default=str))
