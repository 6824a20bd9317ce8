"""Install the extensions of DuckDB that local-bigquery needs, from packages, and start it: all arguments are its own."""

import sys

from duckdb_extensions import import_extension
from local_bigquery.cli import main

for extension in ("icu", "ducklake", "spatial"):
    import_extension(extension)
main(sys.argv[1:])
