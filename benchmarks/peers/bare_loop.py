"""What is left when there is no framework: requests, a loop, and a line for each log."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import requests


def main() -> None:
    """Read the list whose address the config has."""
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text(encoding="utf-8"))
    params = {"sortOrder": "ASC", "limit": "100"}
    with requests.Session() as session:
        session.auth = (config["client_id"], config["client_secret"])
        while True:
            response = session.get(config["api_url"] + "/activity-logs", params=params, timeout=60)
            response.raise_for_status()
            page = response.json()
            for log in page["items"]:
                line = json.dumps({"type": "RECORD", "stream": "activity_logs", "record": log})
                sys.stdout.write(line + "\n")
            after = page["pagination"].get("after")
            if not after:
                return
            params["after"] = after


if __name__ == "__main__":
    main()
