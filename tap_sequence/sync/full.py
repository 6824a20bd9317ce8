"""Reads a list in full: one that changes in place, so that nothing tells what is new in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from tap_sequence.sync.models import Fetch, RecordPage
from tap_sequence.sync.walk import walk


class FullReader:
    """One run over the list.

    Args:
        fetch: Gets a page.
        noun: What messages call an entry.
        logger: Where warnings go.
    """

    def __init__(self, fetch: Fetch, *, noun: str, logger: logging.Logger) -> None:
        self._fetch = fetch
        self._noun = noun
        self._logger = logger

    def record_pages(self) -> Iterator[RecordPage]:
        """Yield the records, page by page, each once: the list may shift while it is read.

        Raises:
            RequestError: A page could not be read.
            PaginationLoopError: The API returned pages again.
        """
        known: set[str] = set()
        total = None
        for _, page in walk(self._fetch, None, noun=self._noun):
            new = {record.id: record for record in page.records if record.id not in known}
            known.update(new)
            total = page.total
            yield RecordPage(list(new.values()), len(page.records), len(page.records) - len(new), total)
        if total is not None and len(known) < total:
            self._logger.warning(
                "The API listed %d %ss, but counts %d (totalResultSize). Those missing are not loaded in this run. If it "
                "happens again, report it to Sequence's support.",
                len(known),
                self._noun,
                total,
            )
