"""The list read with dlt's REST client, without a pipeline behind it: extraction alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import HttpBasicAuth
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator


def main() -> None:
    """Read the list whose address the config has."""
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text(encoding="utf-8"))
    client = RESTClient(
        base_url=config["api_url"],
        auth=HttpBasicAuth(config["client_id"], config["client_secret"]),
        paginator=JSONResponseCursorPaginator(cursor_path="pagination.after", cursor_param="after"),
    )
    pages = client.paginate(
        "/activity-logs", params={"sortOrder": "ASC", "limit": 100}, data_selector="items"
    )
    for page in pages:
        for log in page:
            line = json.dumps({"type": "RECORD", "stream": "activity_logs", "record": log})
            sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
