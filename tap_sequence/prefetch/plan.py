"""The prefetch plan: a forward walk that reads at several places of the list at once.

Plain Python: it decides which pages to ask for and returns them in order (`tap_sequence.prefetch.segments` says how), and
knows neither HTTP nor threads (`tap_sequence.prefetch.pool` does).
"""

from __future__ import annotations

from dataclasses import dataclass

from tap_sequence.errors import BadRequestError
from tap_sequence.prefetch.cursor_guess import CursorGuesses, Position
from tap_sequence.prefetch.guess_planner import DEFAULT_LENGTHS, GuessPlanner, Lengths
from tap_sequence.prefetch.segments import Arrival, Row, Segment
from tap_sequence.sync.models import Page, PageRequest, SortOrder

MAX_HELD_BYTES = 12 * 2**20
"""Maximum size in bytes of the responses held until they are handed out. Decoded, they need three times as much."""


@dataclass(eq=False, frozen=True, slots=True)
class Task:
    """A page to request.

    Attributes:
        request: The page.
        segment: The segment that it continues or begins.
    """

    request: PageRequest
    segment: Segment

    @property
    def is_guess(self) -> bool:
        """Whether its cursor is guessed: the walk can do without only these."""
        return self.request.is_optional

    @property
    def is_front(self) -> bool:
        """Whether the walk needs it next: only then the page's number is known."""
        return self.request.number is not None


