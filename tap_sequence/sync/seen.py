"""The deduplication window: the records that the next run may read again and must not emit twice."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice

from tap_sequence.sync.models import Record


class SeenIds:
    """Ids of records that were read already, with their times of creation.

    An id is either *carried* over from before the walk in progress, or *met* by that walk.
    """

    def __init__(self) -> None:
        # Not met by this walk yet, with the time of creation.
        self._carried: dict[str, int] = {}
        # In the order in which they were last met, with the time of creation and the number of the page.
        self._met: dict[str, tuple[int, int]] = {}
        # Those of the carried that this walk's cursor has passed, as a heap by time: kept while within the lookback.
        self._passed: list[tuple[int, str]] = []

    def __contains__(self, record_id: object) -> bool:
        return record_id in self._met or record_id in self._carried

    def __len__(self) -> int:
        return len(self._carried) + len(self._met)

    def last(self, count: int) -> list[str]:
        """Return at most `count` ids, the last met at the end."""
        newest_first = list(islice(reversed(self._met), count))
        newest_first += islice(reversed(self._carried), count - len(newest_first))
        return newest_first[::-1]

    def carry(self, ids: Iterable[str], created_at: int) -> None:
        """Add ids that this walk has not met, created at `created_at` or earlier."""
        self._carried.update({record_id: created_at for record_id in ids if record_id not in self._met})

    def begin_walk(self) -> None:
        """Carry everything over into a new walk."""
        self._carried.update((record_id, created_at) for record_id, (created_at, _) in self._met.items())
        self._met = {}
        self._passed = []

    def meet(self, record: Record, page: int) -> None:
        """Add a record that this walk read on page `page`."""
        self._carried.pop(record.id, None)
        self._met.pop(record.id, None)
        self._met[record.id] = (record.created_at, page)

    def replace(self, records: Sequence[Record], page: int) -> None:
        """Forget everything but these records, met in this order."""
        self._carried = {}
        self._met = {record.id: (record.created_at, page) for record in records}

    def advance_to(self, page: int, bound: float) -> None:
        """Forget records met before page `page`, which the saved cursor now leads to, except those created since `bound`."""
        passed = []
        for record_id, (created_at, number) in self._met.items():
            if number == page:
                break
            passed.append(record_id)
            if created_at >= bound:
                self._carried[record_id] = created_at
                heapq.heappush(self._passed, (created_at, record_id))
        for record_id in passed:
            del self._met[record_id]

    def forget_passed(self, bound: float) -> None:
        """Forget records that the cursor has passed and that were created before `bound`."""
        while self._passed and self._passed[0][0] < bound:
            self._carried.pop(heapq.heappop(self._passed)[1], None)

    def forget_unmet(self, bound: int) -> None:
        """Forget records that this walk has not met and that were created before `bound`: they have left the list."""
        self._carried = {record_id: at for record_id, at in self._carried.items() if at >= bound}
