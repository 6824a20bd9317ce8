"""Guessed cursors for later positions in the list, in the form of the API's own cursors.

The API does not promise to honour a guess, so no result may depend on one: `tap_sequence.prefetch.plan` ensures that. This
module only makes guesses, and decides whether more of them are worth their requests.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from tap_sequence.sync.models import Record

MILLISECOND = 1_000
"""Microseconds in a millisecond: guesses made of ids are no finer."""

_V4, _V7 = 4, 7
_MOST_CREDIT = 4
"""Wasted guesses until guessing pauses. Pages that are read earn more."""

_CREDIT_OF_PAGE = 1 / 50

Position: TypeAlias = int
"""Where in the list a record is, as the time by which the list is ordered: microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class CursorForm:
    """What one kind of cursor is made of.

    Attributes:
        position: Returns where a record is, or None if that is not known.
        cursor_at: Returns the cursor that a record at a position would have.
    """

    position: Callable[[Record], Position | None]
    cursor_at: Callable[[Position], str]


def form_of(after: str, last: Record) -> CursorForm | None:
    """Return what a cursor is made of, or None if it cannot be imitated.

    Two forms are known from the published OpenAPI: base64 of a record's id, a UUIDv7 (this endpoint's example), and base64
    of `uuid#microseconds#ORDER` (sister endpoints' examples).

    Args:
        after: A page's `after`.
        last: The page's last record.
    """
    try:
        text = base64.b64decode(after, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    record_id, *rest = text.split("#")
    version = _version(record_id)
    if _encode(text) != after or version is None:
        return None
    if not rest:
        return CursorForm(_id_time, _id_cursor) if version == _V7 and _id_time(last) is not None else None
    if len(rest) != 2 or rest[0] != str(last.created_at):  # noqa: PLR2004  # the microseconds and the order
        return None
    order = rest[1]
    uuid = _first_uuid_of if version == _V7 else lambda _: str(UUID(int=0, version=_V4))
    return CursorForm(
        lambda record: record.created_at, lambda position: _encode(f"{uuid(position)}#{position}#{order}")
    )


class CursorGuesses:
    """The guesses of a run: how to make one, and whether they have proved worth their requests.

    Attributes:
        why_not: Why no more are made; None while they are.
        is_proved: Whether a walk has arrived at a page that a guess returned.
    """

    def __init__(self) -> None:
        self.why_not: str | None = None
        self.is_proved = False
        self._form: CursorForm | None = None
        self._credit = float(_MOST_CREDIT)

    @property
    def is_possible(self) -> bool:
        """Whether a guess may be made now."""
        return self._form is not None and self.why_not is None and self._credit >= 1

    def learn(self, after: str | None, last: Record) -> None:
        """Learn what the API's cursors are made of, from a page's `after` and its last record."""
        if self._form is None and self.why_not is None and after is not None:
            self._form = form_of(after, last)
            if self._form is None:
                self.stop("the form of the API's cursors is unknown")

    def position(self, record: Record) -> Position | None:
        """Return where a record is."""
        return None if self._form is None else self._form.position(record)

    def cursor_at(self, position: Position) -> str:
        """Return a cursor for a position; only if guesses are possible."""
        assert self._form is not None  # noqa: S101  # the caller has checked
        return self._form.cursor_at(position)

    def stop(self, why: str) -> None:
        """Make no more of them in this run."""
        self.why_not = self.why_not or why

    def proved(self) -> None:
        """A walk arrived at a page that a guess returned."""
        self.is_proved = True
        self._credit = min(_MOST_CREDIT, self._credit + 1)

    def read(self) -> None:
        """A page was read."""
        self._credit = min(_MOST_CREDIT, self._credit + _CREDIT_OF_PAGE)

    def wasted(self, why: str) -> None:
        """A guess cost a request and returned nothing useful."""
        self._credit -= 1
        if self._credit < 1 and not self.is_proved:
            self.stop(why)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _version(text: str) -> int | None:
    """Return the version of a UUID in its usual spelling; None if the text is not one."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid.version if str(uuid) == text else None


def _id_time(record: Record) -> Position | None:
    """Return the time in a record's UUIDv7 (RFC 9562: milliseconds in its first 48 bits), in microseconds."""
    return int(record.id[:8] + record.id[9:13], 16) * MILLISECOND if _version(record.id) == _V7 else None


def _first_uuid_of(position: Position) -> str:
    """Return the least UUIDv7 of the millisecond; there is none from before 1970."""
    return str(UUID(int=max(0, position // MILLISECOND) << 80 | _V7 << 76 | 0b10 << 62))


def _id_cursor(position: Position) -> str:
    return _encode(_first_uuid_of(position))
