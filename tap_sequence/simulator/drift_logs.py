"""Differences from the documentation in logs: the value of one field, JSON that no encoder writes, and the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

Log: TypeAlias = dict[str, Any]

_ABSENT: Any = object()
_DEEP = 1200
_NEARLY_DEEP = 990
_LONG = 5000

# One field

_ITEM = ("activityLogItems", "*")
FIELDS: Mapping[str, tuple[tuple[str, ...], str, bool]] = {
    "account": (("sequenceAccountId",), "text", True),
    "activity-type": (("activityType",), "text", True),
    "api-version": (("apiVersion",), "text", False),
    "origin": (("origin",), "text", True),
    "trace-id": (("traceId",), "text", False),
    "items": (("activityLogItems",), "list", True),
    "item": (_ITEM, "object", True),
    "item-id": ((*_ITEM, "id"), "text", True),
    "item-log-id": ((*_ITEM, "activityLogId"), "text", True),
    "verb": ((*_ITEM, "verb"), "text", True),
    "name": ((*_ITEM, "name"), "text", True),
    "summary": ((*_ITEM, "summary"), "text", True),
    "reason": ((*_ITEM, "reason"), "text", False),
    "metadata": ((*_ITEM, "metadata"), "list", False),
    **{
        place: ((*_ITEM, field, *inner), kind, is_required)
        for name, field, is_required_itself in (
            ("actor", "activityLogActor", True),
            ("object", "activityLogObject", True),
            ("target", "activityLogTarget", False),
        )
        for place, inner, kind, is_required in (
            (name, (), "object", is_required_itself),
            (f"{name}-id", ("id",), "text", True),
            (f"{name}-type", ("entityType",), "text", True),
            (f"{name}-entity-id", ("entityId",), "text", False),
        )
    },
    "email": ((*_ITEM, "activityLogActor", "email"), "text", False),
}
"""Path, documented kind, and whether null and absence are undocumented, by a short name."""

KINDS: Mapping[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "absent": lambda _: _ABSENT,
    "number": lambda _: 7,
    "boolean": lambda _: True,
    # In place of an object or a list: personal data, which the tap must not show.
    "text": lambda _: "grace.hopper@example.com",
    "list": lambda value: [value],
    "object": lambda value: {"value": value},
}


def _set(value: Any, path: Sequence[str], change: Callable[[Any], Any]) -> None:
    """Change the value at a path, if the path exists. `change` gets None for an absent field."""
    key, *rest = path
    if key == "*":
        if not isinstance(value, list):
            return
        for place, element in enumerate(value):
            if rest:
                _set(element, rest, change)
            elif (changed := change(element)) is not _ABSENT:
                value[place] = changed
        return
    if not isinstance(value, dict):
        return
    if rest:
        _set(value.get(key), rest, change)
    elif (changed := change(value.get(key))) is _ABSENT:
        value.pop(key, None)
    else:
        value[key] = changed


def _at(path: Sequence[str], change: Callable[[Any], Any]) -> Callable[[Log], None]:
    return lambda log: _set(log, path, change)


def field_drifts() -> Iterator[tuple[str, Callable[[Log], None]]]:
    """Yield the differences in one field, `FIELD-KIND`, with what makes them."""
    for place, (path, documented, is_required) in FIELDS.items():
        for kind, change in KINDS.items():
            is_allowed = kind == documented or (kind in {"null", "absent"} and not is_required)
            if not is_allowed and (place, kind) != ("item", "absent"):
                yield f"{place}-{kind}", _at(path, change)


# JSON that no encoder writes. A marker takes its place until the page is encoded.

_VALUES: Mapping[str, bytes] = {
    "\ue000nan\ue000": b"NaN",
    "\ue000infinity\ue000": b"Infinity",
    "\ue000-infinity\ue000": b"-Infinity",
    "\ue000long\ue000": b"7" * _LONG,
    "\ue000endless\ue000": b"1e9999999999999999999",
    "\ue000precise\ue000": b"0.1234567890123456789012345678901234567890",
    "\ue000deep\ue000": b"[" * _DEEP + b"1" + b"]" * _DEEP,
    "\ue000nearly deep\ue000": b'{"a":' * _NEARLY_DEEP + b"1" + b"}" * _NEARLY_DEEP,
}
_TEXTS: Mapping[str, bytes] = {
    "\ue000surrogate\ue000": rb"\ud800",
    "\ue000nul\ue000": rb"\u0000",
}

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def encode(page: Any) -> bytes:
    """Return a page as JSON, with markers replaced by what no encoder writes."""
    body = _ENCODER.encode(page)
    if b"\xee\x80\x80" in body:
        for marker, text in _VALUES.items():
            body = body.replace(f'"{marker}"'.encode(), text)
        for marker, text in _TEXTS.items():
            body = body.replace(marker.encode(), text)
    return body


def _in_metadata(value: Any) -> Callable[[Log], None]:
    return _at((*_ITEM, "metadata"), lambda _: [value, {"inner": [value]}])


def _in_texts(marker: str) -> Callable[[Log], None]:
    def change(log: Log) -> None:
        _set(log, (*_ITEM, "summary"), lambda text: f"{marker}{text}")
        _in_metadata(f"left {marker} right")(log)

    return change


# The rest


def _new_field(path: Sequence[str], name: str = "brandNew") -> Callable[[Log], None]:
    new = {"since": 2027, "by": "ada.lovelace@example.com", "tags": [None, 0.5]}
    return _at((*path, name), lambda _: new)


def _created_at(change: Callable[[str], Any]) -> Callable[[Log], None]:
    return _at(("createdAt",), lambda text: change(text) if isinstance(text, str) else text)


def _as_end_of_day(time_of_day: str) -> Callable[[Log], None]:
    """Write midnight in another way: as the end of the day before."""

    def write(text: str) -> str:
        match = re.fullmatch(r"(\d{4}-\d\d)-(0[2-9]|[123]\d)T00:00:00(\.\d+)?Z", text)
        return f"{match[1]}-{int(match[2]) - 1:02}T{time_of_day}{match[3] or ''}Z" if match else text

    return _created_at(write)


def _number_from_id(log: Log) -> None:
    with suppress(AttributeError, TypeError, ValueError, KeyError):
        # Small enough for a float to hold.
        log["id"] = UUID(log["id"]).int % 2**53


LOG_DRIFTS: Mapping[str, Callable[[Log], None]] = {
    **dict(field_drifts()),
    "items-empty": _at(("activityLogItems",), lambda _: []),
    "metadata-deep": _in_metadata("\ue000deep\ue000"),
    "metadata-nearly-deep": _in_metadata("\ue000nearly deep\ue000"),
    "nan": _in_metadata("\ue000nan\ue000"),
    "infinity": _in_metadata("\ue000infinity\ue000"),
    "minus-infinity": _in_metadata("\ue000-infinity\ue000"),
    "nan-in-place-of-text": _at((*_ITEM, "summary"), lambda _: "\ue000nan\ue000"),
    "long-number": _in_metadata("\ue000long\ue000"),
    "long-number-in-place-of-text": _at((*_ITEM, "name"), lambda _: "\ue000long\ue000"),
    "endless-number": _in_metadata("\ue000endless\ue000"),
    "precise-number": _in_metadata("\ue000precise\ue000"),
    "half-surrogate": _in_texts("\ue000surrogate\ue000"),
    "nul": _in_texts("\ue000nul\ue000"),
    "unknown-field": _new_field(()),
    "unknown-field-item": _new_field(_ITEM),
    "unknown-field-actor": _new_field((*_ITEM, "activityLogActor")),
    "unknown-field-object": _new_field((*_ITEM, "activityLogObject")),
    "unknown-field-null": _at(("brandNew",), lambda _: None),
    "unknown-field-unmapped": _new_field((), "unmapped"),
    "unknown-field-odd-name": _new_field((), "odd.name[0] \ue000surrogate\ue000\n\x1b"),
    "id-number": _number_from_id,
    "id-absent": _at(("id",), lambda _: _ABSENT),
    "id-null": _at(("id",), lambda _: None),
    "id-empty": _at(("id",), lambda _: ""),
    "created-at-absent": _created_at(lambda _: _ABSENT),
    "created-at-null": _created_at(lambda _: None),
    "created-at-empty": _created_at(lambda _: ""),
    "created-at-no-time": _created_at(lambda _: "yesterday"),
    "created-at-number": _created_at(lambda _: 1_760_000_000_000),
    "created-at-object": _created_at(lambda text: {"value": text}),
    "created-at-without-zone": _created_at(lambda text: text.removesuffix("Z")),
    "created-at-offset": _created_at(lambda text: text.replace("Z", "+00:00")),
    "created-at-space": _created_at(lambda text: text.replace("T", " ")),
    "created-at-lower-case": _created_at(str.lower),
    "created-at-nanoseconds": _created_at(
        lambda text: text.removesuffix("Z").ljust(20, ".").ljust(29, "0") + "Z"
    ),
    "leap-second": _as_end_of_day("23:59:60"),
    "hour-24": _as_end_of_day("24:00:00"),
}
