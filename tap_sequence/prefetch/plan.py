"""The ordered read-ahead: a forward walk that is at several places of the list at once.

Plain Python: it plans which pages to ask for and puts the answers in order, and knows neither HTTP nor threads
(tap_sequence/prefetch/pool.py has them).

A *chain* is a row of pages, each but its first asked for by the `after` of the one before. The *front* is the chain
that goes on from what was handed out last. Any other begins with a *hint*, a guessed cursor for a later moment: what
came back is real logs, but nothing tells yet that none is missing before them. A chain *meets* the next one when it
arrives at its first log. From then on the two are one row, in which every page follows on the one before by the API's
own word. A chain that walks past the next one without meeting it drops it. So a wrong hint costs requests, never a log.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import dropwhile, islice, pairwise
from operator import ne
from statistics import median

from tap_sequence.errors import BadRequestError
from tap_sequence.prefetch.cursor_guess import CursorGuesses, Position
from tap_sequence.sync.models import Page, PageRequest, SortOrder

MAX_HELD_BYTES = 12 * 2**20
"""Most bytes of answers to hold until it is their turn. Decoded, they take three times as much."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """When to make hints, in pages.

    Attributes:
        longest: From one hint to the next. Where two chains meet, half a page on average is read twice.
        first: The same for the first hint, of which nobody knows yet whether the API honours it.
        shortest: A stretch of less than twice this is not split: that would cost more requests than it saves time.
        before: What to read first where nothing tells how many logs there are to come: most runs find a few, and a hint
            would be half of their requests.
    """

    longest: int = 24
    first: int = 10
    shortest: int = 4
    before: int = 10


_PAGES_OF_DENSITY = 5
_NEXT_MILLISECOND = 1_000


@dataclass(eq=False, slots=True)
class _Segment:
    """A row of pages.

    Attributes:
        begins_at: Where its first log stands; of a hint under way, what was guessed.
        nothing_from: From where on there is nothing before its first log, as far as hints have told.
        cursor: What to ask for next.
        known: How many of its first logs stand on the page on which the chain before has met it.
        pages: Pages that wait for their turn.
        logs: How many logs are on them.
        first_id: Id of its first log.
        first_ids: Ids of its first page.
        last_ids: Ids of its last page, and of the last log before it.
        ends_at: Where its last log stands.
        densities: Logs in a microsecond, on each of its last pages.
        is_asked: Whether a request of it is under way.
        has_met: Whether it is complete: the next chain goes on from here.
        is_end: Whether it is complete: the list ends here.
        is_dropped: Whether nobody waits for it any more.
        is_stuck: Whether its next page could not be read, before it was the front.
        error: The same of the front: the end of the walk.
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
    def can_go_on(self) -> bool:
        is_done = self.is_joined or self.is_end or self.is_stuck or self.error is not None
        return self.cursor is not None and not self.is_asked and not is_done

    @property
    def pages_to_come(self) -> int:
        """How many pages will be handed out."""
        known, pages = self.known, len(self.pages)
        for page in self.pages:
            if not known or known < len(page.records):
                break
            known -= len(page.records)
            pages -= 1
        return pages

    def ids(self) -> Iterator[str]:
        return (record_id for page in self.pages for record_id in page.ids())


@dataclass(eq=False, frozen=True, slots=True)
class Task:
    """A page to ask for.

    Attributes:
        request: The page.
        chain: Whose page it is.
    """

    request: PageRequest
    segment: _Segment

    @property
    def is_guess(self) -> bool:
        """Whether its cursor is a guess: all that the walk can do without."""
        return self.request.is_optional

    @property
    def is_front(self) -> bool:
        """Whether the walk cannot go on without it: only there its page's number is known."""
        return self.request.number is not None


