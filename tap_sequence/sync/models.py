"""The types that pass from the client through the walk to the sink."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from tap_sequence.text.redaction import excerpt


class SortOrder(StrEnum):
    """Orders in which the API can list (`sortOrder`, published OpenAPI)."""

    ASCENDING = "ASC"
    DESCENDING = "DESC"

    @property
    def reverse(self) -> SortOrder:
        """The other order."""
        return SortOrder.DESCENDING if self is SortOrder.ASCENDING else SortOrder.ASCENDING


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for one page.

    Attributes:
        order: Order of the walk; None for a list without a sort order.
        cursor: The `after` to send; None for the first page.
        number: The page's number in its walk, from 1; for messages. None if it is not known yet.
        is_optional: Whether the run can do without the response, so that one attempt is enough: a fault that another
            attempt might fix is a RequestError at once.
        noun: What messages call an entry, unless it is a log.
    """

    order: SortOrder | None
    cursor: str | None
    number: int | None
    is_optional: bool = False
    noun: str | None = None

    def __str__(self) -> str:
        where = "from the start" if self.cursor is None else f"after cursor {excerpt(self.cursor)}"
        which = "a page ahead" if self.number is None else f"page {self.number}"
        entries = f" of {self.noun}s" if self.noun else ""
        order = f"{self.order} " if self.order else ""
        return f"{which}{entries} ({order}{where})"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One entry of the list, such as an activity log.

    Attributes:
        id: Its id.
        created_at: `createdAt` in microseconds since 1970, UTC; 0 in lists that are not read by it.
        created_at_text: `createdAt` as the API wrote it.
        data: The decoded entry; opaque to walk and bookmark.
        differences: How it differs from the documentation (`tap_sequence.api.conform`).
    """

    id: str
    created_at: int
    created_at_text: str
    data: Any
    differences: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One response of the API.

    Attributes:
        records: The records, in the order of the walk.
        after: The cursor of the next page, or None at the end of the list.
        total: `totalResultSize`, if the API gave it.
        asked_at: A time no later than that at which the request was sent, in microseconds since 1970: everything that was
            visible then is on the page. It is the earlier of two clocks, this machine's and the API's (`Date`): one that is
            ahead would shorten the lookback.
        size: Size of the response's body in bytes.
        has_pagination: Whether the API said if there is a next page. If it did not, `after` is None.
    """

    records: tuple[Record, ...]
    after: str | None
    total: int | None
    asked_at: int
    size: int = 0
    has_pagination: bool = True

    def ids(self) -> Iterator[str]:
        """Return the records' ids, in order."""
        return (record.id for record in self.records)


Fetch: TypeAlias = Callable[[PageRequest], Page]
"""Gets one page, or raises a RequestError; BadRequestError if the API refused the request as it is."""


@dataclass(frozen=True, slots=True)
class RecordPage:
    """The records of one page that are to be emitted, in order.

    Call `emitted` right after each of them is written, and `done` after the last: the bookmark then describes exactly what
    was written. A backward walk moves the bookmark only when it is complete, so both do nothing there.

    Attributes:
        records: What to emit.
        read: How many records the page has.
        seen: How many of those were emitted before.
        total: `totalResultSize`; None if the API does not give it, or if this walk reads only a part of the list.
        emitted: To be called with each record.
        done: To be called when all are emitted.
    """

    records: Sequence[Record]
    read: int
    seen: int
    total: int | None = None
    emitted: Callable[[Record], None] = lambda _: None
    done: Callable[[], None] = lambda: None
