"""Reports differences between records and the API's documentation: a warning for each, and counts in the summary."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from tap_sequence.api.conform import Difference, Kind
from tap_sequence.sync.models import Record
from tap_sequence.text.redaction import excerpt

_WARNINGS = {
    Kind.UNKNOWN_FIELD: (
        "%s %s has a field that the schema does not list: %s. Its value is kept in the field unmapped. Check whether a "
        "newer version of tap-sequence lists it."
    ),
    Kind.NOT_STRING: "%s %s has a value other than a string in %s. Its JSON text is emitted instead.",
    Kind.NOT_LIST: "%s %s has a value other than a list in %s. A list of that one value is emitted instead.",
    Kind.NOT_OBJECT: (
        "%s %s has a value other than an object in %s. The field is null, and the value is kept in the field unmapped."
    ),
    Kind.NOT_BOOLEAN: (
        "%s %s has a value other than true or false in %s. The field is null, and the value is kept in the field unmapped."
    ),
    Kind.NOT_TIME: (
        "%s %s has a value that is not a time in %s. The field is null, and the value is kept in the field unmapped."
    ),
    Kind.UNSTORABLE: (
        "%s %s has a NUL or a lone surrogate in %s. It is replaced by U+FFFD, because warehouses cannot store it."
    ),
    Kind.NON_FINITE: (
        "%s %s has NaN or an infinity in %s. It becomes null, and its text is kept in the field unmapped."
    ),
    Kind.TOO_DEEP: (
        "%s %s has a value in %s that is nested more than 100 levels deep, or has a number of more than 4,300 digits. Its "
        "JSON text is emitted instead."
    ),
}
_MAX_REPORTED = 100
_MAX_SUMMARISED = 10


class DifferenceReport:
    """Warns of each difference once per run, with the first record that has it, and counts records.

    Args:
        logger: Logger for the warnings.
        noun: What messages call a record.
    """

    def __init__(self, logger: logging.Logger, noun: str = "log") -> None:
        self._logger = logger
        self._noun = noun
        self._counts: Counter[Difference] = Counter()

    def add(self, records: Iterable[Record]) -> None:
        """Add records that are emitted."""
        for record in records:
            for difference in record.differences:
                self._add(record.id, difference)

    def _add(self, record_id: str, difference: Difference) -> None:
        if difference not in self._counts:
            # Each record may add more, such as fields named after ids.
            if len(self._counts) == _MAX_REPORTED:
                return
            self._logger.warning(
                _WARNINGS[difference.kind],
                self._noun.capitalize(),
                excerpt(record_id),
                excerpt(difference.field),
            )
        self._counts[difference] += 1

    def summary(self) -> str | None:
        """Return the differences and how many records had each, as text; None if there were none."""
        if not self._counts:
            return None
        most_common = self._counts.most_common(_MAX_SUMMARISED)
        texts = [
            f"{excerpt(difference.field)} ({difference.kind.value}) in {count:,}"
            for difference, count in most_common
        ]
        if len(self._counts) > len(texts):
            texts.append(f"{len(self._counts) - len(texts)} more")
        return f"{self._noun}s that differ from the documentation: {', '.join(texts)}"