class PrefetchPlan:
    """Decides which pages to request, and hands them out in the order of the list. Not thread-safe.

    Nothing is requested ahead before the walk asks for its second page.

    Args:
        cursor: Where the walk begins; None is the start of the list.
        guesses: How to guess cursors.
        page_size: How many records a full page has.
        max_in_flight_requests: Maximum number of requests in flight.
        max_held_bytes: Maximum size of the responses held.
        lengths: When to guess.
    """

    def __init__(  # noqa: PLR0913  # what it is made of, each named
        self,
        cursor: str | None,
        *,
        guesses: CursorGuesses,
        page_size: int,
        max_in_flight_requests: int,
        max_held_bytes: int = MAX_HELD_BYTES,
        lengths: Lengths = DEFAULT_LENGTHS,
    ) -> None:
        self.guesses = guesses
        self.held_bytes = 0
        """Bytes of the responses that wait to be handed out."""
        self._planner = GuessPlanner(
            guesses,
            page_size=page_size,
            max_in_flight_requests=max_in_flight_requests,
            lengths=lengths,
            returned=0 if cursor is None else None,
        )
        self._row = Row([Segment(cursor=cursor)])
        self._max_in_flight = max_in_flight_requests
        self._max_held_bytes = max_held_bytes
        self._page_bytes = 1
        self._in_flight = 0
        # Pages handed out, and the cursor that leads to the next one.
        self._taken = 0
        self._next_cursor = cursor
        self._is_second_wanted = False

    # Handing out

    def take(self, cursor: str | None) -> Page | None:
        """Return the page that a cursor leads to, or None until it is there. The walk follows `after`, page by page.

        Raises:
            Exception: The error of its request.
        """
        if cursor != self._next_cursor:
            msg = "the walk asked for another page than the one that follows"
            raise RuntimeError(msg)
        self._is_second_wanted = self._taken > 0
        while True:
            segment = self._row[0]
            if segment.pages:
                return self._hand_out(segment)
            if not segment.is_joined:
                if segment.error is not None:
                    raise segment.error
                return None
            self._row.popleft()
            self.held_bytes -= self._row[0].remove_known()

    def _hand_out(self, segment: Segment) -> Page:
        page = segment.take()
        self.held_bytes -= page.size
        self._taken += 1
        self._next_cursor = page.after
        self._planner.handed_out(page)
        return page

    # Requests

    def next_task(self) -> Task | None:
        """Return a page to request now; None if there is none until a response arrives or a page is taken."""
        has_first = self._taken > 0 or bool(self._row[0].pages)
        if self._in_flight >= self._max_in_flight or (has_first and not self._is_second_wanted):
            return None
        # A request that failed before its segment was the front may be repeated: only now the walk needs it.
        self._row.front.is_stuck = False
        for rank, segment in enumerate(segment for segment in self._row if not segment.is_joined):
            if segment.can_continue and (self._has_room(rank) or self._is_needed_now(segment)):
                number = self._taken + self._row.pages_to_front + 1 if rank == 0 else None
                return self._ask(segment, PageRequest(SortOrder.ASCENDING, segment.cursor, number))
        return self._guess()

    def _is_needed_now(self, segment: Segment) -> bool:
        return segment is self._row[0] and not segment.pages

    def _has_room(self, rank: int) -> bool:
        """Whether another page may be held. Some of the room is kept for segments of a lower rank, nearer to the front.

        Otherwise those after them would use all of it if more records than expected come before them, and leave the front
        to continue alone.
        """
        share = 1 - rank / (2 * self._max_in_flight)
        return self.held_bytes + self._in_flight * self._page_bytes < share * self._max_held_bytes

    def _guess(self) -> Task | None:
        place = self._planner.next_place(self._row, self._max_held_bytes / self._page_bytes, self._has_room)
        if place is None:
            return None
        left, position = place
        segment = Segment(begins_at=position, nothing_from=position)
        self._row.insert(self._row.index(left) + 1, segment)
        cursor = self.guesses.cursor_at(position)
        return self._ask(segment, PageRequest(SortOrder.ASCENDING, cursor, None, is_optional=True))

    def _ask(self, segment: Segment, request: PageRequest) -> Task:
        segment.is_asked = True
        self._in_flight += 1
        return Task(request, segment)

    # Responses

    def succeeded(self, task: Task, page: Page) -> None:
        """Take note of the page that a task returned."""
        self._finish(task)
        segment = task.segment
        if segment.is_dropped:
            return
        if task.is_guess and not self._planner.is_useful(segment, page, self._row):
            self._drop(segment)
            return
        self._planner.read(page)
        self.held_bytes += page.size
        first = last = None
        if page.records:
            self._page_bytes = max(self._page_bytes, page.size)
            first, last = self.guesses.position(page.records[0]), self.guesses.position(page.records[-1])
        segment.append(page, first, last)
        if segment.is_end:
            while self._row[-1] is not segment:
                self._drop(self._row[-1])
            return
        if page.records:
            self._look_right(segment, first)

    def _look_right(self, segment: Segment, first: Position | None) -> None:
        """Join the segment to the next one that it arrives at; drop those that it misses.

        Args:
            segment: The segment, with a new page at its end.
            first: Position of that page's first record.
        """
        while (right := self._row.right_of(segment)) is not None:
            match segment.arrive_at(right, first):
                case Arrival.NOT_YET:
                    return
                case Arrival.JOINED:
                    for guess in self._row.between(segment, right):
                        self._drop(guess)
                    self._planner.joined()
                    return
                case Arrival.MISSED:
                    self.guesses.wasted(
                        "too many guessed cursors return records that the walk does not arrive at"
                    )
                    self._drop(right)

    def failed(self, task: Task, error: Exception) -> None:
        """Take note that a task failed for good."""
        self._finish(task)
        if task.is_guess:
            if isinstance(error, BadRequestError):
                self.guesses.stop("the API refuses guessed cursors")
            else:
                self.guesses.wasted("requests with guessed cursors fail")
            if not task.segment.is_dropped:
                self._drop(task.segment)
        elif task.is_front:
            task.segment.error = error
        else:
            # It is requested again when the walk arrives there. An error then names the page.
            task.segment.is_stuck = True

    def _finish(self, task: Task) -> None:
        self._in_flight -= 1
        task.segment.is_asked = False

    def _drop(self, segment: Segment) -> None:
        segment.is_dropped = True
        self.held_bytes -= sum(page.size for page in segment.pages)
        self._row.remove(segment)
