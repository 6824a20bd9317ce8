"""The types that records are decoded with, derived from the schema and from fields that the schema does not list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import GenericAlias
from typing import Any, NamedTuple, Self

import msgspec

from tap_sequence.api.conform import UNMAPPED, Difference, Kind, join
from tap_sequence.api.lenient_json import MAX_DEPTH, MAX_DIGITS, quoted

_LONG_NUMBER = re.compile(rb"[0-9.]{%d}" % (MAX_DIGITS + 1))


class UnusualError(Exception):
    """Compiled code accepts a record, but something in it needs a closer look."""


Learned = Mapping[str, Mapping[str, str]]
"""Fields that the schema does not list, by the path of their object: names by attribute of the struct."""


def type_from_schema(
    schema: Mapping[str, Any],
    name: str,
    *,
    any_type: Any = Any,
    learned: Learned | None = None,
    path: str = "",
) -> Any:
    """Derive the type that msgspec validates and decodes with from a JSON schema.

    Objects become structs that reject unknown fields. A field that is not required may be absent, and is then absent from the
    output. A field that can only be null is null when it is absent.

    Args:
        schema: The JSON schema.
        name: Name of the type.
        any_type: Type of values without a type in the schema.
        learned: Fields in addition to those in the schema, kept as raw JSON.
        path: Path of the schema within that of a record.
    """
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    options: list[Any] = []
    for kind in kinds:
        match kind:
            case "object":
                options.append(_struct_from_schema(schema, name, any_type, learned or {}, path))
            case "array":
                element = type_from_schema(
                    schema["items"], name + "Element", any_type=any_type, learned=learned, path=path + "[]"
                )
                options.append(GenericAlias(list, (element,)))
            case "string":
                options.append(str)
            case "boolean":
                options.append(bool)
            case "null":
                options.append(None)
            case _:
                msg = f"{name}: no type for {kind!r} in a stream schema"
                raise NotImplementedError(msg)
    if not options:
        return any_type
    result = options[0]
    for option in options[1:]:
        result |= option
    return result


def _struct_from_schema(
    schema: Mapping[str, Any], name: str, any_type: Any, learned: Learned, path: str
) -> type[msgspec.Struct]:
    required = set(schema.get("required", []))
    fields: list[Any] = []
    for field, definition in schema["properties"].items():
        type_name = name + field[0].upper() + field[1:]
        field_type = type_from_schema(
            definition, type_name, any_type=any_type, learned=learned, path=join(path, field)
        )
        if field in required:
            fields.append((field, field_type))
        elif field_type is None:
            fields.append((field, None, None))
        else:
            fields.append((field, field_type | msgspec.UnsetType, msgspec.UNSET))
    names = learned.get(path, {})
    fields += [(attribute, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for attribute in names]
    return msgspec.defstruct(
        name, fields, kw_only=True, forbid_unknown_fields=True, gc=False, rename=dict(names)
    )


class _Learned(NamedTuple):
    """A field that the schema does not list, but that compiled code decodes.

    Attributes:
        attribute: Its attribute in the struct.
        suffix: What it adds to the path of its object, escaped for JSON.
        difference: How it is reported.
    """

    attribute: str
    suffix: str
    difference: Difference


class _Gatherer(NamedTuple):
    """Moves learned fields out of a decoded object.

    Attributes:
        own: Learned fields of the object itself.
        inner: Fields that contain further ones: their name, what they add to the object's path, and their gatherer.
    """

    own: Sequence[_Learned]
    inner: Sequence[tuple[str, str, _Gatherer]]

    @classmethod
    def of(cls, schema: Mapping[str, Any], learned: Learned, path: str = "") -> Self | None:
        """Return the gatherer of all learned fields, or None if there are none."""
        inner = []
        for field, definition in schema.get("properties", {}).items():
            where = join(path, field)
            if "items" in definition:
                found = cls.of(definition["items"], learned, where + "[]")
            else:
                found = cls.of(definition, learned, where)
            if found:
                inner.append((field, where.removeprefix(path), found))
        own = []
        for attribute, name in learned.get(path, {}).items():
            where = join(path, name)
            suffix = quoted(where.removeprefix(path))[1:-1]
            own.append(_Learned(attribute, suffix, Difference(Kind.UNKNOWN_FIELD, where, path, name)))
        return cls(own, inner) if own or inner else None

    def gather(self, decoded: Any, place: str, found: list[str], differences: dict[str, Difference]) -> None:
        """Move the values of learned fields to `found`, as members of a JSON object."""
        for attribute, suffix, difference in self.own:
            raw = getattr(decoded, attribute)
            if raw is not msgspec.UNSET:
                found.append(f'"{place}{suffix}":{_plain_text(raw)}')
                setattr(decoded, attribute, msgspec.UNSET)
                differences[difference.field] = difference
        for field, suffix, gatherer in self.inner:
            value = getattr(decoded, field)
            if isinstance(value, list):
                for number, element in enumerate(value):
                    if element is not None:
                        gatherer.gather(element, f"{place}{suffix}[{number}]", found, differences)
            elif value:
                gatherer.gather(value, place + suffix, found, differences)


class RecordTypes:
    """The decoders of pages and records.

    Args:
        schema: The stream's JSON schema.
        learned: Fields in addition to those in the schema.
    """

    def __init__(self, schema: Mapping[str, Any], learned: Learned) -> None:
        self.learned = learned
        # A field `unmapped` of the API is not the tap's.
        as_sent = {**schema, "properties": {**schema["properties"], UNMAPPED: {"type": "null"}}}
        record_type = type_from_schema(as_sent, "Record", any_type=msgspec.Raw, learned=learned)
        page_type = msgspec.defstruct(
            "Page", [("items", GenericAlias(list, (record_type,)) | None), ("pagination", Any, None)]
        )
        self.page_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(page_type, float_hook=Decimal)
        self.record_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(record_type)
        self.gatherer = _Gatherer.of(schema, learned)

    def with_field(self, schema: Mapping[str, Any], path: str, name: str) -> RecordTypes:
        """Return types with one more learned field."""
        fields = self.learned.get(path, {})
        return RecordTypes(schema, {**self.learned, path: {**fields, f"learned_{len(fields)}": name}})


def _plain_text(raw: msgspec.Raw) -> str:
    """Return the JSON text of a value for `unmapped`."""
    source = bytes(raw)
    check_value(source)
    return source.decode()


def check_value(source: bytes) -> None:
    """Raise UnusualError if a value may be nested too deeply, or contain a number that is too long."""
    if len(source) > 2 * MAX_DEPTH and source.count(b"[") + source.count(b"{") > MAX_DEPTH:
        raise UnusualError
    if len(source) > MAX_DIGITS and _LONG_NUMBER.search(source):
        raise UnusualError
