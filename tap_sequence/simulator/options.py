"""How the simulated API behaves where its documentation is silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tap_sequence.simulator.cursors import CursorKind
from tap_sequence.simulator.drift import Drift
from tap_sequence.simulator.faults import Fault
from tap_sequence.simulator.logs import LogIds


class EndOfList(StrEnum):
    """What `pagination.after` is on the last page."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY_PAGE = "empty-page"
    """A cursor to an empty page that has none."""


class UnknownCursor(StrEnum):
    """How a cursor is handled that was never issued for the requested list."""

    REFUSE = "refuse"
    FIRST_PAGE = "first-page"
    EMPTY_PAGE = "empty-page"
    RIGHT_PAGE = "right-page"
    """The page after its position; refused if it has no position."""
    ELSEWHERE = "elsewhere"
    """A page from elsewhere in the list: the same one each time, and never the page after the cursor's position."""


class RetryAfter(StrEnum):
    """The form of `Retry-After` in a 429."""

    SECONDS = "seconds"
    DATE = "date"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Options:
    """How the simulated API behaves.

    Attributes:
        seed: Seed of the generated logs.
        cursor_kind: What cursors are made of.
        cursor_key: Secret of opaque cursors. With another one, cursors issued before are unknown.
        end_of_list: What `after` is on the last page.
        unknown_cursor: How a cursor is handled that was never issued.
        log_ids: UUIDv7 (time-ordered) or UUIDv4 (random).
        with_total: Whether pages have a `totalResultSize`.
        latency: Shortest and longest delay of a response, in seconds.
        rate_limit: Requests allowed within `rate_window` seconds; None allows any number.
        rate_window: Seconds.
        retry_after: The form of `Retry-After` in a 429.
        retry_after_seconds: Its value; None means until the window has room again.
        faults: What goes wrong at which request.
        drift: Differences from the documentation.
    """

    seed: int = 1
    cursor_kind: CursorKind = CursorKind.ID
    cursor_key: str = "key"
    end_of_list: EndOfList = EndOfList.ABSENT
    unknown_cursor: UnknownCursor = UnknownCursor.REFUSE
    log_ids: LogIds = LogIds.V7
    with_total: bool = True
    latency: tuple[float, float] = (0.0, 0.0)
    rate_limit: int | None = None
    rate_window: float = 60.0
    retry_after: RetryAfter = RetryAfter.SECONDS
    retry_after_seconds: int | None = None
    faults: Sequence[Fault] = ()
    drift: Sequence[Drift] = ()
