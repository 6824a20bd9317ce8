"""Where the stream schemas are: `schemas/`, the one source of truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]

# The wheel carries the folder inside the package; a source checkout and an editable install have it beside it.
SCHEMAS_DIR = next(
    folder
    for folder in (_PACKAGE / "schemas", _PACKAGE.parent / "schemas")
    if (folder / "activity_logs.json").is_file()
)
"""Folder with one JSON schema for each stream, `<stream>.json`."""


def _read(file: Path) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    # For editors and validators. Some targets refuse every value but Draft 4's.
    schema.pop("$schema", None)
    return schema


SCHEMAS: dict[str, dict[str, Any]] = {file.stem: _read(file) for file in sorted(SCHEMAS_DIR.glob("*.json"))}
"""The schema of each stream, by its name."""

ACTIVITY_LOGS_SCHEMA = SCHEMAS["activity_logs"]
"""The schema of what the API returns."""
