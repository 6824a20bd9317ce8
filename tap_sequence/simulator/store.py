"""The simulated account's logs, in order; their number grows with time or when a test says so."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from tap_sequence.simulator.logs import LogIds, LogKey, make_key, make_log

_SECOND = 1_000_000
_HOUR = 3600 * _SECOND

Position: TypeAlias = tuple[int, str]
"""A log's place in the order of the list. The first part is a time, or 0 if the id alone decides."""

# Time slots of a group of ten logs: three share one slot, and so one millisecond.
_SLOTS_OF_GROUP = (0, 1, 2, 3, 4, 5, 6, 6, 6, 7)
_GROUP = len(_SLOTS_OF_GROUP)
_SLOTS = _SLOTS_OF_GROUP[-1] + 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """When logs happen: one every few seconds, some of them in one millisecond.

    Attributes:
        origin: Time of log 0, in microseconds since 1970.
        step: Microseconds between two slots.
    """

    origin: int
    step: int = 5 * _SECOND

    def moment(self, index: int) -> int:
        """Return when log `index` happens, in microseconds since 1970."""
        group, member = divmod(index, _GROUP)
        slot = group * _SLOTS + _SLOTS_OF_GROUP[member]
        # A jitter of up to half a step that is the same for all logs of a slot; they differ in microseconds, by less
        # than one millisecond.
        jitter = slot * 7_919_123 % max(1, self.step // 2000) * 1000
        return self.origin + slot * self.step + jitter + member * 97

    def is_crowded(self, index: int) -> bool:
        """Return whether the log shares its millisecond with others."""
        return _SLOTS_OF_GROUP.count(_SLOTS_OF_GROUP[index % _GROUP]) > 1

    def first_after(self, moment: int) -> int:
        """Return the index of the first log that happens after `moment`."""
        index = max(0, (moment - self.origin) // (self.step * _SLOTS)) * _GROUP
        while self.moment(index) <= moment:
            index += 1
        return index


@dataclass(frozen=True, slots=True)
class Filters:
    """The API's two filters; None accepts everything."""

    object_id: str | None = None
    object_entity_id: str | None = None

    def accept(self, log: dict[str, Any]) -> bool:
        """Return whether any item of the log is about the requested object."""
        objects = [item["activityLogObject"] for item in log["activityLogItems"]]
        return all(
            wanted is None or any(thing.get(key) == wanted for thing in objects)
            for key, wanted in (("id", self.object_id), ("entityId", self.object_entity_id))
        )


class LogStore:
    """The logs that are visible now, in the API's ascending order. Safe to use from several threads.

    Args:
        seed: Seed of the generated logs.
        timeline: When logs happen.
        log_ids: The version of their UUIDs.
        order_by_id: Whether the list is ordered by id alone, as an API with plain id cursors over UUIDv7 would.
    """

    def __init__(self, seed: int, timeline: Timeline, *, log_ids: LogIds, order_by_id: bool) -> None:
        self._seed = seed
        self._timeline = timeline
        self._log_ids = log_ids
        self.order_by_id = order_by_id
        self._lock = threading.RLock()
        self._positions: list[Position] = []
        self._keys: dict[str, LogKey] = {}
        self._next_index = 0
        self._next_extra_index = -1
        self._bodies: dict[str, bytes] = {}
        self._places_left: dict[str, Position] = {}

    def __len__(self) -> int:
        return len(self._positions)

    def grow(self, count: int) -> list[str]:
        """Add the next `count` logs of the timeline; return their ids."""
        with self._lock:
            indices = range(self._next_index, self._next_index + count)
            self._next_index += count
            return self._add_from_timeline(indices)

    def add_at(self, moments: Sequence[int], *, disorder: int = 0) -> list[str]:
        """Add one log for each of `moments` (microseconds since 1970), wherever they fall; return their ids.

        Every other one was created `disorder` microseconds before its moment. A list ordered by UUIDv7 is then a
        little out of order in `createdAt`.
        """
        with self._lock:
            # The timeline's indices are not negative, so these are unique.
            first = self._next_extra_index
            self._next_extra_index -= len(moments)
            indices = range(first, self._next_extra_index, -1)
            return self._add(
                [
                    (index, moment, moment - disorder * (index % 2))
                    for index, moment in zip(indices, moments, strict=True)
                ]
            )

    def show_window(self, start: int, end: int) -> None:
        """Hold exactly the logs of the timeline that happen after `start` and up to `end`."""
        with self._lock:
            first, last = self._timeline.first_after(start), self._timeline.first_after(end)
            self._add_from_timeline(range(max(first, self._next_index), last))
            self._next_index = max(self._next_index, last)
            for key in [key for key in self._keys.values() if key.index < first]:
                self.remove(key.id)
                self._places_left[key.id] = self._position(key)

    def remove(self, log_id: str) -> None:
        """Delete a log."""
        with self._lock:
            position = self.position_of(log_id)
            assert position is not None  # noqa: S101  # the log exists
            del self._positions[bisect.bisect_left(self._positions, position)]
            del self._keys[log_id]
            self._bodies.pop(log_id, None)

    def _add(self, logs: Sequence[tuple[int, int, int | None]]) -> list[str]:
        """Add logs, each given by its index, its moment and, if it is to be exact, its `createdAt`."""
        ids = []
        for index, moment, created_at in logs:
            key = make_key(self._seed, index, moment, log_ids=self._log_ids, created_at=created_at)
            self._keys[key.id] = key
            bisect.insort(self._positions, self._position(key))
            ids.append(key.id)
        return ids

    def _add_from_timeline(self, indices: Iterable[int]) -> list[str]:
        moments = [(index, self._timeline.moment(index)) for index in indices]
        # Truncated to fewer digits, logs of one millisecond would no longer differ.
        return self._add(
            [
                (index, moment, moment if self._timeline.is_crowded(index) else None)
                for index, moment in moments
            ]
        )

    def _position(self, key: LogKey) -> Position:
        return self.position_for(key.created_at, key.id)

    def position_of(self, log_id: str) -> Position | None:
        """Return a log's position, or None if there is none with this id."""
        key = self._keys.get(log_id)
        return None if key is None else self._position(key)

    def place_left_by(self, log_id: str) -> Position | None:
        """Return the former position of a log that the window has moved past: a cursor that points there continues to work."""
        return self._places_left.get(log_id)

    def position_for(self, created_at: int, log_id: str) -> Position:
        """Return the position of a log with this time and id."""
        return (0 if self.order_by_id else created_at, log_id)

    def key_of(self, log_id: str) -> LogKey:
        """Return a log's key."""
        return self._keys[log_id]

    def body(self, log_id: str) -> bytes:
        """Return a log as JSON."""
        body = self._bodies.get(log_id)
        if body is None:
            body = self._bodies[log_id] = msgspec.json.encode(make_log(self._seed, self._keys[log_id]))
        return body

    def log(self, log_id: str) -> dict[str, Any]:
        """Return a log as a dictionary."""
        value: dict[str, Any] = msgspec.json.decode(self.body(log_id))
        return value

    def logs(self) -> list[dict[str, Any]]:
        """Return all logs in ascending order."""
        with self._lock:
            return [self.log(log_id) for _, log_id in self._positions]

    def ids(self) -> list[str]:
        """Return all ids in ascending order."""
        with self._lock:
            return [log_id for _, log_id in self._positions]

    def positions(self, filters: Filters) -> Sequence[Position]:
        """Return the positions of the logs that the filters accept, in ascending order."""
        with self._lock:
            if filters == Filters():
                return self._positions
            return [position for position in self._positions if filters.accept(self.log(position[1]))]

    def locked(self) -> threading.RLock:
        """Return the lock that keeps the logs as they are."""
        return self._lock


def demo_window(now: int) -> tuple[int, int]:
    """Return the time window of the demo account, in microseconds: from two hours before the full hour until now."""
    return now - now % _HOUR - 2 * _HOUR, now