class PrefetchPlan:
    """Plans what to ask for, and hands out the pages in the order of the list. Not thread-safe.

    Args:
        page: The page behind which it begins; it has logs and an `after`.
        returned: How many logs of the list come before that page's end, if that is known.
        hints: How to guess cursors.
        page_size: How many logs a full page has.
        max_in_flight_requests: Most requests under way at once.
        max_held_bytes: Most bytes of answers to hold.
        lengths: When to make hints.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        page: Page,
        returned: int | None,
        *,
        guesses: CursorGuesses,
        page_size: int,
        max_in_flight_requests: int,
        max_held_bytes: int = MAX_HELD_BYTES,
        lengths: Lengths = Lengths(),
    ) -> None:
        self.guesses = guesses
        """How to guess cursors, and why none is guessed any more."""
        self._lengths = lengths
        self._returned = returned
        self._page_size = page_size
        self._max_in_flight = max_in_flight_requests
        self._max_held_bytes = max_held_bytes
        self._in_flight = 0
        self._read = 0
        self.held_bytes = 0
        """Bytes of the answers that wait for their turn."""
        self._page_bytes = 1
        self._total: int | None = None
        self._asked_at = 0
        self._end: float = math.inf
        self._segment_pages = self._lengths.first
        self._segments: deque[_Segment] = deque([_Segment()])
        self._append(self._segments[0], page)
        self._take_next()

    # Handing out

    def take(self) -> Page | None:
        """Return the next page of the list, or None as long as it is not there.

        Raises:
            Exception: What the request for it failed with.
        """
        while True:
            front = self._segments[0]
            if front.pages:
                return self._take_next()
            if not front.is_joined:
                if front.error is not None:
                    raise front.error
                return None
            self._segments.popleft()
            self._pass_over_known(self._segments[0])

    def _pass_over_known(self, segment: _Segment) -> None:
        """Let go of the logs that the page had on which the chain before met this one."""
        while segment.known:
            page = segment.pages.popleft()
            passed = min(segment.known, len(page.records))
            segment.known -= passed
            segment.records -= passed
            if passed < len(page.records):
                segment.pages.appendleft(replace(page, records=page.records[passed:]))
            else:
                self.held_bytes -= page.size

    def _take_next(self) -> Page:
        page = self._segments[0].pages.popleft()
        self._segments[0].records -= len(page.records)
        self.held_bytes -= page.size
        if self._returned is not None:
            self._returned += len(page.records)
        return page

    # Asking

    def next_task(self, number: int) -> Task | None:
        """Return a page to ask for now, or None if nothing is to be asked for before an answer came or a page was taken.

        Args:
            number: The number that the walk gives to the page that `take` will return next.
        """
        if self._in_flight >= self._max_in_flight:
            return None
        # Whatever went wrong at the front before it was the front: only now the walk would ask.
        self._front.is_stuck = False
        for rank, segment in enumerate(segment for segment in self._segments if not segment.is_joined):
            if segment.can_go_on and (self._has_room(rank) or self._is_waited_for(segment)):
                place = number + self._pages_to_front() if rank == 0 else None
                return self._ask(segment, PageRequest(SortOrder.ASCENDING, segment.cursor, place))
        return self._ask_guess()

    @property
    def _front(self) -> _Segment:
        return next(segment for segment in self._segments if not segment.is_joined)

    def _is_waited_for(self, segment: _Segment) -> bool:
        return segment is self._segments[0] and not segment.pages

    def _pages_to_front(self) -> int:
        pages = 0
        for segment in self._segments:
            pages += segment.pages_to_come
            if not segment.is_joined:
                break
        return pages

    def _has_room(self, rank: int) -> bool:
        """Whether another page may be held. Of the room, some is kept for chains of a lower rank, nearer to the front.

        Otherwise those behind would use up all of it where more logs than expected lie before them, and leave the front
        to go on alone.
        """
        share = 1 - rank / (2 * self._max_in_flight)
        return self.held_bytes + self._in_flight * self._page_bytes < share * self._max_held_bytes

    def _ask(self, segment: _Segment, request: PageRequest) -> Task:
        segment.is_asked = True
        self._in_flight += 1
        return Task(request, segment)

    def _ask_guess(self) -> Task | None:
        is_length_known = self._returned is not None and self._total is not None
        if not self.guesses.is_possible or (self._read < self._lengths.before and not is_length_known):
            return None
        found = self._best_place() if self.guesses.is_proved else self._first_place()
        if found is None:
            return None
        left, position = found
        cursor = self.guesses.cursor_at(position)
        segment = _Segment(begins_at=position, nothing_from=position)
        self._segments.insert(self._segments.index(left) + 1, segment)
        return self._ask(segment, PageRequest(SortOrder.ASCENDING, cursor, None, is_optional=True))

    def _first_place(self) -> tuple[_Segment, Position] | None:
        """Return where to begin as long as nobody knows what hints are good for: soon to be met, and only as needed."""
        front, gap = next(self._gaps())
        is_needed = (
            gap >= self._lengths.first + self._lengths.shortest and len(self._segments) < self._max_in_flight
        )
        is_under_way = any(segment.first_id is None for segment in self._segments)
        return self._place(front, self._lengths.first) if is_needed and not is_under_way else None

    def _best_place(self) -> tuple[_Segment, Position] | None:
        """Return behind which chain to begin another one, and where."""
        window = self._max_held_bytes / self._page_bytes
        length = min(self._segment_pages, max(self._lengths.shortest, window / self._max_in_flight))
        best: tuple[float, _Segment] | None = None
        distance, rank = 0.0, 0
        for segment, gap in self._gaps():
            distance += len(segment.pages)
            rank += not segment.is_joined
            pages = min(gap / 2, length)
            if (
                pages >= self._lengths.shortest
                and distance + pages <= window
                and self._has_room(rank)
                and (best is None or pages > best[0])
            ):
                best = pages, segment
            distance += gap
        return best and self._place(best[1], best[0])

    def _place(self, left: _Segment, pages: float) -> tuple[_Segment, Position] | None:
        """Return where so many pages behind a chain will have been read, if that is before the next one."""
        assert left.ends_at is not None  # noqa: S101  # it has a gap
        position = left.ends_at + pages * self._page_size / median(left.densities)
        end = self._horizon
        if left is not self._segments[-1]:
            right = self._segments[self._segments.index(left) + 1]
            assert right.nothing_from is not None  # noqa: S101  # hints have a position
            end = right.nothing_from
            position = min(position, (left.ends_at + end) / 2)
        position = max(position, left.ends_at + _NEXT_MILLISECOND)
        return (left, int(position)) if position < end else None

    @property
    def _horizon(self) -> float:
        """Where the list ends at the latest: now, or where a hint found nothing."""
        return min(self._asked_at, self._end)

    def _gaps(self) -> Iterator[tuple[_Segment, float]]:
        """Yield each chain with how many pages are to be expected between its last and the next chain."""
        known = self._returned
        for segment, right in [*pairwise(self._segments), (self._segments[-1], None)]:
            if known is not None:
                known += segment.records - segment.known
            records = 0.0
            if not (segment.is_joined or segment.is_end or segment.ends_at is None or not segment.densities):
                if right is not None:
                    records = self._logs_between(segment, right)
                else:
                    records = max(0, self._horizon - segment.ends_at) * median(segment.densities)
                    if known is not None and self._total is not None:
                        records = min(records, max(0, self._total - known))
            if known is not None:
                known += round(records)
            yield segment, records / self._page_size

    @staticmethod
    def _logs_between(left: _Segment, right: _Segment) -> float:
        assert left.ends_at is not None and right.nothing_from is not None  # noqa: S101, PT018  # hints have a position
        density = median(left.densities)
        if right.densities:
            density = (density + median(right.densities)) / 2
        return max(0, right.nothing_from - left.ends_at) * density

    # Answers

    def answered(self, task: Task, page: Page) -> None:
        """Take the page that a task brought."""
        self._returned_from(task)
        segment = task.segment
        if segment.is_dropped:
            return
        if task.is_guess and not self._is_of_use(segment, page):
            self._drop(segment)
            return
        self._read += 1
        self.guesses.read()
        self._append(segment, page)
        self._look_right(segment)

    def failed(self, task: Task, error: Exception) -> None:
        """Take note that a task failed for good."""
        self._returned_from(task)
        if task.is_guess:
            if isinstance(error, BadRequestError):
                self.guesses.stop("the API refuses them")
            else:
                self.guesses.wasted("requests for them fail")
            if not task.segment.is_dropped:
                self._drop(task.segment)
        elif task.is_front:
            task.segment.error = error
        else:
            # The walk itself asks once more when it gets there, and an error then says which page it is.
            task.segment.is_stuck = True

    def _returned_from(self, task: Task) -> None:
        self._in_flight -= 1
        task.segment.is_asked = False

    def _append(self, segment: _Segment, page: Page) -> None:
        segment.cursor = page.after
        segment.is_end = page.after is None
        segment.pages.append(page)
        segment.records += len(page.records)
        self.held_bytes += page.size
        if page.total is not None:
            self._total = page.total
        self._asked_at = max(self._asked_at, page.asked_at)
        if not page.records:
            return
        self._page_bytes = max(self._page_bytes, page.size)
        self.guesses.learn(page.after, page.records[-1])
        first, last = self.guesses.position(page.records[0]), self.guesses.position(page.records[-1])
        segment.last_ids = [*segment.last_ids[-1:], *page.ids()]
        segment.ends_at = last
        if first is not None and last is not None:
            segment.densities.append(len(page.records) / max(last - first, _NEXT_MILLISECOND))
        if segment.first_id is None:
            segment.first_id = page.records[0].id
            segment.first_ids = frozenset(record.id for record in page.records)
            segment.begins_at = segment.nothing_from = first

    def _is_of_use(self, segment: _Segment, page: Page) -> bool:
        """Whether what a hint brought can be met by the chain before, and is nowhere else."""
        assert segment.begins_at is not None  # noqa: S101  # a hint has a position
        guessed = segment.begins_at
        left, right = self._left_of(segment), self._right_of(segment)
        first = self.guesses.position(page.records[0]) if page.records else None
        if not page.records:
            if not self.guesses.is_proved:
                self.guesses.stop("the API answers them with an empty page")
            self.guesses.wasted("too many lie behind the end of the list")
            if page.after is None:
                self._end = min(self._end, guessed)
            return False
        if first is None or first < guessed - _NEXT_MILLISECOND:
            self.guesses.stop("the API answers them with a page from elsewhere")
            return False
        if right is not None and right.begins_at is not None and first >= right.begins_at:
            # There is nothing between the two.
            self.guesses.wasted("too many bring what was read already")
            right.nothing_from = guessed
            return False
        if left.ends_at is not None and first <= left.ends_at:
            self.guesses.wasted("too many come too late")
            return False
        return True

    def _look_right(self, segment: _Segment) -> None:
        """See whether a chain has met the next one, or walked past it."""
        if segment.is_end:
            while self._segments[-1] is not segment:
                self._drop(self._segments[-1])
            return
        page = segment.pages[-1]
        while page.records and (right := self._right_of(segment)) is not None:
            common = list(dropwhile(partial(ne, right.first_id), segment.last_ids))
            if len(common) == 1:
                # The next page tells whether it goes on like that. An id that is listed twice has two places.
                return
            if common:
                if self._join(segment, right, common):
                    return
            elif not self._is_past(page, right):
                return
            self.guesses.wasted("too many bring logs that the walk does not arrive at")
            self._drop(right)

    def _join(self, segment: _Segment, right: _Segment, common: list[str]) -> bool:
        """Join two chains, given the logs from the next one's first log on; False if they are not the same there."""
        if list(islice(right.ids(), len(common))) != common:
            return False
        if right.is_end and right.records == len(common):
            # The chain's own `after` says more: the list has grown meanwhile.
            return False
        segment.is_joined = True
        right.known = len(common)
        for guess in self._between(segment, right):
            self._drop(guess)
        self.guesses.proved()
        self._segment_pages = min(self._lengths.longest, self._segment_pages * 2)
        return True

    def _is_past(self, page: Page, right: _Segment) -> bool:
        """Whether a page begins behind the first log of the next chain, or has others of its first page on it."""
        if not right.first_ids.isdisjoint(page.ids()):
            return True
        first = self.guesses.position(page.records[0])
        return (
            first is not None and right.begins_at is not None and first > right.begins_at + _NEXT_MILLISECOND
        )

    def _drop(self, segment: _Segment) -> None:
        segment.is_dropped = True
        self.held_bytes -= sum(page.size for page in segment.pages)
        self._segments.remove(segment)

    def _between(self, left: _Segment, right: _Segment) -> list[_Segment]:
        return list(islice(self._segments, self._segments.index(left) + 1, self._segments.index(right)))

    def _right_of(self, segment: _Segment) -> _Segment | None:
        """Return the next chain that has logs; between the two may be hints under way."""
        behind = islice(self._segments, self._segments.index(segment) + 1, None)
        return next((each for each in behind if each.first_id is not None), None)

    def _left_of(self, segment: _Segment) -> _Segment:
        """Return the chain with logs before one that began with a hint."""
        before = islice(self._segments, self._segments.index(segment))
        return next(each for each in reversed(list(before)) if each.first_id is not None)
