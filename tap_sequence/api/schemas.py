"""The JSON schemas of the streams, read from `schemas/`, the single source of truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]

# The wheel contains the folder inside the package; in a source checkout or an editable install it is next to it.
SCHEMAS_DIR = next(
    folder
    for folder in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")
    if (folder / "activity_logs.json").is_file()
)
"""Folder with one JSON schema per stream, `<stream>.json`."""


def _read(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    # For editors and validators only. Some targets reject any value except Draft 4's.
    schema.pop("$schema", None)
    return schema


SCHEMAS: dict[str, dict[str, Any]] = {file.stem: _read(file) for file in sorted(SCHEMAS_DIR.glob("*.json"))}
"""The schema of each stream, by name."""

ACTIVITY_LOGS_SCHEMA = SCHEMAS["activity_logs"]
"""The schema of the logs that the API returns."""
