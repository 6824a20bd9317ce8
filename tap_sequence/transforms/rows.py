"""How a stream makes its rows of decoded records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import msgspec

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


def to_plain(row: Any) -> dict[str, Any]:
    """Return a row as a dictionary of plain Python values. Numbers with a fraction stay Decimals."""
    plain: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(Decimal,))
    return plain
