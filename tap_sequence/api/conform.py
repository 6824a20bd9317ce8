"""Converts a record to the stream's schema, whatever the API sent. Pure functions.

Values that fit stay as they are. Other values are converted (a number in place of a string becomes its JSON text) or moved to
`unmapped`. Each difference is returned, so that it can be reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from tap_sequence.api.lenient_json import MAX_DEPTH, NonFinite, Value, quoted, to_plain, to_text
from tap_sequence.sync.timestamps import parse_timestamp

UNMAPPED = "unmapped"
"""The field that the tap adds for values that no other field can hold."""

_MAX_DIFFERENCES = 50
_PLAIN_NAME = re.compile(r"[A-Za-z_$][\w$-]*")
_INDEX = re.compile(r"\[\d+\]")


class Kind(StrEnum):
    """How a value can differ from the documentation. The members' values appear in the summary of a run."""

    UNKNOWN_FIELD = "not in the schema"
    NOT_STRING = "not a string"
    NOT_LIST = "not a list"
    NOT_OBJECT = "not an object"
    NOT_BOOLEAN = "not true or false"
    NOT_TIME = "not a time"
    UNSTORABLE = "NUL or a lone surrogate"
    NON_FINITE = "NaN or infinite"
    TOO_DEEP = "nested too deeply, or a number with too many digits"


class Difference(NamedTuple):
    """A difference between a record and the documentation.

    Attributes:
        kind: How it differs.
        field: Path of the field, with `[]` for any element of a list: `activityLogItems[].verb`.
        parent: Path of the object that contains the field.
        name: Name of the field in that object.
    """

    kind: Kind
    field: str
    parent: str = ""
    name: str = ""


class Conformed(NamedTuple):
    """A record that was converted to the schema.

    Attributes:
        record: The record, with `unmapped`.
        differences: Its differences from the documentation, without duplicates.
    """

    record: dict[str, Any]
    differences: tuple[Difference, ...]


def conform(record: Value, schema: Mapping[str, Any], *, metadata_as_text: bool) -> Conformed:
    """Convert a record to a schema.

    Args:
        record: The record; must be an object.
        schema: The stream's JSON schema. Elements without a type may be any value, as in `metadata`.
        metadata_as_text: Whether such elements become their JSON text instead of remaining values.
    """
    conformer = _Conformer(metadata_as_text=metadata_as_text)
    result = conformer.fields(record, schema, "")
    result[UNMAPPED] = unmapped_text(conformer.unmapped)
    return Conformed(result, tuple(conformer.differences))


def unmapped_text(values: Mapping[str, str]) -> str | None:
    """Return the value of `unmapped`: a JSON object, or None if there is nothing in it.

    Args:
        values: JSON texts by path.
    """
    if not values:
        return None
    return "{" + ",".join(f"{quoted(path)}:{text}" for path, text in values.items()) + "}"


def to_unmapped(value: Value) -> str:
    """Return a value's JSON text for `unmapped`, itself as a JSON string if most readers could not parse it."""
    text = to_text(value, non_finite_as_text=True)
    return quoted(text) if value.is_oversized or value.depth > MAX_DEPTH else text


def join(path: str, name: str) -> str:
    """Return the path of a field of an object. A name that looks like a path is quoted."""
    if not _PLAIN_NAME.fullmatch(name):
        return f"{path}[{quoted(name)}]"
    return f"{path}.{name}" if path else name


class _Conformer:
    """Converts one record.

    Args:
        metadata_as_text: Whether elements without a type become their JSON text.
    """

    def __init__(self, *, metadata_as_text: bool) -> None:
        self._metadata_as_text = metadata_as_text
        self.unmapped: dict[str, str] = {}
        self.differences: dict[Difference, None] = {}

    # Recursion follows the schema, which has a few levels, never the values.

    def fields(self, value: Value, schema: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return the fields of an object."""
        result = {}
        assert isinstance(value.content, dict)  # noqa: S101  # callers check
        for name, inner in value.content.items():
            inner_path = join(path, name)
            definition = schema["properties"].get(name)
            if definition is None or inner_path == UNMAPPED:
                self.unmapped[inner_path] = to_unmapped(inner)
                self._note(Kind.UNKNOWN_FIELD, inner_path, path, name)
            else:
                result[name] = self._value(inner, definition, inner_path)
        return result

    def _value(self, value: Value, schema: Mapping[str, Any], path: str) -> Any:
        if value.content is None:
            return None
        if isinstance(value.content, NonFinite):
            self._keep_non_finite(value, path)
            return None
        if "properties" in schema:
            return self._object(value, schema, path)
        if "items" in schema:
            return self._list(value, schema["items"], path)
        if kind := _misfit(value, schema):
            return self._aside(kind, value, path)
        return value.content if "boolean" in schema["type"] else self._text(value, path)

    def _object(self, value: Value, schema: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        if isinstance(value.content, dict):
            return self.fields(value, schema, path)
        self._aside(Kind.NOT_OBJECT, value, path)
        return None

    def _aside(self, kind: Kind, value: Value, path: str) -> None:
        """Move a value that its field cannot hold to `unmapped`."""
        self._note(kind, path)
        self.unmapped[path] = to_unmapped(value)

    def _list(self, value: Value, schema: Mapping[str, Any], path: str) -> list[Any]:
        elements = value.content
        if not isinstance(elements, list):
            self._note(Kind.NOT_LIST, path)
            elements = [value]
        conform_element = self._value if schema else self._anything
        return [conform_element(each, schema, f"{path}[{number}]") for number, each in enumerate(elements)]

    def _text(self, value: Value, path: str) -> str:
        if isinstance(value.content, str) and type(value.content) is str:
            if not value.is_exact:
                self._note(Kind.UNSTORABLE, path)
            return value.content
        self._note(Kind.NOT_STRING, path)
        return self._json_text(value, path)

    def _anything(self, value: Value, _: Mapping[str, Any], path: str) -> Any:
        """Return an element without a type in the schema."""
        if self._metadata_as_text:
            return self._json_text(value, path)
        if value.is_oversized or value.depth > MAX_DEPTH:
            self._note(Kind.TOO_DEEP, path)
            return self._json_text(value, path)
        self._keep_non_finite(value, path)
        return to_plain(value)

    def _json_text(self, value: Value, path: str) -> str:
        self._keep_non_finite(value, path)
        return to_text(value)

    def _keep_non_finite(self, value: Value, path: str) -> None:
        """Copy every NaN and infinity in a value to `unmapped`, and note replaced characters."""
        if value.is_exact:
            return
        if value.depth > MAX_DEPTH:
            # The paths in it would be longer than the value.
            self.unmapped[path] = to_unmapped(value)
            self._note(Kind.NON_FINITE, path)
            return
        found = False
        todo = [(path, value)]
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
        self._note(Kind.NON_FINITE if found else Kind.UNSTORABLE, path)

    def _note(self, kind: Kind, path: str, parent: str = "", name: str = "") -> None:
        if len(self.differences) < _MAX_DIFFERENCES:
            general, general_parent = _INDEX.sub("[]", path), _INDEX.sub("[]", parent)
            self.differences[Difference(kind, general, general_parent, name)] = None


def _misfit(value: Value, schema: Mapping[str, Any]) -> Kind | None:
    """Return why a field that is not any text cannot hold a value, or None."""
    if "boolean" in schema["type"]:
        return None if isinstance(value.content, bool) else Kind.NOT_BOOLEAN
    if schema.get("format") != "date-time":
        return None
    try:
        parse_timestamp(value.content if type(value.content) is str else "")
    except (ValueError, OverflowError):
        return Kind.NOT_TIME
    return None
