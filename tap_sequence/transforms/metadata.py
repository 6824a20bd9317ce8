"""The setting `metadata`: its elements as JSON texts, or as the values that the API sent."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

TEXT, JSON = "text", "json"
FORMS = (TEXT, JSON)

_IN_LOGS = ("properties", "activityLogItems", "items", "properties", "metadata")
_IN_ITEMS = ("properties", "metadata")


def to_schema(schema: Mapping[str, Any], form: str) -> dict[str, Any]:
    """Return a stream's schema with the type of the elements of `metadata` for the setting.

    Args:
        schema: A stream's schema, from the tap or from a catalog.
        form: One of FORMS.
    """
    result = copy.deepcopy(dict(schema))
    for path in (_IN_LOGS, _IN_ITEMS):
        field: Any = result
        for key in path:
            field = field.get(key) if isinstance(field, dict) else None
        if not isinstance(field, dict):
            continue
        if form == TEXT:
            field["items"] = {"type": "string"}
        elif path is _IN_LOGS:
            field["items"] = {}
        else:
            # Without `items`, target-postgres stores a list of arbitrary values as JSON.
            field.pop("items", None)
    return result
