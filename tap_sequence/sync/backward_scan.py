"""Which records of a backward walk are new, and where the walk may end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from tap_sequence.sync.models import Page, Record

_FIRST_IDS = 10_000


class BackwardScan:
    """Decides page by page, newest first.

    If the state names final records (the goal), their place in the list decides: unknown records before them are new, and
    the walk ends there. Otherwise the time of creation decides.

    Args:
        goal: Ids of the anchor and of records before it.
        since: Without a goal, records created before this, in microseconds since 1970, are new only if a known one follows
            them.
        read_on_to: Without a goal, the walk ends after a whole page older than this.
    """

    def __init__(self, goal: Collection[str] = (), *, since: int = 0, read_on_to: int = 0) -> None:
        self.has_met_goal = False
        self.is_complete = False
        """Whether all new records were read."""
        self.has_come_back = False
        """Whether the last page ended where this walk was before."""
        self.read = 0
        """Records read so far."""
        self.goes_by_time = not goal and since > 0
        """Whether the walk ends at a time."""
        self._goal = goal
        self._since = since
        self._read_on_to = read_on_to
        self._undecided: list[Record] = []
        self._has_met_known = False
        # Enough to detect a cursor that includes its own record, or a response with the first page.
        self._first: set[str] = set()
        self._last: deque[set[str]] = deque(maxlen=10)

    def new(self, records: Sequence[Record], knows: Callable[[str], bool]) -> list[Record]:
        """Return the records that the next page shows to be new, newest first; some may be from earlier pages."""
        result: list[Record] = []
        self._has_met_known = False
        unseen = {
            record.id: record
            for record in records
            if record.id not in self._first and not self.has_read_lately(record.id)
        }
        self.has_come_back = bool(records) and records[-1].id not in unseen
        self.read += len(unseen)
        for record in unseen.values():
            self.has_met_goal = self.has_met_goal or record.id in self._goal
            if record.id in self._goal or knows(record.id):
                if not self.is_complete:
                    result += self._undecided
                self._undecided = []
                self._has_met_known = True
            elif self.has_met_goal:
                continue
            elif self._goal or record.created_at >= self._since:
                result.append(record)
            else:
                self._undecided.append(record)
        self._last.append({record.id for record in records})
        if len(self._first) < _FIRST_IDS:
            self._first |= self._last[-1]
        return result

    def has_read_lately(self, record_id: str) -> bool:
        """Whether a record was on one of the last pages."""
        return any(record_id in ids for ids in self._last)

    def is_complete_with(self, page: Page) -> bool:
        """Whether all new records were read, given the last page that `new` received."""
        is_older = bool(page.records) and all(record.created_at < self._read_on_to for record in page.records)
        is_past_bound = not self._goal and is_older and not self._has_met_known
        self.is_complete = self.is_complete or self.has_met_goal or is_past_bound
        return self.is_complete
