"""What can be read: the lists of the API, and the streams made of their records.

A further stream is a schema in `schemas/` and a declaration here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tap_sequence.api.endpoint import Endpoint
from tap_sequence.sync.state import REPLICATION_KEY
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

    @property
    def replication_key(self) -> str | None:
        """The field that tells what is new; None if the stream is read in full in each run."""
        return REPLICATION_KEY if self.endpoint.is_append_only else None

    @property
    def keys(self) -> tuple[str, ...]:
        """Fields that a row always has."""
        return (*self.primary_keys, self.replication_key) if self.replication_key else self.primary_keys


ACTIVITY_LOGS = Endpoint(
    path="/activity-logs",
    schema="activity_logs",
    noun="log",
    filters={
        "activityLogObjectId": "activity_log_object_id",
        "activityLogObjectEntityId": "activity_log_object_entity_id",
    },
)

USERS = Endpoint(path="/users", schema="users", noun="user", is_append_only=False)

SEQUENCE_ACCOUNTS = Endpoint(
    path="/sequence-accounts", schema="sequence_accounts", noun="account", is_append_only=False
)

STREAMS = (
    StreamSpec("activity_logs", ACTIVITY_LOGS),
    StreamSpec("activity_log_items", ACTIVITY_LOGS, rows=ItemRows, is_selected_by_default=False),
    StreamSpec("users", USERS, is_selected_by_default=False),
    StreamSpec("sequence_accounts", SEQUENCE_ACCOUNTS, is_selected_by_default=False),
)

STREAMS_BY_NAME = {spec.name: spec for spec in STREAMS}
