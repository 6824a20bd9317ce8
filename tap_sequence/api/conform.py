"""Makes a log fit the stream's schema, whatever the API sent. Pure functions.

What fits stays as it is. What does not fit is passed on in another form (a number in place of a text as its JSON text) or
set aside in `unmapped`, and each difference is named, so that it can be warned of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from tap_sequence.api.lenient_json import MAX_DEPTH, NonFinite, Value, quoted, to_plain, to_text

UNMAPPED = "unmapped"
"""The field that the tap adds for what the others cannot hold."""

_MAX_DIFFERENCES = 50
_PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_INDEX = re.compile(r"\[\d+\]")


class Kind(StrEnum):
    """How a value can differ from the documentation. Each value names it in the run's summary."""

    UNKNOWN_FIELD = "not in the schema"
    NOT_TEXT = "not a text"
    NOT_LIST = "not a list"
    NOT_OBJECT = "not an object"
    UNSTORABLE = "NUL or half of a surrogate pair"
    NON_FINITE = "NaN or infinite"
    TOO_DEEP = "nested too deeply or too long a number"


class Difference(NamedTuple):
    """One way in which a log differs from the documentation.

    Attributes:
        kind: How it differs.
        field: Where, with `[]` for each element of a list: `activityLogItems[].verb`.
        parent: Path of the object that has the field.
        name: The field's name in that object.
    """

    kind: Kind
    field: str
    parent: str = ""
    name: str = ""


class Conformed(NamedTuple):
    """A log that fits the schema.

    Attributes:
        record: The record, with `unmapped`.
        differences: How the log differs from the documentation, each once.
    """

    record: dict[str, Any]
    differences: tuple[Difference, ...]


def conform(log: Value, schema: Mapping[str, Any], *, metadata_as_text: bool) -> Conformed:
    """Make a log fit a schema.

    Args:
        log: The log; an object.
        schema: The stream's JSON schema. Elements that it gives no type may be any value, as in `metadata`.
        metadata_as_text: Whether such elements become their JSON text, in place of staying values.
    """
    conformer = _Conformer(metadata_as_text=metadata_as_text)
    record = conformer.fields(log, schema, "")
    record[UNMAPPED] = unmapped_text(conformer.unmapped)
    return Conformed(record, tuple(conformer.differences))


def unmapped_text(values: Mapping[str, str]) -> str | None:
    """Return what `unmapped` holds.

    Args:
        values: JSON texts by their place.
    """
    if not values:
        return None
    return "{" + ",".join(f"{quoted(place)}:{text}" for place, text in values.items()) + "}"


def to_unmapped(value: Value) -> str:
    """Return the JSON text with which a value stands in `unmapped`; a text of that text where readers could not take it."""
    text = to_text(value, non_finite_as_text=True)
    return quoted(text) if value.is_oversized or value.depth > MAX_DEPTH else text


def join(place: str, name: str) -> str:
    """Return the place of a field of an object. A name that could be taken for a path is quoted."""
    if not _PLAIN_NAME.fullmatch(name):
        return f"{place}[{quoted(name)}]"
    return f"{place}.{name}" if place else name


class _Conformer:
    """Conforms one log.

    Args:
        metadata_as_text: Whether elements without a type become their JSON text.
    """

    def __init__(self, *, metadata_as_text: bool) -> None:
        self._metadata_as_text = metadata_as_text
        self.unmapped: dict[str, str] = {}
        self.differences: dict[Difference, None] = {}

    # Recursion follows the schema, which is some levels deep; never the values.

    def fields(self, value: Value, schema: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return an object's fields."""
        result = {}
        assert isinstance(value.content, dict)  # noqa: S101  # looked at by whoever calls
        for name, inner in value.content.items():
            inner_place = join(place, name)
            definition = schema["properties"].get(name)
            if definition is None or inner_place == UNMAPPED:
                self.unmapped[inner_place] = to_unmapped(inner)
                self._differs(Kind.UNKNOWN_FIELD, inner_place, place, name)
            else:
                result[name] = self._value(inner, definition, inner_place)
        return result

    def _value(self, value: Value, schema: Mapping[str, Any], place: str) -> Any:
        if value.content is None:
            return None
        if isinstance(value.content, NonFinite):
            self._set_aside_non_finite(value, place)
            return None
        if "properties" in schema:
            return self._object(value, schema, place)
        if "items" in schema:
            return self._list(value, schema["items"], place)
        return self._text(value, place)

    def _object(self, value: Value, schema: Mapping[str, Any], place: str) -> dict[str, Any] | None:
        if isinstance(value.content, dict):
            return self.fields(value, schema, place)
        self._differs(Kind.NOT_OBJECT, place)
        self.unmapped[place] = to_unmapped(value)
        return None

    def _list(self, value: Value, schema: Mapping[str, Any], place: str) -> list[Any]:
        elements = value.content
        if not isinstance(elements, list):
            self._differs(Kind.NOT_LIST, place)
            elements = [value]
        conform_element = self._value if schema else self._anything
        return [conform_element(each, schema, f"{place}[{number}]") for number, each in enumerate(elements)]

    def _text(self, value: Value, place: str) -> str:
        if isinstance(value.content, str) and type(value.content) is str:
            if not value.is_exact:
                self._differs(Kind.UNSTORABLE, place)
            return value.content
        self._differs(Kind.NOT_TEXT, place)
        return self._json_text(value, place)

    def _anything(self, value: Value, _: Mapping[str, Any], place: str) -> Any:
        """Return an element that the schema gives no type."""
        if self._metadata_as_text:
            return self._json_text(value, place)
        if value.is_oversized or value.depth > MAX_DEPTH:
            self._differs(Kind.TOO_DEEP, place)
            return self._json_text(value, place)
        self._set_aside_non_finite(value, place)
        return to_plain(value)

    def _json_text(self, value: Value, place: str) -> str:
        self._set_aside_non_finite(value, place)
        return to_text(value)

    def _set_aside_non_finite(self, value: Value, place: str) -> None:
        """Put every NaN and infinity in a value into `unmapped`; say what else in it had to be replaced."""
        if value.is_exact:
            return
        if value.depth > MAX_DEPTH:
            # The places in it would be longer than the value.
            self.unmapped[place] = to_unmapped(value)
            self._differs(Kind.NON_FINITE, place)
            return
        found = False
        todo = [(place, value)]
        while todo:
            where, each = todo.pop()
            if each.is_exact:
                continue
            found = found or isinstance(each.content, NonFinite)
            match each.content:
                case dict() as fields:
                    todo += [(join(where, name), inner) for name, inner in fields.items()]
                case list() as elements:
                    todo += [(f"{where}[{number}]", inner) for number, inner in enumerate(elements)]
                case NonFinite() as number:
                    self.unmapped[where] = quoted(str(number))
        self._differs(Kind.NON_FINITE if found else Kind.UNSTORABLE, place)

    def _differs(self, kind: Kind, place: str, parent: str = "", name: str = "") -> None:
        if len(self.differences) < _MAX_DIFFERENCES:
            general, general_parent = _INDEX.sub("[]", place), _INDEX.sub("[]", parent)
            self.differences[Difference(kind, general, general_parent, name)] = None
