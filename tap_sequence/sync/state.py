"""The state of the stream, as it stands in a file: its keys, their shapes, and what was done to it by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import Any

from tap_sequence.errors import UnreadableStateError
from tap_sequence.sync.timestamps import parse_timestamp

REPLICATION_KEY = "createdAt"


@dataclass(frozen=True, slots=True)
class Query:
    """What a cursor belongs to. A cursor may be bound to all of it, so it is never used for another query.

    Attributes:
        host: Host, port and base path of the API; no scheme, no credentials.
        api_version: The `Sequence-Version` asked for.
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


class Edit(Enum):
    """What was done to `replication_key_value` since it was saved."""

    NONE = auto()
    SET_BACK = auto()
    """It was set back: everything since then is to be read again."""
    SET_FORWARD = auto()
    """It was set forward or removed: the position decides what is new, so that nothing is passed over."""


def edit_of(state: Mapping[str, Any]) -> Edit:
    """Return whether `replication_key_value` differs from the one that was saved with the position beside it."""
    if state.get("query") is None:
        return Edit.NONE
    value, saved = state.get("replication_key_value"), state.get("saved_replication_key_value")
    if value == saved:
        return Edit.NONE
    if saved is None:
        # An earlier version's state: the greatest `createdAt` emitted is no less than the anchor's.
        saved = state.get("anchor_created_at")
        is_back = value and saved and parse_timestamp(value) < parse_timestamp(saved)
        return Edit.SET_BACK if is_back else Edit.NONE
    is_back = value is not None and parse_timestamp(value) < parse_timestamp(saved)
    return Edit.SET_BACK if is_back else Edit.SET_FORWARD


def _without_nulls(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_time(value: Any) -> bool:
    try:
        parse_timestamp(value)
    except (ValueError, AttributeError, TypeError, OverflowError):
        return False
    return True


_SHAPES: Sequence[tuple[str, Callable[[Any], bool], str]] = (
    ("partitions", lambda value: not value, "empty"),
    ("replication_key", lambda value: value is None or value == REPLICATION_KEY, repr(REPLICATION_KEY)),
    ("replication_key_value", lambda value: value is None or _is_time(value), "a time"),
    ("saved_replication_key_value", lambda value: value is None or _is_time(value), "a time or null"),
    ("start_date", lambda value: value is None or _is_time(value), "a time or null"),
    ("cursor", lambda value: value is None or _is_text(value), "text or null"),
    ("anchor_id", lambda value: value is None or _is_text(value), "text or null"),
    ("anchor_created_at", lambda value: value is None or _is_time(value), "a time or null"),
    (
        "query",
        lambda value: (
            value is None
            or (isinstance(value, dict) and all(text is None or _is_text(text) for text in value.values()))
        ),
        "an object of texts",
    ),
    ("recent_ids", lambda value: value is None or _is_texts(value), "a list of texts"),
    ("streams", lambda value: value is None or _is_texts(value), "a list of texts"),
    ("before_anchor", lambda value: value is None or _is_texts(value), "a list of texts"),
    (
        "logs_before_anchor",
        lambda value: value is None or (type(value) is int and value >= 0),
        "a count or null",
    ),
)
"""What each key of the state has to be, where it is there."""


_KEYS = {"replication_key_value", "cursor", "query"}
"""Without any of these, a state says nothing of where to go on."""


_SDK_KEYS = {"progress_markers", "replication_key", "replication_key_signpost", "starting_replication_value"}
"""What other taps on the SDK leave beside them; after a run that got nowhere, these alone."""


def check_shape(state: Mapping[str, Any]) -> None:
    """Check that the keys of a stream's state are of the shapes that they have to be.

    Raises:
        StateError: One is not, or the state says nothing of where to go on.
    """
    problem = next(
        (f"{key} is not {wanted}" for key, fits, wanted in _SHAPES if key in state and not fits(state[key])),
        None,
    )
    if problem is None and not (state.keys() & _KEYS) and state.keys() - _SDK_KEYS:
        problem = f"it has none of the keys {', '.join(sorted(_KEYS))}, only {', '.join(sorted(state))}"
    if (
        problem is None
        and state.get("query") is None
        and state.get("cursor")
        and not state.get("replication_key_value")
    ):
        problem = "cursor is of no use without the query that it belongs to"
    if problem is not None:
        raise UnreadableStateError(stream="activity_logs", problem=problem)
