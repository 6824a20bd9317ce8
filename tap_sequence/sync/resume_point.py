"""Where the run after a backward walk may resume, and what it must know for that."""

from __future__ import annotations

from tap_sequence.sync.backward_scan import BackwardScan
from tap_sequence.sync.bookmark import Bookmark
from tap_sequence.sync.models import Page, Record
from tap_sequence.sync.position import BEFORE_ANCHOR, Anchor, Position


class ResumePoint:
    """Keeps the newest records of a backward walk until it finds a page whose cursor may serve the next forward walk.

    Args:
        bookmark: Where the runs before ended.
        scan: The walk's scan, which sees each page before `add` does.
    """

    def __init__(self, bookmark: Bookmark, scan: BackwardScan) -> None:
        self.cursor: str | None = None
        """A candidate: an `after` whose forward walk starts with a record that nothing new can precede."""
        self._bookmark = bookmark
        self._scan = scan
        self._newest_first: list[Record] = []
        self._ids: set[str] = set()
        self._youngest = bookmark.latest or 0
        self._goal = bookmark.position.settled_ids
        self._goal_at: int | None = None
        self._after_cursor: list[str] = []
        self._before_cursor = 0
        self._is_whole_list = False

    def add(self, page: Page) -> None:
        """Add the next page, newest first."""
        if not page.records:
            return
        self._youngest = max(self._youngest, *(record.created_at for record in page.records))
        if self.cursor is not None:
            self._after_cursor += page.ids()
            del self._after_cursor[BEFORE_ANCHOR:]
            # After the cursor's page only records within the lookback matter.
            bound = self._youngest - self._bookmark.lookback
            self._newest_first += (record for record in page.records if record.created_at >= bound)
            return
        for record in page.records:
            if record.id not in self._ids:
                if self._goal_at is None and record.id in self._goal:
                    self._goal_at = len(self._newest_first)
                self._newest_first.append(record)
        self._ids.update(page.ids())
        # A cursor excludes its page's last record: a forward walk starts with the one before it, the anchor to be.
        if page.after is not None and len(self._newest_first) > 1 and self._is_settled(page):
            self.cursor = page.after
            self._before_cursor = len(self._newest_first) - 1

    def _is_settled(self, page: Page) -> bool:
        *_, above, last = self._newest_first
        if self._scan.has_met_goal:
            # Everything from the anchor down is settled, so the cursor has to lead to it or to a record before it.
            return self._goal_at is not None and self._goal_at < len(self._newest_first) - 1
        return self._bookmark.is_page_settled(page.records, page.asked_at) and all(
            self._bookmark.is_settled(record, page.asked_at) for record in (above, last)
        )

    def reached_start(self) -> None:
        """The list has no older record."""
        self._is_whole_list = True

    def listed(self) -> int | None:
        """Return how many records the list has, if that is known."""
        if self._is_whole_list:
            return self._scan.read
        before, anchor = self._bookmark.position.records_before, self._bookmark.position.anchor
        if before is None or anchor is None or self._goal_at is None:
            return None
        is_anchor = self._newest_first[self._goal_at].id == anchor.id
        return before + self._goal_at + 1 if is_anchor else None

    def position(self, total: int | None) -> Position:
        """Return where the next run may stop; without an anchor if all of the list is known.

        Args:
            total: `totalResultSize`, if known.
        """
        if self.cursor is not None:
            from_anchor_on = self._before_cursor
        elif self._is_whole_list or self._goal_at is None:
            from_anchor_on = len(self._newest_first)
        else:
            from_anchor_on = self._goal_at + 1
        count = None if total is None else max(0, total - from_anchor_on)
        if self.cursor is None and (self._is_whole_list or self._goal_at is None):
            return Position(records_before=count)
        anchor = self._newest_first[from_anchor_on - 1]
        if self.cursor is not None:
            # The record that the cursor excludes, and what was read after its page.
            read = [self._newest_first[from_anchor_on].id, *self._after_cursor]
        else:
            read = [record.id for record in self._newest_first[from_anchor_on:]]
        # Those that the state named before come last: some may have left the list.
        known = [each for each in reversed(self._bookmark.position.before_anchor) if each not in self._ids]
        before_anchor = tuple(list(dict.fromkeys([*read, *known]))[:BEFORE_ANCHOR][::-1])
        return Position(None, Anchor.at(anchor), before_anchor, count)

    def records(self) -> list[Record]:
        """Return what was kept, oldest first."""
        return self._newest_first[::-1]

    def is_reached_by(self, page: Page) -> bool:
        """Whether the response to `cursor` in ascending order begins with exactly the records that should follow."""
        found = list(page.ids())
        expected = [record.id for record in self._newest_first[: self._before_cursor]][::-1]
        common = min(len(found), len(expected))
        is_cut_short = len(found) < len(expected) and page.after is None
        return common > 0 and found[:common] == expected[:common] and not is_cut_short
