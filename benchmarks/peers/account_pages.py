"""The list read through the Python interface, as a program of a user would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from tap_sequence import Account


def main() -> None:
    """Read the list whose address the config has."""
    config = json.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text(encoding="utf-8"))
    encoder = msgspec.json.Encoder(decimal_format="number")
    for page in Account(**config).pages():
        lines = [{"type": "RECORD", "record": row} for row in page.rows["activity_logs"]]
        sys.stdout.buffer.write(encoder.encode_lines(lines))


if __name__ == "__main__":
    main()
