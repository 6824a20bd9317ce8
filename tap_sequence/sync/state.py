"""The stream's state as it is saved: its keys, what each must be, and whether it was edited by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tap_sequence.errors import NotSingerStateError, UnreadableStateError
from tap_sequence.sync.timestamps import parse_timestamp
from tap_sequence.text.redaction import excerpt

REPLICATION_KEY = "createdAt"

FIRST_STREAMS = ("activity_logs",)
"""The streams of a state that names none: it is from a version that had no other."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a cursor is valid for. A cursor may depend on all of it, so it is never used for another query.

    Attributes:
        host: Host, port and base path of the API; no scheme, no credentials.
        api_version: The `Sequence-Version` requested.
        activity_log_object_id: Filter, or None.
        activity_log_object_entity_id: Filter, or None.
    """

    host: str
    api_version: str
    activity_log_object_id: str | None = None
    activity_log_object_entity_id: str | None = None

    def to_state(self) -> dict[str, str | None]:
        """Return what identifies the query; null for a filter that is not set."""
        return asdict(self)

    def is_saved_as(self, saved: Mapping[str, str | None]) -> bool:
        """Whether `saved`, from a state, is this query."""
        return _without_nulls(saved) == _without_nulls(self.to_state())

    def changes_since(self, saved: Mapping[str, str | None]) -> str:
        """Name each key that differs from `saved`, with its old and its new value."""
        now = self.to_state()
        return ", ".join(
            f"{excerpt(key)} from {_quoted(saved.get(key))} to {_quoted(now.get(key))}"
            for key in {**now, **saved}
            if saved.get(key) != now.get(key)
        )


def unwrap(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what other programs put around it, and {} if it has no content.

    `meltano state get` prints it under `singer_state`, a STATE message has it under `value`, and `currently_syncing` alone is
    what some tools save before the first bookmark.
    """
    for name in ("singer_state", "value"):
        inner = state.get(name)
        if "bookmarks" not in state and isinstance(inner, dict) and "bookmarks" in inner:
            state = inner
    return state if state.keys() - {"currently_syncing"} else {}


def bookmarks_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the state of each stream, in the shape that the SDK relies on.

    Raises:
        StateError: It is not a Singer state, or a stream's part does not have that shape.
    """
    bookmarks = state.get("bookmarks", {} if not state else None)
    if not isinstance(bookmarks, dict) or not all(isinstance(part, dict) for part in bookmarks.values()):
        raise NotSingerStateError
    for name, part in bookmarks.items():
        if not isinstance(part.get("progress_markers", {}), dict):
            raise UnreadableStateError(stream=name, problem="progress_markers is not an object")
        partitions = part.get("partitions", [])
        if not isinstance(partitions, list) or not all(isinstance(each, dict) for each in partitions):
            raise UnreadableStateError(stream=name, problem="partitions is not a list of objects")
    return bookmarks


class Edit(Enum):
    """How `replication_key_value` differs from the one that was saved."""

    NONE = auto()
    SET_BACK = auto()
    """It is earlier: everything since then is read again."""
    SET_FORWARD = auto()
    """It is later or missing: the saved position decides what is new, so that no log is skipped."""


class SavedState(msgspec.Struct):
    """The keys that the bookmark reads, as docs/state.md describes them. Others are ignored.

    Null and absent are the same, except where UNSET is the default.
    """

    query: dict[str, str | None] | None = None
    replication_key: str | None = None
    replication_key_value: str | UnsetType | None = UNSET
    saved_replication_key_value: str | None = None
    start_date: str | UnsetType | None = UNSET
    cursor: str | UnsetType | None = UNSET
    anchor_id: str | None = None
    anchor_created_at: str | None = None
    before_anchor: list[str] | None = None
    logs_before_anchor: Annotated[int, Meta(ge=0)] | UnsetType | None = UNSET
    recent_ids: list[str] | None = None
    streams: list[str] | None = None
    partitions: Any = None

    def __post_init__(self) -> None:
        if self.replication_key not in {None, REPLICATION_KEY}:
            msg = f"replication_key must be {REPLICATION_KEY}"
            raise ValueError(msg)
        if self.partitions:
            msg = "partitions must be empty: this stream is not partitioned"
            raise ValueError(msg)
        for key in (
            "replication_key_value",
            "saved_replication_key_value",
            "start_date",
            "anchor_created_at",
        ):
            value = getattr(self, key)
            if value is not None and value is not UNSET:
                try:
                    parse_timestamp(value)
                except (ValueError, OverflowError):
                    msg = f"{key} must be an ISO 8601 time"
                    raise ValueError(msg) from None

    @property
    def has_records(self) -> bool:
        """Whether it names any record that was read."""
        return bool(self.recent_ids) or (self.anchor_id is not None and self.anchor_created_at is not None)

    @property
    def emitted_nothing(self) -> bool:
        """Whether a run of the same query wrote it without having emitted anything."""
        return self.query is not None and self.replication_key_value is None

    @property
    def edit(self) -> Edit:
        """How `replication_key_value` was edited."""
        if self.query is None:
            return Edit.NONE
        value, saved = self.replication_key_value or None, self.saved_replication_key_value
        if value == saved:
            return Edit.NONE
        if saved is None:
            # An earlier version's state: the greatest `createdAt` emitted is no less than the anchor's.
            saved = self.anchor_created_at
            is_back = value and saved and parse_timestamp(value) < parse_timestamp(saved)
            return Edit.SET_BACK if is_back else Edit.NONE
        is_back = value is not None and parse_timestamp(value) < parse_timestamp(saved)
        return Edit.SET_BACK if is_back else Edit.SET_FORWARD


_RESUME_KEYS = {"query", "cursor", "replication_key_value"}
"""Without any of these, a state does not say where to resume."""

_SDK_KEYS = {"progress_markers", "replication_key", "replication_key_signpost", "starting_replication_value"}
"""Keys that other taps on the SDK write as well; after a run that emitted nothing, these alone."""


def read_state(state: Mapping[str, Any]) -> SavedState:
    """Check the stream's state and return its keys.

    Raises:
        UnreadableStateError: A key is not what it must be, or the state does not say where to resume.
    """
    if not (state.keys() & _RESUME_KEYS) and state.keys() - _SDK_KEYS:
        problem = f"it has none of the keys {', '.join(sorted(_RESUME_KEYS))}, only {excerpt(', '.join(sorted(state)))}"
        raise UnreadableStateError(FIRST_STREAMS[0], problem)
    try:
        saved = msgspec.convert(dict(state), SavedState)
    except msgspec.ValidationError as error:
        raise UnreadableStateError(FIRST_STREAMS[0], _problem(str(error))) from None
    if saved.query is None and saved.cursor and not saved.replication_key_value:
        raise UnreadableStateError(
            FIRST_STREAMS[0], "cursor is unusable without the query that it belongs to"
        )
    return saved


def _problem(text: str) -> str:
    """Return msgspec's message, "Expected `str`, got `int` - at `$.cursor`", beginning with the key."""
    what, _, path = text.partition(" - at ")
    key = re.sub(r"^`\$\.?|`$", "", path)
    return excerpt(f"{key}: {what[:1].lower()}{what[1:]}" if key else what)


def _quoted(value: str | None) -> str:
    return "null" if value is None else f'"{excerpt(value)}"'


def _without_nulls(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}
