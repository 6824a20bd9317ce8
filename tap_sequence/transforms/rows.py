"""How a stream makes its rows of decoded records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tap_sequence.sync.models import Record


class Rows(Protocol):
    """Makes the rows of one stream."""

    def of(self, decoded: Sequence[Any]) -> Sequence[Any]:
        """Return the rows of decoded records, as structs."""

    def count(self, records: Sequence[Record]) -> int:
        """Return the number of rows of records."""


class WholeRecords(Rows):
    """Each record is a row.

    Args:
        schema: The JSON schema of a row.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Ignore the schema: the records have its fields."""

    def of(self, decoded: Sequence[Any]) -> Sequence[Any]:
        """Return the records as they are."""
        return decoded

    def count(self, records: Sequence[Record]) -> int:
        """Return the number of records."""
        return len(records)
