"""The states of a run before, by stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tap_sequence.errors import AirbyteStateError

_STREAMS = "streams"
"""The key of a bookmark that names its streams. Here each stream has a bookmark of its own, so that the key says nothing."""

_MARKS = "__ab_"
"""What the names of marks begin with that Airbyte puts into states."""

NO_CURSOR_STATE = {"__ab_no_cursor_state_message": True}
"""The state of a stream that has been read in full, and has no other state."""


def states_of(given: Any) -> dict[str, dict[str, Any]]:
    """Return the bookmark of each stream that has one.

    Args:
        given: What the file of `--state` holds: a list of states of type STREAM, or nothing.

    Raises:
        AirbyteStateError: It holds something else.
    """
    bookmarks: dict[str, dict[str, Any]] = {}
    for name, content in _stream_states(given):
        # Of several states of a stream, as in a file of all that a run wrote, the last counts.
        bookmarks[name] = {key: value for key, value in content.items() if not key.startswith(_MARKS)}
    return {name: without_streams(bookmark) for name, bookmark in bookmarks.items() if bookmark}


def without_streams(bookmark: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bookmark without the names of its streams, so that bookmarks at the same position are equal."""
    return {key: value for key, value in bookmark.items() if key != _STREAMS}


def with_streams(bookmark: Mapping[str, Any], streams: Sequence[str]) -> dict[str, Any]:
    """Return a bookmark as a run of these streams would have saved it."""
    return {**bookmark, _STREAMS: list(streams)} if "query" in bookmark else dict(bookmark)


def _stream_states(given: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the content of each stream's state."""
    if not given:
        return
    for state in given if isinstance(given, list) else [given]:
        if not isinstance(state, dict):
            msg = "each state must be an object"
            raise AirbyteStateError(msg)
        # A whole message, as it was written.
        content = state["state"] if isinstance(state.get("state"), dict) else state
        kind = content.get("type") or "STREAM"
        shared = content.get("global")
        if kind == "STREAM" and isinstance(content.get("stream"), dict):
            yield _stream_state(content["stream"])
        elif kind == "GLOBAL" and isinstance(shared, dict) and not shared.get("shared_state"):
            streams = shared.get("stream_states") or []
            yield from map(_stream_state, streams if isinstance(streams, list) else [streams])
        else:
            msg = "each state must be of type STREAM, with a stream"
            raise AirbyteStateError(msg)


def _stream_state(state: Any) -> tuple[str, dict[str, Any]]:
    descriptor = state.get("stream_descriptor") if isinstance(state, dict) else None
    name = descriptor.get("name") if isinstance(descriptor, dict) else None
    if not isinstance(name, str):
        msg = "each stream must have a stream_descriptor with a name"
        raise AirbyteStateError(msg)
    content = state.get("stream_state") or {}
    if not isinstance(content, dict):
        msg = "each stream_state must be an object"
        raise AirbyteStateError(msg)
    return name, content
