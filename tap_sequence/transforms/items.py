"""The items of a log as flat rows, one for each item. The columns are those of the schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from tap_sequence.sync.models import Record
from tap_sequence.transforms.rows import Rows

_PARTS = {"actor": "activityLogActor", "object": "activityLogObject", "target": "activityLogTarget"}
"""The part of an item that a column is from, by the prefix of the column's name."""

_OF_LOG = ("sequenceAccountId", "createdAt")
_UNMAPPED = "unmapped"
_ITEM_PATH = re.compile(r"activityLogItems\[(\d+)\]\.?(.+)", re.DOTALL)
_UNMAPPED_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TARGET = _PARTS["target"] + "."


class ItemRows(Rows):
    """Makes rows of decoded logs.

    Args:
        schema: The JSON schema of a row. A column is a field of the log (`createdAt`), a field of one of an item's parts
            (`actorEntityId` is `activityLogActor.entityId`), or a field of the item itself.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        places = {column: _place(column) for column in schema["properties"]}
        of_log = [column for column in places if column in _OF_LOG]
        of_target = [column for column, place in places.items() if place.startswith(_TARGET)]
        of_item = [column for column in places if column not in {*of_log, *of_target, _UNMAPPED}]
        columns: list[Any] = [(column, Any) for column in (*of_log, *of_item, *of_target)]
        if _UNMAPPED in places:
            columns.append((_UNMAPPED, Any, None))
        self._places_in_item = [places[column] for column in of_item]
        self._row: Callable[..., Any] = msgspec.defstruct("ActivityLogItem", columns, gc=False)
        self._log_values = attrgetter(*of_log)
        self._item_values = attrgetter(*(places[column] for column in of_item))
        self._target_values = attrgetter(*(places[column] for column in of_target))
        self._no_target = (None,) * len(of_target)

    def of(self, decoded: Sequence[Any]) -> Sequence[Any]:
        """Return the rows of decoded logs, in the order of their items."""
        return [row for record in decoded for row in self._of_one(record)]

    def count(self, records: Sequence[Record]) -> int:
        """Return the number of rows of logs."""
        return sum(map(_count_items, records))

    def _of_one(self, record: Any) -> list[Any]:
        """Return the rows of a decoded log.

        Every row has every column; a field that the API omitted is null. An item that is null has no row.
        """
        of_log = _with_nulls(self._log_values(record))
        set_aside = _by_item(record.unmapped) if record.unmapped else {}
        rows = []
        for place, item in enumerate(record.activityLogItems or ()):
            if item is None:
                continue
            of_target = self._target_values(item) if item.activityLogTarget else self._no_target
            try:
                of_item = self._item_values(item)
            except AttributeError:  # The actor or the object is null or missing.
                of_item = tuple(_value_at(item, path) for path in self._places_in_item)
            row = self._row(*of_log, *_with_nulls(of_item), *_with_nulls(of_target))
            # The row needs a key, and a reference to its log.
            if not row.id:
                row.id = f"{record.id}:{place}"
            if row.activityLogId is None:
                row.activityLogId = record.id
            if place in set_aside:
                row.unmapped = msgspec.json.encode(set_aside[place]).decode()
            rows.append(row)
        return rows


def _count_items(record: Record) -> int:
    items = record.data.activityLogItems or []
    return len(items) - items.count(None)


def _with_nulls(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace missing values by null."""
    # Few logs have one, and this check is compiled code.
    if msgspec.UNSET not in values:
        return values
    return tuple([None if value is msgspec.UNSET else value for value in values])


def _by_item(unmapped: str) -> dict[int, dict[str, msgspec.Raw]]:
    """Return the values of items in a log's `unmapped`: by item, then by path within the item."""
    result: dict[int, dict[str, msgspec.Raw]] = {}
    for place, value in _UNMAPPED_DECODER.decode(unmapped).items():
        found = _ITEM_PATH.fullmatch(place)
        if found:
            result.setdefault(int(found[1]), {})[found[2]] = value
    return result


def _value_at(item: Any, path: str) -> Any:
    value = item
    for name in path.split("."):
        value = getattr(value, name, None)
    return value


def _place(column: str) -> str:
    """Return the path of a column's value, with dots, in the item or, for `_OF_LOG`, in the log."""
    for prefix, part in _PARTS.items():
        rest = column.removeprefix(prefix)
        if rest != column and rest[:1].isupper():
            return f"{part}.{rest[0].lower()}{rest[1:]}"
    return column
