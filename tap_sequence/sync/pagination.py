"""The cursor paginator: follows `pagination.after`, and nothing else.

Plain Python with the vocabulary of the SDK's paginators (`current_value`, `finished`, `count`, `advance`). The SDK's
own base class would end at an empty page and see only two equal cursors in a row as a loop.
"""

from __future__ import annotations

from tap_sequence.errors import CursorRepeatedError
from tap_sequence.sync.models import Page
from tap_sequence.text.redaction import excerpt


class CursorPaginator:
    """The cursor of a walk, and whether the walk is finished.

    The list ends with a page that has no `after` (absent or null): "the cursor for the page after this (if it
    exists)", published OpenAPI. An empty page that has one is not the end.
    """

    def __init__(self, start: str | None = None) -> None:
        """Start before the page that `start` leads to; None is the start of the list."""
        self._current = start
        self._count = 0
        self._finished = False
        # Hashes save memory: 100 million logs have a million cursors. Collisions of 64-bit hashes are negligible.
        self._followed = {hash(start)}

    @property
    def current_value(self) -> str | None:
        """The `after` to send for the next page."""
        return self._current

    @property
    def finished(self) -> bool:
        """Whether the last page was advanced over."""
        return self._finished

    @property
    def count(self) -> int:
        """Pages advanced over."""
        return self._count

    def advance(self, page: Page) -> None:
        """Move on to the page after `page`.

        Raises:
            CursorRepeatedError: `page` leads to a cursor that was followed before in this walk.
        """
        self._count += 1
        if page.after is None:
            self._finished = True
            return
        if hash(page.after) in self._followed:
            raise CursorRepeatedError(self._count, excerpt(page.after))
        self._followed.add(hash(page.after))
        self._current = page.after
