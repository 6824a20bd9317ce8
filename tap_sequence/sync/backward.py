"""What a backward walk emits, where it ends, and what the bookmark has to remember of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from tap_sequence.sync.bookmark import BEFORE_ANCHOR, Anchor, Bookmark
from tap_sequence.sync.models import Page, Record


class BackwardScan:
    """What a backward walk emits, and where it ends.

    Where the state names logs that all is done with before, their place in the list decides: what is unknown and newer
    is new, and the walk ends there. Otherwise the time of creation has to do.

    Args:
        goal: Ids of the anchor and of logs before it.
        since: Without a goal, logs created before this, in microseconds since 1970, are new only if a known one stands
            behind them.
        read_on_to: Without a goal, the walk ends after a whole page older than this.
    """

    def __init__(self, goal: Collection[str] = (), *, since: int = 0, read_on_to: int = 0) -> None:
        self.has_met_goal = False
        self.is_complete = False
        """Whether all that is new was met."""
        self.has_come_back = False
        """Whether the last page ended where this walk was before."""
        self.read = 0
        """Logs read so far."""
        self.goes_by_time = not goal and since > 0
        """Whether the walk ends at a time."""
        self._goal = goal
        self._since = since
        self._read_on_to = read_on_to
        self._undecided: list[Record] = []
        self._has_met_known = False
        # Enough to notice a cursor that includes its own log, or one answered with the first page.
        self._first: set[str] = set()
        self._last: deque[set[str]] = deque(maxlen=10)

    def new(self, records: Sequence[Record], knows: Callable[[str], bool]) -> list[Record]:
        """Return which logs are new by what is known so far, given the next page, newest first."""
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
        """Whether a log was on one of the last pages."""
        return any(record_id in ids for ids in self._last)

    def is_complete_with(self, page: Page) -> bool:
        """Whether all that is new was met with this page, which `new` was given last, or before."""
        is_older = bool(page.records) and all(record.created_at < self._read_on_to for record in page.records)
        is_past_bound = not self._goal and is_older and not self._has_met_known
        self.is_complete = self.is_complete or self.has_met_goal or is_past_bound
        return self.is_complete


_FIRST_IDS = 10_000


class Stretch:
    """The newest logs that a backward walk read: what the bookmark has to remember, and a cursor to try."""

    def __init__(self, bookmark: Bookmark, plan: BackwardScan) -> None:
        self._bookmark = bookmark
        self._plan = plan
        self._newest_first: list[Record] = []
        self._ids: set[str] = set()
        self._youngest = bookmark.latest or 0
        self._goal = bookmark.settled_ids
        self._goal_at: int | None = None
        self._beyond: list[str] = []
        self._behind_cursor = 0
        self._is_whole_list = False
        self.has_cursor = False
        self.cursor: str | None = None
        """An `after` for which all is settled from the log that a forward walk from it would bring first."""

    def add(self, page: Page) -> None:
        """Take the next page, newest first."""
        if not page.records:
            return
        self._youngest = max(self._youngest, *(record.created_at for record in page.records))
        if self.has_cursor:
            self._beyond += [record.id for record in page.records][: BEFORE_ANCHOR - len(self._beyond)]
            # Beyond the cursor's page only stragglers within the lookback matter.
            bound = self._youngest - self._bookmark.lookback
            self._newest_first.extend(record for record in page.records if record.created_at >= bound)
            return
        self._newest_first.extend(record for record in page.records if record.id not in self._ids)
        self._ids.update(record.id for record in page.records)
        if self._goal_at is None:
            places = (place for place, record in enumerate(self._newest_first) if record.id in self._goal)
            self._goal_at = next(places, None)
        # The cursor stands for the page's last log, and leads to the one before it, which is to be the anchor.
        if page.after is not None and len(self._newest_first) > 1 and self._is_settled(page):
            self.has_cursor = True
            self.cursor = page.after
            self._behind_cursor = len(self._newest_first) - 1

    def _is_settled(self, page: Page) -> bool:
        *_, above, last = self._newest_first
        if self._plan.has_met_goal:
            # From the anchor down all is settled, so the cursor has to lead to it or to what is before it.
            return self._goal_at is not None and self._goal_at < len(self._newest_first) - 1
        return self._bookmark.is_page_settled(page.records, page.asked_at) and all(
            self._bookmark.is_settled(record, page.asked_at) for record in (above, last)
        )

    def reached_start(self) -> None:
        """The list has no older log."""
        self._is_whole_list = True

    def listed(self) -> int | None:
        """Return how many logs the list has, as far as is known."""
        if self._is_whole_list:
            return self._plan.read
        before, anchor = self._bookmark.logs_before_anchor, self._bookmark.anchor
        if before is None or anchor is None or self._goal_at is None:
            return None
        is_anchor = self._newest_first[self._goal_at].id == anchor.id
        return before + self._goal_at + 1 if is_anchor else None

    def from_anchor_on(self) -> int:
        """Return how many logs were read from `anchor` on."""
        if self.has_cursor:
            return self._behind_cursor
        return len(self._newest_first) if self._is_whole_list or self._goal_at is None else self._goal_at + 1

    def anchor(self) -> Anchor | None:
        """Return where the next run may stop; None if all of the list is known."""
        if self.has_cursor:
            return Anchor.at(self._newest_first[self._behind_cursor - 1])
        if self._is_whole_list or self._goal_at is None:
            return None
        return Anchor.at(self._newest_first[self._goal_at])

    def before_anchor(self) -> list[str]:
        """Return ids from before the anchor, the nearest last."""
        if self.anchor() is None:
            return []
        if self.has_cursor:
            # The log that the cursor stands for, and what was read after its page.
            read = [self._newest_first[self._behind_cursor].id, *self._beyond]
        else:
            assert self._goal_at is not None  # noqa: S101  # it is the anchor
            read = [record.id for record in self._newest_first[self._goal_at + 1 :]]
        # Those that the state named before come last: some may not be there any more.
        known = [
            record_id for record_id in reversed(self._bookmark.before_anchor) if record_id not in self._ids
        ]
        return list(dict.fromkeys([*read, *known]))[:BEFORE_ANCHOR][::-1]

    def records(self) -> list[Record]:
        """Return what was kept, oldest first."""
        return self._newest_first[::-1]

    def behind_cursor(self) -> list[Record]:
        """Return the logs that a forward walk from `cursor` has to bring first, oldest first."""
        return self._newest_first[: self._behind_cursor][::-1]
