"""Reports how logs differ from the API's documentation: each kind once, with a count at the end of the run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from tap_sequence.api.conform import Difference, Kind
from tap_sequence.sync.models import Record
from tap_sequence.text.redaction import excerpt

_WARNINGS = {
    Kind.UNKNOWN_FIELD: (
        "Log %s has a field that the schema does not list: %s. Its value is kept in the field unmapped. Check whether a "
        "newer version of this tap lists it."
    ),
    Kind.NOT_TEXT: "Log %s has another value than a text in %s. It is passed on as its JSON text.",
    Kind.NOT_LIST: "Log %s has another value than a list in %s. It is passed on as a list of that one value.",
    Kind.NOT_OBJECT: (
        "Log %s has another value than an object in %s. The field is null, and the value is kept in the field unmapped."
    ),
    Kind.UNSTORABLE: (
        "Log %s has a NUL character or half of a surrogate pair in %s. It is replaced by U+FFFD, as no warehouse stores it."
    ),
    Kind.NON_FINITE: (
        "Log %s has NaN or an infinity in %s. It is passed on as null, and as text in the field unmapped."
    ),
    Kind.TOO_DEEP: (
        "Log %s has a value in %s that is nested more than 100 levels deep, or has a number of more than 4,300 digits. It is "
        "passed on as its JSON text."
    ),
}
_MAX_REPORTED = 100
_MAX_SUMMARISED = 10


class DifferenceReport:
    """Warns of each difference once a run, with the first log that has it, and counts the logs.

    Args:
        logger: Where it is warned.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._counts: Counter[Difference] = Counter()

    def add(self, logs: Iterable[Record]) -> None:
        """Take note of logs that are emitted."""
        for log in logs:
            for difference in log.differences:
                self._add(log.id, difference)

    def _add(self, log_id: str, difference: Difference) -> None:
        if difference not in self._counts:
            # There may be as many as there are logs, such as fields that are named by ids.
            if len(self._counts) == _MAX_REPORTED:
                return
            self._logger.warning(_WARNINGS[difference.kind], excerpt(log_id), excerpt(difference.field))
        self._counts[difference] += 1

    def summary(self) -> str | None:
        """Return which differences there were, and how many logs had each; None where there were none."""
        if not self._counts:
            return None
        most_common = self._counts.most_common(_MAX_SUMMARISED)
        texts = [
            f"{excerpt(difference.field)} ({difference.kind.value}) in {count:,}"
            for difference, count in most_common
        ]
        if len(self._counts) > len(texts):
            texts.append(f"{len(self._counts) - len(texts)} more")
        return f"logs that differ from the documentation: {', '.join(texts)}"
