"""The items of a log as flat rows, one for each. Plain Python; the columns are those of the schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

_PARTS = {"actor": "activityLogActor", "object": "activityLogObject", "target": "activityLogTarget"}
"""Which part of an item a column is from, by what the column's name begins with."""

_OF_LOG = ("sequenceAccountId", "createdAt")
_TARGET = _PARTS["target"] + "."


class ItemRows:
    """Makes rows out of decoded logs.

    Args:
        schema: The JSON schema of a row. A column is a field of the log (`createdAt`), a field of one of an item's parts
            (`actorEntityId` is `activityLogActor.entityId`), or a field of the item itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        places = {column: _place(column) for column in schema["properties"]}
        of_log = [column for column in places if column in _OF_LOG]
        of_target = [column for column, place in places.items() if place.startswith(_TARGET)]
        of_item = [column for column in places if column not in {*of_log, *of_target}]
        columns = [(column, Any) for column in (*of_log, *of_item, *of_target)]
        self._row: Callable[..., Any] = msgspec.defstruct("ActivityLogItem", columns, gc=False)
        self._log_values = attrgetter(*of_log)
        self._item_values = attrgetter(*(places[column] for column in of_item))
        self._target_values = attrgetter(*(places[column] for column in of_target))
        self._no_target = (None,) * len(of_target)

    def of(self, record: Any) -> list[Any]:
        """Return the rows of a decoded log, in the order of its items.

        Every row has every column: what the API left out is null.
        """
        of_log = self._log_values(record)
        rows = []
        for item in record.activityLogItems:
            of_target = self._target_values(item) if item.activityLogTarget else self._no_target
            values = (*of_log, *self._item_values(item), *of_target)
            rows.append(self._row(*[None if value is msgspec.UNSET else value for value in values]))
        return rows


def _place(column: str) -> str:
    """Return where a column's value is, as a dotted path from the item or, for the log's own, from the log."""
    for prefix, part in _PARTS.items():
        rest = column.removeprefix(prefix)
        if rest != column and rest[:1].isupper():
            return f"{part}.{rest[0].lower()}{rest[1:]}"
    return column
