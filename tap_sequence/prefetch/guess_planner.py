"""Where in the list the next guessed cursor should begin, and whether it is worth a request."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tap_sequence.prefetch.cursor_guess import MILLISECOND, CursorGuesses, Position
from tap_sequence.prefetch.segments import Row, Segment
from tap_sequence.sync.models import Page


@dataclass(frozen=True, slots=True)
class Lengths:
    """When to guess, in pages.

    Attributes:
        longest: From one guess to the next. Where two segments join, half a page on average is read twice.
        first: The same for the first guess, until it is known whether the API honours guesses.
        shortest: A gap of less than twice this is not split: that would cost more requests than it saves time.
        before: What to read first if the number of records to come is unknown: most runs find a few, and a guess would be
            half of their requests.
    """

    longest: int = 24
    first: int = 10
    shortest: int = 4
    before: int = 10


DEFAULT_LENGTHS = Lengths()


class GuessPlanner:
    """Places guesses so that all requests in flight are needed, and each segment soon arrives at the next.

    Args:
        guesses: How to guess cursors.
        page_size: How many records a full page has.
        max_in_flight_requests: Maximum number of requests in flight.
        lengths: When to guess.
        returned: How many records of the list come before the walk, if known.
    """

    def __init__(
        self,
        guesses: CursorGuesses,
        *,
        page_size: int,
        max_in_flight_requests: int,
        lengths: Lengths,
        returned: int | None,
    ) -> None:
        self.guesses = guesses
        self._page_size = page_size
        self._max_in_flight = max_in_flight_requests
        self._lengths = lengths
        self._returned = returned
        self._read = 0
        self._total: int | None = None
        self._asked_at = 0
        self._end: float = math.inf
        self._segment_pages = lengths.first

    # Events

    def read(self, page: Page) -> None:
        """A page was read, in any segment."""
        self._read += 1
        self.guesses.read()
        if page.total is not None:
            self._total = page.total
        self._asked_at = max(self._asked_at, page.asked_at)
        if page.records:
            self.guesses.learn(page.after, page.records[-1])

    def handed_out(self, page: Page) -> None:
        """The walk took a page."""
        if self._returned is not None:
            self._returned += len(page.records)

    def joined(self) -> None:
        """A segment has arrived at the one that began with a guess."""
        self.guesses.proved()
        self._segment_pages = min(self._lengths.longest, self._segment_pages * 2)

    def is_useful(self, segment: Segment, page: Page, row: Row) -> bool:
        """Whether the segment before can arrive at the page that a guess returned, and no other segment has it."""
        assert segment.begins_at is not None  # noqa: S101  # a guess has a position
        guessed = segment.begins_at
        left, right = row.left_of(segment), row.right_of(segment)
        first = self.guesses.position(page.records[0]) if page.records else None
        if not page.records:
            if not self.guesses.is_proved:
                self.guesses.stop("the API returns an empty page for a guessed cursor")
            self.guesses.wasted("too many guessed cursors are after the end of the list")
            if page.after is None:
                self._end = min(self._end, guessed)
            return False
        if first is None or first < guessed - MILLISECOND:
            self.guesses.stop("the API returns a page from elsewhere for a guessed cursor")
            return False
        if right is not None and right.begins_at is not None and first >= right.begins_at:
            # There are no records between the two.
            self.guesses.wasted("too many guessed cursors return what was read already")
            right.nothing_from = guessed
            return False
        if left.ends_at is not None and first <= left.ends_at:
            self.guesses.wasted("too many guessed cursors come too late")
            return False
        return True

    # Where to guess next

    def next_place(
        self, row: Row, window: float, has_room: Callable[[int], bool]
    ) -> tuple[Segment, Position] | None:
        """Return after which segment to begin another one, and where; None if no guess is worth a request now.

        Args:
            row: The segments.
            window: How many pages may be held.
            has_room: Whether another page may be held after so many unjoined segments.
        """
        is_length_known = self._returned is not None and self._total is not None
        if not self.guesses.is_possible or (self._read <= self._lengths.before and not is_length_known):
            return None
        return self._best_place(row, window, has_room) if self.guesses.is_proved else self._first_place(row)

    def _first_place(self, row: Row) -> tuple[Segment, Position] | None:
        """Return where to guess until the first guess is proved: soon to be reached, and one guess at a time."""
        front, gap = next(self._gaps(row))
        is_needed = gap >= self._lengths.first + self._lengths.shortest and len(row) < self._max_in_flight
        is_in_flight = any(segment.first_id is None for segment in row)
        return self._place(row, front, self._lengths.first) if is_needed and not is_in_flight else None

    def _best_place(
        self, row: Row, window: float, has_room: Callable[[int], bool]
    ) -> tuple[Segment, Position] | None:
        length = min(self._segment_pages, max(self._lengths.shortest, window / self._max_in_flight))
        best: tuple[float, Segment] | None = None
        distance, rank = 0.0, 0
        for segment, gap in self._gaps(row):
            distance += len(segment.pages)
            rank += not segment.is_joined
            pages = min(gap / 2, length)
            if (
                pages >= self._lengths.shortest
                and distance + pages <= window
                and has_room(rank)
                and (best is None or pages > best[0])
            ):
                best = pages, segment
            distance += gap
        return best and self._place(row, best[1], best[0])

    def _place(self, row: Row, left: Segment, pages: float) -> tuple[Segment, Position] | None:
        """Return the position that many pages after a segment, if that is before the next one."""
        assert left.ends_at is not None  # noqa: S101  # it has a gap
        position = left.ends_at + pages * self._page_size / median(left.densities)
        end = self._horizon
        if left is not row[-1]:
            right = row[row.index(left) + 1]
            assert right.nothing_from is not None  # noqa: S101  # guesses have a position
            end = right.nothing_from
            position = min(position, (left.ends_at + end) / 2)
        position = max(position, left.ends_at + MILLISECOND)
        return (left, int(position)) if position < end else None

    @property
    def _horizon(self) -> float:
        """Where the list ends at the latest: now, or where a guess found nothing."""
        return min(self._asked_at, self._end)

    def _gaps(self, row: Row) -> Iterator[tuple[Segment, float]]:
        """Yield each segment with how many pages to expect between its last record and the next segment."""
        known = self._returned
        for segment, right in [*pairwise(row), (row[-1], None)]:
            if known is not None:
                known += segment.records - segment.known
            records = 0.0
            if not (segment.is_joined or segment.is_end or segment.ends_at is None or not segment.densities):
                if right is not None:
                    records = _records_between(segment, right)
                else:
                    records = max(0, self._horizon - segment.ends_at) * median(segment.densities)
                    if known is not None and self._total is not None:
                        records = min(records, max(0, self._total - known))
            if known is not None:
                known += round(records)
            yield segment, records / self._page_size


def _records_between(left: Segment, right: Segment) -> float:
    assert left.ends_at is not None and right.nothing_from is not None  # noqa: S101, PT018  # guesses have a position
    density = median(left.densities)
    if right.densities:
        density = (density + median(right.densities)) / 2
    return max(0, right.nothing_from - left.ends_at) * density
