"""Segments: rows of pages at several places of the list, and how they become one row.

In a segment, each page but the first was requested with the `after` of the one before. The first segment continues from
what was handed out last. Any other begins with a guessed cursor for a later position: its records are real, but some may be
missing before them. A segment *joins* the next one when it arrives at its first record. From then on the
two are one row, in which every page follows the one before by the API's own `after`. A segment that walks past the next one
without arriving drops it. So a wrong guess costs requests, never a record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from itertools import dropwhile, islice
from operator import ne

from tap_sequence.prefetch.cursor_guess import MILLISECOND, Position
from tap_sequence.sync.models import Page

_PAGES_OF_DENSITY = 5


class Arrival(Enum):
    """How a segment's last page relates to the next segment."""

    NOT_YET = auto()
    """It is before it, as far as is known."""
    JOINED = auto()
    """The two are one row."""
    MISSED = auto()
    """It is after the next one's beginning, or has other records there."""


@dataclass(eq=False, slots=True)
class Segment:
    """A row of pages.

    Attributes:
        begins_at: Position of its first record; while the guess is in flight, the guessed one.
        nothing_from: From where on there is nothing before its first record, as far as guesses have shown.
        cursor: Cursor of its next page.
        known: How many of its first records are also on the page on which the segment before joined it.
        pages: Pages to be handed out.
        records: How many records are on them.
        first_id: Id of its first record; None until its first page has come.
        first_ids: Ids of its first page.
        last_ids: Ids of its last page, and of the last record before it.
        ends_at: Position of its last record.
        densities: Records in a microsecond, on each of its last pages.
        is_asked: Whether a request of it is in flight.
        is_joined: Whether it is complete: the next segment continues it.
        is_end: Whether it is complete: the list ends here.
        is_dropped: Whether it is not needed any more.
        is_stuck: Whether its next page could not be read before it was at the front.
        error: Why its next page could not be read at the front: this ends the walk.
    """

    begins_at: Position | None = None
    nothing_from: Position | None = None
    cursor: str | None = None
    known: int = 0
    pages: deque[Page] = field(default_factory=deque)
    records: int = 0
    first_id: str | None = None
    first_ids: frozenset[str] = frozenset()
    last_ids: Sequence[str] = ()
    ends_at: Position | None = None
    densities: deque[float] = field(default_factory=lambda: deque(maxlen=_PAGES_OF_DENSITY))
    is_asked: bool = False
    is_joined: bool = False
    is_end: bool = False
    is_dropped: bool = False
    is_stuck: bool = False
    error: Exception | None = None

    @property
    def can_continue(self) -> bool:
        """Whether its next page may be requested."""
        return not (self.is_asked or self.is_joined or self.is_end or self.is_stuck or self.error is not None)

    @property
    def pages_to_come(self) -> int:
        """How many of its pages will be handed out."""
        known, pages = self.known, len(self.pages)
        for page in self.pages:
            if not known or known < len(page.records):
                break
            known -= len(page.records)
            pages -= 1
        return pages

    def ids(self) -> Iterator[str]:
        """Return the ids of the records that wait, in order."""
        return (record_id for page in self.pages for record_id in page.ids())

    def append(self, page: Page, first: Position | None, last: Position | None) -> None:
        """Add the next page, given the positions of its first and last record."""
        self.cursor = page.after
        self.is_end = page.after is None
        self.pages.append(page)
        self.records += len(page.records)
        if not page.records:
            return
        self.last_ids = [*self.last_ids[-1:], *page.ids()]
        self.ends_at = last
        if first is not None and last is not None:
            self.densities.append(len(page.records) / max(last - first, MILLISECOND))
        if self.first_id is None:
            self.first_id = page.records[0].id
            self.first_ids = frozenset(page.ids())
            self.begins_at = self.nothing_from = first

    def take(self) -> Page:
        """Remove the first page and return it."""
        page = self.pages.popleft()
        self.records -= len(page.records)
        return page

    def remove_known(self) -> int:
        """Remove the records that the segment before has as well; return the bytes of whole pages that are gone."""
        removed_bytes = 0
        while self.known:
            page = self.pages.popleft()
            passed = min(self.known, len(page.records))
            self.known -= passed
            self.records -= passed
            if passed < len(page.records):
                self.pages.appendleft(replace(page, records=page.records[passed:]))
            else:
                removed_bytes += page.size
        return removed_bytes

    def arrive_at(self, right: Segment, first: Position | None) -> Arrival:
        """Compare its last page with the next segment, and join the two if they are the same from there on.

        Args:
            right: The next segment.
            first: Position of the page's first record.
        """
        common = list(dropwhile(partial(ne, right.first_id), self.last_ids))
        if not common:
            return Arrival.MISSED if self._is_past(right, first) else Arrival.NOT_YET
        if len(common) == 1:
            # The next page decides: an id that is listed twice has two places.
            return Arrival.NOT_YET
        if list(islice(right.ids(), len(common))) != common:
            return Arrival.MISSED
        if right.is_end and right.records == len(common):
            # This segment's own `after` says more: the list has grown meanwhile.
            return Arrival.MISSED
        self.is_joined = True
        right.known = len(common)
        return Arrival.JOINED

    def _is_past(self, right: Segment, first: Position | None) -> bool:
        if not right.first_ids.isdisjoint(self.pages[-1].ids()):
            return True
        return first is not None and right.begins_at is not None and first > right.begins_at + MILLISECOND


class Row(deque[Segment]):
    """All segments, in the order of the list."""

    @property
    def front(self) -> Segment:
        """The first one that is not joined: the walk continues there."""
        return next(segment for segment in self if not segment.is_joined)

    @property
    def pages_to_front(self) -> int:
        """How many pages will be handed out up to the front's end."""
        pages = 0
        for segment in self:
            pages += segment.pages_to_come
            if not segment.is_joined:
                break
        return pages

    def right_of(self, segment: Segment) -> Segment | None:
        """Return the next segment that has records; between the two may be guesses in flight."""
        after = islice(self, self.index(segment) + 1, None)
        return next((each for each in after if each.first_id is not None), None)

    def left_of(self, segment: Segment) -> Segment:
        """Return the segment with records before one that began with a guess."""
        before = list(islice(self, self.index(segment)))
        return next(each for each in reversed(before) if each.first_id is not None)

    def between(self, left: Segment, right: Segment) -> list[Segment]:
        """Return the segments between two others."""
        return list(islice(self, self.index(left) + 1, self.index(right)))
