"""Where in the list a run starts or stops."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Self

from msgspec import UNSET

from tap_sequence.sync.models import Record
from tap_sequence.sync.state import SavedState
from tap_sequence.sync.timestamps import parse_timestamp

BEFORE_ANCHOR = 10
"""How many records directly before the anchor a state names, in case the anchor itself is deleted."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The first record after the saved cursor. Everything before it is final; `recent_ids` lists what was emitted from it on.

    Attributes:
        id: The record's id.
        created_at_text: Its `createdAt`, as the API wrote it.
    """

    id: str
    created_at_text: str

    @property
    def created_at(self) -> int:
        """Its `createdAt` in microseconds since 1970."""
        return parse_timestamp(self.created_at_text)

    @classmethod
    def at(cls, record: Record) -> Self:
        """Return the anchor at a record."""
        return cls(record.id, record.created_at_text)


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next walk starts. A state from before there were anchors, or written by hand, has a cursor alone.

    Attributes:
        cursor: An `after` that leads to the anchor. None: with an anchor, it is unknown; without, the start of the list.
        anchor: The first record after the cursor.
        before_anchor: Ids directly before the anchor, the nearest last. Everything before any of them is final, too.
        records_before: How many records the API counts before the anchor; None if unknown.
    """

    cursor: str | None = None
    anchor: Anchor | None = None
    before_anchor: tuple[str, ...] = ()
    records_before: int | None = 0

    @property
    def settled_ids(self) -> frozenset[str]:
        """The anchor's id and those before it: nothing before any of them is new."""
        return frozenset([self.anchor.id, *self.before_anchor] if self.anchor else [])


class Start(Enum):
    """What a loaded state allows a run to start with."""

    NOTHING = auto()
    """No state: from the oldest record, or from `start_date`."""
    OTHER_QUERY = auto()
    """The state of another query: the same as none."""
    CURSOR = auto()
    """A cursor of the same query, or the start of the list."""
    BACKWARD = auto()
    """No cursor: from the newest record backward to the anchor or, without one, to `replication_key_value`."""


def saved_position(saved: SavedState) -> tuple[Start, Position]:
    """Return where a state of the same query, or a state without a query, lets a run start."""
    has_query = saved.query is not None
    anchor = None
    if saved.anchor_id is not None and saved.anchor_created_at is not None:
        anchor = Anchor(saved.anchor_id, saved.anchor_created_at)
    cursor = None if not has_query or saved.cursor is UNSET else saved.cursor
    is_start_of_list = has_query and saved.cursor is None and anchor is None
    if cursor is None and anchor is None and not is_start_of_list:
        return Start.NOTHING, Position()
    before = 0 if is_start_of_list else None
    if saved.logs_before_anchor is not UNSET:
        before = saved.logs_before_anchor
    start = Start.CURSOR if cursor is not None or is_start_of_list else Start.BACKWARD
    return start, Position(cursor, anchor, tuple(saved.before_anchor or ()) if anchor else (), before)
