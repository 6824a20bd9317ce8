"""What can be read: the lists of the API, and the streams made of their records.

A further stream is a schema in `schemas/` and a declaration here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tap_sequence.api.endpoint import Endpoint
from tap_sequence.transforms.items import ItemRows
from tap_sequence.transforms.rows import Rows, WholeRecords


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. The first of an endpoint reads for the others, which share its pages and its bookmark.

    Attributes:
        name: The stream's name, and that of its schema in `schemas/`.
        endpoint: The list that its records come from.
        rows: Makes its rows, given its JSON schema.
        primary_keys: Fields that identify a row.
        is_selected_by_default: Whether it is read unless a catalog deselects it.
    """

    name: str
    endpoint: Endpoint
    rows: Callable[[Mapping[str, Any]], Rows] = WholeRecords
    primary_keys: tuple[str, ...] = ("id",)
    is_selected_by_default: bool = True


ACTIVITY_LOGS = Endpoint(
    path="/activity-logs",
    schema="activity_logs",
    filters={
        "activityLogObjectId": "activity_log_object_id",
        "activityLogObjectEntityId": "activity_log_object_entity_id",
    },
)

STREAMS = (
    StreamSpec("activity_logs", ACTIVITY_LOGS),
    StreamSpec("activity_log_items", ACTIVITY_LOGS, rows=ItemRows, is_selected_by_default=False),
)
